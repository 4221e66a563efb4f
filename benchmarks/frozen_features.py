"""Transfer learning with the backbone frozen: `easydl.fit` (features computed once) against a plain Keras loop.

Run: EASYDL_REAL_DATA=... EASYDL_WEIGHTS=<folder with the MobileNet 0.25 file> python benchmarks/frozen_features.py
     [--networks mobilenet_025 resnet] [--seeds 5]
2,000 chest films of PneumoniaMNIST (500 to validate on) enlarged to 128 x 128, no augmentation, 10 epochs. The plain loop is
what a careful user writes: `keras.applications` without its top, frozen and called with ``training=False``, one dense layer,
Adam at 3e-3, batches of 32 from memory, Keras' own choice of XLA. Decoding, building, tracing and compiling count in both, and
both see the same decoded pixels. ResNet50V2 has random weights here unless its ImageNet file is in the cache: the work is the
same. Each pair runs in a process of its own, as the first training of a user does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import common
import numpy as np

import easydl

TRAIN, VAL, SIDE, EPOCHS, BATCH, RATE = 2000, 500, 128, 10, 32, 3e-3


def parts(folder: Path, seed: int) -> tuple[Any, Any]:
    """Training and validation part: draws of the official training part, as PNG files."""
    data = common.pneumonia()
    chosen = np.random.default_rng(seed).permutation(len(data["train_images"]))[: TRAIN + VAL]
    train, val, _ = common.pneumonia_study(folder, data, chosen, ["train"] * TRAIN + ["val"] * VAL).split()
    train.digests(), val.digests()
    return train, val


def by_hand(network: str, seed: int, train: Any, val: Any) -> float:
    """Lowest validation loss of the plain loop."""
    import keras

    from easydl.studies.dataset import decode

    keras.utils.set_random_seed(seed)
    pixels = [
        np.repeat(np.asarray(decode(part, size=(SIDE, SIDE), channels=1, units="0-255")), 3, -1)
        for part in (train, val)
    ]
    start: dict[str, Any] = {"include_top": False, "pooling": "avg", "input_shape": (SIDE, SIDE, 3)}
    if network == "mobilenet_025":
        weights = next(Path(os.environ["EASYDL_WEIGHTS"]).glob("mobilenet_2_5_*no_top.h5"))
        base = keras.applications.MobileNet(alpha=0.25, weights=str(weights), **start)
    else:
        base = keras.applications.ResNet50V2(weights=None, **start)
    base.trainable = False
    x = inputs = keras.Input((SIDE, SIDE, 3))
    x = base(keras.layers.Rescaling(1 / 127.5, -1)(x), training=False)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(RATE), "categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        pixels[0], train.targets(), BATCH, EPOCHS, verbose=0, validation_data=(pixels[1], val.targets())
    )
    return float(min(history.history["val_loss"]))


def once(network: str, train: Any, val: Any, seed: int) -> float:
    """Lowest validation loss of `easydl.fit` on frozen features."""
    from easydl.networks import attach, metadata_of

    model = easydl.classifier(network, train, size=SIDE, seed=seed, pretrained=network == "mobilenet_025")
    if network != "mobilenet_025":
        model = attach(model, metadata_of(model).model_copy(update={"pretrained": "random, for this benchmark"}))
    options: dict[str, Any] = {"augment": "none", "strategy": "features", "class_weight": None, "verbose": False}
    return float(min(easydl.fit(model, train, val, epochs=EPOCHS, seed=seed, **options).history["val_loss"]))


def measured(way: str, network: str, seed: int) -> tuple[float, float, int, int]:
    """Seconds and validation loss of one way, in a new process; loading TensorFlow does not count."""
    from easydl._tf import load_tensorflow

    load_tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        train, val = parts(Path(folder), seed)
        start = time.perf_counter()
        found = by_hand(network, seed, train, val) if way == "plain" else once(network, train, val, seed)
        return time.perf_counter() - start, found, len(train), len(val)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--networks", nargs="*", default=["mobilenet_025", "resnet"])
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    facts: dict[str, Any] = {"side": SIDE, "epochs": EPOCHS}
    for network in given.networks:
        found: dict[str, list[tuple[float, float]]] = {"plain": [], "easydl": []}
        for seed in range(given.seeds):
            for way in sorted(found, reverse=bool(seed % 2)):
                with ProcessPoolExecutor(1, spawn) as process:
                    took, loss, *count = process.submit(measured, way, network, seed).result()
                found[way].append((took, loss))
                print(network, seed, way, round(took, 2), round(loss, 4), count, flush=True)
        seconds = {way: common.summary([took for took, _ in rows]) for way, rows in found.items()}
        lost = {way: [round(loss, 4) for _, loss in rows] for way, rows in found.items()}
        gained = [b - a for a, b in zip(lost["plain"], lost["easydl"], strict=True)]
        ratio = seconds["plain"]["median_s"] / seconds["easydl"]["median_s"]
        facts[network] = {"training_and_validation_images": count, "seconds": seconds, "times_faster": round(ratio, 1),
                          "best_validation_loss": lost, "easydl_minus_plain": common.interval(gained)}  # fmt: skip
        print(json.dumps(facts[network]))
    common.write("frozen_features", facts)
