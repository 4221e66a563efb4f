"""Backbones of ``keras.applications``, wired flat into a graph, and their twins for volumes. No weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from easydl.networks.architectures.tiny import MOMENTUM
from easydl.networks.registry import Entry

# ImageNet colour statistics, as EfficientNet was trained with them.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The graphs of these hold more than built-in layers; the contract test finds any that is not named here.
_WITH_OPERATORS = {"InceptionResNetV2", "MobileNetV3Small", "MobileNetV3Large"}


def wire(entry: Entry, pixels: Any) -> Any:
    """The feature maps of the backbone that ``keras.applications`` calls ``entry.application``."""
    options = {} if entry.width is None else {"alpha": entry.width}
    make = getattr(keras.applications, entry.application)
    if entry.application in _WITH_OPERATORS:
        alone = make(include_top=False, weights=None, input_shape=pixels.shape[1:], **options)
        return _replayed(alone, pixels, lambda layer: type(layer).from_config(_settled(layer)))
    backbone = make(include_top=False, weights=None, input_tensor=pixels, **options)
    standardise(backbone, _MEAN, [d * d for d in _DEVIATION])
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = MOMENTUM
    return backbone.output


def standardise(model: Any, mean: Sequence[float], variance: Sequence[float]) -> None:
    """Set EfficientNet's own normalisation layer so that it does the whole of the published scaling.

    ``keras.applications`` divides by the deviation in that layer, and by its square root once more in a
    second one that it adds only for ``weights="imagenet"``. Both are one division; it is folded into the
    variance here, so that the graph does not depend on where the weights came from. Models without such a
    layer, and layers that were given their statistics when they were made, are left alone.
    """
    for layer in model.layers:
        if isinstance(layer, layers.Normalization) and layer.input_mean is None:
            layer.adapt_mean.assign(mean)
            layer.adapt_variance.assign([v * d for v, d in zip(variance, _DEVIATION, strict=True)])
            layer.finalize_state()


def inflated(entry: Entry, voxels: Any) -> Any:
    """The volume twin of a backbone: every 2D layer becomes the 3D layer of the same name and width.

    Its weights can be those of the 2D network, repeated along the new axis (`easydl.networks.pretrained.transfer`).

    References:
        Carreira and Zisserman 2017, Quo vadis, action recognition? (I3D), arXiv:1705.07750.
    """
    make = getattr(keras.applications, entry.application)
    flat = make(include_top=False, weights=None, input_shape=(64, 64, voxels.shape[-1]))
    return _replayed(flat, voxels, _deep)


def _replayed(model: Any, start: Any, twin: Callable[[Any], Any]) -> Any:
    """The output of a model's graph laid out once more from another tensor, in built-in layers alone.

    ``keras.applications`` writes some sums and products as operators and one as a layer of its own; these have no
    place in a model that is to open anywhere and to be explained layer by layer.
    """
    tensors: dict[int, Any] = {}
    for operation in model.operations:
        if isinstance(operation, layers.InputLayer):
            continue
        for node in operation._inbound_nodes:
            if node.output_tensors[0] is not operation.output:
                continue
            given = [tensors.get(id(one), start) for one in node.input_tensors]
            tensors[id(operation.output)] = _laid(operation, node, given, twin)
    return tensors[id(model.output)]


def _laid(operation: Any, node: Any, given: list[Any], twin: Callable[[Any], Any]) -> Any:
    kind = type(operation).__name__
    if kind == "CustomScaleLayer":
        small = layers.Rescaling(operation.scale, name=f"{operation.name}_scale")(given[1])
        return layers.Add(name=operation.name)([given[0], small])
    if isinstance(operation, layers.Layer):
        return twin(operation)(given[0] if len(given) == 1 else given)
    if kind in ("Add", "Multiply") and len(given) == 2:
        return getattr(layers, kind)(name=operation.name)(given)
    number = next(one for one in node.arguments.args if isinstance(one, (int, float)))
    change = (1.0, float(number)) if kind == "Add" else (float(number), 0.0)
    return layers.Rescaling(*change, name=operation.name)(given[0])


def _settled(layer: Any) -> dict[str, Any]:
    config: dict[str, Any] = layer.get_config()
    return config | {"momentum": MOMENTUM} if isinstance(layer, layers.BatchNormalization) else config


def _deep(layer: Any) -> Any:
    config = _settled(layer)
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
