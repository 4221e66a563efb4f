"""What the accuracy benchmarks of two-dimensional outlining share: a table of parts, one training, means with intervals."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

import easydl

__all__ = ["common", "dice", "means", "options", "outlined"]


def options(epochs: int) -> argparse.Namespace:
    """``--seed``, and ``--epochs`` (a short training of a few minutes) or ``--full`` (the defaults of fit)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--full", action="store_true", help="train as long as fit does by default")
    given = parser.parse_args()
    given.epochs = None if given.full else given.epochs
    return given


def outlined(
    images: Sequence[Path], masks: Sequence[Path], parts: Sequence[str], given: argparse.Namespace, reason: str,
    augment: str = "auto",
) -> tuple[list[int], Callable[[int], np.ndarray], dict[str, Any]]:  # fmt: skip
    """Train ``easydl.unet`` with the defaults of fit on the rows called train and val; ``augment`` says what they show.

    Returns:
        The rows called test; what outlines a row (its class indices on the image's own grid); the training in numbers.
    """
    frame = pd.DataFrame({"image": list(map(str, images)), "mask": list(map(str, masks)), "split": list(parts)})
    frame = frame[frame["split"] != ""].reset_index(drop=True)
    study = easydl.load(frame, patient=None, split="split", override=reason)
    train, val, _ = study.split()
    begin = time.perf_counter()
    model = easydl.unet(study, seed=given.seed)
    history = easydl.fit(model, train, val, augment=augment, epochs=given.epochs, seed=given.seed, verbose=False)
    numbers = {
        "seconds": round(time.perf_counter() - begin), "training_images": len(train), "validation_images": len(val),
        "epochs": len(history.epoch), "plan": history.params["plan"],
    }  # fmt: skip
    rows = [row for row, part in enumerate(parts) if part == "test"]
    return rows, lambda row: easydl.predict(model, str(images[row])).mask, numbers


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((found & truth).sum()) / max(1.0, float(found.sum() + truth.sum()))


def means(rows: Sequence[dict[str, float]], blocks: Sequence[int] | None = None) -> dict[str, list[float]]:
    """Mean of every column and its 95% interval from 2,000 resamplings of the images, or of blocks of them."""
    table = pd.DataFrame(rows)
    group = np.arange(len(table)) if blocks is None else np.asarray(blocks)
    names = np.unique(group)
    inside = {name: np.flatnonzero(group == name) for name in names}
    rng = np.random.default_rng(0)
    drawn = [np.concatenate([inside[name] for name in rng.choice(names, len(names))]) for _ in range(2000)]
    out = {}
    for column in table.columns:
        values = table[column].to_numpy()
        low, high = np.percentile([values[index].mean() for index in drawn], [2.5, 97.5])
        out[column] = [round(float(number), 4) for number in (values.mean(), low, high)]
    return out
