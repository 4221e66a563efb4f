"""Residual networks laid out here: ResNet-18 and 34 for images; 10, 18 and 34 for volumes."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import MOMENTUM, layer_nd
from easydl.networks.registry import Entry

WIDTHS = (64, 128, 256, 512)
# Blocks in each stage (He 2016, table 1).
BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet3d10": (1, 1, 1, 1),
    "resnet3d18": (2, 2, 2, 2),
    "resnet3d34": (3, 4, 6, 3),
}


def resnet(entry: Entry, x: Any) -> Any:
    """ResNet with blocks of two 3x3 convolutions; 3x3x3 and group normalisation for volumes.

    As published, with the 1000-class head: ``resnet18`` has 11,689,512 trainable parameters, ``resnet34`` 21,797,672.
    Volumes come in batches of one or two, too few for batch statistics.

    References:
        He et al. 2016, arXiv:1512.03385; Hara et al. 2018, arXiv:1711.09577.
    """
    # Volumes are small: a first stride of the depth and the pooling together would leave nothing of a depth of 16.
    strides = 2 if entry.dimension == 2 else (1, 2, 2)
    x = layer_nd("ZeroPadding", x)(3, name="stem_pad")(x)
    x = _conv(x, 64, 7, "stem", strides=strides, padding="valid")
    x = layers.ReLU(name="stem_relu")(x)
    x = layer_nd("ZeroPadding", x)(1, name="stem_pool_pad")(x)
    x = layer_nd("MaxPooling", x)(3, strides=2, name="stem_pool")(x)
    for stage, (filters, repeats) in enumerate(zip(WIDTHS, BLOCKS[entry.name], strict=True), start=1):
        for number in range(1, repeats + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            x = _block(x, filters, stride, f"stage{stage}_{number}")
    return x


def _block(x: Any, filters: int, stride: int, name: str) -> Any:
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, f"{name}_shortcut", strides=stride)
    x = layers.ReLU(name=f"{name}_1_relu")(_conv(x, filters, 3, f"{name}_1", strides=stride))
    x = _conv(x, filters, 3, f"{name}_2")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))


def _conv(x: Any, filters: int, size: int, name: str, *, strides: Any = 1, padding: str = "same") -> Any:
    """A convolution and its normalisation."""
    options = {"strides": strides, "padding": padding, "use_bias": False, "kernel_initializer": "he_normal"}
    x = layer_nd("Conv", x)(filters, size, **options, name=f"{name}_conv")(x)
    if len(x.shape) == 4:
        return layers.BatchNormalization(momentum=MOMENTUM, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
