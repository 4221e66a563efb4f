"""Where the points of a feature map lie in the image: the middle of what each point sees. It makes no map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from easydl.networks.receptive_field import each_axis, window_of

if TYPE_CHECKING:
    from easydl.explanation.graph import Graph, Step


class Centres(NamedTuple):
    """Where points lie, along each axis, in pixels of the image; the middle of its first pixel is 0.

    Attributes:
        first: Where point 0 lies.
        step: How far points are apart.
    """

    first: tuple[float, ...]
    step: tuple[float, ...]

    def in_blocks(self, counts: tuple[int, ...]) -> Centres:
        """Where the means of this number of neighbouring points lie."""
        first = (at + step * (count - 1) / 2 for at, step, count in zip(*self, counts, strict=True))
        return Centres(tuple(first), tuple(step * count for step, count in zip(self.step, counts, strict=True)))


def even(points: tuple[int, ...], size: tuple[int, ...]) -> Centres:
    """Points that share the image evenly, as the patches of an occlusion map do."""
    step = tuple(side / count for side, count in zip(size, points, strict=True))
    return Centres(tuple(one / 2 - 0.5 for one in step), step)


def centres_of(graph: Graph, number: int, size: tuple[int, ...]) -> Centres:
    """Where the points of a step's map lie in images of a size, by the kernels, strides and padding of the steps before it.

    A stride of 2 with padding "same" starts at the second pixel of an even side, a padded one before it at the first: after
    five of them a map is off by half a point, 16 pixels, where it is taken to share the image evenly. Where branches meet it
    is their mean. What is no convolution, pooling, padding or enlargement, and changes the number of points, shares evenly.

    References:
        Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks, doi:10.23915/distill.00021.
    """
    from easydl.explanation.graph import is_map  # loads TensorFlow, which a model brings with it

    steps = graph.steps_for(size)
    found: dict[int, Centres] = {graph.image: even(size, size)}
    for one in graph.wanted:
        step = steps[one]
        if one == graph.image or not is_map(step, len(size)):
            continue
        parents = [parent for parent in step.parents if parent in found]
        found[one] = _after(step, [(steps[parent].shape[1:-1], found[parent]) for parent in parents], size)
        if one == number:
            break
    return found[number]


def _after(step: Step, parents: list[tuple[tuple[int, ...], Centres]], size: tuple[int, ...]) -> Centres:
    points, operation = step.shape[1:-1], step.operation
    if not parents:
        return even(points, size)
    shape = parents[0][0]
    before = Centres(*(tuple(np.mean([one[part] for _, one in parents], axis=0)) for part in (0, 1)))
    kind, axes = type(operation).__name__, range(len(points))
    window = window_of(operation, len(points))
    if kind.startswith(("ZeroPadding", "Cropping")):
        sign = -1 if kind.startswith("Zero") else 1
        edges = operation.padding if sign < 0 else operation.cropping
        first = (before.first[axis] + sign * before.step[axis] * edges[axis][0] for axis in axes)
        return Centres(tuple(first), before.step)
    if kind.startswith("UpSampling"):
        times = each_axis(operation.size, len(points))
        narrow = tuple(before.step[axis] / times[axis] for axis in axes)
        return Centres(tuple(before.first[axis] - (before.step[axis] - narrow[axis]) / 2 for axis in axes), narrow)
    if window is not None:
        moved = [_moved(operation, window, axis, shape, points) for axis in axes]
        first = (before.first[axis] + before.step[axis] * moved[axis][0] for axis in axes)
        return Centres(tuple(first), tuple(before.step[axis] * moved[axis][1] for axis in axes))
    return before if points == shape else even(points, size)


def _moved(
    operation: Any, window: Any, axis: int, shape: tuple[int, ...], points: tuple[int, ...]
) -> tuple[float, int]:
    """At which point of its input a window stands first, and how far it moves on."""
    width, stride = (one[axis] for one in window)
    missing = (points[axis] - 1) * stride + width - shape[axis] if operation.padding == "same" else 0
    return (width - 1) / 2 - max(missing, 0) // 2, stride


def on_image(
    coarse: np.ndarray, size: tuple[int, ...], centres: Centres | None = None, *, order: int = 1
) -> np.ndarray:
    """A map on the grid of the image, float32: linear between its points (``order`` 1), and constant beyond the outermost."""
    centres = centres or even(coarse.shape, size)
    if order == 1 and coarse.shape == size and centres == even(size, size):
        return np.asarray(coarse, np.float32)
    first, step = (np.asarray(part) for part in centres)
    smooth = ndimage.affine_transform(coarse, 1 / step, -first / step, output_shape=size, order=order, mode="nearest")
    return np.asarray(smooth, np.float32)
