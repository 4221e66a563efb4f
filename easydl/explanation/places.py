"""Where in an image things lie: the body, the border of the frame, burned-in text. It judges no map."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from easydl.images import Scan
from easydl.images.burned_in_text import where_text

EDGE = 0.1
"""The border is this fraction of each side: markers, tubes and text lie there."""
AIR_HU, DARK = -350.0, 0.12
"""What is brighter belongs to the body: in HU, or as a fraction of the range of the image."""
SMALLEST, FINEST = 0.15, {2: 128, 3: 48}
"""A body smaller than this fraction of the frame is not believed; points a side on which it is looked for."""


def body(scan: Scan) -> np.ndarray:
    """The patient by a threshold, bool of the scan's spatial shape: the largest bright part, made convex in each plane.

    All True where the image fills the frame, or no body can be distinguished from what lies around it.
    """
    steps = tuple(slice(None, None, -(-side // FINEST[scan.dimension])) for side in scan.shape)
    found = _bright(scan.pixels[steps].mean(axis=-1), scan.units)
    planes = found if found.ndim == 3 else found[None]
    planes = np.stack([_convex(plane) for plane in planes])
    small = planes if found.ndim == 3 else planes[0]
    if small.mean() < SMALLEST:
        return np.ones(scan.shape, bool)
    for axis, (step, side) in enumerate(zip(steps, scan.shape, strict=True)):
        small = np.repeat(small, step.step, axis=axis).take(range(side), axis=axis)
    return np.asarray(small, bool)


def border(shape: tuple[int, ...]) -> np.ndarray:
    """The outer tenth of the last two axes, bool."""
    height, width = shape[-2:]
    rows, columns = max(1, round(height * EDGE)), max(1, round(width * EDGE))
    found = np.ones(shape, bool)
    found[..., rows:-rows, columns:-columns] = False
    return found


def text(scan: Scan, heat: np.ndarray) -> np.ndarray:
    """Where letters are, bool of the scan's spatial shape; of a volume in the slice with most evidence only."""
    from easydl.figures import key_slice

    if scan.dimension == 2:
        return where_text(scan.pixels)
    index, found = key_slice(scan, heat=heat), np.zeros(scan.shape, bool)
    found[index] = where_text(scan.pixels[index])
    return found


def fraction(heat: np.ndarray, where: np.ndarray) -> float:
    """Which part of a map lies there, 0..1; 0 for an empty map."""
    total = float(heat.sum(dtype=float))
    return float(heat[where].sum(dtype=float)) / total if total > 0 else 0.0


def _bright(grey: np.ndarray, units: str) -> np.ndarray:
    if units == "HU":
        limit = AIR_HU
    else:
        low, high = np.percentile(grey, [0.5, 99.5])
        limit = low + DARK * (high - low)
    # A marker that touches the body by a pixel is no part of it.
    over = ndimage.binary_opening(np.pad(grey > limit, 1, mode="edge"))[(slice(1, -1),) * grey.ndim]
    labelled, count = ndimage.label(over)
    if not count:
        return over
    return np.asarray(labelled == 1 + int(np.bincount(labelled.ravel())[1:].argmax()))


def _convex(plane: np.ndarray) -> np.ndarray:
    """With lungs and other air inside."""
    from skimage.morphology import convex_hull_image

    return convex_hull_image(plane) if plane.any() else plane
