"""Backbones of ``keras.applications``, laid out flat in our graph, and their 3D versions. No weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from easydl.networks.architectures.blocks import MOMENTUM
from easydl.networks.keras_internals import calls, number_in
from easydl.networks.registry import IMAGENET_MEAN, IMAGENET_STD, Entry

# The graphs of these hold more than built-in layers; the contract test finds any that is not named here.
_WITH_OPERATORS = {"InceptionResNetV2", "MobileNetV3Small", "MobileNetV3Large"}


def backbone(entry: Entry, pixels: Any) -> Any:
    """The feature maps of the backbone that ``keras.applications`` calls ``entry.application``."""
    options = {} if entry.width is None else {"alpha": entry.width}
    make = getattr(keras.applications, entry.application)
    if entry.application in _WITH_OPERATORS:
        nested = make(include_top=False, weights=None, input_shape=pixels.shape[1:], **options)
        return _replayed(nested, pixels, lambda layer: type(layer).from_config(_config(layer)))
    model = make(include_top=False, weights=None, input_tensor=pixels, **options)
    standardise(model, IMAGENET_MEAN, [std * std for std in IMAGENET_STD])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return model.output


def standardise(model: Any, mean: Sequence[float], variance: Sequence[float]) -> None:
    """Set EfficientNet's own normalisation layer so that it does the whole of the published scaling.

    ``keras.applications`` divides by the standard deviation in that layer, and by its square root once more in a
    second one that it adds only for ``weights="imagenet"``. Both are one division; it is folded into the variance
    here, so that the graph does not depend on where the weights came from. Models without such a layer, and layers
    that were given their statistics when they were made, are left alone.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Normalization) and layer.input_mean is None:
            layer.adapt_mean.assign(mean)
            layer.adapt_variance.assign([v * std for v, std in zip(variance, IMAGENET_STD, strict=True)])
            layer.finalize_state()


def inflated(entry: Entry, voxels: Any) -> Any:
    """The 3D version of a backbone: every 2D layer becomes the 3D layer of the same name and width.

    Its weights can be those of the 2D network, repeated along the new axis (`easydl.networks.pretrained.transfer`).

    References:
        Carreira and Zisserman 2017, Quo vadis, action recognition? (I3D), arXiv:1705.07750.
    """
    make = getattr(keras.applications, entry.application)
    flat = make(include_top=False, weights=None, input_shape=(64, 64, voxels.shape[-1]))
    return _replayed(flat, voxels, _deep)


def _replayed(model: Any, start: Any, convert: Callable[[Any], Any]) -> Any:
    """The output of a model's graph laid out once more from another tensor, in built-in layers alone.

    ``keras.applications`` writes some sums and products as operators and one as a custom layer; these have no
    place in a model that is to open anywhere and to be explained layer by layer.
    """
    tensors: dict[int, Any] = {}
    for operation, node in calls(model):
        inputs = [tensors.get(id(tensor), start) for tensor in node.input_tensors]
        tensors[id(operation.output)] = _laid_out(operation, node, inputs, convert)
    return tensors[id(model.output)]


def _laid_out(operation: Any, node: Any, inputs: list[Any], convert: Callable[[Any], Any]) -> Any:
    kind = type(operation).__name__
    if kind == "CustomScaleLayer":
        small = layers.Rescaling(operation.scale, name=f"{operation.name}_scale")(inputs[1])
        return layers.Add(name=operation.name)([inputs[0], small])
    if isinstance(operation, layers.Layer):
        return convert(operation)(inputs[0] if len(inputs) == 1 else inputs)
    if kind in ("Add", "Multiply") and len(inputs) == 2:
        return getattr(layers, kind)(name=operation.name)(inputs)
    scale, offset = (1.0, number_in(node)) if kind == "Add" else (number_in(node), 0.0)
    return layers.Rescaling(scale, offset, name=operation.name)(inputs[0])


def _config(layer: Any) -> dict[str, Any]:
    config: dict[str, Any] = layer.get_config()
    return config | {"momentum": MOMENTUM} if isinstance(layer, layers.BatchNormalization) else config


def _deep(layer: Any) -> Any:
    config = _config(layer)
    kind = type(layer).__name__
    if "axis" in config:
        config["axis"] = -1
    if not kind.endswith("2D"):
        return type(layer).from_config(config)
    for key in ("kernel_size", "strides", "pool_size", "dilation_rate"):
        if key in config:
            config[key] = (config[key][0], *config[key])
    if "padding" in config and not isinstance(config["padding"], str):
        config["padding"] = (config["padding"][0], *config["padding"])
    config.pop("interpolation", None)
    return getattr(layers, f"{kind[:-2]}3D").from_config(config)
