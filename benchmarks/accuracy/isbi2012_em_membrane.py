"""Membranes in electron microscopy (ISBI 2012, Arganda-Carreras 2015): ``easydl.unet`` with ``augment="microscopy"``, by blocks of slices.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/isbi2012_em_membrane.py [--epochs 12 | --full] [--seed 0]
The 30 slices are neighbours in one volume, so each fold tests six in a row; the slices beside a block are left out of the
training, and the four slices farthest from the block pick the best epoch. Intervals resample blocks. The labels of the
published test slices are not public: U-Net's leaderboard figures (Ronneberger 2015: Rand error 0.0382, pixel error 0.0611,
humans 0.0021 and 0.0010) are of other slices and stand here for orientation only. Rand error: scikit-image's adapted one
(1 - F score) of the cells, which are the connected pieces of what is no membrane, slice by slice.
"""

from __future__ import annotations

import numpy as np
from outlining import common, dice, means, options, outlined
from PIL import Image
from skimage.measure import label
from skimage.metrics import adapted_rand_error

BLOCKS, SIDE = 5, 6
LEADERBOARD = {"U-Net (other slices)": {"rand_error": 0.0382, "pixel_error": 0.0611}}


def parts(block: int) -> list[str]:
    first, last = block * SIDE, block * SIDE + SIDE - 1
    distance = [max(first - row, row - last, 0) for row in range(BLOCKS * SIDE)]
    held = np.argsort(distance, kind="stable")[-4:].tolist()
    return [
        "test" if not far else "" if far == 1 else "val" if row in held else "train" for row, far in enumerate(distance)
    ]


def scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "membrane_dice": dice(~found, ~truth), "pixel_error": float((found != truth).mean()),
        "rand_error": float(adapted_rand_error(label(truth, connectivity=1), label(found, connectivity=1))[0]),
    }  # fmt: skip


if __name__ == "__main__":
    given = options(epochs=12)
    root = common.real_data() / "isbi2012_em_membrane" / "train"
    images, masks = (sorted((root / kind).iterdir()) for kind in ("images", "masks"))
    rows, blocks, seconds, numbers = [], [], 0, {}
    for block in range(BLOCKS):
        test, outline, numbers = outlined(
            images, masks, parts(block), given, "blocks of slices of one volume", "microscopy"
        )
        seconds += numbers["seconds"]
        for row in test:
            # 255 is the inside of a cell.
            rows.append(scores(outline(row) > 0, np.asarray(Image.open(masks[row])) > 0))
            blocks.append(block)
        print(block, numbers["seconds"], means(rows), flush=True)
    common.write(
        "accuracy_isbi2012_em_membrane",
        {
            "test_slices": len(rows), "blocks": BLOCKS, **numbers, "seconds": seconds,
            "easydl": means(rows, blocks), "leaderboard": LEADERBOARD,
        },
        given.seed,
    )  # fmt: skip
