"""Whether text is burned into the pixels. It does not read the text, and False is not a proof."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

TOLERANCES = (0.02, 0.15, 0.3, 0.45)
"""How far from the brightest (darkest) value letters may be, as fractions of the range: smoothing and JPEG pale them."""
CONTRAST = 0.05
"""How much farther from it the pixels around a letter are at least; the brain's gyri and bright noise have no contrast."""
MIN_HEIGHT, MAX_HEIGHT, MAX_HEIGHT_FRACTION = 5, 24, 1 / 16
"""Pixels; the tallest letters are this fraction of the image when that is more."""
LINES = ((4, 0.1, 0.15), (5, 0.15, 0.4))
"""Fewest letters, and how far their feet (or heads) and their heights may differ, as fractions of the height: capitals
and figures are alike, small letters are not, so it takes more of them."""
MANY, NOISE = 0.003, 0.02
"""Shapes per pixel from which most have to be like letters (a page of print), and from which it is noise anyway."""
PRINT = 0.4


def has_text(pixels: np.ndarray) -> bool:
    """Whether small shapes of (nearly) the brightest or darkest value of ``(height, width[, channel])`` form a line.

    True is nearly always right. False is not a proof: side markers of one to three letters, letters of a middle grey, in
    handwriting, upright, or touching each other are missed (`docs/decisions/0007-deidentification.md` says how often).
    512 x 512 pixels take about 12 ms, 8 million 0.3 s.
    """
    return next(_lines(pixels), None) is not None


def where_text(pixels: np.ndarray) -> np.ndarray:
    """The pixels of ``(height, width[, channel])`` in or next to a letter of such a line: bool ``(height, width)``."""
    found = np.zeros(pixels.shape[:2], bool)
    for boxes in _lines(pixels):
        for top, bottom, left, right in boxes.astype(int):
            around = (bottom - top) // 2
            found[max(0, top - around) : bottom + around, max(0, left - around) : right + around] = True
    return found


def _lines(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """The letters that form lines, as boxes (top, bottom, left, right), for each way of looking that finds any."""
    grey = pixels.astype(np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(axis=-1)
    if min(grey.shape) < 16 or not np.isfinite(grey).all():
        return
    low, high = float(grey.min()), float(grey.max())
    if high <= low:
        return
    scaled = (grey - low) / (high - low)
    for tolerance in TOLERANCES:
        for bright in (scaled, 1 - scaled):
            if len(boxes := _letters_in_line(bright, tolerance)):
                yield boxes


def _letters_in_line(bright: np.ndarray, tolerance: float) -> np.ndarray:
    none = np.zeros((0, 4))
    labelled, count = ndimage.label(bright >= 1 - tolerance, np.ones((3, 3)))
    fewest = min(letters for letters, _, _ in LINES)
    if not fewest <= count <= bright.size * NOISE:
        return none
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(labelled)])
    top, bottom, left, right = boxes.T
    height, width = bottom - top, right - left
    letters = (height >= MIN_HEIGHT) & (height <= max(MAX_HEIGHT, MAX_HEIGHT_FRACTION * len(bright)))
    letters &= (width <= 1.6 * height) & (width >= 0.08 * height)
    if letters.sum() < fewest:  # most images end here; counting pixels takes half of the time
        return none
    fill = np.bincount(labelled.ravel())[1:] / (height * width)
    letters &= (fill > 0.15) & (fill < 0.95)
    if count > bright.size * MANY and letters.sum() < PRINT * count:
        return none
    # A frame, a scale or a grid touches the margin, letters do not.
    letters &= (top > 0) & (left > 0) & (bottom < bright.shape[0]) & (right < bright.shape[1])
    chosen = np.array([box for box in boxes[letters] if _has_contrast(bright, box, 1 - tolerance)], float)
    return _on_one_line(chosen) if len(chosen) >= fewest else none


def _has_contrast(bright: np.ndarray, box: np.ndarray, edge: float) -> bool:
    """Whether the background of a shape is clearly darker than its edge."""
    top, bottom, left, right = box
    around = bright[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2]
    background = around[around < edge]
    return background.size > 0 and float(np.median(background)) < edge - CONTRAST


def _on_one_line(boxes: np.ndarray) -> np.ndarray:
    """The shapes of which enough share a line, are alike in height, follow each other closely and differ in width."""
    top, bottom, left, right = boxes.T
    height = bottom - top
    pairs = cKDTree(np.column_stack([bottom, (left + right) / 2])).query_pairs(3 * height.max(), output_type="ndarray")
    if not len(pairs):
        return boxes[:0]
    a, b = np.where(left[pairs[:, :1]] <= left[pairs[:, 1:]], pairs, pairs[:, ::-1]).T
    tall, gap = np.maximum(height[a], height[b]), left[b] - right[a]
    # Feet differ under a "g", heads under a "t"; not both.
    level = np.minimum(np.abs(bottom[a] - bottom[b]), np.abs(top[a] - top[b]))
    for fewest, slope, height_difference in LINES:
        linked = (gap >= 0) & (gap <= 1.2 * tall) & (level <= np.maximum(1, slope * tall))
        linked &= np.abs(height[a] - height[b]) <= np.maximum(1, height_difference * tall)
        graph = coo_matrix((np.ones(linked.sum()), (a[linked], b[linked])), shape=(len(boxes), len(boxes)))
        _, group = connected_components(graph, directed=False)
        lines = np.flatnonzero(np.bincount(group) >= fewest)
        # Marks of one width are a scale.
        text = [line for line in lines if len(set((right - left)[group == line])) >= 2]
        if text:
            return boxes[np.isin(group, text)]
    return boxes[:0]
