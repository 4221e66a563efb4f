"""Whether half precision pays: the processor has it, the training is long, and a race shows it to be faster.

References:
    Kalamkar et al. 2019, A study of bfloat16 for deep learning training, arXiv:1905.12322.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from easydl.training.keras_internals import in_bfloat16

# A training this short is over before the race has paid for itself.
WORTH_STEPS = 300
LEAST_SPEEDUP = 1.15
RACE_STEPS = 3


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16 itself (Linux tells; elsewhere it counts as no)."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def speedup(model: keras.Model, loss: Any, x: np.ndarray, y: Any) -> float:
    """Time of a training step in float32 over that of one in bfloat16, on this machine and this batch.

    The model's weights are as before afterwards; what it was compiled with is lost.
    """
    weights = model.get_weights()
    with in_bfloat16(model):
        fast = _seconds(model, loss, x, y)
    slow = _seconds(model, loss, x, y)
    model.set_weights(weights)
    return slow / fast


def _seconds(model: keras.Model, loss: Any, x: np.ndarray, y: Any) -> float:
    model.compile(keras.optimizers.SGD(0.0), loss=loss, jit_compile=False)
    seconds = []
    for _ in range(RACE_STEPS + 1):
        begin = time.perf_counter()
        model.train_on_batch(x, y)
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])
