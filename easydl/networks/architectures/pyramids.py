"""Networks that put a light way up on any backbone: DeepLabv3+, LinkNet and FPN. No weights."""

from __future__ import annotations

from typing import Any

from keras import layers

from easydl.networks.architectures.blocks import convolved, enlarged, mixed, normalised, residual, residual_scales
from easydl.networks.registry import Entry

RATES = (6, 12, 18)
LEVELS = 4


def deeplabv3plus(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """DeepLabv3+: the scene is looked at with holes of 6, 12 and 18 pixels, then sharpened with maps of stride 4.

    The filters are those of the paper at ``width=64`` (256; 48 for the fine maps). A backbone's last stage, beyond
    stride 16, is left out, where the paper keeps it and takes its stride away; on Xception with three channels that makes
    18.3 million numbers at ``width=64``. The average over the whole image is added after its own convolution, which equals joining it first.

    References:
        Chen et al. 2018, arXiv:1802.02611.
    """
    scales = residual_scales(x, width, LEVELS) if scales is None else scales
    coarse, fine = scales[max(one for one in scales if one <= 16)], min((one for one in scales if one >= 4), default=0)
    stride, filters = max(one for one in scales if one <= 16), 4 * width
    seen = [convolved(coarse, filters, "look0", 1)]
    for rate in RATES:
        y = layers.SeparableConv2D(
            filters, 3, padding="same", dilation_rate=rate, use_bias=False, name=f"look{rate}_conv"
        )(coarse)  # fmt: skip
        seen.append(layers.ReLU(name=f"look{rate}_relu")(normalised(y, f"look{rate}_norm")))
    x = mixed(layers.Concatenate(name="look_join")(seen), filters, "look")
    whole = layers.GlobalAveragePooling2D(keepdims=True, name="whole")(coarse)
    whole = layers.Conv2D(filters, 1, activation="relu", name="whole_conv")(whole)
    x = layers.Add(name="whole_add")([x, layers.Conv2D(filters, 1, use_bias=False, name="whole_mix")(whole)])
    x = layers.ReLU(name="look_relu")(normalised(x, "look_norm"))
    if stride > fine:
        x = enlarged(x, "fine", stride // fine, smooth=True)
        x = layers.Concatenate(name="fine_join")([x, convolved(scales[fine], 3 * width // 4, "fine", 1)])
    for number in (1, 2):
        x = convolved(x, filters, f"sharpen{number}")
    return enlarged(x, "last", min(stride, fine), smooth=True)


def linknet(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """LinkNet: each scale is enlarged through a narrow block and added to the maps of the same size on the way down.

    Published on ResNet-18 with 11.5 million numbers; ``encoder="resnet18"`` at ``width=32`` has 11.54 million here.
    Enlarging and a 3x3 convolution stand for the transposed ones.

    References:
        Chaurasia and Culurciello 2017, arXiv:1707.03718.
    """
    scales = residual_scales(x, width, LEVELS) if scales is None else scales
    x = scales[max(scales)]
    for level in reversed(range(max(scales).bit_length() - 1)):
        name, skip = f"up{level + 1}", scales.get(1 << level)
        narrow = max(4, x.shape[-1] // 4)
        x = convolved(x, narrow, f"{name}_in", 1)
        x = convolved(enlarged(x, name), narrow, f"{name}_middle")
        x = convolved(x, width << level if skip is None else skip.shape[-1], f"{name}_out", 1)
        x = x if skip is None else layers.Add(name=f"{name}_add")([x, skip])
    return residual(x, width, "last")


def fpn(entry: Entry, x: Any, *, width: int, scales: dict[int, Any] | None = None) -> Any:
    """Feature pyramid: coarse meaning is added to fine maps, and all scales are brought to stride 4 and summed.

    The filters are those of the paper at ``width=64`` (256 in the pyramid, 128 after it); its sizes depend on the
    backbone. Backbones without a stride of 4 are summed at their finest.

    References:
        Lin et al. 2017, arXiv:1612.03144; Kirillov et al. 2019, Panoptic FPN, arXiv:1901.02446.
    """
    scales = residual_scales(x, width, LEVELS) if scales is None else scales
    strides = [one for one in scales if one >= 4] or [max(scales)]
    finest, top, parts = min(strides), None, []
    for stride in reversed(strides):
        name = f"scale{stride}"
        side = mixed(scales[stride], 4 * width, name)
        if top is not None:
            side = layers.Add(name=f"{name}_add")([side, enlarged(top, name)])
        top = part = side
        for number in range(max(1, (stride // finest).bit_length() - 1)):
            part = convolved(part, 2 * width, f"{name}_{number + 1}")
            if stride > finest:
                part = enlarged(part, f"{name}_{number + 1}", smooth=True)
        parts.append(part)
    x = parts[0] if len(parts) == 1 else layers.Add(name="scales_add")(parts)
    return enlarged(x, "last", finest, smooth=True)
