"""Which images a person must see before they are shared: rules on the header, and burned-in text in the pixels.

It says why an image is suspect. It never says that an image is clean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from easydl.images.burned_in_text import has_text

NAMES_ON_SCREEN = {"US", "SC", "ES", "XC", "OT", "GM", "OP", "IVUS", "IVOCT", "DOC", "RG", "HC"}
"""Modalities whose screens show names as a rule, or that are photographs and scans of paper."""
SLICES = {"CT", "MR", "PT", "NM"}
"""Modalities whose reconstructions carry no burned-in text unless somebody captured a screen."""
SCREEN_WORDS = ("SECONDARY", "SCREEN", "CAPTURE", "SAVE", "LABEL", "OVERVIEW", "PHOTO")


def header_reasons(header: Any) -> list[str]:
    """Why the header alone asks for a person's look (PS3.3 C.7.6.1, C.8.6.1); empty when it does not."""
    reasons = []
    burned = str(header.get("BurnedInAnnotation") or "").strip().upper()
    modality = str(header.get("Modality") or "").strip().upper()
    types = [str(value).strip().upper() for value in _as_list(header.get("ImageType"))]
    if burned and burned != "NO":
        reasons.append("BurnedInAnnotation is not NO")
    if not modality:
        reasons.append("Modality is missing")
    elif modality in NAMES_ON_SCREEN:
        reasons.append(f"images of modality {modality} often show names")
    if "Secondary Capture" in str(getattr(header.get("SOPClassUID"), "name", "")):
        reasons.append("it is a secondary capture")
    if any(word in value for value in types for word in SCREEN_WORDS):
        reasons.append("ImageType says secondary or screen")
    if str(header.get("ConversionType") or "").strip():
        reasons.append("ConversionType is present: it was converted from something else")
    if not burned and not (modality in SLICES and types[:2] == ["ORIGINAL", "PRIMARY"]):
        reasons.append("BurnedInAnnotation is missing and this is not an original slice")
    return reasons


def text_reasons(frames: Iterable[np.ndarray]) -> list[str]:
    """Why the pixels ask for a person's look: burned-in text in one of the frames ``(height, width[, channel])``."""
    return ["something like burned-in text was found in the pixels"] if any(map(has_text, frames)) else []


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)
