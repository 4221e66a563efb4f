"""What a picture shows beside the patient: colour, and lines of text near its border. It decides nothing."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

COLOUR_DIFFERENCE = 12.0
"""Mean difference of red and blue, of 255, from which an image counts as coloured (grey films: up to 10)."""
BORDER = 0.2
"""Share of each side that counts as border."""
LEAST_HEIGHT, MOST_HEIGHT = 5, 0.06
LETTERS = 5
"""Letters of one height in one line that make a text; a side marker has one or two."""
NEAR_TOP, GROUND = (0.2, 0.4), 0.15
"""Of the whole range: how near the brightest a letter is (crisp, blurred), and how much farther its ground."""
LOOKED_AT = 1024
"""Longest side that is looked at; larger pictures are reduced."""


def coloured(pixels: np.ndarray) -> bool:
    """Whether an image is really coloured, and not grey stored as RGB.

    Args:
        pixels: ``(..., channel)`` in 0-255.
    """
    return pixels.shape[-1] == 3 and float(np.abs(pixels[..., 0] - pixels[..., 2]).mean()) > COLOUR_DIFFERENCE


def lettering(pixels: np.ndarray) -> bool:
    """Whether a line of text stands near the border, as in screenshots and on films with burned-in labels.

    Looked for are patches of one value, the brightest or the darkest, of the size of letters, at least `LETTERS` of like
    height beside each other on an even ground. Single side markers do not count.

    Args:
        pixels: ``(height, width, channel)`` in any units.
    """
    grey = np.asarray(pixels.mean(axis=-1), np.float32)
    factor = -(-max(grey.shape) // LOOKED_AT)
    if factor > 1:
        grey = np.asarray(Image.fromarray(grey).reduce(factor))
    low, high = float(grey.min()), float(grey.max())
    if high <= low or min(grey.shape) < 8 * LEAST_HEIGHT:
        return False
    scaled = (grey - low) / (high - low)
    return any(_line(one, near) for one in (scaled, 1 - scaled) for near in NEAR_TOP)


def _line(grey: np.ndarray, near: float) -> bool:
    height, width = grey.shape
    border = np.ones(grey.shape, bool)
    edge = int(BORDER * height), int(BORDER * width)
    border[edge[0] : height - edge[0], edge[1] : width - edge[1]] = False
    marks, count = ndimage.label((grey >= 1 - near) & border, np.ones((3, 3)))
    if not count:
        return False
    letters = []
    for number, box in enumerate(ndimage.find_objects(marks), 1):
        rows, columns = box
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if (
            not LEAST_HEIGHT <= tall <= max(LEAST_HEIGHT + 3, MOST_HEIGHT * height)
            or not 0.12 * tall <= wide <= 1.5 * tall
        ):
            continue
        around = grey[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2]
        inside = marks[box] == number
        beside = around[around < 1 - near]
        if inside.mean() > 0.15 and len(beside) and np.median(beside) < 1 - near - GROUND:
            letters.append((rows.start, rows.stop, columns.start, columns.stop))
    letters.sort(key=lambda one: one[2])
    for k, first in enumerate(letters):
        tall, end, found = first[1] - first[0], first[3], 1
        for top, bottom, left, right in letters[k + 1 :]:
            level = abs(bottom - first[1]) <= max(1, 0.15 * tall) and 0.6 < (bottom - top) / tall < 1.7
            if level and 0 <= left - end <= 1.2 * tall:
                found, end = found + 1, right
        if found >= LETTERS:
            return True
    return False
