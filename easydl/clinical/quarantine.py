"""Which images a person must see before they are shared: rules on the header, and letters in the pixels.

It says why an image is suspect. It never says that an image is clean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from easydl.images.burned_in_text import has_text

COMPUTED = {"SEG", "RTDOSE", "PM"}
"""Masks, doses and maps on the grid of an image: nobody writes letters into them."""
LETTERED = {"US", "SC", "ES", "XC", "OT", "GM", "OP", "IVUS", "IVOCT", "DOC", "RG", "HC"}
"""Modalities whose screens carry names as a rule, or that are photographs and scans of paper."""
SLICES = {"CT", "MR", "PT", "NM"}
"""Modalities whose reconstructions carry no letters unless somebody made a picture of a screen."""
SCREEN_WORDS = ("SECONDARY", "SCREEN", "CAPTURE", "SAVE", "LABEL", "OVERVIEW", "PHOTO")


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


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
