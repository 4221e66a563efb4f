"""Cell nuclei (Data Science Bowl 2018, Caicedo 2019): ``easydl.unet`` and the defaults of ``fit``, beside Otsu's threshold.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/dsb2018_nuclei.py [--epochs 20 | --full] [--seed 0]
120 of the 664 public training images, drawn for these benchmarks: 72 to train, 12 to pick the best epoch, 36 to test, drawn
within each kind of image. Objects are the connected pieces of a mask, so touching nuclei count as one: F1 of objects at
IoU 0.5 has that ceiling, which is measured too (the reference's own pieces). Published on other splits of the whole set:
U-Net++ raises the IoU of nuclei from 0.908 to 0.926 (arXiv:1807.10165, table 3, from memory).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from outlining import common, dice, means, options, outlined
from PIL import Image
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu
from skimage.measure import label

PUBLISHED = {"U-Net (other split of the whole set, from memory)": 0.908, "U-Net++ (the same)": 0.926}


def object_f1(found: np.ndarray, truth: np.ndarray) -> float:
    """F1 of objects, matched where they overlap by more than half of their union."""
    pairs, counts = np.unique(np.stack([found.ravel(), truth.ravel()]), axis=1, return_counts=True)
    size_found, size_truth = np.bincount(found.ravel()), np.bincount(truth.ravel())
    hits = sum(2 * n > size_found[f] + size_truth[t] - n for (f, t), n in zip(pairs.T, counts, strict=True) if f and t)
    return 2 * hits / max(1, np.count_nonzero(size_found[1:]) + np.count_nonzero(size_truth[1:]))


def otsu(path) -> np.ndarray:
    """The brighter or the darker side of Otsu's threshold: whichever is smaller, as nuclei are."""
    grey = rgb2gray(np.asarray(Image.open(path).convert("RGB")))
    bright = grey > threshold_otsu(grey)
    return bright if bright.mean() < 0.5 else ~bright


def scores(found: np.ndarray, truth: np.ndarray, instances: np.ndarray) -> dict[str, float]:
    one = dice(found, truth)
    return {"dice": one, "iou": one / (2 - one), "object_f1": object_f1(label(found), instances)}


if __name__ == "__main__":
    given = options(epochs=20)
    root = common.real_data() / "dsb2018_nuclei"
    facts = pd.read_csv(root / "metadata.csv")
    images, masks, objects = (
        [root / kind / name for name in facts["filename"]] for kind in ("images", "masks", "instances")
    )
    parts = np.full(len(facts), "train", dtype=object)
    rng = np.random.default_rng(given.seed)
    for _, group in facts.groupby("kind"):
        order = rng.permutation(group.index.to_numpy())
        tested = round(0.3 * len(order))
        parts[order[:tested]] = "test"
        parts[order[tested : tested + round(0.1 * len(order))]] = "val"
    test, outline, numbers = outlined(images, masks, list(parts), given, "single images; no patient is known")
    mine, plain, best = [], [], []
    for row in test:
        truth, instances = np.asarray(Image.open(masks[row])) > 0, np.asarray(Image.open(objects[row]))
        mine.append(scores(outline(row) > 0, truth, instances))
        plain.append(scores(otsu(images[row]), truth, instances))
        best.append(scores(truth, truth, instances))
    kinds = facts["kind"].iloc[test]
    common.write(
        "accuracy_dsb2018_nuclei",
        {
            "test_images": len(test), **numbers, "easydl": means(mine), "otsu": means(plain),
            "reference_as_connected_pieces": means(best),
            "dice_by_kind": {
                str(kind): [int((kinds == kind).sum()), round(float(np.mean([row["dice"] for row, is_ in zip(mine, kinds == kind, strict=True) if is_])), 4)]
                for kind in kinds.unique()
            },
            "published_iou": PUBLISHED,
        },
        given.seed,
    )  # fmt: skip
