"""The public data sets for classification: PneumoniaMNIST at its official split, chest or abdomen by cross-validation."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import pandas as pd
from by_hand import small_cnn
from sklearn.metrics import accuracy_score, roc_auc_score

import easydl
from easydl.evaluation.intervals import wilson

# MedMNIST v2, 10.1038/s41597-022-01721-8: AUC and accuracy at 28 pixels.
PNEUMONIA_PUBLISHED = {
    "ResNet-18 (28)": [0.944, 0.854],
    "ResNet-50 (28)": [0.948, 0.854],
    "AutoKeras": [0.947, 0.878],
    "Google AutoML Vision": [0.991, 0.946],
}
SAME_FILM = ("abd3.png", "abd4.png")


def pneumoniamnist(options: argparse.Namespace) -> None:
    """``classifier("tiny")`` and the defaults of ``fit`` beside hand-written Keras for as many seconds.

    Official split: 4,708 / 524 / 624 images.
    """
    rows = []
    for seed in range(options.repeats or 3):
        rows.append(_pneumonia(seed, options))
        print({key: round(value, 4) for key, value in rows[-1].items()}, flush=True)
    means = {key: common.interval([row[key] for row in rows]) for key in rows[0]}
    facts = {"test_images": 624, "seeds": rows, "mean_and_95ci": means, "published": PNEUMONIA_PUBLISHED}
    common.write(None if options.limit else "accuracy_pneumoniamnist", facts)


def _pneumonia(seed: int, options: argparse.Namespace) -> dict[str, float]:
    data = common.pneumonia()
    data = {name: array[: options.limit] for name, array in data.items()}
    parts = ("train", "val", "test")
    with tempfile.TemporaryDirectory() as folder:
        images, labels = (np.concatenate([data[f"{part}_{kind}"] for part in parts]) for kind in ("images", "labels"))
        splits = [part for part in parts for _ in data[f"{part}_images"]]
        frame = common.pneumonia_table(Path(folder), images, labels, splits)
        study = easydl.load(frame, patient=None, split="split", override="the official split; 1 copy in 5,856")
        train, val, test = study.split()
        model = easydl.classifier("tiny", study, seed=seed)
        start = time.perf_counter()
        history = easydl.fit(model, train, val, seed=seed, epochs=options.epochs, verbose=False)
        seconds = time.perf_counter() - start
        predictions = easydl.predict(model, test).frame
    name = common.PNEUMONIA_CLASSES[1]
    truth, probability = (predictions["label"] == name).to_numpy(), predictions[f"p({name})"].to_numpy()
    other, labels = small_cnn(data, seed, seconds), data["test_labels"].ravel() == 1
    return {
        "seconds": seconds,
        "epochs": len(history.epoch),
        "auc": roc_auc_score(truth, probability),
        "accuracy": accuracy_score(truth, probability > 0.5),
        "hand_auc": roc_auc_score(labels, other),
        "hand_accuracy": accuracy_score(labels, other > 0.5),
    }


def openi_abd_vs_cxr(options: argparse.Namespace) -> None:
    """Chest or abdomen (Lakhani 2018, "Hello World Deep Learning"): repeated five-fold cross-validation of 75 films.

    Published: InceptionV3 with ImageNet weights was right in 10 of 10 validation films (10.1007/s10278-018-0079-6), which
    is 72% to 100%. Chest films are all 512 x 512 and abdomens are not, so a network may see the upsampling instead of the
    body. Two films are the same file and are kept in one part. Every film is tested once in each repeat.
    """
    study = easydl.load(_films(options.limit))
    name = options.model or "mobilenet_025"
    right, seconds = [], []
    for repeat in range(options.repeats or 5):
        begin = time.perf_counter()
        correct = {}
        for train, val, test in study.folds(5, seed=repeat):
            model = easydl.classifier(name, study, pretrained=not options.untrained, size=128, seed=repeat)
            easydl.fit(model, train, val, seed=repeat, epochs=options.epochs, verbose=False)
            predictions = easydl.predict(model, test).frame
            correct |= dict(zip(predictions["image"], predictions["label"] == predictions["prediction"], strict=True))
        right.append([correct[image] for image in study.frame["image"]])
        seconds.append(round(time.perf_counter() - begin))
        print(repeat, np.mean(right[-1]), seconds[-1], flush=True)
    per_repeat = [int(sum(films)) for films in right]
    # The repeats are of the same films: the interval is that of 75, around the mean of the repeats.
    accuracy = float(np.mean(per_repeat)) / len(study)
    interval = wilson(accuracy, len(study))
    facts = {
        "films": len(study),
        "model": name,
        "pretrained": not options.untrained,
        "right_in_each_repeat": per_repeat,
        "accuracy_and_95ci": [round(x, 4) for x in (accuracy, interval.low, interval.high)],
        "seconds_of_five_folds": seconds,
        "published": {"InceptionV3, 10 films": [1.0, 0.72, 1.0]},
    }
    common.write(None if options.limit else "accuracy_openi_abd_vs_cxr", facts)


def _films(limit: int | None) -> pd.DataFrame:
    root, rows = common.real_data() / "openi_abd_vs_cxr", []
    for part in ("train", "val"):
        for label in ("abdomen", "chest"):
            for path in sorted((root / part / label).iterdir())[:limit]:
                same = part == "val" and label == "abdomen" and path.name in SAME_FILM
                patient = "one film, twice" if same else f"{part}_{label}_{path.stem}"
                rows.append({"image": str(path), "label": label, "patient": patient})
    return pd.DataFrame(rows)
