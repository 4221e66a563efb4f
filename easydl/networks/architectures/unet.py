"""U-Net and 3D U-Net with residual blocks: the default segmenters."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import pointwise, residual_block, residual_encoder, upsampled
from easydl.networks.pooling import DEFAULT_LEVELS, Strides, strides_of
from easydl.networks.registry import Entry


def residual_unet(
    entry: Entry, x: Any, *, width: int, levels: int | Strides = 0, scales: dict[int, Any] | None = None
) -> Any:
    """Four levels in 2D, three in 3D unless said otherwise, so that a volume of 32 x 48 x 32 is large enough.

    Normalised per image and channel, so that a batch of one trains as well as any. The 3x3 convolutions are those of
    the paper: at ``width=64`` with one channel their kernels hold 28,238,400 parameters, as there. The paper's total
    with two classes is 31,030,658, ours 30,339,330: a 1x1 convolution and upsampling (696,320) take the place of the
    2x2 transposed convolutions (2,786,240), the shortcuts add 1,392,704, and normalisation has 11,776 where the paper
    has biases. Borders are padded, so the mask is as large as the image. The 3D one has a level less than nnU-Net's at
    128 voxels; the paper of the 3D U-Net has 19,069,955 parameters, with more filters before each pooling.

    ``levels`` are a number or strides, 0 for the default; ``scales`` the maps of a backbone by stride, instead of the
    own encoder.

    References:
        Ronneberger et al. 2015, arXiv:1505.04597; Zhang et al. 2017, arXiv:1711.10684; Cicek et al. 2016,
        arXiv:1606.06650; Isensee et al. 2018, arXiv:1809.10486.
    """
    own = scales is None
    levels = levels or DEFAULT_LEVELS[entry.dimension]
    scales = residual_encoder(x, width, levels) if scales is None else scales
    x = scales[max(scales)]
    strides = strides_of(levels if own else max(scales).bit_length() - 1, entry.dimension)
    for level in reversed(range(len(strides))):
        name, filters = f"up{level + 1}", width << level
        # Mixing to fewer channels before upsampling costs an eighth of doing it after; as fast as a transposed
        # convolution on a CPU, and free of its checkerboard.
        x = upsampled(pointwise(x, filters, name), name, strides[level])
        if 1 << level in scales:
            skip = scales[1 << level]
            # A backbone's maps are wide: as many as ours keep the decoder cheap.
            skip = skip if own else pointwise(skip, filters, f"{name}_skip")
            x = layers.Concatenate(name=f"{name}_join")([x, skip])
        x = residual_block(x, filters, name)
    return x
