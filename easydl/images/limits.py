"""What is read at all: size limits and file formats. It checks before anything is allocated."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from easydl.errors import InputError

MAX_VALUES = 400_000_000
"""Values (pixels x frames x channels) in one image or volume: 1.6 GB as float32."""

MAX_PIXELS = 80_000_000
"""Pixels in one image file (a digital mammogram has about 20 million); below the number at which Pillow warns."""
MAX_ASPECT = 50
"""Longest side over the second longest; beyond it, it is a strip and not an image."""

MAX_DEPTH = 100
"""Levels of folders in one another; beyond it, a folder was copied into itself, or somebody wants to exhaust the stack."""

RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr")
"""Of a pair of files the ``.hdr`` stands for both."""
SNIFFED_BYTES = 1024
MAX_FIRST_ELEMENT = 1 << 16
LONG_KINDS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR")
SHORT_KINDS = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
"""Value representations with a length of four and of two bytes (PS3.5 7.1.2)."""
IGNORED_NAMES = {".ds_store", "thumbs.db", "desktop.ini", "dicomdir", "__macosx"}


def is_nifti(path: str | Path) -> bool:
    """By the file name."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_raster(path: str | Path) -> bool:
    """By the file name: PNG, JPEG, TIFF, BMP or GIF."""
    return str(path).lower().endswith(RASTER_SUFFIXES)


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM: ``DICM`` after 128 bytes (PS3.10 section 7.1), or the elements alone."""
    start = _start(path)
    return start[128:132] == b"DICM" or _begins_with_elements(start)


def lacks_preamble(path: str | Path) -> bool:
    """Whether a DICOM file begins with its elements, as treatment planning systems and old exports write it."""
    start = _start(path)
    return start[128:132] != b"DICM" and _begins_with_elements(start)


def _start(path: str | Path) -> bytes:
    """The first bytes of an ordinary file; none of a pipe, which would wait for ever."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(SNIFFED_BYTES)
    except (OSError, ValueError):
        return b""


def _begins_with_elements(start: bytes) -> bool:
    """Whether bytes are DICOM elements from group 2 or 8 on, in ascending order, with lengths that can be (PS3.5 7.1)."""
    at, before, count = 0, (0, 0), 0
    while at + 8 <= len(start) and count < 4:
        group, element = struct.unpack_from("<HH", start, at)
        if ((group, element) <= before and count) or group not in ((2, 8) if not count else (2, 8, 16, 24, 32)):
            return False
        kind = start[at + 4 : at + 6]
        if kind in LONG_KINDS:
            length, head = struct.unpack_from("<I", start.ljust(at + 12, b"\0"), at + 8)[0], 12
        elif kind in SHORT_KINDS:
            length, head = struct.unpack_from("<H", start, at + 6)[0], 8
        else:
            length, head = struct.unpack_from("<I", start, at + 4)[0], 8
        if length % 2 or length > MAX_FIRST_ELEMENT:
            return False
        at, before, count = at + head + length, (group, element), count + 1
    return count > 1


def is_ignored(path: str | Path) -> bool:
    """Whether the operating system left the file behind (``.DS_Store``, ``Thumbs.db``, ...)."""
    parts = [part.lower() for part in Path(path).parts[-3:]]
    return parts[-1].startswith("._") or any(part in IGNORED_NAMES for part in parts)


def folders_below(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, without following links.

    Raises:
        InputError: Folders lie in one another deeper than `MAX_DEPTH` levels.
    """
    levels = {os.fspath(folder): 0}
    for base, inner, names in os.walk(folder, followlinks=False):
        level = levels.pop(base)
        if inner and level >= MAX_DEPTH:
            raise too_deep(folder)
        yield base, inner, names
        levels.update((os.path.join(base, name), level + 1) for name in inner)


def too_deep(folder: str | Path) -> InputError:
    """The refusal of folders that lie in one another without end."""
    return InputError(
        f"{Path(folder).name or folder} holds folders in one another, more than {MAX_DEPTH} levels deep.",
        "a folder of images, as a PACS or a person arranges it.",
        "Look whether a folder was copied into itself, or choose the folder that holds the images.",
    )


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
