"""Sliding windows: a model sees a scan of any size patch by patch, and the patches are blended. No files.

Finished planes leave as soon as no later window reaches them, so memory follows the window and the plane, not the
number of planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

AT_ONCE = 4
Call = Callable[[np.ndarray], np.ndarray]


def starts(length: int, patch: int, overlap: float) -> list[int]:
    """Where the windows begin along one axis: evenly spread, the last one ending at the end."""
    if length <= patch:
        return [0]
    step = max(1, int(patch * (1 - overlap)))
    count = -(-(length - patch) // step) + 1
    return [round(k * (length - patch) / (count - 1)) for k in range(count)]


def gaussian(patch: tuple[int, ...]) -> np.ndarray:
    """Weights that trust a window's centre more than its edge, from 1 to above 0 (Isensee 2021, nnU-Net: sigma = patch / 8)."""
    weights = np.ones(patch, dtype=np.float32)
    for axis, side in enumerate(patch):
        distance = np.arange(side) - (side - 1) / 2
        curve = np.exp(-0.5 * (distance / (side / 8)) ** 2).astype(np.float32)
        weights *= curve.reshape([-1 if k == axis else 1 for k in range(len(patch))])
    return np.maximum(weights / weights.max(), 1e-3)


def mirrored(call: Call, axes: tuple[int, ...]) -> Call:
    """A call that averages the outputs for a batch and its mirror images along some axes.

    It doubles the work with every axis, and evens out what the network learned for one side only (test-time
    augmentation; Isensee 2021, nnU-Net).

    ``axes`` are spatial: 0 is the first after the batch.
    """
    flips = [
        tuple(axis + 1 for axis, on in zip(axes, choice, strict=True) if on)
        for choice in product((False, True), repeat=len(axes))
    ]

    def every(batch: np.ndarray) -> np.ndarray:
        total = call(batch)
        for flip in flips[1:]:
            total = total + np.flip(call(np.ascontiguousarray(np.flip(batch, flip))), flip)
        return total / len(flips)

    return every


def planes(call: Call, pixels: np.ndarray, patch: tuple[int, ...], *, overlap: float = 0.5) -> Iterator[np.ndarray]:
    """Predict a scan window by window and give out blended probabilities, plane after plane along the first axis.

    Args:
        call: ``(batch, *patch, channels)`` to probabilities ``(batch, *patch, classes)``.
        pixels: float32 ``(*shape, channels)``; smaller than the patch is padded by its edge and cropped back.
        patch: Window size.
        overlap: Fraction of a window that its neighbour sees too.

    Yields:
        float32 probabilities ``(planes, *shape[1:], classes)``, together as many planes as the scan has.
    """
    shape = pixels.shape[:-1]
    padding = [(0, max(0, need - have)) for have, need in zip(shape, patch, strict=True)]
    padded = np.pad(pixels, [*padding, (0, 0)], mode="edge") if any(after for _, after in padding) else pixels
    begins = [starts(have, need, overlap) for have, need in zip(padded.shape, patch, strict=False)]
    crop = tuple(slice(0, side) for side in shape[1:])
    weights = gaussian(patch)[..., None]
    total: np.ndarray | None = None
    weight = np.zeros((patch[0], *padded.shape[1:-1], 1), dtype=np.float32)
    for number, first in enumerate(begins[0]):
        corners = list(product(*begins[1:]))
        for begin in range(0, len(corners), AT_ONCE):
            group = [
                tuple(slice(a, a + side) for a, side in zip(corner, patch[1:], strict=True))
                for corner in corners[begin : begin + AT_ONCE]
            ]
            results = call(np.stack([padded[(slice(first, first + patch[0]), *view)] for view in group]))
            if total is None:
                total = np.zeros((*weight.shape[:-1], results.shape[-1]), dtype=np.float32)
            for view, result in zip(group, results, strict=True):
                total[(slice(None), *view)] += result * weights
                weight[(slice(None), *view)] += weights
        assert total is not None
        last = number + 1 == len(begins[0])
        done = min(patch[0], shape[0] - first) if last else begins[0][number + 1] - first
        yield (total[:done] / weight[:done])[(slice(None), *crop)]
        if not last:
            for kept in (total, weight):
                kept[:-done] = kept[done:].copy()
                kept[-done:] = 0


def slide(call: Call, pixels: np.ndarray, patch: tuple[int, ...], *, overlap: float = 0.5) -> np.ndarray:
    """The probabilities of the whole scan ``(*shape, classes)``, as `planes` gives them one after the other."""
    return np.concatenate(list(planes(call, pixels, patch, overlap=overlap)))


def resampled(parts: Iterator[np.ndarray], shape: tuple[int, ...], depth: int) -> Iterator[np.ndarray]:
    """Planes of a volume brought to another grid by linear interpolation, one plane of the new grid after the other.

    ``parts`` are ``(planes, height, width, classes)`` in order, ``depth`` planes in all; ``shape`` is the new (depth,
    height, width).
    """
    from easydl.images.resampling import resize

    have: dict[int, np.ndarray] = {}
    seen = 0
    for new in range(shape[0]):
        place = min(max((new + 0.5) * depth / shape[0] - 0.5, 0.0), depth - 1.0)
        low = int(place)
        high = min(low + 1, depth - 1)
        while seen <= high:
            for plane in next(parts):
                have[seen] = plane if plane.shape[:-1] == tuple(shape[1:]) else resize(plane, tuple(shape[1:]))
                seen += 1
        for old in [number for number in have if number < low]:
            del have[old]
        weight = np.float32(place - low)
        yield ((1 - weight) * have[low] + weight * have[high])[None]
