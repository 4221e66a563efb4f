"""What baselines beside a network cost, beyond the decode that the run needs anyway.

Run: python benchmarks/baselines.py
300 simulated films of 256 x 256 with two columns of metadata, 180 to train on; the five baselines are fitted and measured on the
validation and the test part, each with its interval and paired difference. Without weights on this computer the frozen features
are left out, which the result says.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import pandas as pd
from PIL import Image

import easydl
from easydl.comparison import compare_with_baselines
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions, output_columns
from easydl.tasks import Task

IMAGES, SIDE = 300, 256


def films(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        label = number % 2
        pixels = rng.normal(110, 30, (SIDE, SIDE))
        y, x = rng.integers(40, SIDE - 80, 2)
        pixels[y : y + 40, x : x + 40] += 12 * label
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        row = {"image": f"{number}.png", "label": ("no", "yes")[label], "patient": f"p{number}"}
        rows.append(row | {"age": int(rng.integers(30, 80)), "scanner": "ABC"[int(rng.integers(3))]})
    pd.DataFrame(rows).to_csv(folder / "scans.csv", index=False)
    return folder / "scans.csv"


def guessed(part) -> Predictions:
    """A network's predictions are not what is timed."""
    chance = np.random.default_rng(0).random(len(part))
    outputs = np.stack([1 - chance, chance], axis=1)
    columns = output_columns(outputs, Decision(Task.CLASSIFICATION, tuple(part.classes), {}))
    return Predictions(part.frame[["image", "patient", "label"]].assign(**columns), tuple(part.classes))


def main(repeats: int, save: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        train, val, test = easydl.load(films(Path(folder))).split(seed=0)
        train.parent.facts()
        decode = time.perf_counter() - begun
        predictions = {"test": guessed(test), "val": guessed(val)}
        wall, processor = [], []
        for _ in range(repeats + 1):
            begun, used = time.perf_counter(), time.process_time()
            found = compare_with_baselines(train.parent, predictions)
            wall.append(time.perf_counter() - begun)
            processor.append(time.process_time() - used)
    test_rows = found.comparisons[0]
    facts = {
        "images": IMAGES,
        "decode_and_look_s": round(decode, 2),
        "baselines": common.summary(wall[1:]),
        "baselines_processor": common.summary(processor[1:]),
        "first_processor_s": round(processor[0], 2),
        "seconds_of_each": {row.name: round(row.seconds, 2) for row in test_rows.rows if row.baseline},
        "left_out": dict(test_rows.left_out),
    }
    common.write("baselines" if save else None, facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--print-only", action="store_true")
    given = parser.parse_args()
    main(given.repeats, not given.print_only)
