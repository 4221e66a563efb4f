"""A race of the devices and ways to compute that a computer has, with a small network: what a step and a prediction cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.training.keras_internals import in_bfloat16
from easydl.training.mixed_precision import LEAST_SPEEDUP, has_bfloat16

SIDE, BATCH = 64, 16
REPEATS, LONGEST_S = 5, 8.0
"""Of each way so many steps and predictions are timed, or fewer where they take longer than this together."""


@dataclass(frozen=True)
class Time:
    """What one way of computing takes.

    Attributes:
        way: ``"CPU float32"`` and the like.
        step_ms: Median time of a training step of 16 images of 64 pixels.
        step_range_ms: The fastest and the slowest of them.
        predict_ms: Median time of a prediction for them.
        repeats: How many steps were timed.
    """

    way: str
    step_ms: float
    step_range_ms: tuple[float, float]
    predict_ms: float
    repeats: int


@dataclass(frozen=True)
class Race:
    """All times, the first being that of the plain processor, and what easydl does because of such times."""

    times: list[Time]
    sentences: list[str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"images": BATCH, "side": SIDE, "times": [asdict(one) for one in self.times], "used": self.sentences}

    @property
    def text(self) -> str:
        """A line for each way, then what is used."""
        base = self.times[0]
        lines = [
            f"{one.way}: a step {one.step_ms:.0f} ms ({one.step_range_ms[0]:.0f} to {one.step_range_ms[1]:.0f}, n={one.repeats}; "
            f"{base.step_ms / one.step_ms:.1f} times as fast as {base.way}), a prediction {one.predict_ms:.0f} ms "
            f"({base.predict_ms / one.predict_ms:.1f} times)"
            for one in self.times
        ]
        return "\n".join(
            [f"Speed, with a small network and {BATCH} images of {SIDE} x {SIDE} pixels:", *lines, *self.sentences]
        )


def race() -> Race:
    """Race float32 on the processor, bfloat16 where the processor has it, every kind of GPU, each with and without XLA.

    It takes less than a minute. Times are of this moment: another program at work on the computer slows them all.
    """
    times = [_timed(*one) for one in _ways()]
    return Race(times, used(times, bfloat16=has_bfloat16()))


def used(times: list[Time], *, bfloat16: bool) -> list[str]:
    """What easydl uses on such a computer, in sentences with the ratios that were measured."""
    by_way = {one.way: one.step_ms for one in times}
    cpu = by_way["CPU float32"]
    gpu = next((one for one in by_way if one.startswith("GPU")), None)
    said = []
    if gpu is None:
        said.append("easydl uses the processor: TensorFlow sees no GPU.")
    else:
        said.append(f"easydl uses the GPU: {cpu / by_way[gpu]:.1f} times as fast as the processor in a step.")
    where = gpu or "CPU float32"
    compiled = by_way.get(f"{where} XLA")
    if compiled is not None:
        factor = by_way[where] / compiled
        chosen = "used on a GPU" if gpu else "not used on a processor"
        said.append(f"XLA is {chosen}: here it makes a step {factor:.1f} times as fast.")
    if not bfloat16:
        said.append("bfloat16 is not used on the processor, which does not compute in it itself.")
    elif "CPU bfloat16" in by_way:
        said.append(
            f"bfloat16 makes a step {cpu / by_way['CPU bfloat16']:.1f} times as fast here; long trainings of segmentation "
            f"models race it again with their own network, and use it from {LEAST_SPEEDUP} times on."
        )
    return said


def _ways() -> Iterator[tuple[str, str, bool, bool]]:
    """Name, device, bfloat16, XLA."""
    yield "CPU float32", "CPU:0", False, False
    yield "CPU float32 XLA", "CPU:0", False, True
    if has_bfloat16():
        yield "CPU bfloat16", "CPU:0", True, False
    if tf.config.list_logical_devices("GPU"):
        for half in (False, True):
            for xla in (False, True):
                kind = "bfloat16" if half else "float32"
                yield f"GPU {kind}{' XLA' if xla else ''}", "GPU:0", half, xla


def _network() -> keras.Model:
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x: Any = image
    for filters in (16, 32, 64):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(2, name="logits")(x)
    return keras.Model(image, keras.layers.Activation("softmax", name="probability")(logits))


def _timed(way: str, device: str, half: bool, xla: bool) -> Time:
    rng = np.random.default_rng(0)
    x, y = rng.random((BATCH, SIDE, SIDE, 1), np.float32), np.eye(2, dtype=np.float32)[rng.integers(0, 2, BATCH)]
    with tf.device(device):
        model = _network()
        with in_bfloat16(model) if half else nullcontext():
            model.compile("sgd", "categorical_crossentropy", jit_compile=xla)
            call = tf.function(lambda given: model(given, training=False), jit_compile=xla)
            batch = tf.constant(x)
            steps = _seconds(lambda: model.train_on_batch(x, y))
            predictions = _seconds(lambda: np.asarray(call(batch)))
    ms = [1000 * one for one in steps]
    return Time(way, float(np.median(ms)), (min(ms), max(ms)), 1000 * float(np.median(predictions)), len(ms))


def _seconds(work: Callable[[], Any]) -> list[float]:
    work()  # the first is compiled
    found: list[float] = []
    while len(found) < REPEATS and (len(found) < 2 or sum(found) < LONGEST_S):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return found
