"""A classifier's backbone as the way down of a segmenter: its maps at every scale. No weights, no decoders."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks.common_layers import laid_out
from easydl.networks.registry import Entry

# Even at every halving, and large enough for every backbone.
SIDE = 256
_EDGES = (layers.ZeroPadding2D, layers.Cropping2D)
_IMAGE = (layers.InputLayer, layers.Rescaling, layers.Normalization)


def backbone_scales(encoder: Entry, x: Any) -> tuple[dict[int, Any], Any]:
    """Wire a backbone on pixels and keep the maps that each halving reads.

    A backbone is first laid out on a picture of 256 pixels, where every size is known, and then once more on ``x``,
    whose size may be open. Convolutions and poolings that cut the border off (Inception, Xception, NASNet) keep it
    here, so that the sizes of all scales are exact halves; weights do not depend on that. Of the layers that a
    halving reads (two, where a shortcut goes around it) the widest is kept, the last of equals.

    Args:
        encoder: A 2D classifier of the catalogue.
        x: ``(batch, height, width, channels)`` in the colours and range the backbone takes; sides are multiples of
            its last stride.

    Returns:
        Maps by stride in ascending order, the last being all that the backbone makes of the image; and its own end,
        which is these or, where it pools them itself (ConvNeXt), a vector.

    Raises:
        InputError: The network is for volumes, or has dense layers instead of maps at its end.
    """
    given = keras.Input((SIDE, SIDE, x.shape[-1]))
    end = laid_out(encoder)(encoder, given)
    flat = keras.Model(given, end)
    if any(isinstance(layer, layers.Flatten) for layer in flat.layers):
        raise InputError(
            f"`encoder` is {encoder.name!r}, which ends in dense layers.",
            "a 2D classifier that ends in maps.",
            'Use encoder="mobilenetv2", encoder="resnet18" or encoder="densenet121", for instance.',
        )
    tensors, strides = {id(given): x}, {id(given): 1}
    # A picture that was only padded or cropped: the tensor it was before.
    before: dict[int, Any] = {}
    taps: dict[int, Any] = {}
    last = end
    for layer in flat.operations[1:]:
        node = layer._inbound_nodes[0]
        inputs, output = node.input_tensors, layer.output
        known = [strides[id(one)] for one in inputs if strides[id(one)]]
        step = max(getattr(layer, "strides", None) or (1,))
        pools = type(layer).__name__.startswith("Global")
        stride = strides[id(output)] = max(known) * step if known and not pools else 0
        whole = before.get(id(inputs[0]), inputs[0])
        if isinstance(layer, _EDGES):
            before[id(output)] = whole
        if step > 1 and not isinstance(whole._keras_history.operation, _IMAGE):
            best = taps.get(stride // step)
            if best is None or whole.shape[-1] >= best.shape[-1]:
                taps[stride // step] = whole
        if pools and len(end.shape) == 2:
            last = inputs[0]
        twin = _kept(layer, padded=id(inputs[0]) in before)
        arguments, options = node.arguments.fill_in(tensors)
        tensors[id(output)] = twin(*arguments, **options)
        if getattr(layer, "weights", None):
            twin.set_weights(layer.get_weights())
            if isinstance(twin, layers.Normalization):
                twin.finalize_state()
    taps[strides[id(last)]] = last
    return {stride: tensors[id(taps[stride])] for stride in sorted(taps)}, tensors[id(end)]


def _kept(layer: Any, *, padded: bool) -> Any:
    """The same layer anew, which keeps the border unless the padding before it already sees to that."""
    config = layer.get_config()
    window = config.get("kernel_size", config.get("pool_size", 1))
    if (
        config.get("padding") == "valid"
        and not padded
        and max(window if isinstance(window, tuple | list) else (window,)) > 1
    ):
        config["padding"] = "same"
    return type(layer).from_config(config)
