"""Early networks that outline: FCN, SegNet and the Tiramisu (dense blocks down and up). No weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import convolved, enlarged, normalised, sized
from easydl.networks.registry import Entry

# VGG-16: convolutions per stage, and filters in multiples of the first.
VGG = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
TIRAMISU = {"tiramisu": ((4, 4, 4, 4, 4), 4), "tiramisu103": ((4, 5, 7, 10, 12), 15)}
DROPOUT = 0.2


def fcn(entry: Entry, x: Any, *, width: int) -> Any:
    """FCN-8s: the guesses at strides 32, 16 and 8 are added up and enlarged to the image.

    The guesses have ``width`` maps instead of one per class, and the logits are taken after enlarging: both are
    linear, so with as many maps as classes it is the same. Light: at ``width=64`` the convolutions are those of VGG-16
    (14.7 million numbers), without its two layers of 4096 (the published network has 134.5 million in all). Enlarged
    along straight lines, where the paper begins with that and lets it learn; normalised, to train from random.

    References:
        Long et al. 2015, arXiv:1411.4038.
    """
    scales = _vgg_down(x, width)
    total = sized("Conv", x)(width, 1, name="guess32")(scales[32])
    for stride in (16, 8):
        total = enlarged(total, f"guess{stride}", smooth=True)
        total = layers.Add(name=f"guess{stride}_add")(
            [total, sized("Conv", x)(width, 1, name=f"guess{stride}")(scales[stride])]
        )
    return enlarged(total, "guess1", 8, smooth=True)


def _vgg_down(x: Any, width: int) -> dict[int, Any]:
    scales = {}
    for stage, (repeats, factor) in enumerate(VGG, start=1):
        for number in range(1, repeats + 1):
            x = convolved(x, width * factor, f"down{stage}_{number}")
        x = scales[1 << stage] = sized("MaxPooling", x)(2, name=f"down{stage}_pool")(x)
    return scales


def segnet(entry: Entry, x: Any, *, width: int) -> Any:
    """SegNet: VGG-16 down, its mirror image up, and no skips.

    The paper remembers where each maximum was and puts it back there; Keras has no layer for that, so maps are enlarged
    along straight lines, which is the variant "bilinear interpolation" that the paper compares with. Outlines are softer for it.
    At ``width=64`` with three channels and 12 classes it has 29.44 million numbers (published: 29.5 million).

    References:
        Badrinarayanan et al. 2015, arXiv:1511.00561.
    """
    x = _vgg_down(x, width)[32]
    for stage in reversed(range(len(VGG))):
        repeats, factor = VGG[stage]
        x = enlarged(x, f"up{stage + 1}", smooth=True)
        for number in range(1, repeats + 1):
            # The last convolution of a stage leads to the width of the stage above it.
            last = number == repeats and stage > 0
            filters = width * (VGG[stage - 1][1] if last else factor)
            if number == repeats and stage == 0:
                break
            x = convolved(x, filters, f"up{stage + 1}_{number}")
    return x


def tiramisu(entry: Entry, x: Any, *, width: int) -> Any:
    """FC-DenseNet: dense blocks down and up; each layer adds ``width`` maps to all that came before it.

    ``tiramisu`` is FC-DenseNet56 (published with 12 maps: 1.5 million numbers; ours at ``width=12`` 1.38 million with
    three channels and 11 classes), ``tiramisu103`` FC-DenseNet103 (16 maps: 9.4 million; ours at ``width=16`` 9.32).
    Instance normalisation instead of that of the batch, and layers need no bias before it.

    References:
        Jegou et al. 2017, The one hundred layers Tiramisu, arXiv:1611.09326.
    """
    blocks, middle = TIRAMISU[entry.name]
    x = sized("Conv", x)(min(48, 4 * width), 3, padding="same", kernel_initializer="he_normal", name="stem_conv")(x)
    skips = []
    for stage, repeats in enumerate(blocks, start=1):
        x = layers.Concatenate(name=f"down{stage}_join")([x, *_dense(x, repeats, width, f"down{stage}")])
        skips.append(x)
        x = _layer(x, x.shape[-1], 1, f"down{stage}_reduce")
        x = sized("MaxPooling", x)(2, name=f"down{stage}_pool")(x)
    new = _dense(x, middle, width, "bottom")
    for stage in reversed(range(1, len(blocks) + 1)):
        # Only what the last block made goes up: all of it would grow without end.
        x = new[0] if len(new) == 1 else layers.Concatenate(name=f"up{stage}_new")(new)
        up = sized("Conv", x)
        up = getattr(layers, f"{up.__name__}Transpose")
        x = up(x.shape[-1], 3, strides=2, padding="same", kernel_initializer="he_normal", name=f"up{stage}_enlarge")(x)
        x = layers.Concatenate(name=f"up{stage}_join")([x, skips[stage - 1]])
        new = _dense(x, blocks[stage - 1], width, f"up{stage}")
    return layers.Concatenate(name="last_join")([x, *new])


def _dense(x: Any, repeats: int, growth: int, name: str) -> list[Any]:
    new: list[Any] = []
    for number in range(1, repeats + 1):
        seen = layers.Concatenate(name=f"{name}_{number}_join")([x, *new]) if new else x
        new.append(_layer(seen, growth, 3, f"{name}_{number}"))
    return new


def _layer(x: Any, filters: int, size: int, name: str) -> Any:
    x = layers.ReLU(name=f"{name}_relu")(normalised(x, f"{name}_norm"))
    x = sized("Conv", x)(filters, size, padding="same", kernel_initializer="he_normal", name=f"{name}_conv")(x)
    return layers.Dropout(DROPOUT, name=f"{name}_dropout")(x)
