"""FCN-8s."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import layer_nd, upsampled, vgg_encoder
from easydl.networks.registry import Entry


def fcn(entry: Entry, x: Any, *, width: int) -> Any:
    """FCN-8s: the scores at strides 32, 16 and 8 are added up and upsampled to the image.

    The scores have ``width`` maps instead of one per class, and the logits are taken after upsampling: both are
    linear, so with as many maps as classes it is the same. Light: at ``width=64`` the convolutions are those of VGG-16
    (14.7 million parameters), without its two layers of 4096 (the published network has 134.5 million in all).
    Upsampled by linear interpolation, where the paper begins with that and lets it learn; normalised, to train from
    random weights.

    References:
        Long et al. 2015, arXiv:1411.4038.
    """
    scales = vgg_encoder(x, width)
    total = layer_nd("Conv", x)(width, 1, name="score32")(scales[32])
    for stride in (16, 8):
        total = upsampled(total, f"score{stride}", smooth=True)
        score = layer_nd("Conv", x)(width, 1, name=f"score{stride}")(scales[stride])
        total = layers.Add(name=f"score{stride}_add")([total, score])
    return upsampled(total, "score1", 8, smooth=True)
