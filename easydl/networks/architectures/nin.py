"""Network in Network."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import HE, MOMENTUM
from easydl.networks.registry import Entry

# Filters of each stage's convolutions, and the kernel of its first; the others are 1x1.
STAGES = (((192, 160, 96), 5), ((192, 192, 192), 5), ((192, 192), 3))


def nin(entry: Entry, x: Any) -> Any:
    """Network in Network: 966,986 parameters with colour images and 10 classes, as for CIFAR-10.

    The last 1x1 convolution is the head here: averaging its maps is the same as a dense layer on the averages, but
    for the ReLU that the paper puts in between. Normalised after every stage, which the paper does not do: without it
    the network does not learn from random weights in a few hundred images.

    References:
        Lin, Chen and Yan 2014, arXiv:1312.4400.
    """
    for stage, (filters, kernel) in enumerate(STAGES, start=1):
        if stage > 1:
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"stage{stage}_pool")(x)
            x = layers.Dropout(0.5, name=f"stage{stage}_dropout")(x)
        for number, width in enumerate(filters, start=1):
            x = layers.Conv2D(width, kernel if number == 1 else 1, **HE, name=f"stage{stage}_{number}_conv")(x)
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"stage{stage}_bn")(x)
    return x
