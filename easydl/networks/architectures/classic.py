"""The networks that the papers teach, trained from random: LeNet, AlexNet, Network in Network, SqueezeNet."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.tiny import MOMENTUM
from easydl.networks.registry import Entry


def lenet(entry: Entry, x: Any) -> Any:
    """LeNet-5: 61,706 numbers with 32 x 32 grey pictures and 10 classes.

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


def alexnet(entry: Entry, x: Any) -> Any:
    """AlexNet: 62,378,344 weights and biases with 227 x 227 colour pictures and 1000 classes.

    The paper has 60,965,224: it splits three convolutions over two graphics cards. Local response normalisation,
    which Keras has no layer for, is batch normalisation here (704 numbers more).

    References:
        Krizhevsky et al. 2012, ImageNet classification with deep convolutional neural networks, NIPS 25.
    """
    x = layers.Conv2D(96, 11, strides=4, activation="relu", kernel_initializer="he_normal", name="conv1")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="norm1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = layers.Conv2D(256, 5, padding="same", activation="relu", kernel_initializer="he_normal", name="conv2")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="norm2")(x)
    # The padding keeps a picture of 64 pixels from vanishing; at 227 the sizes are those of the paper.
    x = layers.MaxPooling2D(3, strides=2, padding="same" if x.shape[1] < 7 else "valid", name="pool2")(x)
    for number, filters in ((3, 384), (4, 384), (5, 256)):
        x = layers.Conv2D(
            filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=f"conv{number}"
        )(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same" if x.shape[1] < 7 else "valid", name="pool5")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="dense6")(x)
    x = layers.Dropout(0.5, name="dropout6")(x)
    return layers.Dense(4096, activation="relu", kernel_initializer="he_normal", name="dense7")(x)


def nin(entry: Entry, x: Any) -> Any:
    """Network in Network: 966,986 numbers with colour pictures and 10 classes, as for CIFAR-10.

    The last 1x1 convolution is the head here: averaging its maps is the same as a dense layer on the averages, but
    for the rectifier that the paper puts in between. Normalised after every stage, which the paper does not do:
    without it the network does not learn from random weights in a few hundred images.

    References:
        Lin, Chen and Yan 2014, arXiv:1312.4400.
    """
    for stage, (filters, kernel) in enumerate((((192, 160, 96), 5), ((192, 192, 192), 5), ((192, 192), 3)), start=1):
        if stage > 1:
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"stage{stage}_pool")(x)
            x = layers.Dropout(0.5, name=f"stage{stage}_dropout")(x)
        for number, width in enumerate(filters, start=1):
            x = layers.Conv2D(
                width, kernel if number == 1 else 1, padding="same", activation="relu", kernel_initializer="he_normal",
                name=f"stage{stage}_{number}_conv",
            )(x)  # fmt: skip
        x = layers.BatchNormalization(momentum=MOMENTUM, name=f"stage{stage}_bn")(x)
    return x


def squeezenet(entry: Entry, x: Any) -> Any:
    """SqueezeNet 1.1: 1,235,496 numbers with colour pictures and 1000 classes (AlexNet's accuracy with 1/50).

    The last 1x1 convolution is the head here, as in `nin`.

    References:
        Iandola et al. 2016, arXiv:1602.07360; version 1.1 of the authors' repository.
    """
    x = layers.Conv2D(64, 3, strides=2, activation="relu", kernel_initializer="he_normal", name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    fires = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
    for number, (squeeze, expand) in enumerate(fires, start=2):
        if number in (4, 6):
            x = layers.MaxPooling2D(3, strides=2, padding="same", name=f"pool{number}")(x)
        x = _fire(x, squeeze, expand, f"fire{number}")
    return x


def _fire(x: Any, squeeze: int, expand: int, name: str) -> Any:
    options: dict[str, Any] = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
    x = layers.Conv2D(squeeze, 1, name=f"{name}_squeeze", **options)(x)
    wide = [layers.Conv2D(expand, side, name=f"{name}_expand{side}", **options)(x) for side in (1, 3)]
    return layers.Concatenate(name=f"{name}_join")(wide)
