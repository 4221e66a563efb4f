"""The few pieces that the networks for outlines share: convolution with its norm, residual block, own encoder."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.arguments import Halvings, steps_of


def sized(kind: str, x: Any) -> Any:
    """The Keras layer of a kind for images or volumes: ``Conv`` gives ``Conv2D`` or ``Conv3D``."""
    return getattr(layers, f"{kind}{len(x.shape) - 2}D")


def convolved(x: Any, filters: int, name: str, size: int = 3, **options: Any) -> Any:
    """A convolution, normalised per image and channel, then rectified: a batch of one trains as well as any."""
    x = sized("Conv", x)(filters, size, padding="same", use_bias=False, name=f"{name}_conv", **options)(x)
    return layers.ReLU(name=f"{name}_relu")(normalised(x, f"{name}_norm"))


def normalised(x: Any, name: str) -> Any:
    """One group per channel: instance normalisation (arXiv:1607.08022)."""
    return layers.GroupNormalization(groups=-1, name=name)(x)


def residual(x: Any, filters: int, name: str) -> Any:
    """Two 3x3 convolutions and a way around them; the last layer is called ``<name>_relu2``."""
    shortcut = x
    if x.shape[-1] != filters:
        shortcut = sized("Conv", x)(filters, 1, use_bias=False, name=f"{name}_shortcut")(x)
    for number in (1, 2):
        x = sized("Conv", x)(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{number}")(x)
        x = normalised(x, f"{name}_norm{number}")
        if number == 1:
            x = layers.ReLU(name=f"{name}_relu{number}")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)


def enlarged(x: Any, name: str, factor: int | tuple[int, ...] = 2, *, smooth: bool = False) -> Any:
    """Neighbours repeated; when ``smooth``, then averaged over ``factor + 1``, which is a straight line between them.

    Keras' own bilinear enlarging cannot be compiled for maps of open size, and there is none for volumes.
    """
    x = sized("UpSampling", x)(factor, name=f"{name}_enlarge")(x)
    if smooth and isinstance(factor, int) and factor > 1:
        x = sized("AveragePooling", x)(factor + 1, strides=1, padding="same", name=f"{name}_smooth")(x)
    return x


def mixed(x: Any, filters: int, name: str) -> Any:
    """A 1x1 convolution to another number of channels; before enlarging it costs a fraction of doing it after."""
    return sized("Conv", x)(filters, 1, use_bias=False, name=f"{name}_mix")(x)


def residual_scales(x: Any, width: int, levels: int | Halvings) -> dict[int, Any]:
    """The encoder that needs no published weights: a residual block per scale, twice the filters at each.

    Args:
        x: ``(batch, *spatial, channels)``.
        width: Filters of the first level.
        levels: How often the size is halved; or what every axis is divided by, level by level.

    Returns:
        Maps by the stride of the axes that every level halves: 1, 2, 4, ... ``2**levels``.
    """
    scales, steps = {}, steps_of(levels, len(x.shape) - 2)
    for level, step in enumerate(steps):
        x = scales[1 << level] = residual(x, width << level, f"down{level + 1}")
        x = sized("MaxPooling", x)(step, name=f"down{level + 1}_pool")(x)
    scales[1 << len(steps)] = residual(x, width << len(steps), "bottom")
    return scales
