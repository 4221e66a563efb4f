"""DeepMedic: two pathways at two scales, for volumes."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import conv_norm_relu, upsampled
from easydl.networks.registry import Entry

CONTEXT = 4


def multiscale3d(entry: Entry, x: Any, *, width: int) -> Any:
    """Two pathways: one on the voxels, one on the volume downsampled fourfold for its context; joined at the end.

    At ``width=40`` the filters are DeepMedic's (30, 30, 40, 40, 40, 40, 50, 50 in each pathway, 150 where they join).
    DeepMedic downsamples threefold and looks beyond the patch; here both see the same patch, with its border kept.
    Normalised per volume instead of per batch. Its authors give no number of parameters.

    References:
        Kamnitsas et al. 2017, DeepMedic, 10.1016/j.media.2016.10.004; Havaei et al. 2017,
        10.1016/j.media.2016.05.004.
    """
    filters = [3 * width // 4] * 2 + [width] * 4 + [5 * width // 4] * 2
    context = layers.AveragePooling3D(CONTEXT, name="context_pool")(x)
    for number, count in enumerate(filters, start=1):
        x = conv_norm_relu(x, count, f"detail{number}")
        context = conv_norm_relu(context, count, f"context{number}")
    x = layers.Concatenate(name="join")([x, upsampled(context, "context", CONTEXT)])
    for number in (1, 2):
        x = conv_norm_relu(x, 15 * width // 4, f"joined{number}", 1)
        x = layers.Dropout(0.5, name=f"joined{number}_dropout")(x)
    return x
