"""One small look at an image: a thumbnail and a few numbers, enough to find copies and traps in thousands of images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

SIDE = 64
"""Of the thumbnail, whatever the image's shape: a letter in a corner is still a pixel or two."""
VERSION = 1
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
SCALES = (0.0, 1.0, 2.0, 4.0)
NOISE_SIDE = 256
"""Side of the middle part whose fine structure is measured: enough pixels for a standard deviation."""
RING = 6
"""Width of the border, of 64: a tenth of the image on each side, where markers, text and collimators lie."""
SEGMENT = 8


@dataclass(frozen=True)
class Glance:
    """A small look at one image (of a volume: at its middle slice, and at all of its grey levels).

    Attributes:
        thumbnail: uint8 ``(64, 64)``: local means, from the image's lowest (0) to its highest value (255).
        peaks: uint8 ``(64, 64)``: of each place the value farthest from its mean, so that a thin letter is not averaged
            away.
        grey: Grey levels: percentiles, mean, standard deviation, shares at the lowest and the highest value.
        noise: Logarithms of the median deviation in three bands, from the finest structure to coarser: medians, because
            edges are few and noise is everywhere.
    """

    thumbnail: np.ndarray
    peaks: np.ndarray
    grey: tuple[float, ...]
    noise: tuple[float, ...]


def glance(pixels: np.ndarray) -> Glance:
    """Look at an image ``(height, width, channel)`` or volume ``(depth, height, width, channel)``."""
    grey = pixels.mean(axis=-1, dtype=np.float32) if pixels.shape[-1] == 3 else pixels[..., 0].astype(np.float32)
    grey = np.nan_to_num(grey)
    plane = grey if grey.ndim == 2 else grey[len(grey) // 2]
    low, high = float(plane.min()), float(plane.max())
    small = _local_means(_local_means(plane, SIDE).T, SIDE).T
    bright, dark = (_extremes(_extremes(plane, SIDE, which).T, SIDE, which).T for which in (np.maximum, np.minimum))
    thumbnail, peaks = (
        np.round(255 * (values - low) / (high - low if high > low else 1)).clip(0, 255).astype(np.uint8)
        for values in (small, np.where(bright - small >= small - dark, bright, dark))
    )
    levels = np.percentile(grey, PERCENTILES)
    shares = [float((grey == level).mean()) for level in (levels[0], levels[-1])]
    numbers = (*map(float, levels), float(grey.mean()), float(grey.std()), *shares)
    return Glance(thumbnail, peaks, numbers, _noise(plane))


def ring(thumbnails: np.ndarray) -> np.ndarray:
    """What the border alone shows: mean, highest and lowest value of its segments, ``(images, 84)``.

    Args:
        thumbnails: ``(images, 64, 64)``.
    """
    parts = [thumbnails[(slice(None), *place)].reshape(len(thumbnails), -1) for _, place in segments()]
    numbers = [(part.mean(axis=1), part.max(axis=1), part.min(axis=1)) for part in parts]
    return np.stack([number for part in numbers for number in part], axis=1).astype(np.float32)


def border_pixels() -> np.ndarray:
    """bool ``(64, 64)``: the border."""
    inside = np.ones((SIDE, SIDE), bool)
    inside[RING:-RING, RING:-RING] = False
    return inside


def segments() -> list[tuple[str, tuple[slice, slice]]]:
    """The segments of the border, clockwise from the upper left corner, with where they lie in words."""
    found = []
    words = ("left", "left", "left of the middle", "middle", "middle", "right of the middle", "right", "right")
    steps = [slice(start, start + SEGMENT) for start in range(0, SIDE, SEGMENT)]
    first, last = slice(0, RING), slice(SIDE - RING, SIDE)
    found += [(f"upper edge, {word}", (first, step)) for word, step in zip(words, steps, strict=True)]
    sides = ("top", "upper part", "middle", "middle", "lower part", "bottom")
    edges = (RING, *range(2 * SEGMENT, SIDE - SEGMENT, SEGMENT), SIDE - RING)
    beside = [slice(start, stop) for start, stop in pairwise(edges)]
    found += [(f"right edge, {word}", (step, last)) for word, step in zip(sides, beside, strict=True)]
    found += [(f"lower edge, {word}", (last, step)) for word, step in zip(words, steps, strict=True)]
    found += [(f"left edge, {word}", (step, first)) for word, step in zip(sides, beside, strict=True)]
    return found


def _local_means(plane: np.ndarray, count: int) -> np.ndarray:
    """The means of ``count`` bands of rows; an image of fewer rows repeats them."""
    edges = np.linspace(0, len(plane), count + 1)
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    sums = np.concatenate([np.zeros((1, plane.shape[1])), np.cumsum(plane, axis=0, dtype=np.float64)])
    return (sums[last] - sums[first]) / (last - first)[:, None]


def _extremes(plane: np.ndarray, count: int, which: np.ufunc) -> np.ndarray:
    """The largest or smallest values of ``count`` bands of rows."""
    edges = np.linspace(0, len(plane), count + 1)
    first, last = np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int)
    return np.stack([which.reduce(plane[start:stop], axis=0) for start, stop in zip(first, last, strict=True)])


def _noise(plane: np.ndarray) -> tuple[float, ...]:
    middle = tuple(slice(max(0, side // 2 - NOISE_SIDE // 2), side // 2 + NOISE_SIDE // 2) for side in plane.shape)
    part = plane[middle]
    blurred = [part if scale == 0 else ndimage.gaussian_filter(part, scale) for scale in SCALES]
    bands = [fine - coarse for fine, coarse in pairwise(blurred)]
    return tuple(float(np.log10(np.median(np.abs(band - np.median(band))) + 1e-3)) for band in bands)
