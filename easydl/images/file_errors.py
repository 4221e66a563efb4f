"""The errors for a file that is missing, damaged or of another format. It reads at most the first bytes of the file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from easydl.errors import InputError

_WHOLE = {
    "DICOM": "a whole DICOM file.",
    "NIfTI": "a whole NIfTI volume (.nii, .nii.gz, or .hdr and .img).",
    "image": "a whole PNG, JPEG, TIFF, BMP or GIF file.",
}


def missing(path: str | Path) -> InputError:
    """The error for a file that is not there."""
    return InputError(f"The file {path} does not exist.", "a file at this path.", "Correct the path.")


def unreadable(path: str | Path, why: str, format: str = "DICOM") -> InputError:
    """The error for a damaged file; ``format`` is ``"DICOM"``, ``"NIfTI"`` or ``"image"``."""
    return InputError(
        f"{Path(path).name} cannot be read: {why}.",
        _WHOLE[format],
        "Open it in a viewer. If it is damaged, export it again (from the PACS), or leave it out of the study.",
    )


def refuse_special(path: str | Path) -> None:
    """Refuse a pipe, a socket or a device, which would be waited for, or never end."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"{Path(path).name} is not an ordinary file but a pipe, a socket or a device.",
            "a file or a folder on the disk.",
            "Write it to the disk first, and name that file.",
        )


@contextmanager
def file_limits(path: str | Path) -> Iterator[None]:
    """Around the reading of one file: no pipe is opened, and what is too large or too deep is one sentence."""
    refuse_special(path)
    try:
        yield
    except MemoryError as problem:
        raise InputError(
            f"{Path(path).name} needs more memory than is free.",
            "an image that fits into the memory.",
            "Close other programs, crop the image or reduce it, or use a computer with more memory.",
        ) from problem
    except RecursionError as problem:
        raise unreadable(path, "its parts are nested without end") from problem


def unsupported(path: str | Path) -> InputError:
    """The error for a file in none of the supported formats, naming what it seems to be.

    The list of formats is short on purpose: every further decoder is a further way in for a hostile file.
    """
    path = Path(path)
    refuse_special(path)
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        start = b""
    kind = _kind(start)
    what = "not in a format that easydl reads"
    do = "Export the image in one of these formats (a DICOM file begins with the mark DICM after 128 bytes)"
    if path.suffix.lower() in (".img", ".hdr"):
        half = path.with_suffix(".hdr" if path.suffix.lower() == ".img" else ".img")
        what = f"one half of a pair of files{'' if half.exists() else f', and {half.name} is missing'}"
        do = "Name the .hdr file" if half.exists() else f"Copy {half.name} beside it and name the .hdr file"
    elif not start:
        what = f"empty, and {what}"
    elif kind:
        what, do = f"{kind}, {what}", "Export the image in one of these formats"
    return InputError(
        f"{path.name} is {what}.",
        "a PNG, JPEG, TIFF, BMP, GIF, DICOM or NIfTI file, or a folder of DICOM slices.",
        f"{do}.",
    )


def _kind(start: bytes) -> str:
    """What a file is by its first bytes; "" when they are not known."""
    text, brand = start.lstrip().lower(), start[8:12] if start[4:8] == b"ftyp" else b""
    for matches, kind in (
        (text.startswith((b"<!doctype html", b"<html")), "an HTML page"),
        (b"<svg" in text[:1000], "an SVG drawing"),
        (start[:4] == b"RIFF" and start[8:12] == b"WEBP", "a WEBP image"),
        (brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"), "a HEIC image"),
        (brand in (b"avif", b"avis"), "an AVIF image"),
        (start[:4] == b"%PDF", "a PDF document"),
        (start[:2] == b"MZ" or start[:4] == b"\x7fELF", "a program"),
        (start[:2] == b"PK", "a zip archive"),
        (start[:2] == b"\x1f\x8b", "a gzip archive"),
        (start[:8] == b"\0\0\0\x0cjP  " or start[:4] == b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    ):
        if matches:
            return kind
    return ""
