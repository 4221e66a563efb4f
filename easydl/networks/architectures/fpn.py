"""Feature pyramid network (FPN) for segmentation."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import conv_norm_relu, pointwise, residual_encoder, upsampled
from easydl.networks.registry import Entry

LEVELS = 4


def fpn(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """Feature pyramid: coarse maps are added to fine ones, and all scales are brought to stride 4 and summed.

    The filters are those of the paper at ``width=64`` (256 in the pyramid, 128 after it); its sizes depend on the
    backbone. Backbones without a stride of 4 are summed at their finest.

    References:
        Lin et al. 2017, arXiv:1612.03144; Kirillov et al. 2019, Panoptic FPN, arXiv:1901.02446.
    """
    scales = residual_encoder(x, width, LEVELS) if scales is None else scales
    strides = [one for one in scales if one >= 4] or [max(scales)]
    finest, top, parts = min(strides), None, []
    for stride in reversed(strides):
        name = f"scale{stride}"
        lateral = pointwise(scales[stride], 4 * width, name)
        if top is not None:
            lateral = layers.Add(name=f"{name}_add")([lateral, upsampled(top, name)])
        top = part = lateral
        for number in range(max(1, (stride // finest).bit_length() - 1)):
            part = conv_norm_relu(part, 2 * width, f"{name}_{number + 1}")
            if stride > finest:
                part = upsampled(part, f"{name}_{number + 1}", smooth=True)
        parts.append(part)
    x = parts[0] if len(parts) == 1 else layers.Add(name="scales_add")(parts)
    return upsampled(x, "last", finest, smooth=True)
