"""Residual networks of our own: ResNet-18 and 34 for pictures, 10, 18 and 34 for volumes."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.tiny import MOMENTUM
from easydl.networks.registry import Entry

WIDTHS = (64, 128, 256, 512)


def resnet18(entry: Entry, x: Any) -> Any:
    """ResNet-18 as published: 11,689,512 numbers to learn with the 1000-class head (He 2016, table 1)."""
    return _resnet(x, 2, (2, 2, 2, 2))


def resnet34(entry: Entry, x: Any) -> Any:
    """ResNet-34 as published: 21,797,672 numbers to learn with the 1000-class head (He 2016, table 1)."""
    return _resnet(x, 2, (3, 4, 6, 3))


def resnet3d10(entry: Entry, x: Any) -> Any:
    """One block per stage. Group instead of batch normalisation: volumes come in batches of one or two."""
    return _resnet(x, 3, (1, 1, 1, 1))


def resnet3d18(entry: Entry, x: Any) -> Any:
    """ResNet-18 with 3x3x3 convolutions and group normalisation."""
    return _resnet(x, 3, (2, 2, 2, 2))


def resnet3d34(entry: Entry, x: Any) -> Any:
    """ResNet-34 with 3x3x3 convolutions and group normalisation."""
    return _resnet(x, 3, (3, 4, 6, 3))


def _resnet(x: Any, dimension: int, blocks: tuple[int, ...]) -> Any:
    flat = dimension == 2
    convolution = layers.Conv2D if flat else layers.Conv3D
    pad = layers.ZeroPadding2D if flat else layers.ZeroPadding3D
    pool = layers.MaxPooling2D if flat else layers.MaxPooling3D
    # Volumes are small: the first stride and the pooling together would leave nothing of a depth of 16.
    strides = 2 if flat else (1, 2, 2)
    x = pad(3, name="stem_pad")(x)
    x = convolution(64, 7, strides=strides, use_bias=False, kernel_initializer="he_normal", name="stem_conv")(x)
    x = layers.ReLU(name="stem_relu")(_normalised(x, flat, "stem"))
    x = pool(3, strides=2, name="stem_pool")(pad(1, name="stem_pool_pad")(x))
    for stage, (filters, repeats) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
        for number in range(1, repeats + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            x = _block(x, convolution, flat, filters, stride, f"stage{stage}_{number}")
    return x


def _block(x: Any, convolution: Any, flat: bool, filters: int, stride: int, name: str) -> Any:
    options: dict[str, Any] = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = convolution(filters, 1, strides=stride, name=f"{name}_shortcut_conv", **options)(x)
        shortcut = _normalised(shortcut, flat, f"{name}_shortcut")
    x = convolution(filters, 3, strides=stride, name=f"{name}_1_conv", **options)(x)
    x = layers.ReLU(name=f"{name}_1_relu")(_normalised(x, flat, f"{name}_1"))
    x = _normalised(convolution(filters, 3, name=f"{name}_2_conv", **options)(x), flat, f"{name}_2")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))


def _normalised(x: Any, flat: bool, name: str) -> Any:
    if flat:
        return layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
