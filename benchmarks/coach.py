"""How often the coach speaks: on planted faults, where it should, and on healthy trainings, where it should not.

Curves are simulated, and `tiny` is trained for real on simulated images of two classes. Every rate has n and a 95% interval (Wilson).

    python benchmarks/coach.py [--curves 400] [--runs 20] [--faults 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE = 32
NOTHING = float(np.log(2))


def curve(rng: np.random.Generator, fault: str) -> Any:
    """A simulated stage of training: healthy, or with one fault."""
    from easydl.training.coach import Curve

    epochs = int(rng.integers(8, 60))
    time_ = np.arange(epochs) / epochs
    start, end, noise = rng.uniform(0.65, 0.9), rng.uniform(0.02, 0.35), rng.uniform(0.003, 0.05)
    training = end + (start - end) * np.exp(-rng.uniform(3, 9) * time_) + rng.normal(0, noise / 2, epochs)
    gap = rng.uniform(0, 0.1)
    validation = training + gap + rng.normal(0, noise, epochs)
    facts: dict[str, Any] = {"learning_rate": 2e-3, "gradients": None}
    still = rng.uniform(0.69, 0.75) + rng.normal(0, noise / 2, (2, epochs))
    if fault == "overfitting":
        turn = rng.uniform(0.2, 0.5)
        validation += np.maximum(0, time_ - turn) * rng.uniform(0.6, 2)
    elif fault == "learning rate too high":
        training[: int(rng.integers(1, 4))] += np.exp(rng.uniform(1.5, 8))
        facts["learning_rate"] = 1e4
    elif fault == "learning rate too low":
        (training, validation), facts["learning_rate"] = still, 1e-7
    elif fault == "vanishing gradients":
        (training, validation), facts["gradients"] = still, ("first", "last", 10 ** rng.uniform(-9, -3.1))
    elif fault == "underfitting":
        training, validation = still
    elif fault == "noisy validation":
        validation = rng.uniform(0.5, 0.8) + rng.normal(0, rng.uniform(0.2, 0.5), epochs)
    elif fault == "not finite":
        training[int(rng.integers(1, epochs)) :] = np.nan
    first, chance = start + rng.normal(0, 0.03), (NOTHING, NOTHING)
    return Curve(training, validation, epochs=epochs, first=first, chance=chance, **facts)


def study(folder: Path, rng: np.random.Generator, patients: int, shown: float) -> Any:
    """A study of PNGs: half of the patients have a brighter square of a varying place and contrast."""
    import pandas as pd

    import easydl

    rows = []
    for number in range(patients):
        image = rng.normal(110, 22, (SIDE, SIDE))
        if number % 2:
            y, x = rng.integers(4, SIDE - 12, 2)
            image[y : y + 8, x : x + 8] += shown * rng.uniform(0.8, 1.2)
        name = f"{number:04d}.png"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / name)
        rows.append({"image": name, "label": ("healthy", "disease")[number % 2], "patient": f"p{number:04d}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return easydl.load(folder / "scans.csv")


def run(seed: int, fault: str) -> list[str]:
    """Train `tiny` once; the codes of what the coach said."""
    import easydl
    from easydl.networks import metadata_of

    rng = np.random.default_rng([seed, 7])
    options: dict[str, Any] = {"epochs": int(rng.integers(8, 16)), "augment": "none" if seed % 2 else "auto"}
    patients = int(rng.integers(120, 200))
    if fault.startswith("learning rate"):
        options["learning_rate"] = {"learning rate too high": 1e4, "learning rate too low": 1e-7}[fault]
    with tempfile.TemporaryDirectory() as folder:
        whole = study(Path(folder), rng, patients, rng.uniform(45, 80))
        if fault == "shuffled labels":
            whole = replace(whole, frame=whole.frame.assign(label=rng.permutation(whole.frame["label"])))
            options |= {"epochs": 40, "augment": "none"}
        train, val, _ = whole.split(seed=seed, sizes=(0.6, 0.3, 0.1))
        model = easydl.classifier("tiny", train, size=SIDE, seed=seed)
        easydl.fit(model, train, val, seed=seed, verbose=False, **options)
    return [one["code"] for one in metadata_of(model).training["coach"]]


def rate(said: int, of: int) -> str:
    """A proportion with its Wilson interval."""
    from scipy.stats import binomtest

    found = binomtest(said, of).proportion_ci(method="wilson")
    return f"{said} of {of} (95% CI {found.low:.1%} to {found.high:.1%})"


def told(name: str, fault: str, make: Callable[[int], list[str]], count: int) -> None:
    """Print how often a fault was found, or of healthy ones how often anything was said."""
    if not count:
        return
    begun = time.perf_counter()
    found: list[list[str]] = []
    for seed in range(count):
        found.append(make(seed))
        if name == "trainings":
            print(f"  {seed + 1}: {', '.join(found[-1]) or 'silent'}", file=sys.stderr, flush=True)
    said = sum(fault in codes if fault else bool(codes) for codes in found)
    others = sorted({code for codes in found for code in codes} - {fault})
    line = f"{name:9} {fault or 'healthy: spoke':24} {rate(said, count)}"
    print(
        line + (f"; also said: {', '.join(others)}" if others else ""),
        f"[{time.perf_counter() - begun:.0f} s]",
        flush=True,
    )


def main() -> None:
    """Print a table of rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("curves", 400), ("runs", 20), ("faults", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    from easydl.training.coach import coached

    def simulated(fault: str, place: int) -> Callable[[int], list[str]]:
        return lambda seed: [one.code for one in coached(curve(np.random.default_rng([seed, place]), fault))]

    faults = [
        "",
        "overfitting",
        "learning rate too high",
        "learning rate too low",
        "vanishing gradients",
        "underfitting",
    ]
    for place, fault in enumerate([*faults, "noisy validation", "not finite"]):
        told("curves", fault, simulated(fault, place), asked.curves)
    trained = ["", "learning rate too high", "learning rate too low", "shuffled labels"]
    for fault, count in zip(trained, [asked.runs, *[asked.faults] * 3], strict=True):
        told("trainings", fault, lambda seed, fault=fault: run(seed, fault), count)


if __name__ == "__main__":
    sys.exit(main())
