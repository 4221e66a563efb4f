"""Networks for volumes beside the 3D U-Net: V-Net, and two pathways at two scales. No weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import convolved, enlarged, normalised
from easydl.networks.registry import Entry

DOWN = (1, 2, 3, 3)
CONTEXT = 4


def vnet(entry: Entry, x: Any, *, width: int) -> Any:
    """V-Net: 5x5x5 convolutions with ways around them, down and up by convolutions instead of pooling.

    At ``width=16`` the kernels are those of the paper's figure 2: 65.2 million numbers with one channel; the paper prints no total. Each
    convolution is normalised here (the paper's are not), to train from random on few volumes. The default width
    is 4, a sixteenth of it, for laptops.

    References:
        Milletari et al. 2016, arXiv:1606.04797.
    """
    skips = []
    around = x if x.shape[-1] == width else layers.Concatenate(name="stem_repeat")([x] * width) if x.shape[-1] == 1 else (
        layers.Conv3D(width, 1, use_bias=False, name="stem_mix")(x)
    )  # fmt: skip
    for level, repeats in enumerate(DOWN, start=1):
        x = _stage(x, around, repeats, width << (level - 1), f"down{level}")
        skips.append(x)
        x = layers.Conv3D(width << level, 2, strides=2, use_bias=False, name=f"down{level}_halve")(x)
        x = around = _prelu(x, f"down{level}_halve")
    x = _stage(x, around, 3, width << len(DOWN), "bottom")
    for level in reversed(range(1, len(DOWN) + 1)):
        name = f"up{level}"
        # Half of the joined maps come from below, half from beside: the block's width is their sum.
        x = layers.Conv3DTranspose(width << (level - 1), 2, strides=2, use_bias=False, name=f"{name}_double")(x)
        x = layers.Concatenate(name=f"{name}_join")([_prelu(x, f"{name}_double"), skips[level - 1]])
        x = _stage(x, x, DOWN[level - 1], width << level, name)
    return x


def _stage(x: Any, around: Any, repeats: int, filters: int, name: str) -> Any:
    for number in range(1, repeats + 1):
        x = layers.Conv3D(filters, 5, padding="same", use_bias=False, name=f"{name}_{number}_conv")(x)
        x = normalised(x, f"{name}_{number}_norm")
        if number == repeats:
            x = layers.Add(name=f"{name}_add")([x, around])
        x = layers.PReLU(shared_axes=[1, 2, 3], name=f"{name}_{number}_prelu")(x)
    return x


def _prelu(x: Any, name: str) -> Any:
    return layers.PReLU(shared_axes=[1, 2, 3], name=f"{name}_prelu")(normalised(x, f"{name}_norm"))


def multiscale3d(entry: Entry, x: Any, *, width: int) -> Any:
    """Two pathways: one on the voxels, one on the volume reduced fourfold for its surroundings; joined at the end.

    At ``width=40`` the filters are DeepMedic's (30, 30, 40, 40, 40, 40, 50, 50 in each pathway, 150 where they join).
    DeepMedic reduces threefold and looks beyond the patch; here both see the same patch, with its border kept.
    Normalised per volume instead of per batch. Its authors give no number of parameters.

    References:
        Kamnitsas et al. 2017, DeepMedic, 10.1016/j.media.2016.10.004; Havaei et al. 2017,
        10.1016/j.media.2016.05.004.
    """
    filters = [3 * width // 4] * 2 + [width] * 4 + [5 * width // 4] * 2
    wide = layers.AveragePooling3D(CONTEXT, name="context_reduce")(x)
    for number, count in enumerate(filters, start=1):
        x = convolved(x, count, f"detail{number}")
        wide = convolved(wide, count, f"context{number}")
    x = layers.Concatenate(name="join")([x, enlarged(wide, "context", CONTEXT)])
    for number in (1, 2):
        x = convolved(x, 15 * width // 4, f"joined{number}", 1)
        x = layers.Dropout(0.5, name=f"joined{number}_dropout")(x)
    return x
