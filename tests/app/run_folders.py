"""Run folders as a training leaves them at every moment of its life, made without any training."""

from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from easydl import processes

EPOCHS = 8


def make_run(
    runs: Path,
    state: str,
    *,
    name: str = "20260102-101500-ab12",
    source: str = "/films/chest",
    classes: tuple[str, str] = ("nodule", "normal"),
    error: dict[str, str] | None = None,
    epoch: int = 3,
    stage: str = "training",
) -> Path:
    """Write the folder of one run in a state: running, finished, stopped, failed or interrupted."""
    folder = runs / name
    (folder / "heatmaps").mkdir(parents=True)
    now = datetime.now(UTC)
    finished = state == "finished"
    status = {
        "state": "running" if state == "interrupted" else state,
        "stage": "done" if finished else stage,
        "epoch": EPOCHS if finished else epoch,
        "epochs": EPOCHS,
        "metrics": {"val_auc": 0.8},
        "started": (now - timedelta(seconds=40)).isoformat(),
        "heartbeat": now.isoformat(),
        **(processes.this() if state == "running" else {"pid": 2**22 - 7, "pid_started": "long ago"}),
        "message": "",
        "error": error,
    }
    write(folder / "status.json", status)
    config = {
        "source": source,
        "model": "tiny",
        "pretrained": False,
        "augment": "ct",
        "epochs": EPOCHS,
        "seed": 7,
    }
    write(folder / "config.json", {**config, "patient": "auto", "image": None, "label": None, "mask": None})
    if stage in ("loading", "checking") and not finished:
        return folder
    issues = [
        issue("A1", "OK", "No patient is in two parts of the split."),
        issue(
            "A4",
            "WARN",
            "Image width alone tells the classes apart.",
            "Resize.",
            value=0.93,
            low=0.8,
            high=0.99,
        ),
        issue("A9", "UNTESTED", "Laterality could not be checked."),
        issue("A3", "BLOCK", "12 images are in training and in test.", "Remove the doubles.", n=12),
    ]
    write(folder / "audit.json", {"issues": issues})
    counts = {name: {"images": 12, "patients": 6} for name in classes}
    split: dict[str, Any] = {"seed": 7}
    split |= {part: {"images": 24, "patients": 12, "per_class": counts} for part in ("train", "val", "test")}
    write(folder / "split.json", split)
    epochs = range(1, status["epoch"] + 1)
    rows = [(e, "frozen", 0.7 / e, 0.75 / e, 1 - 0.4 / e, 1 - 0.5 / e) for e in epochs]
    columns = ["epoch", "stage", "loss", "val_loss", "auc", "val_auc"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "history.csv", index=False)
    if finished:
        finish(folder, classes)
    if finished:
        points = {"x": [0.0, 1.0, 2.0], "y": [1.0, 0.0, 1.0], "island": [1, 1, 0]}
        points |= {"label": [*classes, classes[0]], "scanner": ["A", "B", "A"]}
        known = {"islands": ["Island 1: 2 images; no column says what they share."], "images": 3, "of": 3}
        write(folder / "image_map.json", {**known, "columns": ["island", "label", "scanner"], "points": points})
    return folder


def finish(folder: Path, classes: tuple[str, str]) -> None:
    from easydl.evaluation import classification_metrics

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 40)
    score = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.2, 40), 0.01, 0.99)
    frame = pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(40)],
            "patient": [f"p{i:03}" for i in range(40)],
            "label": [classes[t] for t in truth],
            "prediction": [classes[int(s > 0.5)] for s in score],
            "confidence": np.maximum(score, 1 - score),
            f"p({classes[0]})": 1 - score,
            f"p({classes[1]})": score,
        }
    )
    frame.to_csv(folder / "predictions.csv", index=False)
    classification_metrics(frame, classes, seed=0, resamples=200).save(folder / "metrics.json")
    entries = []
    levels = ("PASS", "CAUTION", "FAIL", "PASS")
    for i, level in enumerate(levels):
        picture = np.tile(np.linspace(0, 255, 320, dtype=np.uint8), (160, 1))
        Image.fromarray(picture).save(folder / "heatmaps" / f"case-{i:03}.png")
        verdict = {"level": level, "sentence": f"The verdict of image {i}.", "numbers": {}}
        entry = {"file": f"case-{i:03}.png", "image": f"{i}.png", "patient": f"p{i:03}", "label": classes[0]}
        entries.append({**entry, "target": classes[1], "probability": 0.71, "verdict": verdict})
    write(folder / "heatmaps" / "index.json", entries)
    with zipfile.ZipFile(folder / "model.keras", "w") as model:
        model.writestr(
            "easydl.json", json.dumps({"metadata": {"builder": "classifier", "arguments": {"name": "tiny"}}})
        )
    (folder / "report.html").write_text("<h1>report</h1>", encoding="utf-8")
    write(folder / "run.json", {"seed": 7})


def issue(number: str, severity: str, sentence: str, fix: str = "", **numbers: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("value", "low", "high", "p", "n"))
    return {
        "id": number,
        "severity": severity,
        "sentence": sentence,
        "fix": fix,
        **empty,
        **numbers,
        "rows": [],
    }


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
