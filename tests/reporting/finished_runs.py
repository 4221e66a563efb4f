"""Run folders as a training leaves them, made without any training."""

import json

import numpy as np
import pandas as pd
from PIL import Image

from easydl.evaluation import classification_metrics, segmentation_metrics
from easydl.prediction import Case

CLASSES = ("normal", "nodule")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def issue(number, severity, sentence, fix="", **numbers):
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


ISSUES = [
    issue("A4", "WARN", "The image width alone tells the classes apart.", "Crop all films to one size.",
            value=0.81, low=0.72, high=0.9, p=0.0004, n=64),
    issue("A19", "UNTESTED", "There is no column with dates: leaks through time cannot be excluded."),
    issue("A8", "NOTE", "The classes are not equally common: 60% normal, 40% nodule."),
    issue("A1", "OK", "No patient is in two parts of the split.", n=64),
    issue("A2", "OK", "No two images are identical.", n=64),
]  # fmt: skip


def films(folder, number=4):
    """Heatmap images: something like a film next to something like an overlay."""
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[0:200, 0:200] / 200.0
    levels = ["PASS", "CAUTION", "FAIL", "PASS"]
    sentences = {
        "PASS": "The map changes with the weights and agrees with occlusion (Spearman 0.61).",
        "CAUTION": "The map looks much like the edges of the image (SSIM with Sobel 0.48).",
        "FAIL": "The map stays the same when the weights are random (SSIM 0.83).",
    }
    entries = []
    for k in range(number):
        film = 90 + 80 * np.exp(-(((rows - 0.5) / 0.3) ** 2 + ((columns - 0.35 - 0.03 * k) / 0.12) ** 2))
        film += 80 * np.exp(-(((rows - 0.5) / 0.3) ** 2 + ((columns - 0.68) / 0.12) ** 2))
        grey = np.repeat(np.clip(230 - film, 0, 255)[..., None], 3, axis=2)
        heat = np.exp(-(((rows - 0.4) / 0.12) ** 2 + ((columns - 0.35) / 0.12) ** 2))[..., None]
        overlay = grey * (1 - 0.6 * heat) + np.array([230, 120, 20]) * 0.6 * heat
        Image.fromarray(np.hstack([grey, overlay]).astype(np.uint8)).resize((800, 400)).save(
            folder / f"case-{k:03d}.png"
        )
        level = levels[k % 4]
        entries.append(
            {
                "file": f"case-{k:03d}.png", "image": f"/films/chest-{k}.dcm", "patient": f"P{k:03d}",
                "label": CLASSES[k % 2], "target": CLASSES[1], "probability": 0.71 + 0.05 * k,
                "verdict": {"level": level, "sentence": sentences[level], "numbers": {}},
                "words": "Upper third of the body, left in the image.",
            }
        )  # fmt: skip
    write(folder / "index.json", entries)


def history(folder, metric="auc"):
    epochs = np.arange(1, 21)
    table = pd.DataFrame(
        {
            "epoch": epochs,
            "stage": ["frozen"] * 12 + ["fine-tuning"] * 8,
            "loss": 0.7 * np.exp(-epochs / 8),
            "val_loss": 0.3 + 0.4 * np.exp(-epochs / 5) + 0.004 * np.maximum(0, epochs - 13),
            metric: 1 - 0.5 * np.exp(-epochs / 5),
            f"val_{metric}": 0.9 - 0.4 * np.exp(-epochs / 5),
        }
    )
    table.to_csv(folder / "history.csv", index=False)


def common(folder, task):
    """Everything but the test."""
    times = {"started": "2026-11-20T15:30:00+00:00", "heartbeat": "2026-11-20T15:31:40+00:00"}
    status = {"state": "finished", "stage": "done", "epoch": 20, "epochs": 20, "error": None, **times}
    write(folder / "status.json", status)
    columns = {"patient": "auto", "image": None, "label": "label", "mask": None}
    settings = {
        "model": "tiny",
        "pretrained": False,
        "augment": "auto",
        "epochs": 20,
        "seed": 7,
        "override": None,
    }
    study = {"source": "/data/lung/scans.csv", "name": "Lung nodules on CT", "sizes": [0.6, 0.2, 0.2]}
    write(folder / "config.json", study | columns | settings)
    write(folder / "audit.json", {"issues": ISSUES, "overrides": []})
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(120):
        part = ["train", "val", "test"][np.searchsorted([64, 92], patient, side="right")]
        rows += [{"image": f"{patient}-{k}.dcm", "patient": f"P{patient:03d}", "split": part,
                  "label": CLASSES[patient % 2]} for k in range(rng.integers(1, 3))]  # fmt: skip
    table = pd.DataFrame(rows)
    table.to_csv(folder / "table.csv", index=False)

    def facts(part):
        inside = table[table["split"] == part]
        groups = inside.groupby("label")
        per_class = {str(name): {"images": len(g), "patients": g["patient"].nunique()} for name, g in groups}
        return {"images": len(inside), "patients": inside["patient"].nunique(), "per_class": per_class}

    split = {"seed": 7, "sizes": [0.6, 0.2, 0.2], "given": None, "patients_known": True, "task": task}
    split |= {"notes": [], "overrides": [], "classes": list(CLASSES)}
    write(folder / "split.json", split | {part: facts(part) for part in ("train", "val", "test")})
    machine = {
        "versions": {"easydl": "0.1.0", "tensorflow": "2.21.0", "python": "3.12.3"},
        "device": "CPU, 2 cores",
    }
    times = {"seconds": {"loading": 1.2, "training": 61.0}, "parameters": 23456, "fingerprint": "c0ffee12"}
    training = {"training": {"augment": "ct", "plan": ["The network starts from random weights."]}}
    repeat = {"overrides": [], "command": "easydl train /data/lung/scans.csv --seed 7"}
    write(folder / "run.json", machine | times | training | repeat)
    (folder / "model.keras").write_bytes(b"PK")
    return table


def make_classification(folder, classes=CLASSES):
    table = common(folder, "classification")
    test = table[table["split"] == "test"].reset_index(drop=True)
    rng = np.random.default_rng(1)
    score = 1 / (1 + np.exp(-(2.6 * (test["label"] == CLASSES[1]) - 1.3 + rng.normal(0, 1.1, len(test)))))
    frame = test.assign(
        label=test["label"].map(dict(zip(CLASSES, classes, strict=True))),
        prediction=[classes[int(s > 0.5)] for s in score],
        **{f"p({classes[0]})": 1 - score, f"p({classes[1]})": score},
    )
    classification_metrics(frame, classes, resamples=400).save(folder / "metrics.json")
    history(folder)
    films(folder / "heatmaps")
    return folder


def make_segmentation(folder):
    common(folder, "segmentation")
    grid = np.indices((40, 40))
    rng = np.random.default_rng(2)
    names = ("background", "nodule")
    cases = []
    for k in range(24):
        centre = rng.uniform(15, 25, 2)
        disc = (((grid - centre[:, None, None]) ** 2).sum(axis=0) <= 49).astype(np.int32)
        moved = np.roll(disc, tuple(rng.integers(-2, 3, 2)), (0, 1))
        cases.append(Case(f"case-{k}.nii.gz", f"P{k:03d}", moved, disc if k else 0 * disc, (0.8, 0.8), names))
    segmentation_metrics(cases, resamples=400).save(folder / "metrics.json")
    history(folder, "dice")
    films(folder / "heatmaps", 2)
    return folder
