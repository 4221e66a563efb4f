"""SqueezeNet 1.1."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import HE
from easydl.networks.registry import Entry

FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))


def squeezenet(entry: Entry, x: Any) -> Any:
    """SqueezeNet 1.1: 1,235,496 parameters with colour images and 1000 classes (AlexNet's accuracy with 1/50).

    The last 1x1 convolution is the head here, as in `nin`.

    References:
        Iandola et al. 2016, arXiv:1602.07360; version 1.1 of the authors' repository.
    """
    x = layers.Conv2D(64, 3, strides=2, **HE | {"padding": "valid"}, name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    for number, (squeeze, expand) in enumerate(FIRES, start=2):
        if number in (4, 6):
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"pool{number}")(x)
        x = _fire(x, squeeze, expand, f"fire{number}")
    return x


def _fire(x: Any, squeeze: int, expand: int, name: str) -> Any:
    x = layers.Conv2D(squeeze, 1, **HE, name=f"{name}_squeeze")(x)
    wide = [layers.Conv2D(expand, side, **HE, name=f"{name}_expand{side}")(x) for side in (1, 3)]
    return layers.Concatenate(name=f"{name}_join")(wide)
