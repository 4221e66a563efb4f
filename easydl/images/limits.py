"""What is read at all: size limits and the list of formats. It checks before anything is allocated."""

from __future__ import annotations

import math
from pathlib import Path

from easydl.errors import InputError

MAX_VALUES = 400_000_000
"""Values (pixels x frames x channels) in one image or volume: 1.6 GB as float32."""

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima", "")
IGNORED_NAMES = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "__macosx"}


def is_nifti(path: str | Path) -> bool:
    """Whether the name is a NIfTI file's."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_raster(path: str | Path) -> bool:
    """Whether the name is a PNG, JPEG, TIFF, BMP or GIF file's."""
    return str(path).lower().endswith(RASTER_SUFFIXES)


def is_dicom(path: str | Path) -> bool:
    """Whether the file begins as DICOM Part 10 files do: ``DICM`` after 128 bytes (PS3.10 section 7.1)."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def is_ignored(path: str | Path) -> bool:
    """Whether the file is one the operating system left behind (``.DS_Store``, ``Thumbs.db``, ...)."""
    parts = [part.lower() for part in Path(path).parts[-3:]]
    return parts[-1].startswith("._") or any(part in IGNORED_NAMES for part in parts)


def check_size(shape: tuple[int, ...], name: str) -> None:
    """Refuse an image whose declared size is empty or beyond the limit, before memory is taken for it.

    Raises:
        InputError: A dimension is below 2 or the number of values is above `MAX_VALUES`.
    """
    if any(side < 1 for side in shape) or min(shape[-3:-1] or shape) < 2:
        raise InputError(
            f"{name} says it is {' x '.join(map(str, shape))} pixels.",
            "an image of at least 2 x 2 pixels.",
            "Export the image again, or leave it out of the study.",
        )
    if math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{name} says it holds {math.prod(shape):,} values ({' x '.join(map(str, shape))}).",
            f"at most {MAX_VALUES:,} values in one image or volume.",
            "Reduce or crop the image (a whole-slide image needs to be tiled first).",
        )
