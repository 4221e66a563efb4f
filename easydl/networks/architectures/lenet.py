"""LeNet-5."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.registry import Entry


def lenet(entry: Entry, x: Any) -> Any:
    """LeNet-5: 61,706 parameters with 32 x 32 grey images and 10 classes.

    The paper counts 60,000: its third layer leaves some connections out, and its pooling learns a scale.

    References:
        LeCun et al. 1998, Gradient-based learning applied to document recognition, 10.1109/5.726791.
    """
    for number, filters in ((1, 6), (2, 16)):
        x = layers.Conv2D(filters, 5, activation="tanh", name=f"conv{number}")(x)
        x = layers.AveragePooling2D(2, name=f"pool{number}")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(120, activation="tanh", name="dense1")(x)
    return layers.Dense(84, activation="tanh", name="dense2")(x)
