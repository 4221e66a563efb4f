"""PNG, JPEG, TIFF, BMP and GIF files become Scans. It does not read DICOM or NIfTI."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from easydl.errors import InputError
from easydl.images.limits import MAX_PIXELS, check_size, not_read
from easydl.images.scan import Scan

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
COLOUR_SPACES = {"CMYK": "CMYK", "LAB": "CIE L*a*b*", "YCbCr": "YCbCr", "HSV": "HSV"}
SIDEWAYS = (5, 6, 7, 8)
STANDARD_LUMINANCE = 3688
"""Sum of the luminance table of the JPEG standard (ITU-T T.81, table K.1), which encoders call quality 50."""
GREY_PALETTE = 8
"""Largest difference of red, green and blue, of 255, in a palette that is meant to be grey."""


def raster_facts(path: str | Path) -> dict[str, str]:
    """Width, height and kind of a file from its header alone, for the study table and the audit.

    Args:
        path: A PNG, JPEG, TIFF, BMP or GIF file.

    Returns:
        ``width`` and ``height`` in pixels as the picture is shown, ``file_type`` (such as ``"PNG RGB"``) and, for JPEG,
        ``jpeg_quality`` (1 to 100, as the common encoder counts) and ``jpeg_tables`` (eight hexadecimal digits made from
        the quantisation tables, which differ from program to program), all as text.

    Raises:
        InputError: The file is missing, is no such picture, or is beyond the size limit.
    """
    with _open(path) as picture:
        width, height = picture.size
        kind = "JPEG" if picture.format == "MPO" else str(picture.format)
        facts = {"file_type": f"{kind} {picture.mode}"}
        if kind == "JPEG" and _rotation(picture) in SIDEWAYS:  # TIFF: Pillow has exchanged them
            width, height = height, width
        tables: dict[int, list[int]] = getattr(picture, "quantization", None) or {}
        if kind == "JPEG" and tables:
            percent = 100 * sum(tables[min(tables)]) / STANDARD_LUMINANCE
            quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
            facts["jpeg_quality"] = str(min(100, max(1, round(quality))))
            facts["jpeg_tables"] = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8]
        return {"width": str(width), "height": str(height), **facts}


def read_raster(path: str | Path, frame: int | None = None, *, labels: bool = False) -> Scan:
    """Read one picture: rotation flag applied, transparency laid on black, 16 bits kept.

    Every colour space has one defined way to RGB: a palette by its colours, CMYK as ``(255 - C)(255 - K) / 255``, YCbCr by
    ITU-R 601, L*a*b* through sRGB (D50). Colour profiles (ICC) and gamma are not applied, in training and prediction alike:
    the numbers in the file count.

    Args:
        path: A PNG, JPEG, TIFF, BMP or GIF file.
        frame: Which page of a file that holds several, counted from 1.
        labels: Read it as a mask: a palette's numbers count instead of its colours, and few-bit greys keep theirs.

    Returns:
        A Scan of shape ``(height, width, 1 or 3)``, in 0-255 for 8-bit files, ``"relative"`` for deeper ones.

    Raises:
        InputError: Missing, unreadable, cut short, of several pages when none was chosen, or beyond the size limit.
    """
    notes: list[str] = []
    with _open(path) as picture:
        name = Path(path).name
        _turn_to(picture, frame, name, notes)
        check_size((picture.height, picture.width, len(picture.getbands())), name)
        mode = _raw_mode(picture)
        _load(picture, path)
        if picture.info.get("icc_profile"):
            notes.append("colour profile not applied")
        rotation = _rotation(picture)
        if ";16" in mode and picture.mode not in DEEP_GREY:  # Pillow has no mode for it and keeps 8 of the 16
            deep = _deep_colour(picture, path, frame, mode)
            if deep is not None:
                pixels = _upright(deep, rotation)
                pixels = _on_black(pixels, 65535, notes) if pixels.shape[-1] == 4 else pixels
                notes.append("more than 8 bits a pixel: kept")
                return Scan(np.ascontiguousarray(pixels, np.float32), "relative", source=str(path), notes=tuple(notes))
            notes.append("16 bits a channel were read as 8: their lower half is lost")
        upright = ImageOps.exif_transpose(picture)
    if upright.mode in DEEP_GREY:
        pixels = np.asarray(upright, dtype=np.float32)[..., None]
        if not np.isfinite(pixels).all():
            raise _unreadable(path, "some pixels are not numbers")
        return Scan(pixels, "relative", source=str(path), notes=(*notes, "more than 8 bits a pixel: kept"))
    if labels and upright.mode == "P":
        pixels = _palette_labels(upright, path, notes)
    elif labels and mode in ("L;2", "L;4"):
        pixels = np.asarray(upright, np.float32)[..., None] // (85 if mode == "L;2" else 17)
    else:
        pixels = _eight_bit(upright, notes)
    return Scan(pixels, "0-255", source=str(path), notes=tuple(notes))


def _eight_bit(picture: Image.Image, notes: list[str]) -> np.ndarray:
    """float32 ``(height, width, 1 or 3)`` in 0-255."""
    if picture.has_transparency_data:
        grey = picture.mode in ("L", "LA", "La", "1")
        pixels = _on_black(np.asarray(picture.convert("RGBA"), np.float32), 255, notes)
        return pixels[..., :1] if grey else pixels
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"), np.float32)[..., None]
    if picture.mode in COLOUR_SPACES:
        notes.append(f"{COLOUR_SPACES[picture.mode]} was brought to RGB")
    if picture.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(picture, lab, rgb, outputMode="RGB")
        assert converted is not None
        picture = converted
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    palette = picture.mode == "P" and bool((pixels == pixels[..., :1]).all())
    return pixels[..., :1] if palette else pixels


def _on_black(rgba: np.ndarray, full: int, notes: list[str]) -> np.ndarray:
    """RGB of RGBA in the same range, its transparent parts laid on black."""
    alpha = rgba[..., 3:].astype(np.float32) / full
    if (alpha < 1).any():
        notes.append("transparent parts laid on black")
    pixels = rgba[..., :3].astype(np.float32) * alpha
    return np.rint(pixels)


def _palette_labels(picture: Image.Image, path: str | Path, notes: list[str]) -> np.ndarray:
    """The numbers of a palette file; its greys where the palette is nothing but greys."""
    index = np.asarray(picture)
    palette = np.asarray(picture.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    used = np.unique(index)
    if used.max(initial=0) >= len(palette):
        raise _unreadable(path, "a pixel has a number beyond the palette")
    colours = palette[used]
    if (colours == colours[:, :1]).all():
        return colours[np.searchsorted(used, index), :1].astype(np.float32)
    grey = np.ptp(colours, axis=1).max() <= GREY_PALETTE
    if grey and (np.diff(colours.sum(axis=1)) < 0).any():
        raise _unreadable(path, "its palette shows larger numbers darker, so that it is unclear which are meant")
    notes.append("the palette's numbers were taken as labels, not its colours")
    return index.astype(np.float32)[..., None]


def _deep_colour(picture: Image.Image, path: str | Path, frame: int | None, mode: str) -> np.ndarray | None:
    """All 16 bits of each channel, or None. Pillow keeps one byte of two; read in both byte orders, it gives both."""
    if getattr(picture, "tag_v2", {}).get(284, 1) != 1:  # each channel by itself (TIFF 6.0, PlanarConfiguration)
        return None
    other = mode.replace(";16B", ";16?").replace(";16L", ";16B").replace(";16N", ";16B").replace(";16?", ";16L")
    try:
        with _open(path) as again:
            again.seek((frame or 1) - 1)
            again.tile = [  # type: ignore[attr-defined]
                part._replace(args=other if isinstance(part.args, str) else (other, *part.args[1:]))
                for part in again.tile  # type: ignore[attr-defined]
            ]
            low = np.asarray(again, np.uint16)
    except (InputError, OSError, SyntaxError, ValueError, EOFError):
        return None
    high = np.asarray(picture, np.uint16)
    return high * 256 + low if low.shape == high.shape else None


def _upright(pixels: np.ndarray, rotation: int) -> np.ndarray:
    """What `PIL.ImageOps.exif_transpose` does, for pixels that Pillow cannot hold (CIPA DC-008, tag 0x0112)."""
    if rotation in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if rotation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if rotation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _turn_to(picture: Image.Image, frame: int | None, name: str, notes: list[str]) -> None:
    try:
        pages = int(getattr(picture, "n_frames", 1))
        if picture.format == "MPO" and frame is None:
            notes.append("a camera's preview or depth picture in the same file was left out")
            frame = 1
        if frame is None and pages > 1:
            raise InputError(
                f"{name} holds {pages} pages.",
                "one picture in each row.",
                f"Name one of them, {name}#1 to {name}#{pages}, or save the pages as separate files or one volume.",
            )
        if frame is not None and not 1 <= frame <= pages:
            raise InputError(
                f"{name} has no page {frame}.", f"a number from 1 to {pages}.", f"Write {name}#1 for the first page."
            )
        picture.seek((frame or 1) - 1)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as problem:
        if isinstance(problem, InputError):
            raise
        raise _unreadable(name, "its pages cannot be told apart") from problem


def _load(picture: Image.Image, path: str | Path) -> None:
    try:
        picture.load()
    except Image.DecompressionBombError as problem:
        raise _too_large(path) from problem
    except Exception as problem:
        raise _unreadable(path, "it is cut short or damaged") from problem


def _raw_mode(picture: Any) -> str:
    """How the pixels lie in the file, in Pillow's words, such as ``"RGB;16B"``."""
    tiles = getattr(picture, "tile", None)
    args = tiles[0].args if tiles else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _rotation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, TypeError, ValueError):
        return 1


def _open(path: str | Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Beyond our own limit anyway, and a warning on the console is no way to say so.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except FileNotFoundError as problem:
        raise InputError(
            f"The file {path} does not exist.",
            "a file at this path.",
            "Correct the path in the table, or copy the file there.",
        ) from problem
    except Image.DecompressionBombError as problem:
        raise _too_large(path) from problem
    except UnidentifiedImageError as problem:
        raise _no_picture(path) from problem
    except Exception as problem:
        raise _unreadable(path, "its header is damaged, or its texts unpack to too much") from problem
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise _too_large(path)
    # Pillow 13 garbles a turned grey TIFF when it maps the file into memory, which it does for files with a name.
    picture.filename = ""
    return picture


def _no_picture(path: str | Path) -> InputError:
    with open(path, "rb") as file:
        start = file.read(8)
    marks = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"GIF8", b"BM")
    return _unreadable(path, "its header is damaged") if start.startswith(marks) else not_read(path)


def _too_large(path: str | Path) -> InputError:
    return InputError(
        f"{Path(path).name} says it holds more than {MAX_PIXELS:,} pixels.",
        f"at most {MAX_PIXELS:,} pixels in one picture.",
        "Reduce or crop the image (a whole-slide image needs to be tiled first).",
    )


def _unreadable(path: str | Path, why: str) -> InputError:
    return InputError(
        f"{Path(path).name} cannot be read: {why}.",
        f"a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file.",
        "Open it in a viewer; export it again if it is damaged, or leave it out of the study.",
    )
