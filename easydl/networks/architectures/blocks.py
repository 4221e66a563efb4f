"""What several architectures share: convolution with normalisation, residual block, upsampling, encoders."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.pooling import Strides, strides_of

# Small studies have few steps in an epoch: with Keras' 0.99 the moving averages would never arrive.
MOMENTUM = 0.9
HE: dict[str, Any] = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
# Convolutions per stage of VGG-16, and filters in multiples of the first.
VGG = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))


def layer_nd(kind: str, x: Any) -> Any:
    """The Keras layer of a kind for images or volumes: ``Conv`` gives ``Conv2D`` or ``Conv3D``."""
    return getattr(layers, f"{kind}{len(x.shape) - 2}D")


def conv_norm_relu(x: Any, filters: int, name: str, size: int = 3) -> Any:
    """A convolution, instance normalisation, ReLU: a batch of one trains as well as any."""
    x = layer_nd("Conv", x)(filters, size, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(name=f"{name}_relu")(instance_norm(x, f"{name}_norm"))


def instance_norm(x: Any, name: str) -> Any:
    """Group normalisation with one group per channel is instance normalisation (arXiv:1607.08022)."""
    return layers.GroupNormalization(groups=-1, name=name)(x)


def residual_block(x: Any, filters: int, name: str) -> Any:
    """Two 3x3 convolutions and a shortcut around them; the last layer is called ``<name>_relu2``."""
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = layer_nd("Conv", x)(filters, 1, use_bias=False, name=f"{name}_shortcut")(x)
    for number in (1, 2):
        x = layer_nd("Conv", x)(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{number}")(x)
        x = instance_norm(x, f"{name}_norm{number}")
        if number == 1:
            x = layers.ReLU(name=f"{name}_relu{number}")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def upsampled(x: Any, name: str, factor: int | tuple[int, ...] = 2, *, smooth: bool = False) -> Any:
    """Nearest neighbours; when ``smooth``, averaged over ``factor + 1`` afterwards, which is linear interpolation.

    Keras' own bilinear upsampling cannot be compiled for maps of open size, and there is none for volumes.
    """
    x = layer_nd("UpSampling", x)(factor, name=f"{name}_upsample")(x)
    if smooth and isinstance(factor, int) and factor > 1:
        x = layer_nd("AveragePooling", x)(factor + 1, strides=1, padding="same", name=f"{name}_smooth")(x)
    return x


def pointwise(x: Any, filters: int, name: str) -> Any:
    """A 1x1 convolution to another number of channels; before upsampling it costs a fraction of doing it after."""
    return layer_nd("Conv", x)(filters, 1, use_bias=False, name=f"{name}_mix")(x)


def residual_encoder(x: Any, width: int, levels: int | Strides) -> dict[int, Any]:
    """The encoder without published weights: a residual block per level, the filters doubled at each.

    Returns the maps by the stride of the axes that every level downsamples: 1, 2, 4, ... ``2**levels``.
    """
    scales, strides = {}, strides_of(levels, len(x.shape) - 2)
    for level, stride in enumerate(strides):
        x = scales[1 << level] = residual_block(x, width << level, f"down{level + 1}")
        x = layer_nd("MaxPooling", x)(stride, name=f"down{level + 1}_pool")(x)
    scales[1 << len(strides)] = residual_block(x, width << len(strides), "bottom")
    return scales


def vgg_encoder(x: Any, width: int) -> dict[int, Any]:
    """The convolutions of VGG-16 (those of the paper at ``width=64``), normalised: maps by stride, 2 to 32."""
    scales = {}
    for stage, (repeats, factor) in enumerate(VGG, start=1):
        for number in range(1, repeats + 1):
            x = conv_norm_relu(x, width * factor, f"down{stage}_{number}")
        x = scales[1 << stage] = layer_nd("MaxPooling", x)(2, name=f"down{stage}_pool")(x)
    return scales
