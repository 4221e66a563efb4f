"""Half precision where the processor has it and a race shows it to be faster. The saved model is float32 always.

References:
    Kalamkar et al. 2019, A study of bfloat16 for deep learning training, arXiv:1905.12322.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

HALF, WHOLE = "mixed_bfloat16", "float32"
# Layers that hold the scan's own values and the probabilities: 8 bits are too few for either.
KEPT = ("image", "window", "clip", "scaling", "logits", "probability")
# A training this short is over before the race has paid for itself.
WORTH_STEPS = 300
LEAST_GAIN = 1.15
RACE_STEPS = 3


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself (Linux tells; elsewhere it counts as no)."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def half(model: keras.Model) -> Iterator[None]:
    """Inside, the layers of a model compute in bfloat16; their weights stay float32, and so does the model after it."""
    policy = keras.dtype_policies.get(HALF)
    changed = [layer for layer in model.layers if not _kept(layer.name)]
    before = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, old in zip(changed, before, strict=True):
            layer.dtype_policy = old


def race(model: keras.Model, loss: Any, x: np.ndarray, y: Any) -> float:
    """How many times as fast a training step is in bfloat16 as in float32, measured on this machine.

    The model's weights are as before afterwards; it is left compiled by nobody.

    Args:
        model: What will be trained.
        loss: Its loss.
        x: A batch.
        y: Its targets.

    Returns:
        Time of a step in float32 over time of a step in bfloat16.
    """
    weights = model.get_weights()
    with half(model):
        fast = _seconds(model, loss, x, y)
    slow = _seconds(model, loss, x, y)
    model.set_weights(weights)
    return slow / fast


def _seconds(model: keras.Model, loss: Any, x: np.ndarray, y: Any) -> float:
    model.compile(keras.optimizers.SGD(0.0), loss=loss, jit_compile=False)
    took = []
    for _ in range(RACE_STEPS + 1):
        begin = time.perf_counter()
        model.train_on_batch(x, y)
        took.append(time.perf_counter() - begin)
    return min(took[1:])


def _kept(name: str) -> bool:
    # The coarser levels of deep supervision are called level2 and level3.
    return name in KEPT or name.endswith(("_logits", "_probability")) or re.fullmatch(r"level\d", name) is not None
