"""A classifier's backbone as the encoder of a segmenter: its maps at every scale. No weights, no decoders."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from easydl.errors import InputError
from easydl.networks.common_layers import laid_out
from easydl.networks.keras_internals import called_again, calls, producer
from easydl.networks.registry import Entry

# Even at every downsampling, and large enough for every backbone.
SIDE = 256
_EDGES = (layers.ZeroPadding2D, layers.Cropping2D)
_IMAGE = (layers.InputLayer, layers.Rescaling, layers.Normalization)


def backbone_scales(encoder: Entry, x: Any) -> tuple[dict[int, Any], Any]:
    """Lay a backbone out on pixels and keep the maps that each downsampling reads.

    A backbone is first laid out on an image of 256 pixels, where every size is known, and then once more on ``x``,
    whose size may be open. Convolutions and poolings that crop the border (Inception, Xception, NASNet) keep it here,
    so that the sizes of all scales are exact halves; weights do not depend on that. Of the layers that a downsampling
    reads (two, where a shortcut goes around it) the widest is kept, the last of equals.

    Returns the maps by stride in ascending order, the last being all that the backbone makes of the image; and its
    own end, which is these or, where it pools them itself (ConvNeXt), a vector.

    Raises:
        InputError: The network has dense layers instead of maps at its end.
    """
    image = keras.Input((SIDE, SIDE, x.shape[-1]))
    end = laid_out(encoder)(encoder, image)
    flat = keras.Model(image, end)
    if any(isinstance(layer, layers.Flatten) for layer in flat.layers):
        raise InputError(
            f"`encoder` is {encoder.name!r}, which ends in dense layers.",
            "a 2D classifier that ends in maps.",
            'Use encoder="mobilenetv2", encoder="resnet18" or encoder="densenet121", for instance.',
        )
    tensors, strides = {id(image): x}, {id(image): 1}
    # The tensor before padding or cropping, for one that was only padded or cropped.
    uncropped: dict[int, Any] = {}
    taps: dict[int, Any] = {}
    last = end
    for layer, node in calls(flat):
        inputs, output = node.input_tensors, layer.output
        known = [strides[id(tensor)] for tensor in inputs if strides[id(tensor)]]
        step = max(getattr(layer, "strides", None) or (1,))
        pools = type(layer).__name__.startswith("Global")
        stride = strides[id(output)] = max(known) * step if known and not pools else 0
        source = uncropped.get(id(inputs[0]), inputs[0])
        if isinstance(layer, _EDGES):
            uncropped[id(output)] = source
        if step > 1 and not isinstance(producer(source), _IMAGE):
            best = taps.get(stride // step)
            if best is None or source.shape[-1] >= best.shape[-1]:
                taps[stride // step] = source
        if pools and len(end.shape) == 2:
            last = inputs[0]
        copy = _padded(layer, before=id(inputs[0]) in uncropped)
        tensors[id(output)] = called_again(copy, node, tensors)
        if getattr(layer, "weights", None):
            copy.set_weights(layer.get_weights())
            if isinstance(copy, layers.Normalization):
                copy.finalize_state()
    taps[strides[id(last)]] = last
    return {stride: tensors[id(taps[stride])] for stride in sorted(taps)}, tensors[id(end)]


def _padded(layer: Any, *, before: bool) -> Any:
    """The same layer anew, which pads the border unless the padding layer before it already does."""
    config = layer.get_config()
    window = config.get("kernel_size", config.get("pool_size", 1))
    side = max(window if isinstance(window, tuple | list) else (window,))
    if config.get("padding") == "valid" and not before and side > 1:
        config["padding"] = "same"
    return type(layer).from_config(config)
