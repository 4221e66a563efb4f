"""Which images a person must see before they are shared: rules on the header, and a search for lines of letters.

It says why an image is suspect. It never says that an image is clean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

COMPUTED = {"SEG", "RTDOSE", "PM"}
"""Masks, doses and maps on the grid of an image: nobody writes letters into them."""
LETTERED = {"US", "SC", "ES", "XC", "OT", "GM", "OP", "IVUS", "IVOCT", "DOC", "RG", "HC"}
"""Modalities whose screens carry names as a rule, or that are photographs and scans of paper."""
SLICES = {"CT", "MR", "PT", "NM"}
"""Modalities whose reconstructions carry no letters unless somebody made a picture of a screen."""
SCREEN_WORDS = ("SECONDARY", "SCREEN", "CAPTURE", "SAVE", "LABEL", "OVERVIEW", "PHOTO")
FEWEST_LETTERS = 4
NEAR = (0.02, 0.15, 0.3, 0.45)
"""How far from the brightest (darkest) value letters may lie, as shares of the range: smoothing and JPEG pale them."""
NOISE = 0.01
"""Shapes per pixel from which the mask is noise: a screen full of letters has a tenth of that."""


def header_reasons(header: Any, kind: str) -> list[str]:
    """Why the header alone asks for a person's look; empty when it does not.

    Args:
        header: The data set as it came.
        kind: ``"image"``, or one of `COMPUTED`.

    References:
        DICOM PS3.3 C.7.6.1 (BurnedInAnnotation, ImageType), C.8.6.1 (ConversionType).
    """
    if kind in COMPUTED:
        return []
    found = []
    burned = str(header.get("BurnedInAnnotation") or "").strip().upper()
    modality = str(header.get("Modality") or "").strip().upper()
    types = [str(word).strip().upper() for word in _listed(header.get("ImageType"))]
    if burned and burned != "NO":
        found.append("BurnedInAnnotation is not NO")
    if not modality:
        found.append("Modality is missing")
    elif modality in LETTERED:
        found.append(f"images of modality {modality} often show names")
    if "Secondary Capture" in str(getattr(header.get("SOPClassUID"), "name", "")):
        found.append("it is a secondary capture")
    if any(word in one for one in types for word in SCREEN_WORDS):
        found.append("ImageType says secondary or screen")
    if str(header.get("ConversionType") or "").strip():
        found.append("ConversionType is present: it was made from something else")
    if not burned and not (modality in SLICES and types[:2] == ["ORIGINAL", "PRIMARY"]):
        found.append("BurnedInAnnotation is missing and this is no original slice")
    return found


def text_reasons(frames: Iterable[np.ndarray]) -> list[str]:
    """Why the pixels ask for a person's look: a line of letters in one of the frames ``(height, width[, channel])``."""
    return ["something like a line of letters was found in the pixels"] if any(map(has_text, frames)) else []


def has_text(pixels: np.ndarray) -> bool:
    """Whether at least four small shapes of (nearly) the brightest or darkest value stand in a row like letters.

    Args:
        pixels: One frame, ``(height, width)`` or ``(height, width, channel)``.

    Returns:
        True for a find. False is no proof: letters of a middle grey, in handwriting, or touching each other are
        missed. `docs/decisions/0007-deidentification.md` says how often.
    """
    grey = pixels.astype(np.float32)
    grey = grey if grey.ndim == 2 else grey.mean(axis=-1)
    if not np.isfinite(grey).all() or min(grey.shape) < 16:
        return False
    low, high = float(grey.min()), float(grey.max())
    if high <= low:
        return False
    steps = [share * (high - low) for share in NEAR]
    return any(_row_of_letters(mask) for step in steps for mask in (grey >= high - step, grey <= low + step))


def _row_of_letters(mask: np.ndarray) -> bool:
    from scipy import ndimage

    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    if not FEWEST_LETTERS <= count <= mask.size * NOISE:
        return False
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in ndimage.find_objects(labelled)], float)
    area = np.bincount(labelled.ravel())[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    tallest = max(24, mask.shape[0] / 16)
    fill = area / (height * width)
    letters = (height >= 6) & (height <= tallest) & (width <= 1.6 * height) & (width >= 0.08 * height) & (fill < 0.95)
    letters &= fill > 0.15
    # A frame, a scale or a grid touches the margin; letters do not.
    letters &= (boxes[:, 0] > 0) & (boxes[:, 2] > 0) & (boxes[:, 1] < mask.shape[0]) & (boxes[:, 3] < mask.shape[1])
    chosen = boxes[letters]
    return len(chosen) >= FEWEST_LETTERS and _longest_row(chosen) >= FEWEST_LETTERS


def _longest_row(boxes: np.ndarray) -> int:
    """The most shapes that stand on one line, are alike in height, follow each other closely and differ in width."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    top, bottom, left, right = boxes.T
    height = bottom - top
    pairs = cKDTree(np.column_stack([bottom, (left + right) / 2])).query_pairs(3 * height.max(), output_type="ndarray")
    if not len(pairs):
        return 0
    a, b = np.where(left[pairs[:, :1]] <= left[pairs[:, 1:]], pairs, pairs[:, ::-1]).T
    tall = np.maximum(height[a], height[b])
    linked = (np.abs(bottom[a] - bottom[b]) <= np.maximum(1, 0.1 * tall)) & (
        np.abs(height[a] - height[b]) <= np.maximum(1, 0.15 * tall)
    )
    gap = left[b] - right[a]
    linked &= (gap >= 0) & (gap <= 1.2 * tall)
    graph = coo_matrix((np.ones(linked.sum()), (a[linked], b[linked])), shape=(len(boxes), len(boxes)))
    _, group = connected_components(graph, directed=False)
    longest = 0
    for number in np.flatnonzero(np.bincount(group) >= FEWEST_LETTERS):
        members = group == number
        if len(set((right - left)[members])) >= 2:
            longest = max(longest, int(members.sum()))
    return longest


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
