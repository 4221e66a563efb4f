"""What is learned beside labels: an autoencoder under a U-Net, stacked layers, pseudo-labels, a teacher; each against going without.

Run: EASYDL_REAL_DATA=... python benchmarks/beside_labels.py segmentation|features|pool|teacher [--seeds 5] [--write]

segmentation  Simulated chests of 64 pixels with four organs, 4 in training and 2 in validation, 60 without masks: Dice on 40 test
              patients of `unet` on a `tiny` that was pretrained as an autoencoder, and of the same from random weights.
features      PneumoniaMNIST: a logistic regression on 100 labels, on the frozen features of a `tiny` whose layers were trained one
              after the other (`stacked_denoising`, 1,000 images), and on those of random weights.
pool          PneumoniaMNIST: 16 labels in training and 4 in validation, 180 images without (`unlabelled=`).
teacher       PneumoniaMNIST: a `tiny` on 160 labels (40 in validation), taught by a `efficientnetlite0` (ImageNet) trained on the same.

Means and 95% intervals are over seeds, each with its own draw of images and weights; the test images of PneumoniaMNIST are its
official 624.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
from pretrain import auc_of_features, auc_of_fit

import easydl

ORGANS = ("lungs", "heart", "aorta", "spine")
CHESTS = {"train": 4, "val": 2, "test": 40, "": 60}
"""Simulated patients in each part; those of none have no masks."""


def segmentation(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        patients = sum(CHESTS.values())
        table = easydl.simulate(
            Path(folder) / "study", patients=patients, images_per_patient=1, size=64, masks=ORGANS, seed=seed
        )
        frame = pd.read_csv(table, dtype=str)
        for column in ("image", "mask"):
            frame[column] = [str(table.parent / one) for one in frame[column]]
        frame["split"] = [part for part, count in CHESTS.items() for _ in range(count)]
        columns = ["image", "mask", "patient", "split"]
        study = easydl.load(frame.loc[frame["split"] != "", columns], split="split", classes=["background", *ORGANS])
        train, val, test = study.split()
        others = easydl.load(frame.loc[frame["split"] == "", ["image", "patient"]])
        start = time.process_time()
        own = easydl.pretrain(others, method="autoencoder", size=64, batch_size=16, epochs=40, seed=seed, verbose=False)
        result = {"pretraining_cpu_s": time.process_time() - start}
        for name, start_from in (("random", {}), ("pretrained", {"pretrained": own})):
            model = easydl.unet(train, encoder="tiny", seed=seed, **start_from)
            easydl.fit(model, train, val, epochs=8, seed=seed, verbose=False)
            result[name] = float(np.mean([dice(model, test, row) for row in range(len(test))]))
    return result


def dice(model: Any, test: Any, row: int) -> float:
    """The mean Dice of the organs that the reference shows."""
    found, truth = easydl.predict(model, test.scan(row)).mask, test.reference(row)
    values = [value for value in np.unique(truth) if value > 0]
    pairs = [(found == value, truth == value) for value in values]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def films(seed: int, folder: Path, labelled: int, more: int = 0) -> tuple[Any, Any, Any, Any, Any]:
    """Training, validation and test part, the labelled images of the first two as one, and a study of further ones."""
    data = common.pneumonia()
    chosen = np.random.default_rng(seed).permutation(len(data["train_images"]))[: labelled + more]
    parts = ["val" if k % 5 == 0 else "train" for k in range(labelled)]
    (folder / "more").mkdir()
    others = None
    if more:
        images, labels = (data[f"train_{kind}"][chosen[labelled:]] for kind in ("images", "labels"))
        table = common.pneumonia_table(folder / "more", images, labels, ["" for _ in range(more)])
        others = easydl.load(table[["image"]], patient=None)
    study = common.pneumonia_study(folder, data, chosen[:labelled], parts)
    return *study.split(), study.rows(study.frame.index[:labelled]), others


def features(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        _, _, test, labelled, others = films(seed, Path(folder), 100, 1000)
        start = time.process_time()
        own = easydl.pretrain(others, method="stacked_denoising", epochs=5, size=32, seed=seed, verbose=False)
        result = {"pretraining_cpu_s": time.process_time() - start}
        result["layers_whose_loss_fell"] = sum(one[-1] < one[0] for one in own.losses.values()) / len(own.losses)
        result["random"] = auc_of_features(easydl.classifier("tiny", labelled, size=32, seed=seed), labelled, test)
        result["pretrained"] = auc_of_features(
            easydl.classifier("tiny", labelled, pretrained=own, seed=seed), labelled, test
        )
    return result


def pool(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        train, val, test, _, others = films(seed, Path(folder), 20, 180)
        return {
            name: auc_of_fit(easydl.classifier("tiny", train, size=32, seed=seed), train, val, test, seed, **options)
            for name, options in (("labels_alone", {}), ("with_unlabelled", {"unlabelled": others}))
        }


def teacher(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        train, val, test, _, _ = films(seed, Path(folder), 200)
        big = easydl.classifier("efficientnetlite0", train, pretrained=True, size=96, seed=seed)
        result = {"teacher": auc_of_fit(big, train, val, test, seed)}
        for name, options in (("alone", {}), ("taught", {"teacher": big})):
            student = easydl.classifier("tiny", train, size=32, seed=seed)
            result[name] = auc_of_fit(student, train, val, test, seed, **options)
    return result


PARTS: dict[str, tuple[Callable[[int], dict[str, float]], tuple[str, str]]] = {
    "segmentation": (segmentation, ("pretrained", "random")),
    "features": (features, ("pretrained", "random")),
    "pool": (pool, ("with_unlabelled", "labels_alone")),
    "teacher": (teacher, ("taught", "alone")),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    once, (one, other) = PARTS[given.part]
    begin, runs = time.process_time(), []
    for seed in range(given.first, given.first + given.seeds):
        runs.append(once(seed))
        print({key: round(value, 3) for key, value in runs[-1].items()}, flush=True)
    facts = {f"{name}_mean_and_95ci_over_seeds": common.interval([run[name] for run in runs]) for name in runs[0]}
    facts[f"{one}_minus_{other}"] = common.interval([run[one] - run[other] for run in runs])
    facts |= {"cpu_s": round(time.process_time() - begin), "seeds": given.seeds}
    common.write(f"beside_labels_{given.part}" if given.write else None, facts)
