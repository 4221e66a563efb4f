"""The first and last layers that all networks share, and the seed of a build. No backbones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import keras
from keras import layers

from easydl.networks.registry import Entry, Scaling
from easydl.tasks import Task

WHITE, CLIP = 255.0, "clip"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Everything Keras draws inside is settled by ``seed``; the caller's random state is put back.

    Layers that are given no seed take one from Python's ``random`` when they are made, and draw their weights
    from it with a stateless generator. Seeding that one module is therefore enough, and TensorFlow's and
    NumPy's state are never touched.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def front(size: tuple[int | None, ...], channels: int) -> tuple[Any, Any]:
    """The input in the scan's units, and the same brought to 0-255: layers ``image``, ``window`` and ``clip``.

    In float32 even where the rest runs in half precision: a CT of 4096 grey values does not fit 11 bits.
    """
    image = layers.Input((*size, channels), name="image", dtype="float32")
    pixels = layers.Rescaling(1.0, 0.0, name="window", dtype="float32")(image)
    return image, layers.ReLU(max_value=WHITE, name=CLIP, dtype="float32")(pixels)


def as_rgb(pixels: Any) -> Any:
    """Three colour channels from any number: grey is repeated, more are mixed by a trainable layer.

    Repeating grey is the same as summing the first convolution over its colours. The mixing layer ``to_rgb`` starts
    as the average of the channels, so an untrained network sees an image, and a trained one the brightness it knows.
    """
    channels = pixels.shape[-1]
    if channels == 3:
        return pixels
    if channels == 1:
        return layers.Concatenate(name="rgb")([pixels, pixels, pixels])
    average = keras.initializers.Constant(1.0 / channels)
    convolution = layers.Conv2D if len(pixels.shape) == 4 else layers.Conv3D
    return convolution(3, 1, use_bias=False, kernel_initializer=average, name="to_rgb")(pixels)


def scaled(pixels: Any, scaling: Scaling | None) -> Any:
    """0-255 brought to the range of the backbone by the layer ``scaling``; unchanged where there is none."""
    if scaling is None:
        return pixels
    scale, offset = (list(one) if isinstance(one, tuple) else one for one in scaling)
    return layers.Rescaling(scale, offset, name="scaling")(pixels)


def prepared(entry: Entry, pixels: Any) -> Any:
    """Pixels from 0 to 255 in the colours and the range that the network of an entry takes."""
    return scaled(as_rgb(pixels) if entry.rgb else pixels, entry.scaling)


def laid_out(entry: Entry) -> Any:
    """The function that lays out the layers of an entry."""
    module, function = entry.architecture.split(":")
    return getattr(import_module(f"easydl.networks.architectures.{module}"), function)


def outputs(features: Any, count: int, task: Task, *, head: str = "") -> Any:
    """The last layers, in float32: a dense layer ``logits``, then ``probability``, or ``value`` for a regression.

    With several heads, ``head`` goes before the layers' names.
    """
    start = f"{head}_" if head else ""
    logits = layers.Dense(count, name=f"{start}logits", dtype="float32")(features)
    if task.is_value:
        # The network learns standardised values; their own unit comes back here (`set_target_scale`).
        logits = layers.Rescaling(1.0, 0.0, name=f"{start}target_scaling", dtype="float32")(logits)
        return layers.Activation("linear", name=f"{start}value", dtype="float32")(logits)
    if task.exclusive:
        return layers.Softmax(name=f"{start}probability", dtype="float32")(logits)
    return layers.Activation("sigmoid", name=f"{start}probability", dtype="float32")(logits)
