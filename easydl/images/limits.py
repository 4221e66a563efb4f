"""What is read at all: size limits and file formats. It checks before anything is allocated."""

from __future__ import annotations

import math
from pathlib import Path

from easydl.errors import InputError

MAX_VALUES = 400_000_000
"""Values (pixels x frames x channels) in one image or volume: 1.6 GB as float32."""

MAX_PIXELS = 80_000_000
"""Pixels in one image file (a digital mammogram has about 20 million); below the number at which Pillow warns."""
MAX_ASPECT = 50
"""Longest side over the second longest; beyond it, it is a strip and not an image."""

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
"""Of a pair of files the ``.hdr`` stands for both."""
IGNORED_NAMES = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "__macosx"}


def is_nifti(path: str | Path) -> bool:
    """By the file name."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_raster(path: str | Path) -> bool:
    """By the file name: PNG, JPEG, TIFF, BMP or GIF."""
    return str(path).lower().endswith(RASTER_SUFFIXES)


def is_dicom(path: str | Path) -> bool:
    """Whether the file begins as DICOM Part 10 files do: ``DICM`` after 128 bytes (PS3.10 section 7.1)."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_ignored(path: str | Path) -> bool:
    """Whether the operating system left the file behind (``.DS_Store``, ``Thumbs.db``, ...)."""
    parts = [part.lower() for part in Path(path).parts[-3:]]
    return parts[-1].startswith("._") or any(part in IGNORED_NAMES for part in parts)


def check_size(shape: tuple[int, ...], name: str) -> None:
    """Refuse an image whose declared size is empty, a strip or beyond the limit, before memory is taken for it.

    The shape has a channel axis at its end, ``([depth,] height, width, channel)``; a volume may be one slice thin.
    """
    text = " x ".join(map(str, shape))
    sides = sorted(shape[:-1] if len(shape) > 2 else shape)
    if any(side < 1 for side in shape) or sides[-2] < 2:
        raise InputError(
            f"{name} says it is {text} pixels.",
            "an image of at least 2 x 2 pixels.",
            "Export the image again, or leave it out of the study.",
        )
    if sides[-1] > MAX_ASPECT * sides[-2]:
        raise InputError(
            f"{name} is a strip: {text} pixels.",
            f"an image at most {MAX_ASPECT} times as long as it is wide.",
            "Check that it is an image of the patient, or leave it out of the study.",
        )
    if math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{name} says it holds {math.prod(shape):,} values ({text}).",
            f"at most {MAX_VALUES:,} values in one image or volume.",
            "Reduce or crop the image (a whole-slide image needs to be tiled first).",
        )
