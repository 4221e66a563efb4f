"""The learning rate that the range test proposes, against the best of a grid, on sets on which its rule was not chosen.

Run: EASYDL_REAL_DATA=... python benchmarks/rate_finder.py [--sets brain nih pneumonia] [--seeds 2]
`tiny` at 64 pixels from random weights, 20 epochs at every rate of the grid, which goes in steps of 3; the best is that of the lowest validation
loss of any epoch.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import common
import numpy as np
from quick_result import SETS

import easydl

GRID, SIDE, EPOCHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), 64, 20
HOW: dict[str, Any] = {"epochs": EPOCHS, "verbose": False, "calibrate": False}


def once(name: str, seed: int) -> dict[str, Any]:
    """The proposal, and the lowest validation loss at each rate of the grid."""
    frame, options = SETS[name]()
    train, val, _ = easydl.load(frame, **options).split(seed=seed, override="copies in the set")

    def trained(rate: float | str) -> Any:
        model = easydl.classifier("tiny", train, size=SIDE, seed=seed)
        return easydl.fit(model, train, val, learning_rate=rate, seed=seed, **HOW)

    found = trained("find")
    proposed = float(found.params["learning_rates"].chosen)
    losses = {rate: float(np.min(trained(rate).history["val_loss"])) for rate in GRID}
    best = min(losses, key=losses.get)
    return {
        "proposed": proposed, "best_of_grid": best, "factor": round(max(proposed / best, best / proposed), 2),
        "loss_at_proposal": round(float(np.min(found.history["val_loss"])), 4),
        "losses": {f"{rate:g}": round(loss, 4) for rate, loss in losses.items()},
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=["brain", "nih", "pneumonia"])
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    facts: dict[str, Any] = {}
    for name in given.sets:
        for seed in range(given.seeds):
            facts[f"{name}_seed_{seed}"] = once(name, seed)
            print(name, seed, facts[f"{name}_seed_{seed}"], flush=True)
    factors = [one["factor"] for one in facts.values()]
    facts["within_a_factor_of_3"] = f"{sum(one <= 3 for one in factors)} of {len(factors)}"
    facts["median_factor"] = round(math.exp(np.median(np.log(factors))), 2)
    common.write("rate_finder", facts)
