"""Counts and costs of every network: writes easydl/networks/facts.json, which the catalogue reads.

Parameters, operations and where Keras publishes the weights are exact; the time of a training step is relative to
MobileNetV2's, both taken in turns in one run.

Run: python benchmarks/model_costs.py [--time] [NAME ...]
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import statistics
import time
from pathlib import Path

import keras
import numpy as np

import easydl
from easydl.networks import backbone_layers
from easydl.networks.arguments import DEFAULT_SIDE
from easydl.networks.cost import operations
from easydl.networks.entries import ENTRIES

FACTS = Path(easydl.__file__).parent / "networks" / "facts.json"
REPEATS, BATCH = 5, {2: 8, 3: 2}
SEGMENTER_SIDE = {2: 128, 3: 48}


class Asked(Exception):
    """Keras asked for a weights file."""


def build(name: str) -> keras.Model:
    entry = ENTRIES[name]
    return getattr(easydl, entry.makes)(name)


def published(entry) -> dict[str, str]:
    """Where Keras itself would get the ImageNet weights: asked of its own code, without the network."""
    if not entry.application or entry.inflates:
        return {}
    found: dict[str, str] = {}

    def get_file(fname=None, origin=None, *args, file_hash=None, md5_hash=None, **kwargs):
        found.update(weights_file=fname, weights_url=origin, weights_hash=file_hash or md5_hash or "")
        raise Asked

    package = importlib.import_module("keras.src.applications")
    for one in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"keras.src.applications.{one.name}")
        if hasattr(module, "file_utils"):
            module.file_utils.get_file = get_file
    options = {} if entry.width is None else {"alpha": entry.width}
    try:
        getattr(keras.applications, entry.application)(
            include_top=False, weights="imagenet", input_shape=(224, 224, 3), **options
        )
    except Asked:
        return found
    raise SystemExit(f"{entry.name}: Keras did not ask for weights")


def step(model: keras.Model, shape: tuple[int, ...]) -> list[float]:
    """Seconds of training steps after the first two."""
    batch = BATCH[len(shape) - 1]
    x = np.random.default_rng(0).uniform(0, 255, (batch, *shape)).astype("float32")
    y = np.zeros(np.asarray(model(x[:1])).shape, "float32").repeat(batch, 0)
    y[..., 0] = 1
    model.compile("adam", "categorical_crossentropy", jit_compile=False)
    took = []
    for _ in range(REPEATS + 2):
        begin = time.perf_counter()
        model.train_on_batch(x, y)
        took.append(time.perf_counter() - begin)
    return took[2:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    facts = json.loads(FACTS.read_text("utf-8"))
    for name in given.names or ENTRIES:
        entry = ENTRIES[name]
        keras.backend.clear_session()
        model = build(name)
        layers = backbone_layers(model) if entry.makes == "classifier" else model.layers
        shape = tuple(side or SEGMENTER_SIDE[entry.dimension] for side in model.input_shape[1:-1])
        row = facts.get(name, {})
        row["parameters"] = sum(layer.count_params() for layer in layers)
        row["gflops"] = float(f"{operations(model, shape) / 1e9:.3g}")
        row |= published(entry)
        if given.time:
            base = step(build("mobilenetv2"), (DEFAULT_SIDE[2],) * 2 + (1,))
            took = step(model, (*shape, model.input_shape[-1]))
            row["step"] = float(f"{statistics.median(took) / statistics.median(base):.2g}")
        facts = json.loads(FACTS.read_text("utf-8")) | {name: row}
        print(name, row, flush=True)
        ordered = {known: facts[known] for known in ENTRIES if known in facts}
        FACTS.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
