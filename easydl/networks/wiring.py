"""The first and last layers that all networks share, and the seed of a build. No backbones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

BLACK_TO_WHITE = 255.0


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
    """The input in the scan's units, and the same brought to 0-255.

    Layers ``image``, ``window`` (set by `easydl.networks.set_window`) and ``clip``. In float32 even where the
    rest runs in half precision: a CT of 4096 grey values does not fit 11 bits.

    Returns:
        The input tensor and the tensor after ``clip``, ``(batch, *size, channels)``, 0 to 255.
    """
    image = layers.Input((*size, channels), name="image", dtype="float32")
    pixels = layers.Rescaling(1.0, 0.0, name="window", dtype="float32")(image)
    return image, layers.ReLU(max_value=BLACK_TO_WHITE, name="clip", dtype="float32")(pixels)


def as_rgb(pixels: Any) -> Any:
    """Three colour channels from any number: grey is repeated, more are mixed by a layer that learns.

    The mixing layer ``to_rgb`` starts as the plain average of the channels, so an untrained network sees an
    image.
    """
    channels = pixels.shape[-1]
    if channels == 3:
        return pixels
    if channels == 1:
        return layers.Concatenate(name="rgb")([pixels, pixels, pixels])
    average = keras.initializers.Constant(1.0 / channels)
    return layers.Conv2D(3, 1, use_bias=False, kernel_initializer=average, name="to_rgb")(pixels)


def scaled(pixels: Any, scaling: tuple[float, float] | None) -> Any:
    """0-255 brought to the range of the backbone by the layer ``scaling``; unchanged where there is none."""
    if scaling is None:
        return pixels
    return layers.Rescaling(scaling[0], scaling[1], name="scaling")(pixels)


def end(logits: Any, task: str) -> Any:
    """Logits become probabilities (or stay a value), in float32.

    The layer is called ``probability``; for regression it is linear and called ``value``.
    """
    if task == "regression":
        return layers.Activation("linear", name="value", dtype="float32")(logits)
    if task == "multilabel":
        return layers.Activation("sigmoid", name="probability", dtype="float32")(logits)
    return layers.Softmax(name="probability", dtype="float32")(logits)
