"""Counts and costs of every network: writes easydl/networks/facts.json, which the catalogue reads.

Parameters, operations and where Keras publishes the weights are exact; the time of a training step is relative to
MobileNetV2's, both taken in turns in one run.

Run: python benchmarks/model_costs.py [--time] [NAME ...]
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import pkgutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import easydl
from easydl.networks import backbone_layers
from easydl.networks.arguments import DEFAULT_SIDE
from easydl.networks.cost import operations
from easydl.networks.registry import ENTRIES

FACTS = Path(easydl.__file__).parent / "networks" / "facts.json"
REPEATS, BATCH = 3, {2: 8, 3: 2}
SEGMENTER_SIDE = {2: 128, 3: 48}


class FileRequested(Exception):
    """Keras asked for a weights file."""


def build(name: str) -> keras.Model:
    entry = ENTRIES[name]
    return getattr(easydl, entry.kind)(name)


def published(entry) -> dict[str, str]:
    """Where Keras itself would get the ImageNet weights: asked of its own code, without the network."""
    if not entry.application or entry.inflates:
        return {}
    found: dict[str, str] = {}

    def get_file(fname=None, origin=None, *args, file_hash=None, md5_hash=None, **kwargs):
        found.update(weights_file=fname, weights_url=origin, weights_hash=file_hash or md5_hash or "")
        raise FileRequested

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
    except FileRequested:
        return found
    raise SystemExit(f"{entry.name}: Keras did not ask for weights")


def stepping(model: keras.Model, shape: tuple[int, ...]) -> Callable[[], float]:
    """A function that takes a training step and says how many seconds it took; two have been taken."""
    batch = BATCH[len(shape) - 1]
    x = np.random.default_rng(0).uniform(0, 255, (batch, *shape)).astype("float32")
    y = np.asarray(model(x, training=False))
    model.compile("adam", "mse", jit_compile=False)

    def step() -> float:
        begin = time.perf_counter()
        model.train_on_batch(x, y)
        return time.perf_counter() - begin

    step()
    step()
    return step


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    facts = json.loads(FACTS.read_text("utf-8"))
    base = stepping(build("mobilenetv2"), (DEFAULT_SIDE[2],) * 2 + (1,)) if given.time else None
    for name in given.names or ENTRIES:
        entry = ENTRIES[name]
        keras.backend.clear_session()
        gc.collect()
        model = build(name)
        layers = backbone_layers(model) if entry.kind == "classifier" else model.layers
        shape = tuple(side or SEGMENTER_SIDE[entry.dimension] for side in model.input_shape[1:-1])
        row = facts.get(name, {})
        row["parameters"] = sum(layer.count_params() for layer in layers)
        row["gflops"] = float(f"{operations(model, shape) / 1e9:.3g}")
        row |= published(entry)
        if base is not None:
            own = stepping(model, (*shape, model.input_shape[-1]))
            # In turns, so that what else the machine does slows both.
            ratios = [own() / base() for _ in range(REPEATS)]
            row["step"] = float(f"{statistics.median(ratios):.2g}")
        facts = json.loads(FACTS.read_text("utf-8")) | {name: row}
        print(name, row, flush=True)
        ordered = {known: facts[known] for known in ENTRIES if known in facts}
        FACTS.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
