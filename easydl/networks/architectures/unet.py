"""U-Nets: the residual one, 2D and 3D, which is the default; with attention gates; nested (U-Net++). No weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import enlarged, mixed, residual, residual_scales, sized
from easydl.networks.arguments import Halvings, steps_of
from easydl.networks.registry import Entry

LEVELS = {2: 4, 3: 3}


def residual_unet(
    entry: Entry, x: Any, *, width: int, levels: int | Halvings = 0, scales: dict[int, Any] | None = None
) -> Any:
    """Four levels down and up in 2D, three in 3D, so that a volume of 32 x 48 x 32 is large enough.

    Normalised per image and channel, so that a batch of one trains as well as any. The 3x3 convolutions are those of
    the paper: at ``width=64`` with one channel their kernels hold 28,238,400 numbers, as there. The paper's total with
    two classes is 31,030,658, ours 30,339,330: a 1x1 convolution and enlarging (696,320) take the place of the 2x2
    transposed convolutions (2,786,240), the ways around the blocks add 1,392,704, and normalisation has 11,776 where
    the paper has biases. Borders are kept, so the mask is as large as the image.

    The 3D one has a level less than nnU-Net's at 128 voxels; the paper of the 3D U-Net has 19,069,955 numbers, with
    more filters before each pooling.

    Args:
        entry: Its entry in the catalogue.
        x: ``(batch, *spatial, channels)``.
        width: Filters of the first level; doubled at every level.
        levels: How often the size is halved, or what every axis is divided by, level by level; 0 for the default.
        scales: Maps of a backbone by stride, instead of the own way down.

    Returns:
        ``(batch, *spatial, width)``.

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, arXiv:1711.10684; Cicek et al. 2016,
        arXiv:1606.06650; Isensee et al. 2018, arXiv:1809.10486.
    """
    own = scales is None
    levels = levels or LEVELS[entry.dimension]
    scales = residual_scales(x, width, levels) if scales is None else scales
    x = scales[max(scales)]
    steps = steps_of(levels if own else max(scales).bit_length() - 1, entry.dimension)
    for level in reversed(range(len(steps))):
        name, filters = f"up{level + 1}", width << level
        # Mixing to fewer channels before enlarging costs an eighth of doing it after; as fast as a transposed
        # convolution on a CPU, and free of its chequerboard.
        x = enlarged(mixed(x, filters, name), name, steps[level])
        if 1 << level in scales:
            skip = scales[1 << level]
            # A backbone's maps are wide: as many as ours keep the way up cheap.
            skip = skip if own else mixed(skip, filters, f"{name}_skip")
            x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = residual(x, filters, name)
    return x


def attention_unet(entry: Entry, x: Any, *, width: int) -> Any:
    """The residual U-Net whose skips are weighed, pixel by pixel, by what the coarser level has found.

    The gates are the paper's: additive, at the coarser grid, with a sigmoid. The paper's network is for volumes and
    without residual blocks; its authors give no number of parameters.

    References:
        Oktay et al. 2018, Attention U-Net, arXiv:1804.03999.
    """
    scales = residual_scales(x, width, LEVELS[entry.dimension])
    x = scales[max(scales)]
    for level in reversed(range(LEVELS[entry.dimension])):
        name, filters = f"up{level + 1}", width << level
        skip = _gated(scales[1 << level], x, max(1, filters // 2), f"gate{level + 1}")
        x = enlarged(mixed(x, filters, name), name)
        x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = residual(x, filters, name)
    return x


def _gated(skip: Any, coarse: Any, between: int, name: str) -> Any:
    fine = sized("Conv", skip)(between, 2, strides=2, use_bias=False, name=f"{name}_skip")(skip)
    asked = sized("Conv", skip)(between, 1, name=f"{name}_coarse")(coarse)
    both = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([fine, asked]))
    share = sized("Conv", skip)(1, 1, activation="sigmoid", name=f"{name}_share")(both)
    return layers.Multiply(name=f"{name}_weigh")([skip, enlarged(share, name, smooth=True)])


def unetplusplus(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """U-Net++: every level is refined from the one below it, again and again, and sees all it was before.

    The paper has 9.04 million numbers (its table 3; 32 filters at first). Ours at ``width=32`` has 8.79 million: blocks
    are residual, and a 1x1 convolution before enlarging stands for the transposed ones. Trained on the last output
    only; the paper may also train on the earlier ones.

    References:
        Zhou et al. 2018, UNet++, arXiv:1807.10165.
    """
    own = scales is None
    scales = residual_scales(x, width, LEVELS[entry.dimension]) if scales is None else scales
    levels = [stride.bit_length() - 1 for stride in scales]
    nodes = [
        [one if own else mixed(one, width << level, f"level{level + 1}_0")]
        for level, one in zip(levels, scales.values(), strict=True)
    ]
    for turn in range(1, len(nodes)):
        for row in range(len(nodes) - turn):
            level, name = levels[row], f"level{levels[row] + 1}_{turn}"
            factor = 1 << (levels[row + 1] - level)
            below = enlarged(mixed(nodes[row + 1][turn - 1], width << level, name), name, factor)
            joined = layers.Concatenate(name=f"{name}_join")([*nodes[row], below])
            nodes[row].append(residual(joined, width << level, name))
    x = nodes[0][-1]
    # Backbones that begin with a halving have no maps of full size.
    for level in reversed(range(levels[0])):
        name, filters = f"up{level + 1}", width << level
        x = residual(enlarged(mixed(x, filters, name), name), filters, name)
    return x
