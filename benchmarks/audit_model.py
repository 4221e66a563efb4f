"""What the audit finds of a model (A6) in cohorts of n test patients: a model that rests on the scanner or the border, and not.

    python benchmarks/audit_model.py [draws] [n]

The scanner agrees with the label in 85% of the patients, five other columns do not; the logit of the model is a sum of the
disease, the scanner and chance. No image is made.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from easydl.prediction.views import ModelView
from easydl.studies import Study
from easydl.traps.uses import uses

MODELS = {
    "the disease alone": {"skill": 1.5},
    "the disease alone, scanner independent of it": {"skill": 1.5, "agree": 0.5},
    "mostly the scanner": {"skill": 0.5, "scanner": 2.0},
    "the scanner alone": {"skill": 0.0, "scanner": 3.0},
    "the disease, much of it at the border": {"skill": 1.5, "border": 1.2},
}


def drawn(
    seed: int, n: int, *, skill: float, scanner: float = 0.0, border: float = 0.0, agree: float = 0.85
) -> tuple[Study, ModelView]:
    """A study and what a model makes of it."""
    rng = np.random.default_rng(seed)
    ill = rng.integers(0, 2, n)
    device = np.where(rng.random(n) < agree, ill, 1 - ill)
    columns = {f"column {k}": rng.choice(list("xyz"), n) for k in range(4)}
    frame = pd.DataFrame(
        {
            "image": [f"{k}.png" for k in range(n)],
            "label": np.array(["well", "ill"])[ill],
            "patient": [f"p{k}" for k in range(n)],
            "scanner": np.array(["A", "B"])[device],
            "age": rng.normal(60, 12, n).astype(int).astype(str),
            **columns,
        }
    )
    logit = skill * (ill - 0.5) + scanner * (device - 0.5) + rng.normal(size=n)
    whole, masked = (1 / (1 + np.exp(-one)) for one in (logit, logit - border * (ill - 0.5) + rng.normal(0, 0.1, n)))
    both = [np.stack([1 - one, one], axis=1) for one in (whole, masked)]
    return Study(frame), ModelView(("well", "ill"), *both, None, [""] * n)


def main(draws: int = 20, n: int = 100) -> None:
    """Print a line for each model and keep them as a file."""
    rows = []
    for name, settings in MODELS.items():
        counts = {"scanner": 0, "border": 0, "anything else": 0}
        for seed in range(draws):
            study, view = drawn(seed, n, **settings)
            found = [issue.sentence for issue in uses(study, view, np.ones(n, bool), 0) if issue.severity == "WARN"]
            for word in ("scanner", "border"):
                counts[word] += any(word in one for one in found)
            counts["anything else"] += any("scanner" not in one and "border" not in one for one in found)
        rows.append({"model rests on": name, "draws": draws, "n": n, **counts})
        print(rows[-1], flush=True)
    place = Path(__file__).parent / "results" / f"audit_model_{n}.json"
    place.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
