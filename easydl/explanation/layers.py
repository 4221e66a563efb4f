"""Which feature map a heatmap is taken from, found among the steps of a model. It computes no gradient."""

from __future__ import annotations

from math import prod
from typing import Any

import keras

from easydl.errors import InputError, ModelError
from easydl.explanation.graph import Graph, is_map

COARSEST, FINE, SHALLOW = 4, 12, 12
WITHOUT_EFFECT = {"Dropout", "Flatten", "Reshape", "Identity"}


def evidence_step(graph: Graph, size: tuple[int, ...], *, segmenter: bool) -> int:
    """The step whose feature map is explained.

    For a classifier it is the last one through which everything passes before pooling, and whose map is at least
    4 points wide: a network for 224 pixels that is given 64 ends in a map of 2 x 2, which shows no place. In a network of
    at most 12 convolutions it is the last one of at least 12 points (or the widest) in the later half: the last map of
    `tiny`, 8 x 8 at 64 pixels, lay beside nodules of 3 pixels, and that of 16 x 16 on them (docs/decisions/0025). For a
    segmentation model it is the last one through which everything passes before the first skip connection. The bottleneck
    goes unused where the skips suffice (measured: its map then agrees with occlusion no better than chance, rank
    correlation 0.05 against 0.76 here), and the last decoder map only repeats the segmentation.

    References:
        Selvaraju et al. 2017, Grad-CAM, arXiv:1610.02391; Vinogradova et al. 2020, SEG-GRAD-CAM, arXiv:2002.11434.
    """
    steps, through = graph.steps, _through(graph, size)
    if segmenter:
        order = {number: place for place, number in enumerate(graph.wanted)}
        gaps = [
            order[after] - order[before] for before, after in zip(through, [*through[1:], graph.logits], strict=True)
        ]
        return through[gaps.index(max(gaps))]
    sides = {number: max(steps[number].shape[1:-1]) for number in through}
    late = max(sides[number] for number in through[len(through) // 2 :])
    wanted = max(COARSEST, min(FINE, late)) if _is_shallow(graph) else COARSEST
    least = min(wanted, max(sides.values()))
    return [number for number in through if sides[number] >= least][-1]


def finer_step(graph: Graph, size: tuple[int, ...], place: int) -> int | None:
    """Of a shallow classifier the last step before ``place`` whose map has more points; None of others, or where none has."""
    if not _is_shallow(graph):
        return None
    points = prod(graph.steps[place].shape[1:-1])
    more = [n for n in _through(graph, size) if n < place and prod(graph.steps[n].shape[1:-1]) > points]
    return more[-1] if more else None


def _convolutions(graph: Graph) -> list[int]:
    return [number for number in graph.wanted if _looks_at_places(graph.steps[number].operation)]


def _is_shallow(graph: Graph) -> bool:
    return len(_convolutions(graph)) <= SHALLOW


def _through(graph: Graph, size: tuple[int, ...]) -> list[int]:
    """The maps through which everything passes, in order."""
    steps, convolutions = graph.steps, _convolutions(graph)
    if not convolutions:
        raise ModelError(
            "The model has no convolution.", "a network with feature maps.", "Build it with easydl.classifier(...)."
        )
    spatial = [
        number
        for number in graph.wanted
        if convolutions[0] <= number < graph.logits
        and not type(steps[number].operation).__name__.startswith("ZeroPadding")
        and is_map(steps[number], len(size))
    ]
    if not spatial:
        raise _one_point(f"No feature map of the model is larger than one point for images of {_by(size)}.")
    # Covariates join the image after the maps, and are no way around them.
    fed = {graph.image}
    jumps = []
    for number in graph.wanted:
        from_image = [parent for parent in steps[number].parents if parent in fed]
        jumps += [(parent, number) for parent in from_image]
        if from_image:
            fed.add(number)
    return [n for n in spatial if not any(begin < n < end for begin, end in jumps)] or spatial


def pooled_step(graph: Graph, dimension: int) -> tuple[int, int]:
    """The step whose maps are averaged, and that of the one dense layer that weighs them: what CAM needs.

    Raises:
        InputError: The logits come about in another way.
        ModelError: The maps have one point only.
    """
    steps = graph.steps

    def parent_of(number: int) -> int:
        number = _image_parent(graph, number)
        while type(steps[number].operation).__name__ in WITHOUT_EFFECT or _is_linear(steps[number].operation):
            number = _image_parent(graph, number)
        return number

    dense = graph.logits
    while type(steps[dense].operation).__name__ in WITHOUT_EFFECT:
        dense = _image_parent(graph, dense)
    if isinstance(steps[dense].operation, keras.layers.Dense) and len(steps[dense].parents) == 1:
        pooling = parent_of(dense)
        maps = steps[pooling].parents[0] if steps[pooling].parents else pooling
        if type(steps[pooling].operation).__name__.startswith("GlobalAverage"):
            if not is_map(steps[maps], dimension):
                size = _by(steps[graph.image].shape[1:-1])
                raise _one_point(f"The map that is pooled has one point only for images of {size}.")
            return maps, dense
        found = steps[pooling].name
    else:
        found = steps[dense].name
    raise InputError(
        f'`method` is "cam", and the model\'s logits come from {found}.',
        "a network that ends in the average over each feature map and one dense layer: CAM is defined for no other.",
        'Use method="gradcam", which is the same map where both exist.',
    )


def _one_point(found: str) -> ModelError:
    return ModelError(found, "a map that shows a place.", "Use larger images.")


def _by(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))


def _image_parent(graph: Graph, number: int) -> int:
    return graph.steps[number].parents[0] if graph.steps[number].parents else number


def _is_linear(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Activation) and operation.activation is keras.activations.linear


def _looks_at_places(operation: Any) -> bool:
    """Convolutions, and models written as a class, whose layers cannot be seen."""
    return hasattr(operation, "kernel_size") or isinstance(operation, keras.Model)
