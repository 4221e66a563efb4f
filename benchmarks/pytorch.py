"""U-Net steps, predictions and sliding windows: easydl, the same network in PyTorch, and MONAI's sliding window.

Run: python benchmarks/pytorch.py [--rounds 3] (needs torch, and monai for the sliding window; neither is installed with
easydl). Same layers, same weights (outputs are compared to 1e-3 first), same batch, same loss, AdamW. Every contender runs in
a separate process, in turns; a process warms up and gives the median of its repeats. PyTorch gets the channels-last layout,
which is the faster one for it on processors. ``easydl`` is as `fit` trains; ``plain`` is the same without oneDNN; ``xla`` is
Keras' ``jit_compile=True``, which fuses on its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

# Batch and patch of what `fit` plans for two cores.
SHAPES = {"2d": (4, 256, 256, 1), "3d": (2, 48, 48, 48, 1)}
VOLUME, WINDOW = (128, 160, 160), (64, 64, 64)
STEPS = {"2d": 8, "3d": 8}
CONTENDERS = {
    "2d_step": ("easydl", "easydl_bfloat16", "xla", "plain", "torch", "torch_bfloat16"),
    "3d_step": ("easydl", "easydl_bfloat16", "xla", "plain", "torch", "torch_bfloat16"),
    "2d_predict": ("easydl", "xla", "plain", "torch"),
    "3d_predict": ("easydl", "xla", "plain", "torch"),
    "sliding_window": ("easydl", "monai"),
    "sliding_window_of_nothing": ("easydl", "monai"),
}


def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, SHAPES[kind]).astype(np.float32)
    return x, np.eye(2, dtype=np.float32)[(x[..., 0] > 180).astype(int)]


def network(kind: str) -> Any:
    import easydl

    return (easydl.unet if kind == "2d" else easydl.unet3d)(classes=2, seed=1)


def median(work: Callable[[], Any], repeats: int, warm: int = 2) -> float:
    took = []
    for number in range(repeats + warm):
        begin = time.perf_counter()
        work()
        if number >= warm:
            took.append(time.perf_counter() - begin)
    return statistics.median(took)


def keras_step(kind: str, contender: str) -> float:
    import keras

    from easydl.training.keras_internals import fused_instance_norm, in_bfloat16
    from easydl.training.losses import dice_cross_entropy

    model, (x, y) = network(kind), data(kind)

    def seconds() -> float:
        model.compile(keras.optimizers.AdamW(1e-3), loss=dice_cross_entropy, jit_compile=contender == "xla")
        return median(lambda: model.train_on_batch(x, y), STEPS[kind])

    if contender == "xla":
        return seconds()
    # As fit does it: fused normalisation, and half precision where it won a race.
    with fused_instance_norm(model), in_bfloat16(model) if contender.endswith("bfloat16") else nullcontext():
        return seconds()


def keras_predict(kind: str, contender: str) -> float:
    import tensorflow as tf

    from easydl.prediction import compiled

    model, (x, _) = network(kind), data(kind)
    call = tf.function(lambda x: model(x, training=False), jit_compile=True) if contender == "xla" else compiled(model)
    return median(lambda: np.asarray(call(x)), STEPS[kind])


def twin(kind: str) -> tuple[Any, Any, Any]:
    import torch
    from twin import Twin

    torch.set_num_threads(os.cpu_count() or 1)
    layout = torch.channels_last if kind == "2d" else torch.channels_last_3d
    x, y = (torch.tensor(np.moveaxis(one, -1, 1).copy()).to(memory_format=layout) for one in data(kind))
    return Twin(network(kind)).to(memory_format=layout), x, y


def torch_step(kind: str, contender: str) -> float:
    import torch
    from twin import loss

    model, x, y = twin(kind)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=contender == "torch_bfloat16"):
            logits = model(x)
        value = loss(logits, y)
        value.backward()
        optimizer.step()
        return float(value)

    return median(step, STEPS[kind])


def torch_predict(kind: str, contender: str) -> float:
    import torch

    model, x, _ = twin(kind)
    with torch.inference_mode():
        return median(lambda: torch.softmax(model(x), 1).numpy(), STEPS[kind])


def sliding(work: str, contender: str) -> float:
    nothing = work.endswith("nothing")
    volume = np.random.default_rng(0).uniform(0, 255, (*VOLUME, 1)).astype(np.float32)
    if contender == "easydl":
        from easydl.prediction import compiled
        from easydl.prediction.sliding_window import slide

        compiled_call = None if nothing else compiled(network("3d"))

        def call(batch: np.ndarray) -> np.ndarray:
            return np.repeat(batch, 2, -1) if compiled_call is None else np.asarray(compiled_call(batch))

        return median(lambda: slide(call, volume, WINDOW), 3, warm=1)
    import torch
    from monai.inferers import sliding_window_inference
    from twin import Twin

    torch.set_num_threads(os.cpu_count() or 1)
    model = None if nothing else Twin(network("3d")).to(memory_format=torch.channels_last_3d)
    given = torch.tensor(np.moveaxis(volume, -1, 0)[None].copy())

    def predictor(batch: Any) -> Any:
        if model is None:
            return batch.repeat(1, 2, 1, 1, 1)
        return torch.softmax(model(batch.contiguous(memory_format=torch.channels_last_3d)), 1)

    with torch.inference_mode():
        return median(
            lambda: sliding_window_inference(given, WINDOW, 4, predictor, overlap=0.5, mode="gaussian"), 3, warm=1
        )


def largest_difference(kind: str) -> float:
    """Between the outputs of the two: they are the same network, or the times mean nothing."""
    import torch

    from easydl.prediction import compiled

    model, x, _ = twin(kind)
    with torch.inference_mode():
        theirs = np.moveaxis(torch.softmax(model(x), 1).numpy(), 1, -1)
    return float(np.abs(theirs - np.asarray(compiled(network(kind))(data(kind)[0]))).max())


def measured(work: str, contender: str) -> float:
    kind = work[:2]
    if work.startswith("sliding"):
        return sliding(work, contender)
    if contender.startswith("torch"):
        return (torch_step if work.endswith("step") else torch_predict)(kind, contender)
    return (keras_step if work.endswith("step") else keras_predict)(kind, contender)


def in_separate_process(work: str, contender: str) -> float:
    setting = {"TF_ENABLE_ONEDNN_OPTS": "0" if contender == "plain" else "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    found = subprocess.run(
        [sys.executable, __file__, "--work", work, "--contender", contender],
        capture_output=True, text=True, check=True, env={**os.environ, **setting}, cwd=Path(__file__).parent,
    )  # fmt: skip
    return float(json.loads(found.stdout.splitlines()[-1]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work")
    parser.add_argument("--contender")
    given = parser.parse_args()
    if given.work:
        print(json.dumps(measured(given.work, given.contender)))
        sys.exit()
    import common

    difference = {kind: largest_difference(kind) for kind in SHAPES}
    if max(difference.values()) > 1e-3:
        sys.exit(f"The outputs of the networks differ: {difference}")
    facts: dict[str, Any] = {"shapes": SHAPES, "volume": VOLUME, "window": WINDOW, "largest_difference": difference}
    for work, contenders in CONTENDERS.items():
        took: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(given.rounds):
            for name in contenders:
                took[name].append(in_separate_process(work, name))
        facts[work] = {name: common.summary(seconds) for name, seconds in took.items()}
        facts[work]["times_easydl"] = {
            name: round(statistics.median(seconds) / statistics.median(took["easydl"]), 2)
            for name, seconds in took.items() if name != "easydl"
        }  # fmt: skip
        print(work, facts[work]["times_easydl"], flush=True)
    common.write("pytorch", facts)
