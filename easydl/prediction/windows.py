"""Sliding windows: a segmenter sees a scan of any size patch by patch, and the patches are blended. No files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np

AT_ONCE = 4


def starts(length: int, patch: int, overlap: float) -> list[int]:
    """Where the windows begin along one axis: evenly spread, the last one ending at the end."""
    if length <= patch:
        return [0]
    step = max(1, int(patch * (1 - overlap)))
    count = -(-(length - patch) // step) + 1
    return [round(k * (length - patch) / (count - 1)) for k in range(count)]


def gaussian(patch: tuple[int, ...]) -> np.ndarray:
    """Weights that trust a window's centre more than its edge (Isensee 2021, nnU-Net: sigma = patch / 8).

    Returns:
        float32 of the patch's shape, largest 1, never 0.
    """
    weights = np.ones(patch, dtype=np.float32)
    for axis, side in enumerate(patch):
        distance = np.arange(side) - (side - 1) / 2
        curve = np.exp(-0.5 * (distance / (side / 8)) ** 2).astype(np.float32)
        weights *= curve.reshape([-1 if k == axis else 1 for k in range(len(patch))])
    return np.maximum(weights / weights.max(), 1e-3)


def slide(
    call: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    patch: tuple[int, ...],
    *,
    overlap: float = 0.5,
) -> np.ndarray:
    """Predict a scan window by window and blend the probabilities.

    Args:
        call: ``(batch, *patch, channels)`` to probabilities ``(batch, *patch, classes)``.
        pixels: float32 ``(*shape, channels)``; smaller than the patch is padded by its edge and cropped back.
        patch: Window size.
        overlap: Share of a window that its neighbour sees too.

    Returns:
        float32 probabilities ``(*shape, classes)``.
    """
    shape = pixels.shape[:-1]
    padding = [(0, max(0, need - have)) for have, need in zip(shape, patch, strict=True)]
    padded = np.pad(pixels, [*padding, (0, 0)], mode="edge")
    corners = list(product(*(starts(have, need, overlap) for have, need in zip(padded.shape, patch, strict=False))))
    weights = gaussian(patch)[..., None]
    total: np.ndarray | None = None
    weight = np.zeros((*padded.shape[:-1], 1), dtype=np.float32)
    for begin in range(0, len(corners), AT_ONCE):
        group = corners[begin : begin + AT_ONCE]
        views = [tuple(slice(a, a + side) for a, side in zip(corner, patch, strict=True)) for corner in group]
        results = call(np.stack([padded[view] for view in views]))
        if total is None:
            total = np.zeros((*padded.shape[:-1], results.shape[-1]), dtype=np.float32)
        for view, result in zip(views, results, strict=True):
            total[view] += result * weights
            weight[view] += weights
    assert total is not None
    total /= weight
    return total[tuple(slice(0, side) for side in shape)]
