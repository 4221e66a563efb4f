"""What is read at all: size limits and the list of formats. It checks before anything is allocated."""

from __future__ import annotations

import math
from pathlib import Path

from easydl.errors import InputError

MAX_VALUES = 400_000_000
"""Values (pixels x frames x channels) in one image or volume: 1.6 GB as float32."""

MAX_PIXELS = 80_000_000
"""Pixels in one picture file (a digital mammogram has about 20 million); below what Pillow itself warns of."""
MAX_ASPECT = 50
"""Longest side over the second longest, from which something is a strip and no image."""

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
"""Of a pair of files the ``.hdr`` stands for both."""
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
    """Refuse an image whose declared size is empty, a strip or beyond the limit, before memory is taken for it.

    Args:
        shape: ``(height, width, channel)`` or ``(depth, height, width, channel)``; a volume may be one slice thin.
        name: What to call the image in messages.

    Raises:
        InputError: The image is below 2 x 2, more than `MAX_ASPECT` times as long as wide, or holds more than
            `MAX_VALUES` values.
    """
    words = " x ".join(map(str, shape))
    sides = sorted(shape[:-1] if len(shape) > 2 else shape)
    if any(side < 1 for side in shape) or sides[-2] < 2:
        raise InputError(
            f"{name} says it is {words} pixels.",
            "an image of at least 2 x 2 pixels.",
            "Export the image again, or leave it out of the study.",
        )
    if sides[-1] > MAX_ASPECT * sides[-2]:
        raise InputError(
            f"{name} is a strip: {words} pixels.",
            f"an image at most {MAX_ASPECT} times as long as it is wide.",
            "Check that it is an image of the patient, or leave it out of the study.",
        )
    if math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{name} says it holds {math.prod(shape):,} values ({words}).",
            f"at most {MAX_VALUES:,} values in one image or volume.",
            "Reduce or crop the image (a whole-slide image needs to be tiled first).",
        )


def not_read(address: str | Path) -> InputError:
    """The error for a file that is none of the formats on the list, naming what it seems to be.

    References:
        The list is short on purpose: every further decoder is a further way in for a hostile file.
    """
    path = Path(address)
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        start = b""
    what = "of no kind that easydl reads"
    do = "Export the image in one of these formats (a DICOM file begins with the mark DICM after 128 bytes)"
    if path.suffix.lower() in (".img", ".hdr"):
        half = path.with_suffix(".hdr" if path.suffix.lower() == ".img" else ".img")
        what = f"one half of a pair of files{'' if half.exists() else f', and {half.name} is missing'}"
        do = "Name the .hdr file" if half.exists() else f"Copy {half.name} beside it and name the .hdr file"
    elif not start:
        what = "empty, of no kind that easydl reads"
    else:
        text = start.lstrip().lower()
        for found, kind in (
            (text.startswith((b"<!doctype html", b"<html")), "an HTML page"),
            (b"<svg" in text[:1000], "an SVG drawing"),
            (start[:4] == b"RIFF" and start[8:12] == b"WEBP", "a WEBP picture"),
            (start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"), "a HEIC picture"),
            (start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"), "an AVIF picture"),
            (start[:4] == b"%PDF", "a PDF document"),
            (start[:2] == b"MZ" or start[:4] == b"\x7fELF", "a program"),
            (start[:2] == b"PK", "a zip archive"),
            (start[:2] == b"\x1f\x8b", "a gzip archive"),
            (start[:8] == b"\0\0\0\x0cjP  " or start[:4] == b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
        ):
            if found:
                what, do = f"{kind}, of no kind that easydl reads", "Export the image in one of these formats"
                break
    return InputError(
        f"{path.name} is {what}.",
        "a PNG, JPEG, TIFF, BMP, GIF, DICOM or NIfTI file, or a folder of DICOM slices.",
        f"{do}.",
    )
