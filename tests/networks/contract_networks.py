"""Which networks the contract test takes for what: variants, families, kinds of layer, and a small build of each."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import easydl
from easydl.networks import classifier
from easydl.networks.registry import ENTRIES

# The graph of these differs from that of another network only in how wide or deep it is.
VARIANTS = {
    "resnet34", "resnet101v2", "densenet169", "densenet201", "vgg19", "mobilenet", "mobilenet_075", "mobilenet_050",
    "mobilenetv2", "mobilenetv2_140", "mobilenetv2_130", "mobilenetv2_075", "mobilenetv2_050", "mobilenetv3large",
    "convnextsmall", "convnextbase", "resnet3d18", "resnet3d34", *(f"efficientnetb{k}" for k in range(1, 8)),
    *(f"efficientnetv2b{k}" for k in (1, 2, 3)), "efficientnetv2s", "efficientnetv2m", "efficientnetv2l", "tiramisu103",
    "denoising_autoencoder", "denoising_autoencoder3d", "super_resolution", "super_resolution3d",
}  # fmt: skip
# Networks as an option makes them, beside those of the table: from a name of the test to that of the network and the options.
AS_ASKED = {
    "resnet18+leaky_relu+drops": ("resnet18", {"activation": "leaky_relu", "stochastic_depth": 0.5}),
    "unet+elu": ("unet", {"activation": "elu"}),
    "tiny3d+gelu": ("tiny3d", {"activation": "gelu"}),
    "convnexttiny+drops": ("convnexttiny", {"stochastic_depth": 0.2}),
    "resnet50+drops": ("resnet50", {"stochastic_depth": 0.2}),
    "denoising_unet+silu": ("denoising_unet", {"activation": "silu"}),
}
NETWORKS = {name: (name, {}) for name in ENTRIES} | AS_ASKED
# Built of the layers of googlenet and inceptionv3, and among the dearest.
FAMILIES = set(ENTRIES) - VARIANTS - {"inceptionv4"} | {"resnet18+leaky_relu+drops", "unet+elu"}
# Deep graphs of Keras' own in kinds of layer that other families have, laid out as resnet50 and efficientnetb0 are; inflated
# as resnet3d50 is.
LEARNING = FAMILIES - {
    "inceptionresnetv2", "nasnetmobile", "densenet3d", "inceptionv3", "xception", "densenet121", "efficientnetv2b0",
}  # fmt: skip
QUICK = {"tiny", "resnet18", "mobilenet_025", "convnexttiny", "tiny3d", "unet", "unet3d", "denoising_unet"}
# Small networks that hold every kind of layer with weights or settings: their files are opened by default.
FILES = {
    "resnet18+leaky_relu+drops", "tiny", "lenet", "mobilenet_025", "mobilenetv3small", "efficientnetb0", "convnexttiny", "tiny3d", "unet",
    "deeplabv3plus", "tiramisu", "unet3d", "vnet", "multiscale3d", "denoising_unet", "variational_autoencoder",
}  # fmt: skip
# All kinds of layer in the networks. A new kind needs a network in FILES.
KINDS = {
    "Activation", "Add", "AveragePooling2D", "AveragePooling3D", "BatchNormalization", "Concatenate", "Conv2D",
    "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Dense", "DepthwiseConv2D", "Dropout", "Flatten", "GaussianNoise",
    "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GroupNormalization", "InputLayer", "LayerNormalization",
    "MaxPooling2D", "MaxPooling3D", "Multiply", "Normalization", "PReLU", "ReLU", "Rescaling", "Reshape", "SeparableConv2D",
    "Softmax", "UpSampling2D", "UpSampling3D", "ZeroPadding2D",
}  # fmt: skip
ONLY_IN_LARGE = {"Cropping2D", "ZeroPadding3D"}
# The sizes of the dense layers of these two follow the image.
SIZED = {"alexnet", "lenet"}


def cases(by_default, quick=frozenset()):
    """Every network, so that all tests of one run together; those not in ``by_default`` only with --everything."""

    def marks(name):
        yield pytest.mark.xdist_group(f"contract-{name}")
        if name not in by_default:
            yield pytest.mark.everything
        elif name in quick:
            yield pytest.mark.quick

    return pytest.mark.parametrize(
        "network", [pytest.param(name, marks=tuple(marks(name))) for name in NETWORKS], indirect=True
    )


def odd(entry) -> tuple[int, ...]:
    """The smallest sensible size, but odd and with unequal sides."""
    side = max(entry.smallest, 32 if entry.dimension == 2 else 16)
    return (side + 1, side + 6, side + 3)[: entry.dimension]


def build(name: str, **options) -> keras.Model:
    """Classifiers for a small odd size, and whatever takes any size as its builder makes it."""
    entry = ENTRIES[name]
    if entry.kind == "classifier":
        return classifier(name, **{"size": odd(entry), "classes": 3} | options)
    return getattr(easydl, entry.kind)(name, **options)


def side_of(name: str) -> int:
    entry = ENTRIES[name]
    return -(-(32 if entry.dimension == 2 else 16) // entry.multiple) * entry.multiple


def batch(model: keras.Model, n: int = 2, seed: int = 0) -> np.ndarray:
    shape = [side or side_of(model.name) for side in model.input_shape[1:-1]]
    return np.random.default_rng(seed).uniform(0, 255, (n, *shape, model.input_shape[-1])).astype("float32")


def call(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


def without_dropout(model: keras.Model) -> keras.Model:
    for layer in model._flatten_layers():
        if hasattr(layer, "rate") and "ropout" in type(layer).__name__:
            layer.rate = 0.0
    return model
