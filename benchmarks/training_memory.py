"""Memory of a training: with 1,000 rows and with 20 times as many, and from the second epoch to the fiftieth.

Run: python benchmarks/training_memory.py [--rows 1000 20000] [--epochs 50]
`tiny` at 64 pixels from random weights, films of noise as PNG. Every training runs in a process of its own; what is given is its
resident memory, at the end of epochs and at its peak. Loading and splitting the table count, making the films does not. Arrays that would
need more than `IN_MEMORY_BYTES` are mapped from the cache: that limit is lowered to 16 MB here, so that 20,000 films of 64 pixels
are above it as 100,000 of 224 pixels are above the real one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
from PIL import Image

SIDE, SMALL = 64, 16 << 20


def films(folder: Path, count: int) -> Path:
    """``films.csv`` of so many images of noise, one for each patient."""
    rng, rows = np.random.default_rng(0), []
    for number in range(count):
        pixels = rng.normal(110 + 10 * (number % 2), 30, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        part = ("train", "train", "train", "val", "test")[number // 2 % 5]
        rows.append({"image": f"{number}.png", "label": "ab"[number % 2], "patient": f"p{number}", "split": part})
    pd.DataFrame(rows).to_csv(folder / "films.csv", index=False)
    return folder / "films.csv"


def resident() -> float:
    """MB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def trained(table: Path, epochs: int) -> dict[str, Any]:
    """Resident memory of one training, epoch by epoch."""
    import keras

    import easydl
    from easydl.studies import dataset

    dataset.IN_MEMORY_BYTES = SMALL
    start = time.process_time()
    train, val, _ = easydl.load(table, split="split").split()
    held: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: held.append(resident()))
    model = easydl.classifier("tiny", train, size=SIDE)
    easydl.fit(model, train, val, epochs=epochs, augment="none", callbacks=[watch], verbose=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": len(train.parent), "epochs": len(held), "second_epoch_mb": round(held[min(1, len(held) - 1)]),
        "last_epoch_mb": round(held[-1]), "peak_mb": round(peak), "processor_s": round(time.process_time() - start),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", nargs=2, type=int, default=[1000, 20000])
    parser.add_argument("--epochs", type=int, default=50)
    given = parser.parse_args()
    spawn, found = multiprocessing.get_context("spawn"), {}
    for name, rows, epochs in (("many_rows", given.rows[1], 2), ("few_rows", given.rows[0], 2),
                               ("many_epochs", given.rows[0], given.epochs)):  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            table = films(Path(folder), rows)
            with ProcessPoolExecutor(1, spawn) as process:
                found[name] = process.submit(trained, table, epochs).result()
        print(name, found[name], flush=True)
    more = given.rows[1] - given.rows[0]
    found["peak_kb_for_each_further_row"] = round(
        (found["many_rows"]["peak_mb"] - found["few_rows"]["peak_mb"]) * 1024 / more, 1
    )
    common.write("training_memory", found)
