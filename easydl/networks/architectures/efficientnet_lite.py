"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, as its makers cut it for small machines."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import MOMENTUM
from easydl.networks.registry import Entry

EPSILON = 1e-3
STEM, LAST, EXPANSION = 32, 1280, 6
# Kernel, stride, filters and blocks of each stage (those of EfficientNet-B0).
STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)


def efficientnet_lite(entry: Entry, x: Any) -> Any:
    """EfficientNet-Lite0: inverted residual blocks with ReLU6, which is exact in integers, too.

    References:
        Tan and Le 2019, arXiv:1905.11946; github.com/tensorflow/tpu, models/official/efficientnet/lite.
    """
    x = _conv(x, STEM, "stem", size=3, stride=2)
    number = 0
    for stage, (size, stride, filters, blocks) in enumerate(STAGES):
        for block in range(blocks):
            expansion = EXPANSION if stage else 1
            x = _block(x, filters, f"block{number}", size, 1 if block else stride, expansion)
            number += 1
    return _conv(x, LAST, "last")


def _block(x: Any, filters: int, name: str, size: int, stride: int, expansion: int) -> Any:
    y = _conv(x, x.shape[-1] * expansion, f"{name}_expand") if expansion > 1 else x
    y = layers.DepthwiseConv2D(size, stride, padding="same", use_bias=False, name=f"{name}_depthwise")(y)
    y = _norm_relu(y, f"{name}_depthwise")
    y = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"{name}_project")(y)
    y = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_project_bn")(y)
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == filters else y


def _conv(x: Any, filters: int, name: str, *, size: int = 1, stride: int = 1) -> Any:
    x = layers.Conv2D(filters, size, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _norm_relu(x, f"{name}_conv")


def _norm_relu(x: Any, name: str) -> Any:
    x = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
