"""Seconds until a model has a test AUC of 0.90: `easydl.fit`, Keras by hand, and fastai's ``fine_tune``, from the same weights.

Run: EASYDL_REAL_DATA=... EASYDL_WEIGHTS=<folder with the MobileNet 0.25 file> python benchmarks/time_to_auc.py
     [--fastai PYTHON] [--sets brain openi] [--seeds 3]
``--fastai`` is a Python that has fastai, h5py and PyTorch (easydl needs none of them); without it that way is left out.
MobileNet 0.25 with its ImageNet weights at 224 pixels in all three, the same training, validation and test images. By hand is the
transfer-learning guide of Keras: backbone frozen, one dense layer, Adam at 1e-3, batches of 32, 20 epochs. fastai is
``Learner.fine_tune(10)`` with its own head, augmentation and rates. Both are tested after every epoch with the clock stopped, and are
done as soon as they reach 0.90; easydl is tested once, when `fit` with its defaults has returned. Loading the libraries does not
count, decoding does. Every way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

SIDE, WANTED, EPOCHS = 224, 0.90, {"keras": 20, "fastai": 10}
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
FILTERS = (16, 32, 32, 64, 64, *[128] * 6, 256, 256)
SAME = 1e-3
"""How far the features of the network in PyTorch may be from those of Keras, of their largest."""


class Reached(Exception):
    """The AUC that was wanted."""


class Clock:
    """Seconds of the training alone, and the AUC after each of its epochs."""

    def __init__(self) -> None:
        self.begun, self.paused, self.points = time.perf_counter(), 0.0, []

    def test(self, truth: np.ndarray, answers: Callable[[], np.ndarray]) -> None:
        now = time.perf_counter()
        seconds = now - self.begun - self.paused
        self.points.append((round(seconds, 2), round(float(roc_auc_score(truth, answers())), 3)))
        self.paused += time.perf_counter() - now
        if self.points[-1][1] >= WANTED:
            raise Reached(f"AUC {self.points[-1][1]}")


def part(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["split"] == name].reset_index(drop=True)


def easydl_way(table: pd.DataFrame) -> list[tuple[float, float]]:
    import easydl
    from easydl._tf import load_tensorflow

    load_tensorflow()
    clock = Clock()
    study = easydl.load(table, split="split", patient=None, override="copies in the set")
    train, val, test = study.split()
    model = easydl.classifier("mobilenet_025", train, pretrained=True, size=SIDE)
    easydl.fit(model, train, val, verbose=False)
    truth = (test.frame["label"] == study.classes[1]).to_numpy()
    try:
        clock.test(truth, lambda: easydl.predict(model, test).frame[f"p({study.classes[1]})"].to_numpy())
    except Reached:
        return clock.points
    return clock.points


def pixels_of(table: pd.DataFrame) -> np.ndarray:
    from PIL import Image

    images = (Image.open(path).convert("RGB").resize((SIDE, SIDE)) for path in table["image"])
    return np.stack([np.asarray(image) for image in images])


def keras_way(table: pd.DataFrame) -> list[tuple[float, float]]:
    import keras

    weights = next(Path(os.environ["EASYDL_WEIGHTS"]).glob("mobilenet_2_5_*no_top.h5"))
    classes = sorted(table["label"].unique())
    test = part(table, "test")
    asked = pixels_of(test).astype(np.float32)  # tested with the clock stopped
    clock = Clock()
    parts = [part(table, name) for name in ("train", "val")]
    (x, y), held = [(pixels_of(one), one["label"].map(classes.index).to_numpy()) for one in parts]
    base = keras.applications.MobileNet(
        alpha=0.25, weights=str(weights), include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    base.trainable = False
    given = keras.Input((SIDE, SIDE, 3))
    features = base(keras.layers.Rescaling(1 / 127.5, -1)(given), training=False)
    model = keras.Model(given, keras.layers.Dense(2, activation="softmax")(features))
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    truth = (test["label"] == classes[1]).to_numpy()
    tested = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: clock.test(truth, lambda: model.predict(asked, verbose=0)[:, 1])
    )
    try:
        model.fit(x, y, 32, EPOCHS["keras"], verbose=0, validation_data=held, callbacks=[tested])
    except Reached:
        return clock.points
    return clock.points


def torch_mobilenet(path: Path) -> Any:
    """MobileNet 0.25 with the weights of Keras' file: images ``(n, 3, side, side)`` from -1 to 1 to maps ``(n, 256, ...)``."""
    import h5py
    import torch
    from torch import nn

    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, one: found.update({name: one[()]} if isinstance(one, h5py.Dataset) else {}))

    def value(layer: str, kind: str) -> Any:
        return torch.tensor(next(one for name, one in found.items() if f"{layer}/{kind}" in name))

    class Padded(nn.Module):
        # Keras pads below and on the right where it steps by two.
        def forward(self, x: Any) -> Any:
            return nn.functional.pad(x, (0, 1, 0, 1))

    def block(conv: str, kernel: Any, stride: int, groups: int) -> list[Any]:
        size = kernel.shape[-1]
        layer = nn.Conv2d(
            kernel.shape[1] * groups, kernel.shape[0], size, stride, 0 if stride == 2 else size // 2, groups=groups,
            bias=False,
        )  # fmt: skip
        norm = nn.BatchNorm2d(kernel.shape[0], eps=1e-3, momentum=0.01)
        layer.weight.data = kernel
        for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "moving_mean"),
                             ("running_var", "moving_variance")):  # fmt: skip
            getattr(norm, ours).data = value(f"{conv}_bn", theirs)
        return [*([Padded()] if stride == 2 else []), layer, norm, nn.ReLU6()]

    layers = block("conv1", value("conv1", "kernel").permute(3, 2, 0, 1), 2, 1)
    for number, stride in enumerate(STRIDES, 1):
        deep = value(f"conv_dw_{number}", "depthwise_kernel").permute(2, 3, 0, 1)
        layers += block(f"conv_dw_{number}", deep, stride, len(deep))
        layers += block(f"conv_pw_{number}", value(f"conv_pw_{number}", "kernel").permute(3, 2, 0, 1), 1, 1)
    return nn.Sequential(*layers)


def fastai_way(table: pd.DataFrame) -> list[tuple[float, float]]:
    import torch
    from fastai.callback.core import Callback
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        DataBlock,
        ImageBlock,
        Learner,
        Normalize,
        Resize,
        ResizeMethod,
        accuracy,
        aug_transforms,
        create_head,
        params,
    )
    from torch import nn

    weights = next(Path(os.environ["EASYDL_WEIGHTS"]).glob("mobilenet_2_5_*no_top.h5"))
    test = part(table, "test")
    asked = torch.tensor(pixels_of(test)).permute(0, 3, 1, 2).float() / 127.5 - 1
    body = torch_mobilenet(weights).eval()
    reference = np.load(os.environ["EASYDL_REFERENCE"])
    with torch.no_grad():
        x = torch.tensor(reference["x"]).permute(0, 3, 1, 2)
        off = np.abs(body(x).mean((2, 3)).numpy() - reference["y"]).max() / np.abs(reference["y"]).max()
    if off > SAME:
        raise SystemExit(f"the network in PyTorch is not that of Keras: {off:g}")
    clock = Clock()
    rows = table[table["split"] != "test"].assign(is_valid=lambda one: one["split"] == "val")
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_x=ColReader("image"), get_y=ColReader("label"), splitter=ColSplitter(),
        item_tfms=Resize(SIDE, method=ResizeMethod.Squish),
        batch_tfms=[*aug_transforms(size=SIDE), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )  # fmt: skip
    loaders = block.dataloaders(rows, bs=32)
    model = nn.Sequential(body, create_head(256, 2))
    truth = (test["label"] == loaders.vocab[1]).to_numpy()

    class Tested(Callback):
        def after_epoch(self) -> None:
            def answers() -> np.ndarray:
                model.eval()
                with torch.no_grad():
                    return model(asked).softmax(1)[:, 1].numpy()

            clock.test(truth, answers)

    learner = Learner(
        loaders, model, metrics=accuracy, cbs=Tested(), splitter=lambda net: [params(net[0]), params(net[1])]
    )
    try:
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(EPOCHS["fastai"])
    except Reached:
        return clock.points
    return clock.points


WAYS = {"easydl": easydl_way, "keras": keras_way, "fastai": fastai_way}


def write_reference(path: Path) -> None:
    """What Keras' network says of noise, for the one in PyTorch."""
    import keras

    weights = next(Path(os.environ["EASYDL_WEIGHTS"]).glob("mobilenet_2_5_*no_top.h5"))
    base = keras.applications.MobileNet(
        alpha=0.25, weights=str(weights), include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    x = np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, 3)).astype(np.float32)
    np.savez(path, x=x, y=base.predict(x, verbose=0))


def tables(name: str, seed: int) -> pd.DataFrame:
    """Image, label and part of a set."""
    import common

    import easydl

    if name == "brain":
        files = sorted(p for one in ("yes", "no") for p in (common.real_data() / "brain_mri_tumor").rglob(f"{one}/*"))
    else:
        files = sorted((common.real_data() / "openi_abd_vs_cxr").glob("[tv][ra]*/*/*.png"))
    frame = pd.DataFrame({"image": map(str, files), "label": [p.parent.name for p in files]})
    study = easydl.load(frame, patient=None)
    whole = study.split(seed=seed, override="copies in the set")[0].parent
    return whole.frame[["image", "label", "split"]]


def run(way: str, table: Path, python: str, more: dict[str, str]) -> list[list[float]]:
    done = subprocess.run(
        [python, __file__, "--way", way, "--table", str(table)],
        capture_output=True, text=True, env={**os.environ, **more}, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=["brain", "openi"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fastai")
    parser.add_argument("--way")
    parser.add_argument("--table")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(WAYS[given.way](pd.read_csv(given.table))))
        sys.exit()
    import common

    ways = [way for way in WAYS if way != "fastai" or given.fastai]
    facts: dict[str, Any] = {"side": SIDE, "wanted_auc": WANTED}
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.npz"
        write_reference(reference)
        for name in given.sets:
            for seed in range(given.seeds):
                table = Path(folder) / f"{name}{seed}.csv"
                tables(name, seed).to_csv(table, index=False)
                for way in ways:
                    python = given.fastai if way == "fastai" else sys.executable
                    points = run(way, table, python, {"EASYDL_REFERENCE": str(reference)})
                    seconds, auc = points[-1]
                    facts[f"{name}_seed_{seed}_{way}"] = {"seconds": seconds, "auc": auc, "reached": auc >= WANTED,
                                                          "epochs": len(points)}  # fmt: skip
                    print(name, seed, way, facts[f"{name}_seed_{seed}_{way}"], flush=True)
    common.write("time_to_auc", facts)
