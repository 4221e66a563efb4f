"""U-Net++ (nested U-Net)."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import pointwise, residual_block, residual_encoder, upsampled
from easydl.networks.pooling import DEFAULT_LEVELS
from easydl.networks.registry import Entry


def unetplusplus(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """U-Net++: every level is refined from the one below it, again and again, and sees all it was before.

    The paper has 9.04 million parameters (its table 3; 32 filters at first). Ours at ``width=32`` has 8.79 million:
    blocks are residual, and a 1x1 convolution before upsampling stands for the transposed ones. Trained on the last
    output only; the paper may also train on the earlier ones.

    References:
        Zhou et al. 2018, UNet++, arXiv:1807.10165.
    """
    own = scales is None
    scales = residual_encoder(x, width, DEFAULT_LEVELS[entry.dimension]) if scales is None else scales
    levels = [stride.bit_length() - 1 for stride in scales]
    nodes = [
        [maps if own else pointwise(maps, width << level, f"level{level + 1}_0")]
        for level, maps in zip(levels, scales.values(), strict=True)
    ]
    for column in range(1, len(nodes)):
        for row in range(len(nodes) - column):
            level, name = levels[row], f"level{levels[row] + 1}_{column}"
            factor = 1 << (levels[row + 1] - level)
            below = upsampled(pointwise(nodes[row + 1][column - 1], width << level, name), name, factor)
            joined = layers.Concatenate(name=f"{name}_join")([*nodes[row], below])
            nodes[row].append(residual_block(joined, width << level, name))
    x = nodes[0][-1]
    # Backbones that begin by downsampling have no maps of full size.
    for level in reversed(range(levels[0])):
        name, filters = f"up{level + 1}", width << level
        x = residual_block(upsampled(pointwise(x, filters, name), name), filters, name)
    return x
