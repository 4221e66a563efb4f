"""AlexNet."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import HE, MOMENTUM
from easydl.networks.registry import Entry


def alexnet(entry: Entry, x: Any) -> Any:
    """AlexNet: 62,378,344 weights and biases with 227 x 227 colour images and 1000 classes.

    The paper has 60,965,224: it splits three convolutions over two graphics cards. Local response normalisation,
    which Keras has no layer for, is batch normalisation here (704 parameters more).

    References:
        Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks, NIPS 25.
    """
    x = layers.Conv2D(96, 11, strides=4, **HE | {"padding": "valid"}, name="conv1")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="norm1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = layers.Conv2D(256, 5, **HE, name="conv2")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="norm2")(x)
    x = _pool(x, "pool2")
    for number, filters in ((3, 384), (4, 384), (5, 256)):
        x = layers.Conv2D(filters, 3, **HE, name=f"conv{number}")(x)
    x = layers.Flatten(name="flat")(_pool(x, "pool5"))
    x = layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="dense6")(x)
    x = layers.Dropout(0.5, name="dropout6")(x)
    return layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="dense7")(x)


def _pool(x: Any, name: str) -> Any:
    # The padding keeps an image of 64 pixels from vanishing; at 227 the sizes are those of the paper.
    return layers.MaxPooling2D(3, strides=2, padding="same" if x.shape[1] < 7 else "valid", name=name)(x)
