"""Attention U-Net."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import layer_nd, pointwise, residual_block, residual_encoder, upsampled
from easydl.networks.pooling import DEFAULT_LEVELS
from easydl.networks.registry import Entry


def attention_unet(entry: Entry, x: Any, *, width: int) -> Any:
    """The residual U-Net whose skip connections are weighted, pixel by pixel, by the coarser level.

    The gates are the paper's: additive, on the coarser grid, with a sigmoid. The paper's network is for volumes and
    without residual blocks; its authors give no number of parameters.

    References:
        Oktay et al. 2018, Attention U-Net, arXiv:1804.03999.
    """
    scales = residual_encoder(x, width, DEFAULT_LEVELS[entry.dimension])
    x = scales[max(scales)]
    for level in reversed(range(DEFAULT_LEVELS[entry.dimension])):
        name, filters = f"up{level + 1}", width << level
        skip = _gated(scales[1 << level], x, max(1, filters // 2), f"gate{level + 1}")
        x = upsampled(pointwise(x, filters, name), name)
        x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = residual_block(x, filters, name)
    return x


def _gated(skip: Any, gating: Any, filters: int, name: str) -> Any:
    fine = layer_nd("Conv", skip)(filters, 2, strides=2, use_bias=False, name=f"{name}_skip")(skip)
    coarse = layer_nd("Conv", skip)(filters, 1, name=f"{name}_coarse")(gating)
    both = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([fine, coarse]))
    attention = layer_nd("Conv", skip)(1, 1, activation="sigmoid", name=f"{name}_attention")(both)
    return layers.Multiply(name=f"{name}_multiply")([skip, upsampled(attention, name, smooth=True)])
