"""The prostate trap: AUC in the trapped study and on a balanced set, where the network looks, and what mends it.

    python benchmarks/pelvis.py [seeds]

`tiny` is trained twice in the same way: on a study in which malignant masses are mostly those of men, and on one in which
the sexes are balanced. Both are tested on the same patients of the balanced study.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import interval, write
from PIL import Image

import easydl

SIZE, EPOCHS, HEATMAPS = 64, 24, 20
CLASSES = ["benign", "malignant"]
SIZES = (0.5, 0.1, 0.4)


def study_of(table: Path) -> easydl.studies.Study:
    """The study of a table; the mask of the gland is for the heatmaps."""
    return easydl.load(table, label="label", classes=CLASSES, mask=None)


def trained(study: easydl.studies.Study, seed: int) -> tuple[Any, Any]:
    """A model, and the test part that it has not seen."""
    train, val, test = study.split(sizes=SIZES, seed=seed)
    model = easydl.classifier("tiny", study)
    easydl.fit(model, train, val, epochs=EPOCHS, seed=seed, verbose=False)
    return model, test


def auc(model: Any, test: Any) -> dict[str, float]:
    """The AUC and its 95% interval by patient."""
    one = easydl.evaluate(model, test).rows[0]
    assert one.name == "AUC"
    return {"auc": round(one.value, 3), "low": round(one.low, 3), "high": round(one.high, 3), "patients": one.n}


def in_the_gland(model: Any, test: Any, method: str) -> dict[str, float]:
    """How often the peak lies in the gland, and how much denser the map is there than on average (1: no denser)."""
    men = [row for row in range(len(test)) if test.frame.sex.iloc[row] == "M"][:HEATMAPS]
    hits, densities = [], []
    for row in men:
        heat = easydl.saliency(model, test, row=row, target="malignant", method=method, verdict=False).array
        path = Path(test.addresses(row)[0])
        gland = np.asarray(Image.open(path.parents[2] / "masks" / f"{path.stem}.png")) > 0
        if gland.any():
            hits.append(bool(gland[np.unravel_index(heat.argmax(), heat.shape)]))
            densities.append(heat[gland].mean() / heat.mean())
    return {"peak in the gland": float(np.mean(hits)), "times denser there": round(float(np.median(densities)), 1)}


def figures(seed: int, folder: Path) -> dict[str, Any]:
    """All figures of one seed."""
    options = {"kind": "pelvis", "size": SIZE, "masks": "gland"}
    trapped = study_of(easydl.simulate(folder / "trapped", patients=200, traps="sex", seed=seed, **options))
    balanced = study_of(easydl.simulate(folder / "balanced", patients=200, seed=seed + 1000, **options))
    fooled, inside = trained(trapped, seed)
    mended, outside = trained(balanced, seed)
    facts: dict[str, Any] = {
        "trapped": auc(fooled, inside),
        "balanced": auc(fooled, outside),
        "mended": auc(mended, outside),
    }
    for method in ("gradcam", "occlusion"):
        facts[method] = in_the_gland(fooled, outside, method)
    facts["occlusion of the mended"] = in_the_gland(mended, outside, "occlusion")
    return facts


def main(seeds: int) -> None:
    """All figures; the loss has its interval over seeds."""
    found = []
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            found.append(figures(seed, Path(folder)))
            print(found[-1], flush=True)
    loss = [one["trapped"]["auc"] - one["balanced"]["auc"] for one in found]
    write("pelvis", {"by_seed": found, "loss of AUC": interval(loss), "seeds": seeds})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
