"""Which layer's feature map a heatmap is taken from, found by walking the graph. It computes no gradient."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from easydl.errors import ModelError
from easydl.networks.metadata import image_input

LOGITS = "logits"
COARSEST = 4


def ancestors(model: Any, logits: str = LOGITS) -> list[tuple[Any, list[Any]]]:
    """The layers (and sums or products written as operators) that lead to ``logits``, in order, each with its parents.

    ``logits`` names the layer whose output is explained: of several heads, that of one.
    """
    import keras

    names = [operation.name for operation in model.operations]
    if logits not in names:
        raise ModelError(
            f"The model has no layer called {logits}; its last layer is {names[-1]}.",
            "a layer called logits before the softmax or sigmoid, because a heatmap is the gradient of a logit.",
            "Build the model with easydl.classifier(...), unet(...) or unet3d(...).",
        )
    wanted: dict[str, tuple[Any, list[Any]]] = {}
    waiting = [model.get_layer(logits)]
    while waiting:
        layer = waiting.pop()
        if layer.name in wanted:
            continue
        given = [] if isinstance(layer, keras.layers.InputLayer) else layer.input
        tensors = given if isinstance(given, (list, tuple)) else [given]
        parents = [tensor._keras_history.operation for tensor in tensors]
        wanted[layer.name] = (layer, parents)
        waiting += parents
    return [wanted[name] for name in names if name in wanted]


def shapes(model: Any, size: tuple[int, ...], logits: str = LOGITS) -> dict[str, tuple[int, ...]]:
    """The output shape of every layer that leads to ``logits``, for an image of this spatial size.

    Networks that take any size do not know them, so they are worked out here.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    image = image_input(model)
    for layer, parents in ancestors(model, logits):
        if not parents:
            sizes[layer.name] = (1, *size, image.shape[-1]) if layer.output is image else (1, *layer.output.shape[1:])
        else:
            given = [sizes[parent.name] for parent in parents]
            if None not in layer.output.shape[1:]:
                sizes[layer.name] = (1, *layer.output.shape[1:])
            elif hasattr(layer, "compute_output_shape"):
                sizes[layer.name] = tuple(layer.compute_output_shape(given if len(given) > 1 else given[0]))
            else:
                sizes[layer.name] = np.broadcast_shapes(*given)
    return sizes


def evidence_layer(model: Any, size: tuple[int, ...], *, segmenter: bool, logits: str = LOGITS) -> Any:
    """The layer whose feature map is explained.

    For a classifier it is the last layer through which everything passes before pooling, and whose map is at least
    4 points wide: a network for 224 pixels that is given 64 ends in a map of 2 x 2, which shows no place. For a
    segmentation model it is the last layer through which everything passes before the first skip connection. The bottleneck
    goes unused where the skips suffice (measured: its map then agrees with occlusion no better than chance, rank
    correlation 0.05 against 0.76 here), and the last decoder map only repeats the segmentation.

    References:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391; Vinogradova et al. 2020, SEG-GRAD-CAM, arXiv:2002.11434.
    """
    graph = ancestors(model, logits)
    place = {layer.name: number for number, (layer, _) in enumerate(graph)}
    shape = shapes(model, size, logits)
    convolutions = [n for n, (layer, _) in enumerate(graph) if hasattr(layer, "kernel_size")]
    if not convolutions:
        raise ModelError(
            "The model has no convolution.", "a network with feature maps.", "Build it with easydl.classifier(...)."
        )
    spatial = [
        number
        for number, (layer, _) in enumerate(graph)
        if convolutions[0] <= number < place[logits]
        and not type(layer).__name__.startswith("ZeroPadding")
        and len(shape[layer.name]) == len(size) + 2
        and prod(shape[layer.name][1:-1]) > 1
    ]
    if not spatial:
        raise ModelError(
            f"No feature map of the model is larger than one point for images of {' x '.join(map(str, size))}.",
            "a map that shows a place.",
            "Use larger images.",
        )
    # Covariates join the image after the maps, and are no way around them.
    fed: set[str] = set()
    for layer, parents in graph:
        if layer.output is image_input(model) or any(parent.name in fed for parent in parents):
            fed.add(layer.name)
    jumps = [
        (place[parent.name], number)
        for number, (_, parents) in enumerate(graph)
        for parent in parents
        if parent.name in fed
    ]
    through = [n for n in spatial if not any(begin < n < end for begin, end in jumps)] or spatial
    if segmenter:
        steps = [after - before for before, after in zip(through, [*through[1:], place[logits]], strict=True)]
        return graph[through[steps.index(max(steps))]][0]
    wide = [number for number in through if max(shape[graph[number][0].name][1:-1]) >= COARSEST]
    if wide:
        return graph[wide[-1]][0]
    widest = max(max(shape[graph[number][0].name][1:-1]) for number in through)
    return graph[[n for n in through if max(shape[graph[n][0].name][1:-1]) == widest][-1]][0]
