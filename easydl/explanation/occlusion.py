"""Hide one patch after another and see how far the logit falls: the reference that needs no gradient."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from easydl.explanation.gradcam import Network

PATCHES = {2: (7, 7), 3: (3, 3, 3)}


def blurred(batch: np.ndarray) -> np.ndarray:
    """The image without its details: a Gaussian with a standard deviation of a third of each side.

    What is hidden is replaced by this, because a black patch is itself something a network can see.
    """
    sides = batch.shape[1:-1]
    return ndimage.gaussian_filter(batch, sigma=(0, *(side / 3 for side in sides), 0), mode="nearest", truncate=2.0)


def tiles(size: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The patches: 7 x 7 in an image, 3 x 3 x 3 in a volume, without overlap, in the order of the map."""
    axes = []
    for side, parts in zip(size, PATCHES[len(size)], strict=True):
        edges = np.linspace(0, side, min(parts, side) + 1).round().astype(int)
        axes.append([slice(a, b) for a, b in pairwise(edges)])
    return list(product(*axes))


def occlusion(
    network: Network, batch: np.ndarray, target: int, region: np.ndarray, weights: tuple[Any, ...] | None = None
) -> np.ndarray:
    """How far the target's logit falls when a patch is blurred away: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.

    float32 ``(7, 7)`` or ``(3, 3, 3)``, negative where hiding helps; arguments as for `Network.scores`.
    """
    size = batch.shape[1:-1]
    hidden = blurred(batch)
    views = tiles(size)
    copies = np.repeat(batch, len(views), axis=0)
    for copy, view in zip(copies, views, strict=True):
        copy[view] = hidden[0][view]
    scores = network.scores(np.concatenate([batch, copies]), target, region, weights)
    counts = tuple(min(parts, side) for parts, side in zip(PATCHES[len(size)], size, strict=True))
    return (scores[0] - scores[1:]).reshape(counts)


def patch_means(array: np.ndarray) -> np.ndarray:
    """The mean of a map of the input's size over each patch, in the same order and shape as `occlusion`."""
    counts = tuple(min(parts, side) for parts, side in zip(PATCHES[array.ndim], array.shape, strict=True))
    return np.array([array[view].mean() for view in tiles(array.shape)]).reshape(counts)
