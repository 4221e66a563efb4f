"""The smallest networks, for small studies and laptops: ``tiny`` for images and ``tiny3d`` for volumes."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import MOMENTUM, layer_nd
from easydl.networks.registry import Entry

# Filters of each stage, and its number of convolutions.
STAGES = ((16, 1), (32, 2), (64, 2), (128, 2))


def tiny(entry: Entry, x: Any) -> Any:
    """Seven 3x3 convolutions in four stages, with batch normalisation.

    Volumes come in batches of one or two, too few for batch statistics: there it is group normalisation.
    """
    flat = entry.dimension == 2
    for stage, (filters, repeats) in enumerate(STAGES, start=1):
        if stage > 1:
            padding = "valid" if flat else "same"
            x = layer_nd("MaxPooling", x)(2, padding=padding, name=f"stage{stage}_pool")(x)
        for number in range(1, repeats + 1):
            name = f"stage{stage}_{number}"
            x = layer_nd("Conv", x)(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            if flat:
                x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
            else:
                x = layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x
