"""How much of each heatmap lies inside the lungs, on films whose lungs somebody has marked with boxes.

    EASYDL_REAL_DATA=... python benchmarks/lung_boxes.py [films]

A network with the weights in the package learns COVID-19 against other films of `covid_cxr_metadata`; films of the test part
are explained by every method. An even map would have as much in the boxes as these have area.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import write
from scipy import stats

import easydl
from easydl.explanation.methods import METHODS

SEED, SIZE, FILMS = 7, 224, 24
FEWER = {"rise": 200, "scorecam": 32}
"""Samples of the slow methods: fewer than by default."""


def study_of(folder: Path) -> Any:
    """All films with both boxes, of two classes."""
    frame = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    frame = frame[(frame["lung_right_w"] != "") & (frame["lung_left_w"] != "")]
    frame = frame.assign(
        image=[str(folder / "images" / name) for name in frame["filename"]],
        label=np.where(frame["label"] == "COVID-19", "COVID-19", "other"),
        patient=frame["patientid"],
    )
    kept = [
        "image",
        "label",
        "patient",
        *[one for one in frame if one.startswith(("lung_", "orig_width", "orig_height"))],
    ]
    return easydl.load(frame[kept], label="label", classes=["other", "COVID-19"], patient="patient")


def boxes(row: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Both lungs on the grid of the film, bool; the boxes are in pixels of the original."""
    inside = np.zeros(shape, bool)
    scale = shape[0] / float(row["orig_height"]), shape[1] / float(row["orig_width"])
    for side in ("right", "left"):
        x, y, width, height = (float(row[f"lung_{side}_{one}"]) for one in "xywh")
        rows = slice(round(y * scale[0]), round((y + height) * scale[0]))
        inside[rows, round(x * scale[1]) : round((x + width) * scale[1])] = True
    return inside


def mean_of_patients(values: list[float], patients: list[str]) -> dict[str, float]:
    """The mean over patients with its 95% interval (bootstrap of patients)."""
    each = pd.Series(values).groupby(pd.Series(patients)).mean().to_numpy()
    low, high = stats.bootstrap((each,), np.mean, rng=np.random.default_rng(SEED)).confidence_interval
    facts = {"mean": each.mean(), "low": low, "high": high}
    return {name: round(float(value), 3) for name, value in facts.items()} | {
        "films": len(values),
        "patients": len(each),
    }


def main(films: int) -> None:
    """Train, explain, and write how much lies inside."""
    study = study_of(Path(os.environ["EASYDL_REAL_DATA"]) / "covid_cxr_metadata")
    train, val, test = study.split(seed=SEED)
    model = easydl.classifier("efficientnetlite0", study, pretrained=True, size=SIZE)
    easydl.fit(model, train, val, strategy="features", seed=SEED, verbose=False)
    print(easydl.evaluate(model, test, seed=SEED), flush=True)
    shares: dict[str, list[float]] = {name: [] for name in ("area of the boxes", *METHODS)}
    seconds, patients = dict.fromkeys(METHODS, 0.0), []
    for number in sorted({int(one) for one in np.linspace(0, len(test) - 1, min(films, len(test)))}):
        row = test.frame.iloc[number]
        patients.append(str(row["patient"]))
        for name in METHODS:
            begin = time.process_time()
            heat = easydl.saliency(model, test, row=number, method=name, samples=FEWER.get(name), verdict=False).array
            seconds[name] += time.process_time() - begin
            inside = boxes(row, heat.shape)
            shares[name].append(float(heat[inside].sum() / max(float(heat.sum()), 1e-12)))
        shares["area of the boxes"].append(float(inside.mean()))
    found = {name: mean_of_patients(values, patients) for name, values in shares.items()}
    print(pd.DataFrame(found).T, flush=True)
    spent = {name: round(value / len(patients), 2) for name, value in seconds.items()}
    write("lung_boxes", {"inside": found, "seconds of processor time a film": spent, "samples": FEWER})


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else FILMS)
