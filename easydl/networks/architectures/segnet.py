"""SegNet."""

from __future__ import annotations

from typing import Any

from easydl.networks.architectures.blocks import VGG, conv_norm_relu, upsampled, vgg_encoder
from easydl.networks.registry import Entry


def segnet(entry: Entry, x: Any, *, width: int) -> Any:
    """SegNet: VGG-16 as the encoder, its mirror image as the decoder, and no skip connections.

    The paper remembers where each maximum was and puts it back there; Keras has no layer for that, so maps are
    upsampled linearly, which is the variant "bilinear interpolation" that the paper compares with. Segmentations have
    softer borders for it. At ``width=64`` with three channels and 12 classes it has 29.44 million parameters
    (published: 29.5 million).

    References:
        Badrinarayanan et al. 2015, arXiv:1511.00561.
    """
    x = vgg_encoder(x, width)[32]
    for stage in reversed(range(len(VGG))):
        repeats, factor = VGG[stage]
        x = upsampled(x, f"up{stage + 1}", smooth=True)
        filters = [width * factor] * (repeats - 1)
        # The last convolution of a stage leads to the width of the stage above it; that of the first is the logits.
        filters += [width * VGG[stage - 1][1]] if stage else []
        for number, count in enumerate(filters, start=1):
            x = conv_norm_relu(x, count, f"up{stage + 1}_{number}")
    return x
