"""Retinal vessels (DRIVE, Staal 2004): ``easydl.unet`` and the defaults of ``fit`` beside the second human observer.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/drive_vessels.py [--epochs 12 | --full] [--seed 0]
Official parts: 20 images to train (4 of them chosen here to pick the best epoch), 20 to test. Scores inside the field of
view, against the first observer, at the probability 0.5. Published F1 with the same parts: M2U-Net 0.8091 and R2U-Net 0.8171
(arXiv:1811.07738, arXiv:1802.06955), LadderNet 0.8202 (arXiv:1810.07810); second observer 0.788 (bob.ip.binseg).
"""

from __future__ import annotations

import numpy as np
from outlining import common, dice, means, options, outlined
from PIL import Image

PUBLISHED = {"M2U-Net": 0.8091, "R2U-Net": 0.8171, "LadderNet": 0.8202, "second observer (bob.ip.binseg)": 0.788}


def scores(found: np.ndarray, truth: np.ndarray, view: np.ndarray) -> dict[str, float]:
    found, truth = found[view], truth[view]
    return {
        "dice": dice(found, truth), "sensitivity": float(found[truth].mean()),
        "specificity": float(1 - found[~truth].mean()), "accuracy": float((found == truth).mean()),
    }  # fmt: skip


def mask(path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


if __name__ == "__main__":
    given = options(epochs=12)
    root = common.real_data() / "drive_vessels"
    folders = [root / "train", root / "test"]
    images = [path for folder in folders for path in sorted((folder / "images").iterdir())]
    masks = [path for folder in folders for path in sorted((folder / "masks").iterdir())]
    views = [path for folder in folders for path in sorted((folder / "fov").iterdir())]
    second = sorted((root / "test" / "masks_observer2").iterdir())
    held = set(np.random.default_rng(given.seed).permutation(20)[:4].tolist())
    parts = ["val" if row in held else "train" if row < 20 else "test" for row in range(40)]
    test, outline, numbers = outlined(images, masks, parts, given, "the official parts; no patient is known")
    mine, other = [], []
    for row, observer in zip(test, second, strict=True):
        truth, view = mask(masks[row]), mask(views[row])
        mine.append(scores(outline(row) > 0, truth, view))
        other.append(scores(mask(observer), truth, view))
    difference = [{"dice": a["dice"] - b["dice"]} for a, b in zip(mine, other, strict=True)]
    common.write(
        "accuracy_drive_vessels",
        {
            "test_images": len(test), **numbers, "easydl": means(mine),
            "second_observer": means(other), "easydl_minus_second_observer": means(difference),
            "published_f1": PUBLISHED,
        },
        given.seed,
    )  # fmt: skip
