"""PNG, JPEG, TIFF, BMP and GIF files become Scans. It does not read DICOM or NIfTI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from easydl.errors import InputError
from easydl.images.limits import check_size
from easydl.images.scan import Scan

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def raster_facts(path: str | Path) -> dict[str, str]:
    """Width, height and kind of a file from its header alone, for the study table and the audit.

    Args:
        path: A PNG, JPEG, TIFF, BMP or GIF file.

    Returns:
        ``width`` and ``height`` in pixels, ``file_type`` (such as ``"PNG RGB"``), all as text.

    Raises:
        InputError: The file is missing or is no such picture.
    """
    with _open(path) as picture:
        width, height = picture.size
        return {"width": str(width), "height": str(height), "file_type": f"{picture.format} {picture.mode}"}


def read_raster(path: str | Path) -> Scan:
    """Read one picture: rotation flag applied, transparency laid on black, 16 bits kept.

    Args:
        path: A PNG, JPEG, TIFF, BMP or GIF file with one page.

    Returns:
        A Scan of shape ``(height, width, 1 or 3)``, in 0-255 for 8-bit files, ``"relative"`` for deeper ones.

    Raises:
        InputError: Missing, unreadable, cut short, of several pages, or beyond the size limit.
    """
    notes: list[str] = []
    with _open(path) as picture:
        name = Path(path).name
        check_size((picture.height, picture.width, len(picture.getbands())), name)
        if getattr(picture, "n_frames", 1) > 1:
            raise InputError(
                f"{name} holds {getattr(picture, 'n_frames', 1)} pages.",
                "one page in each picture.",
                "Save the pages as separate files, or as one DICOM or NIfTI volume.",
            )
        try:
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError) as problem:
            raise _unreadable(path, str(problem)) from problem
        upright = ImageOps.exif_transpose(picture)
    if upright.mode in SIXTEEN_BIT or upright.mode == "F":
        pixels = np.asarray(upright, dtype=np.float32)[..., None]
        if not np.isfinite(pixels).all():
            raise _unreadable(path, "some pixels are not numbers")
        return Scan(pixels, "relative", source=str(path), notes=("more than 8 bits a pixel: kept",))
    if upright.has_transparency_data:
        notes.append("transparent parts laid on black")
        rgba = upright.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, rgba).convert("RGB")
    grey = upright.mode in ("1", "L")
    pixels = np.asarray(upright.convert("L" if grey else "RGB"), dtype=np.float32)
    return Scan(pixels[..., None] if grey else pixels, "0-255", source=str(path), notes=tuple(notes))


def _open(path: str | Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except FileNotFoundError as problem:
        raise InputError(
            f"The file {path} does not exist.",
            "a file at this path.",
            "Correct the path in the table, or copy the file there.",
        ) from problem
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as problem:
        raise _unreadable(path, "it does not begin as a picture does") from problem


def _unreadable(path: str | Path, why: str) -> InputError:
    return InputError(
        f"{Path(path).name} cannot be read: {why}.",
        f"a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
        "Open it in a viewer; export it again if it is damaged, or leave it out of the study.",
    )
