"""ConvNeXt of built-in layers: that of ``keras.applications`` nests models and brings a custom layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from easydl.networks.registry import Entry

EPSILON = LAYER_SCALE = 1e-6
# Blocks and width of each stage.
SIZES = {
    "convnexttiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnextsmall": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnextbase": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}


def convnext(entry: Entry, x: Any) -> Any:
    """ConvNeXt-T, S and B.

    References:
        Liu et al. 2022, arXiv:2201.03545.
    """
    for stage, (depth, width) in enumerate(zip(*SIZES[entry.name], strict=True)):
        if stage == 0:
            x = layers.Conv2D(width, 4, strides=4, name="stem_conv")(x)
            x = layers.LayerNormalization(epsilon=EPSILON, name="stem_norm")(x)
        else:
            x = layers.LayerNormalization(epsilon=EPSILON, name=f"down{stage}_norm")(x)
            x = layers.Conv2D(width, 2, strides=2, name=f"down{stage}_conv")(x)
        for number in range(depth):
            x = _block(x, width, f"stage{stage}_block{number}")
    # The published weights normalise the averages of the maps, not the maps (the paper's code and keras.applications).
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.LayerNormalization(epsilon=EPSILON, name="last_norm")(x)


def _block(x: Any, width: int, name: str) -> Any:
    y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(y)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_widen")(y)
    y = layers.Dense(width, name=f"{name}_narrow")(y)
    # Layer scale, a factor per channel near zero at first: a depthwise convolution of one pixel is just that.
    start = keras.initializers.Constant(LAYER_SCALE)
    y = layers.DepthwiseConv2D(1, use_bias=False, depthwise_initializer=start, name=f"{name}_scale")(y)
    return layers.Add(name=f"{name}_add")([x, y])
