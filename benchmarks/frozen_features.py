"""Transfer learning with the backbone frozen: features computed once (easydl.fit) against the backbone in the graph.

Run: python benchmarks/frozen_features.py
ResNet50V2 at 128 x 128, 320 images (256 to train on, 64 to validate on), 10 epochs of the head, no augmentation: in both
the same start, optimiser, learning-rate curve and batches; building the network,
decoding, compiling and tracing count. Weights are random here unless the ImageNet file is in the
cache; the work is the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import common
import keras
import numpy as np
import pandas as pd
from PIL import Image

import easydl
from easydl.networks import attach, freeze_backbone, metadata_of
from easydl.studies.dataset import dataset, decode
from easydl.training.callbacks import Progress
from easydl.training.classification import HEAD_BATCH, HEAD_RATE
from easydl.training.loop import Data, Stage, run_stage
from easydl.training.objective import Objective
from easydl.training.pipeline import image_feed

IMAGES, SIDE, EPOCHS = 320, 128, 10


def films(folder: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(IMAGES):
        label = ("a", "b")[number % 2]
        pixels = rng.normal(110, 30, (SIDE, SIDE))
        pixels[30 : 30 + 40, 30 : 30 + 40] += 25 * (label == "b")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        part = "val" if number >= 256 else "train"
        rows.append({"image": str(folder / f"{number}.png"), "label": label, "patient": str(number), "split": part})
    rows[-1]["split"] = rows[-2]["split"] = "test"
    return pd.DataFrame(rows)


def model_for(classes):
    model = easydl.classifier("resnet", classes=classes, size=SIDE, seed=1)
    return attach(model, metadata_of(model).model_copy(update={"pretrained": "random, for this benchmark"}))


def by_hand(train, val) -> tuple[float, float]:
    start = time.perf_counter()
    model = freeze_backbone(model_for(train.classes))
    images, held = (decode(part, size=(SIDE, SIDE), channels=1, units="0-255") for part in (train, val))
    progress = Progress(None)
    keras.utils.set_random_seed(0)
    loss = "categorical_crossentropy"
    feed = partial(image_feed, images, train.targets(), HEAD_BATCH, seed=0)
    run_stage(
        Stage("head", EPOCHS, -(-len(images) // HEAD_BATCH), HEAD_RATE, patience=99),
        Objective(model, loss, lambda: ["accuracy"], loss),
        Data(feed, dataset(held, val.targets(), HEAD_BATCH)),
        progress,
    )
    return time.perf_counter() - start, progress.lowest("head")


def cached(train, val) -> tuple[float, float]:
    start = time.perf_counter()
    model = model_for(train.classes)
    history = easydl.fit(
        model, train, val, augment="none", epochs=EPOCHS, strategy="features", class_weight=None, verbose=False
    )
    return time.perf_counter() - start, min(history.history["val_loss"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    results: dict[str, list[tuple[float, float]]] = {"backbone_in_the_graph": [], "features_once": []}
    with tempfile.TemporaryDirectory() as folder:
        train, val, _ = easydl.load(films(Path(folder)), split="split").split()
        train.digests(), val.digests()
        for _ in range(given.repeats):
            results["backbone_in_the_graph"].append(by_hand(train, val))
            results["features_once"].append(cached(train, val))
    seconds = {name: common.summary([took for took, _ in found]) for name, found in results.items()}
    ratio = seconds["backbone_in_the_graph"]["median_s"] / seconds["features_once"]["median_s"]
    losses = {name: [round(loss, 4) for _, loss in found] for name, found in results.items()}
    facts = {"images": IMAGES, "side": SIDE, "epochs": EPOCHS, "seconds": seconds, "times_faster": round(ratio, 1),
             "best_validation_loss": losses}  # fmt: skip
    common.write("frozen_features", facts)
