"""DeepLabv3+."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import conv_norm_relu, instance_norm, pointwise, residual_encoder, upsampled
from easydl.networks.registry import Entry

DILATIONS = (6, 12, 18)
LEVELS = 4


def deeplabv3plus(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """DeepLabv3+: atrous spatial pyramid pooling with dilations 6, 12 and 18, refined with maps of stride 4.

    The filters are those of the paper at ``width=64`` (256; 48 for the fine maps). A backbone's last stage, beyond
    stride 16, is left out, where the paper keeps it and takes its stride away; on Xception with three channels that
    makes 18.3 million parameters at ``width=64``. The average over the whole image is added after its own convolution,
    which equals joining it first.

    References:
        Chen et al. 2018, arXiv:1802.02611.
    """
    scales = residual_encoder(x, width, LEVELS) if scales is None else scales
    stride, filters = max(one for one in scales if one <= 16), 4 * width
    fine = min((one for one in scales if one >= 4), default=0)
    x = _pyramid(scales[stride], filters)
    if stride > fine:
        x = upsampled(x, "fine", stride // fine, smooth=True)
        x = layers.Concatenate(name="fine_join")([x, conv_norm_relu(scales[fine], 3 * width // 4, "fine", 1)])
    for number in (1, 2):
        x = conv_norm_relu(x, filters, f"refine{number}")
    return upsampled(x, "last", min(stride, fine), smooth=True)


def _pyramid(coarse: Any, filters: int) -> Any:
    branches = [conv_norm_relu(coarse, filters, "aspp0", 1)]
    for rate in DILATIONS:
        y = layers.SeparableConv2D(
            filters, 3, padding="same", dilation_rate=rate, use_bias=False, name=f"aspp{rate}_conv"
        )(coarse)
        branches.append(layers.ReLU(name=f"aspp{rate}_relu")(instance_norm(y, f"aspp{rate}_norm")))
    x = pointwise(layers.Concatenate(name="aspp_join")(branches), filters, "aspp")
    average = layers.GlobalAveragePooling2D(keepdims=True, name="image_pool")(coarse)
    average = layers.Conv2D(filters, 1, activation="relu", name="image_pool_conv")(average)
    x = layers.Add(name="image_pool_add")(
        [x, layers.Conv2D(filters, 1, use_bias=False, name="image_pool_mix")(average)]
    )
    return layers.ReLU(name="aspp_relu")(instance_norm(x, "aspp_norm"))
