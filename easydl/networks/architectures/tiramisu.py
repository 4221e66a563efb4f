"""The Tiramisu: FC-DenseNet."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import instance_norm, layer_nd
from easydl.networks.registry import Entry

# Layers of the dense blocks in the encoder (mirrored in the decoder), and of the one between.
BLOCKS = {"tiramisu": ((4, 4, 4, 4, 4), 4), "tiramisu103": ((4, 5, 7, 10, 12), 15)}
DROPOUT = 0.2


def tiramisu(entry: Entry, x: Any, *, width: int) -> Any:
    """FC-DenseNet: dense blocks in encoder and decoder; each layer adds ``width`` maps to all that came before it.

    ``tiramisu`` is FC-DenseNet56 (published with 12 maps: 1.5 million parameters; ours at ``width=12`` 1.38 million
    with three channels and 11 classes), ``tiramisu103`` FC-DenseNet103 (16 maps: 9.4 million; ours at ``width=16``
    9.32). Instance instead of batch normalisation, and convolutions before it need no bias.

    References:
        Jegou et al. 2017, The one hundred layers Tiramisu, arXiv:1611.09326.
    """
    blocks, middle = BLOCKS[entry.name]
    x = layer_nd("Conv", x)(min(48, 4 * width), 3, padding="same", kernel_initializer="he_normal", name="stem_conv")(x)
    skips = []
    for stage, repeats in enumerate(blocks, start=1):
        x = layers.Concatenate(name=f"down{stage}_join")([x, *_dense_block(x, repeats, width, f"down{stage}")])
        skips.append(x)
        x = _layer(x, x.shape[-1], 1, f"down{stage}_transition")
        x = layer_nd("MaxPooling", x)(2, name=f"down{stage}_pool")(x)
    new = _dense_block(x, middle, width, "bottom")
    for stage in reversed(range(1, len(blocks) + 1)):
        # Only what the last block made is upsampled: all of it would grow without end.
        x = new[0] if len(new) == 1 else layers.Concatenate(name=f"up{stage}_new")(new)
        x = getattr(layers, f"{layer_nd('Conv', x).__name__}Transpose")(
            x.shape[-1], 3, strides=2, padding="same", kernel_initializer="he_normal", name=f"up{stage}_upsample"
        )(x)
        x = layers.Concatenate(name=f"up{stage}_join")([x, skips[stage - 1]])
        new = _dense_block(x, blocks[stage - 1], width, f"up{stage}")
    return layers.Concatenate(name="last_join")([x, *new])


def _dense_block(x: Any, repeats: int, growth: int, name: str) -> list[Any]:
    new: list[Any] = []
    for number in range(1, repeats + 1):
        inputs = layers.Concatenate(name=f"{name}_{number}_join")([x, *new]) if new else x
        new.append(_layer(inputs, growth, 3, f"{name}_{number}"))
    return new


def _layer(x: Any, filters: int, size: int, name: str) -> Any:
    x = layers.ReLU(name=f"{name}_relu")(instance_norm(x, f"{name}_norm"))
    x = layer_nd("Conv", x)(filters, size, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.Dropout(DROPOUT, name=f"{name}_dropout")(x)
