"""The one funnel that the values of every reader pass through once they are decoded. It reads no files."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from easydl.errors import InputError
from easydl.images.scan import Scan

NEGLIGIBLE_FRACTION = 0.001
WRAPPED_HU = (-10_000.0, 31_743.0)
"""Beyond these no CT value lies; the lower leaves room for the -3024 that scanners put outside their field of view."""
LIKE_CT = -500
"""Below it lie air and lung in CT, and hardly anything in images without units of their own."""
UNKNOWN_UNITS = (
    "values below -500 as in CT, but the file does not say its units: taken as relative; "
    'if they are Hounsfield units, load with units="HU" (--units HU)'
)
DECLARED_HU = "Hounsfield units as declared by units, not by the file"
PADDED = "padding outside the image was set to its lowest value"


def settled(values: np.ndarray, units: str | None, notes: list[str], name: str, *, labels: bool = False) -> np.ndarray:
    """Check and complete the decoded values of one image or whole volume; what was assumed is added to ``notes``.

    ``units`` is as of a `Scan`, or None when the file does not say them (they are relative then).
    NaN marks what was not measured (padding, blank voxels) and becomes the lowest value; infinity becomes the highest
    (or lowest) one. In a mask (``labels``) both are refused. Hounsfield units that no tissue has are noted.
    """
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN and infinity both show in the extremes.
        values = _filled(values, notes, name, labels)
        low, high = float(values.min()), float(values.max())
    notes += [] if labels else [note for note in _doubts(values, units, low, high) if note not in notes]
    return np.asarray(values, np.float32)


def _doubts(values: np.ndarray, units: str | None, low: float, high: float) -> list[str]:
    """What speaks for or against Hounsfield units, as notes; ``low`` and ``high`` are the extremes."""
    if units != "HU":
        return [UNKNOWN_UNITS] if units is None and low < LIKE_CT else []
    if low < WRAPPED_HU[0] or high > WRAPPED_HU[1]:
        wrapped = float(((values < WRAPPED_HU[0]) | (values > WRAPPED_HU[1])).mean())
        if wrapped > NEGLIGIBLE_FRACTION:
            return [f"{wrapped:.1%} of the pixels lie beyond any tissue: their sign may be declared wrongly"]
    if low >= 0 and high > 0:
        return ["no value below 0 HU, where fat and air lie: the offset of a CT may have been lost"]
    return []


def in_hounsfield(scan: Scan, note: str = DECLARED_HU) -> Scan:
    """A scan whose file does not say its units, in the Hounsfield units that it is said to hold.

    Raises:
        InputError: It is a photograph, or its header says something else.
    """
    name = scan.source.replace("\\", "/").rsplit("/", 1)[-1] or "The image"
    if scan.units == "HU":
        return scan
    modality = scan.header.get("modality", "CT")
    if scan.units != "relative" or modality != "CT" or scan.pixels.shape[-1] != 1:
        what = "an image of 8 bits or in colour" if scan.units != "relative" or modality == "CT" else "not a CT"
        raise InputError(
            f'{name} is {what}, and units="HU" was given for it.',
            "Hounsfield units only for CT in files that do not say their units, such as NIfTI.",
            'Leave units="HU" out, or say it in a column "units" for the rows that are CT.',
        )
    notes = [note for note in scan.notes if note != UNKNOWN_UNITS]
    doubts = _doubts(scan.pixels, "HU", float(scan.pixels.min()), float(scan.pixels.max()))
    return replace(scan, units="HU", notes=(*notes, note, *doubts))


def _filled(values: np.ndarray, notes: list[str], name: str, labels: bool) -> np.ndarray:
    """NaN becomes the lowest value, infinity the highest, minus infinity the lowest."""
    finite = np.isfinite(values)
    unknown = int(np.isnan(values).sum())
    infinite = int(values.size - finite.sum()) - unknown
    if PADDED in notes and unknown == values.size:
        raise InputError(f"{name} holds nothing but padding.", "an image of the patient.", "Leave it out of the study.")
    if labels or not finite.any():
        raise InputError(
            f"{name} holds {unknown + infinite:,} values that are not numbers (NaN or infinite).",
            "integers in every pixel of a mask." if labels else "numbers in most pixels.",
            "Export the mask again as a label map." if labels else "Export it again.",
        )
    low, high = float(values[finite].min()), float(values[finite].max())
    if unknown and PADDED not in notes:
        notes.append(f"{_pixels(unknown)} held no number (NaN) and got {low:g}, the lowest value")
    if infinite:
        notes.append(f"{_pixels(infinite)} held infinity and got {high:g}, the highest value, or the lowest")
    return np.nan_to_num(values, nan=low, posinf=high, neginf=low)


def _pixels(count: int) -> str:
    return f"{count:,} pixel{'s' if count != 1 else ''}"
