"""Images a second from ``train.batches()`` against ``keras.utils.image_dataset_from_directory``, and a training step.

1,000 grey films of 512 x 512 as PNG and as JPEG, brought to 224 x 224, batches of 32. Both are asked for a whole pass;
easydl's first pass (which decodes) is given beside the later ones (which do not).

Run: python benchmarks/cached_batches.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import pandas as pd

IMAGES, SIDE, SIZE, BATCH = 1000, 512, 224, 32


def write(folder: Path, suffix: str) -> Path:
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    base = gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), 12)
    base = (base - base.min()) / np.ptp(base) * 200
    rows = []
    for number in range(IMAGES):
        label = "ab"[number % 2]
        (folder / label).mkdir(parents=True, exist_ok=True)
        pixels = np.clip(np.roll(base, number, axis=1) + rng.normal(20, 6, (SIDE, SIDE)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(
            folder / label / f"{number}{suffix}", **({"quality": 90} if suffix == ".jpg" else {})
        )
        rows.append({"image": f"{label}/{number}{suffix}", "label": label, "patient": f"p{number}"})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder


def one_pass(dataset) -> int:
    return sum(int(x.shape[0]) for x, _ in dataset)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        os.environ["EASYDL_CACHE"] = str(Path(place) / "cache")
        from easydl._tf import load_tensorflow

        load_tensorflow()
        import keras

        import easydl

        result = {}
        for suffix in (".png", ".jpg"):
            folder = write(Path(place) / suffix[1:], suffix)
            study = easydl.load(folder / "scans.csv")
            start = time.perf_counter()
            batches = study.batches(BATCH, size=(SIZE, SIZE), shuffle=True)
            one_pass(batches)
            first = time.perf_counter() - start
            theirs = keras.utils.image_dataset_from_directory(
                folder, image_size=(SIZE, SIZE), batch_size=BATCH, color_mode="grayscale", verbose=False
            )
            works = {"easydl": lambda b=batches: one_pass(b), "keras": lambda t=theirs: one_pass(t)}
            seconds = common.interleaved(works, repeats=5)
            later = time.perf_counter()
            one_pass(easydl.load(folder / "scans.csv").batches(BATCH, size=(SIZE, SIZE), shuffle=True))
            later = time.perf_counter() - later
            ratio = float(np.median(np.asarray(seconds["keras"]) / np.asarray(seconds["easydl"])))
            result[suffix[1:]] = {
                "images_per_second": {n: round(IMAGES / float(np.median(s))) for n, s in seconds.items()},
                "times_faster": round(ratio, 1), "first_pass_images_per_second": round(IMAGES / first),
                "first_pass_of_a_second_load_images_per_second": round(IMAGES / later),
            }  # fmt: skip
        model = keras.applications.MobileNetV2((SIZE, SIZE, 3), weights=None, classes=2)
        model.compile("adam", "categorical_crossentropy", jit_compile=False)
        x, y = np.zeros((BATCH, SIZE, SIZE, 3), np.float32), np.eye(2, dtype=np.float32)[np.zeros(BATCH, int)]
        for _ in range(2):
            model.train_on_batch(x, y)
        start = time.perf_counter()
        for _ in range(5):
            model.train_on_batch(x, y)
        result["mobilenetv2_training_images_per_second"] = round(5 * BATCH / (time.perf_counter() - start))
        common.write("cached_batches", result)
        sys.stdout.flush()
