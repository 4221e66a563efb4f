"""LinkNet."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import conv_norm_relu, residual_block, residual_encoder, upsampled
from easydl.networks.registry import Entry

LEVELS = 4


def linknet(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """LinkNet: each scale is upsampled through a bottleneck and added to the encoder's maps of the same size.

    Published on ResNet-18 with 11.5 million parameters; ``encoder="resnet18"`` at ``width=32`` has 11.54 million here.
    Upsampling and a 3x3 convolution stand for the transposed ones.

    References:
        Chaurasia and Culurciello 2017, arXiv:1707.03718.
    """
    scales = residual_encoder(x, width, LEVELS) if scales is None else scales
    x = scales[max(scales)]
    for level in reversed(range(max(scales).bit_length() - 1)):
        name, skip = f"up{level + 1}", scales.get(1 << level)
        narrow = max(4, x.shape[-1] // 4)
        x = conv_norm_relu(x, narrow, f"{name}_in", 1)
        x = conv_norm_relu(upsampled(x, name), narrow, f"{name}_middle")
        x = conv_norm_relu(x, width << level if skip is None else skip.shape[-1], f"{name}_out", 1)
        x = x if skip is None else layers.Add(name=f"{name}_add")([x, skip])
    return residual_block(x, width, "last")
