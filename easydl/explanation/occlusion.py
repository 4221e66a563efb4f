"""Maps from hiding: patch after patch, random masks, or what a feature map leaves out. They need no gradient."""

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from easydl.explanation.centres import Centres, on_image
from easydl.explanation.targets import Target

if TYPE_CHECKING:
    from easydl.explanation.gradcam import Network

PATCHES = {2: (7, 7), 3: (3, 3, 3)}
CELLS, KEPT = {2: 8, 3: 4}, 0.5
SMOOTHED = 8
"""Times that a filled place is smoothed: the streaks of single pixels go."""
RIM = 1 / 32
"""This fraction of each side around a place is hidden with it: what was there would still be seen by its edge."""
Weights = tuple[Any, ...] | None


def blurred(batch: np.ndarray) -> np.ndarray:
    """The image without its details: a Gaussian with a standard deviation of a third of each side.

    What is hidden is replaced by this, because a black patch is itself something a network can see.
    """
    sides = batch.shape[1:-1]
    return ndimage.gaussian_filter(batch, sigma=(0, *(side / 3 for side in sides), 0), mode="nearest", truncate=2.0)


def filled(batch: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The images with a place (bool, of their size) that looks like what is around it: the nearest pixels, smoothed."""
    nearest = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
    found = batch[:, *nearest]
    for _ in range(SMOOTHED):
        found = np.where(hole[None, ..., None], ndimage.uniform_filter(found, (1, *(3,) * hole.ndim, 1)), batch)
    return np.asarray(found, np.float32)


def with_rim(top: np.ndarray, most: float) -> np.ndarray:
    """A place and what lies around it, as far as it stays this part of the image."""
    for _ in range(max(1, round(min(top.shape) * RIM))):
        wider = ndimage.binary_dilation(top, np.ones((3,) * top.ndim))
        if wider.mean() > most:
            break
        top = wider
    return top


def tiles(size: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The patches: 7 x 7 in an image, 3 x 3 x 3 in a volume, without overlap, in the order of the map."""
    axes = []
    for side, parts in zip(size, PATCHES[len(size)], strict=True):
        edges = np.linspace(0, side, min(parts, side) + 1).round().astype(int)
        axes.append([slice(a, b) for a, b in pairwise(edges)])
    return list(product(*axes))


def chunks(count: int, size: tuple[int, ...]) -> list[slice]:
    """Batches of images of one size, each of which is shown at once."""
    from easydl.explanation.gradcam import chunk  # loads TensorFlow, which a model brings with it

    step = chunk(size)
    return [slice(begin, min(begin + step, count)) for begin in range(0, count, step)]


def occlusion(
    network: Network, batch: np.ndarray, target: int, region: np.ndarray, weights: Weights = None
) -> np.ndarray:
    """How far the target's logit falls when a patch is blurred away: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.

    float32 ``(7, 7)`` or ``(3, 3, 3)``, negative where hiding helps; arguments as for `Network.scores`.
    """
    size, pair = batch.shape[1:-1], np.concatenate([batch, blurred(batch)])
    views = tiles(size)
    scores = []
    for some in chunks(1 + len(views), size):  # the first hides nothing
        keep = np.ones((some.stop - some.start, *size), np.float32)
        for one, number in zip(keep, range(some.start, some.stop), strict=True):
            if number:
                one[views[number - 1]] = 0
        scores.append(network.masked_scores(pair, keep, target, region, weights))
    counts = tuple(min(parts, side) for parts, side in zip(PATCHES[len(size)], size, strict=True))
    every = np.concatenate(scores)
    return (every[0] - every[1:]).reshape(counts)


def patch_means(array: np.ndarray) -> np.ndarray:
    """The mean of a map of the input's size over each patch, in the same order and shape as `occlusion`."""
    counts = tuple(min(parts, side) for parts, side in zip(PATCHES[array.ndim], array.shape, strict=True))
    return np.array([array[view].mean() for view in tiles(array.shape)]).reshape(counts)


def rise(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
    """The mean score over the random masks that keep a point, less the mean over all masks.

    Masks are coarse grids of zeros and ones, half of each, enlarged linearly and moved by part of a cell.

    References:
        Petsiuk et al. 2018, RISE, arXiv:1806.07421, equation 6. The mean is taken off because a logit, unlike a
        probability, has no zero.
    """
    size, rng = target.batch.shape[1:-1], np.random.default_rng(seed)
    pair = np.concatenate([target.batch, blurred(target.batch)])
    cells = [1 + min(CELLS[len(size)], side) for side in size]
    kept, everywhere, total = np.zeros(size), np.zeros(size), 0.0
    for some in chunks(samples, size):
        count = some.stop - some.start
        grids, shifts = rng.random((count, *cells)) < KEPT, rng.random((count, len(size)))
        keep = np.stack([moved(grid, size, shift) for grid, shift in zip(grids, shifts, strict=True)])
        scores = target.network.masked_scores(pair, keep, target.index, target.region, weights)
        kept += np.tensordot(scores, keep, axes=1)
        everywhere += keep.sum(axis=0)
        total += float(scores.sum())
    return ((kept - total / samples * everywhere) / (samples * KEPT)).astype(np.float32)


def scorecam(target: Target, weights: Weights, samples: int, seed: int) -> np.ndarray:
    """The sum of the feature maps, each by how well the image does of which only its bright part is left.

    Of the maps those that vary most are taken; the seed is not used, because nothing is drawn.

    References:
        Wang et al. 2020, Score-CAM, arXiv:1910.01279, algorithm 1; Li et al. 2022, doi:10.1007/978-3-030-92659-5_44, for
        taking some of the maps.
    """
    del seed
    network, size = target.network, target.batch.shape[1:-1]
    pair = np.concatenate([target.batch, blurred(target.batch)])
    maps = np.moveaxis(network.feature_maps(target.batch, weights), -1, 0)
    maps = maps[np.argsort(-maps.std(axis=tuple(range(1, maps.ndim))), kind="stable")[:samples]]
    centres = network.centres("scorecam", size)

    def kept(some: slice) -> np.ndarray:
        return np.stack([_unit(on_image(one, size, centres)) for one in maps[some]])

    hidden = network.masked_scores(pair, np.zeros((1, *size)), target.index, target.region, weights)
    gains = np.concatenate(
        [
            network.masked_scores(pair, kept(some), target.index, target.region, weights)
            for some in chunks(len(maps), size)
        ]
    )
    return np.tensordot(softmax(gains - hidden), maps, axes=1).astype(np.float32)


def moved(grid: np.ndarray, size: tuple[int, ...], shift: np.ndarray) -> np.ndarray:
    """The part of a coarse map one cell smaller than it, from ``shift`` (0..1) of a cell on, on a finer grid."""
    step = tuple(side / (count - 1) for side, count in zip(size, grid.shape, strict=True))
    first = tuple(one * (0.5 - start) - 0.5 for one, start in zip(step, shift, strict=True))
    return on_image(grid.astype(np.float32), size, Centres(first, step))


def _unit(fine: np.ndarray) -> np.ndarray:
    """A feature map in 0..1."""
    reach = float(np.ptp(fine))
    return (fine - fine.min()) / reach if reach > 0 else np.zeros_like(fine)
