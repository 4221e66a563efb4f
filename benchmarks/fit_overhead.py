"""What ``easydl.fit`` costs beside a hand-written ``model.fit`` on the same ``tf.data``, batch for batch.

Run: python benchmarks/fit_overhead.py
MobileNet (width 0.25) at 96 x 96, batch 16, 60 steps an epoch. Epochs of the two are timed in turns inside one process,
with the run folder written as in real use; the first epoch (tracing) is dropped.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import common
import keras
import numpy as np

import easydl
from easydl.training.callbacks import Progress
from easydl.training.pipeline import image_feed

SIDE, BATCH, STEPS = 96, 16, 60


def network() -> keras.Model:
    model = easydl.classifier("mobilenet_025", size=SIDE, seed=1)
    model.compile(keras.optimizers.AdamW(1e-3), "categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (STEPS * BATCH, SIDE, SIDE, 1)).astype(np.uint8)
    targets = np.eye(2, dtype=np.float32)[rng.integers(0, 2, len(images))]
    ours, raw = network(), network()
    feed = image_feed(images, targets, BATCH, seed=0)
    took: dict[str, list[float]] = {"easydl": [], "keras": []}
    with tempfile.TemporaryDirectory() as folder:
        watch = Progress(Path(folder))
        watch.begin("train", 1)
        works = {
            "easydl": lambda: ours.fit(feed, epochs=1, verbose=0, shuffle=False, callbacks=[watch]),
            "keras": lambda: raw.fit(feed, epochs=1, verbose=0, shuffle=False),
        }
        for round_ in range(given.repeats + 1):
            for name in sorted(works, reverse=bool(round_ % 2)):
                start = time.perf_counter()
                works[name]()
                if round_:
                    took[name].append(time.perf_counter() - start)
    pairs = [a / b for a, b in zip(took["easydl"], took["keras"], strict=True)]
    facts = {name: common.summary(seconds) for name, seconds in took.items()}
    quartiles = [round(q, 3) for q in statistics.quantiles(pairs, n=4)]
    common.write(
        "fit_overhead", {**facts, "ratio_median": round(statistics.median(pairs), 3), "ratio_quartiles": quartiles}
    )
