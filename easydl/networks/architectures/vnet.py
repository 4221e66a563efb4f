"""V-Net."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import instance_norm
from easydl.networks.registry import Entry

# Convolutions of each stage of the encoder; the decoder mirrors it.
REPEATS = (1, 2, 3, 3)


def vnet(entry: Entry, x: Any, *, width: int) -> Any:
    """V-Net: 5x5x5 convolutions with shortcuts, downsampled and upsampled by convolutions instead of pooling.

    At ``width=16`` the kernels are those of the paper's figure 2: 65.2 million parameters with one channel; the paper
    prints no total. Each convolution is normalised here (the paper's are not), to train from random weights on few
    volumes. The default width is 4, a sixteenth of it, for laptops.

    References:
        Milletari et al. 2016, arXiv:1606.04797.
    """
    skips, shortcut = [], _stem(x, width)
    for level, repeats in enumerate(REPEATS, start=1):
        x = _stage(x, shortcut, repeats, width << (level - 1), f"down{level}")
        skips.append(x)
        x = layers.Conv3D(width << level, 2, strides=2, use_bias=False, name=f"down{level}_downsample")(x)
        x = shortcut = _prelu(x, f"down{level}_downsample")
    x = _stage(x, shortcut, 3, width << len(REPEATS), "bottom")
    for level in reversed(range(1, len(REPEATS) + 1)):
        name = f"up{level}"
        # Half of the joined maps come from below, half from the skip: the block's width is their sum.
        x = layers.Conv3DTranspose(width << (level - 1), 2, strides=2, use_bias=False, name=f"{name}_upsample")(x)
        x = layers.Concatenate(name=f"{name}_join")([_prelu(x, f"{name}_upsample"), skips[level - 1]])
        x = _stage(x, x, REPEATS[level - 1], width << level, name)
    return x


def _stem(x: Any, width: int) -> Any:
    """The shortcut of the first stage: one channel is repeated, several are mixed."""
    if x.shape[-1] == width:
        return x
    if x.shape[-1] == 1:
        return layers.Concatenate(name="stem_repeat")([x] * width)
    return layers.Conv3D(width, 1, use_bias=False, name="stem_mix")(x)


def _stage(x: Any, shortcut: Any, repeats: int, filters: int, name: str) -> Any:
    for number in range(1, repeats + 1):
        x = layers.Conv3D(filters, 5, padding="same", use_bias=False, name=f"{name}_{number}_conv")(x)
        x = instance_norm(x, f"{name}_{number}_norm")
        if number == repeats:
            x = layers.Add(name=f"{name}_add")([x, shortcut])
        x = layers.PReLU(shared_axes=[1, 2, 3], name=f"{name}_{number}_prelu")(x)
    return x


def _prelu(x: Any, name: str) -> Any:
    return layers.PReLU(shared_axes=[1, 2, 3], name=f"{name}_prelu")(instance_norm(x, f"{name}_norm"))
