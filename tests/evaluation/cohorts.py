"""Simulated test sets: patients with several images each, and masks of round structures."""

import numpy as np
import pandas as pd

from easydl.prediction.results import Case


def predictions(patients=60, classes=("normal", "effusion"), most_images=3, skill=1.2, seed=0) -> pd.DataFrame:
    """A table as `easydl.predict` returns it; images of a patient resemble each other."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(patients), rng.integers(1, most_images + 1, patients))
    truth = rng.integers(0, len(classes), patients)
    truth[: 2 * len(classes)] = np.tile(np.arange(len(classes)), 2)
    own = rng.normal(0, 0.7, (patients, len(classes)))
    signal = skill * np.eye(len(classes))[truth][index]
    logits = signal + own[index] + rng.normal(0, 0.7, (len(index), len(classes)))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame(
        {
            "image": [f"scans/{row:04d}.png" for row in range(len(index))],
            "patient": [f"P{k:03d}" for k in index],
            "label": [classes[k] for k in truth[index]],
            "prediction": [classes[k] for k in shares.argmax(axis=1)],
            "confidence": shares.max(axis=1),
        }
    )
    for k, name in enumerate(classes):
        frame[f"p({name})"] = shares[:, k]
    return frame


def ball(shape, centre, radius) -> np.ndarray:
    """A filled circle or sphere."""
    grid = np.indices(shape)
    return sum((axis - middle) ** 2 for axis, middle in zip(grid, centre, strict=True)) <= radius**2


def case(predicted, reference, patient="P1", image="", spacing=(1.0, 1.0), names=("background", "nodule")) -> Case:
    """A case from two masks."""
    return Case(
        image or f"{patient}.png",
        patient,
        np.asarray(predicted).astype(np.int32),
        np.asarray(reference).astype(np.int32),
        spacing,
        names,
    )
