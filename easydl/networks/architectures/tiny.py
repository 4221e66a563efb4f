"""The smallest networks, for small studies and laptops: ``tiny`` and its volume twin. No published weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.registry import Entry

# Small studies have few steps in an epoch: with Keras' 0.99 the statistics would never arrive.
MOMENTUM = 0.9
STAGES = ((16, 1), (32, 2), (64, 2), (128, 2))


def tiny(entry: Entry, x: Any) -> Any:
    """Seven 3x3 convolutions in four stages, with batch normalisation."""
    for stage, (filters, repeats) in enumerate(STAGES, start=1):
        if stage > 1:
            x = layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        for number in range(1, repeats + 1):
            name = f"stage{stage}_{number}"
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x


def tiny3d(entry: Entry, x: Any) -> Any:
    """The same for volumes, which come in batches of one or two: too few for batch statistics."""
    for stage, (filters, repeats) in enumerate(STAGES, start=1):
        if stage > 1:
            x = layers.MaxPooling3D(2, padding="same", name=f"stage{stage}_pool")(x)
        for number in range(1, repeats + 1):
            name = f"stage{stage}_{number}"
            x = layers.Conv3D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
            x = layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return x
