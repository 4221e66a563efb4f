"""PNG, JPEG, TIFF, BMP and GIF files become Scans."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from easydl.errors import InputError
from easydl.images.file_errors import missing, refuse_special, unreadable, unsupported
from easydl.images.limits import MAX_PIXELS, check_size
from easydl.images.quiet import quiet_libraries
from easydl.images.scan import Scan
from easydl.images.values import settled

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
SIGNATURES = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"GIF8", b"BM")
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
COLOUR_SPACES = {"CMYK": "CMYK", "LAB": "CIE L*a*b*", "YCbCr": "YCbCr", "HSV": "HSV"}
SIDEWAYS = (5, 6, 7, 8)
STANDARD_LUMINANCE = 3688
"""Sum of the luminance table of the JPEG standard (ITU-T T.81, table K.1), which encoders call quality 50."""
PHOTOMETRIC, SAMPLES_PER_PIXEL, SAMPLE_FORMAT = 262, 277, 339
DEEP_NOTE = "more than 8 bits a pixel: kept"
ALPHA_NOTE = "transparent parts blended with black"
PALETTE_NOTE = "the palette's numbers were taken as labels, not its colours"
GREY_PALETTE = 8
"""Largest difference of red, green and blue, of 255, in a palette that is meant to be grey."""


def raster_facts(path: str | Path) -> dict[str, str]:
    """What the header of an image file says, as text, for the study table and the audit.

    ``width`` and ``height`` in pixels as the image is shown, ``file_type`` (such as ``"PNG RGB"``) and, for JPEG,
    ``jpeg_quality`` (1 to 100, as the common encoder counts) and ``jpeg_tables`` (eight hexadecimal digits made from the
    quantisation tables, which differ from program to program).
    """
    with _open(path) as image:
        width, height = image.size
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        facts = {"file_type": f"{kind} {image.mode}"}
        if kind == "JPEG" and _rotation(image) in SIDEWAYS:  # TIFF: Pillow has exchanged them
            width, height = height, width
        tables: dict[int, list[int]] = getattr(image, "quantization", None) or {}
        if kind == "JPEG" and tables:
            percent = 100 * sum(tables[min(tables)]) / STANDARD_LUMINANCE
            quality = (200 - percent) / 2 if percent <= 100 else 5000 / percent
            facts["jpeg_quality"] = str(min(100, max(1, round(quality))))
            facts["jpeg_tables"] = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8]
        return {"width": str(width), "height": str(height), **facts}


def read_raster(path: str | Path, frame: int | None = None, *, labels: bool = False) -> Scan:
    """Read one image file: rotation flag applied, transparent parts black, 16 bits kept.

    ``frame`` chooses a page of a file that holds several, from 1. In a mask (``labels``) a palette's numbers count
    instead of its colours, and greys of few bits keep theirs. Every colour space has one defined way to RGB: a palette by
    its colours, CMYK as ``(255 - C)(255 - K) / 255``, YCbCr by ITU-R 601, L*a*b* through sRGB (D50).
    Colour profiles (ICC) and gamma are not applied, in training and prediction alike: the stored values count.
    """
    notes: list[str] = []
    pixels, is_deep = _decoded(path, frame, labels, notes)
    pixels = settled(pixels, None if is_deep else "0-255", notes, Path(path).name, labels=labels)
    units = "relative" if is_deep else "0-255"
    return Scan(np.ascontiguousarray(pixels), units, source=str(path), notes=tuple(notes))


def _decoded(path: str | Path, frame: int | None, labels: bool, notes: list[str]) -> tuple[np.ndarray, bool]:
    """Pixels ``(height, width, 1 or 3)`` of any type, and whether they have more than 8 bits."""
    with _open(path) as image:
        name = Path(path).name
        _seek(image, frame, name, notes)
        check_size((image.height, image.width, len(image.getbands())), name)
        _refuse_more_channels(image, name)
        mode = _raw_mode(image)
        tags = getattr(image, "tag_v2", {})
        white_is_zero, unsigned = tags.get(PHOTOMETRIC, 1) == 0, tags.get(SAMPLE_FORMAT, (1,))[0] == 1
        _load(image, path)
        if image.info.get("icc_profile"):
            notes.append("colour profile not applied")
        rotation = _rotation(image)
        if ";16" in mode and image.mode not in DEEP_GREY:  # Pillow has no mode for it and keeps 8 of the 16
            deep = _deep_colour(image, path, frame, mode)
            if deep is not None:
                pixels = _upright(deep, rotation)
                pixels = _on_black(pixels, 65535, notes) if pixels.shape[-1] == 4 else pixels
                notes.append(DEEP_NOTE)
                return pixels, True
            notes.append("16 bits a channel were read as 8: their lower half is lost")
        upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP_GREY:
        notes.append(DEEP_NOTE)
        pixels = np.asarray(upright)
        if mode == "I;32N" and unsigned:  # Pillow holds 32 bits with a sign only
            pixels = pixels.view(np.uint32)
        return (_black_is_zero(pixels, name, notes) if white_is_zero else pixels)[..., None], True
    if labels and upright.mode == "P":
        return _palette_labels(upright, path, notes), False
    if labels and mode in ("L;2", "L;4"):
        return np.asarray(upright, np.float32)[..., None] // (85 if mode == "L;2" else 17), False
    return _eight_bit(upright, notes), False


def _refuse_more_channels(image: Image.Image, name: str) -> None:
    """Refuse a TIFF with channels that Pillow would drop: those that are neither colour nor transparency."""
    samples = int(getattr(image, "tag_v2", {}).get(SAMPLES_PER_PIXEL, 1))
    if samples > len(image.getbands()):
        raise InputError(
            f"{name} holds {samples} channels in each pixel.",
            "1 channel (grey), 3 (colour), or 4 of which one is declared as transparency.",
            "Save each channel as an image of its own, and list them as image columns.",
        )


def _black_is_zero(pixels: np.ndarray, name: str, notes: list[str]) -> np.ndarray:
    """The grey values of a WhiteIsZero image the usual way round, as Pillow does it for 8 bits only (TIFF 6.0)."""
    if pixels.dtype.kind != "u":
        raise unreadable(name, "it is shown inverted (WhiteIsZero) and has no highest value to invert about", "image")
    notes.append("WhiteIsZero: inverted, so that the highest value is white")
    return np.iinfo(pixels.dtype).max - pixels


def _eight_bit(image: Image.Image, notes: list[str]) -> np.ndarray:
    """float32 ``(height, width, 1 or 3)`` in 0-255."""
    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La", "1")
        pixels = _on_black(np.asarray(image.convert("RGBA"), np.float32), 255, notes)
        return pixels[..., :1] if grey else pixels
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"), np.float32)[..., None]
    if image.mode in COLOUR_SPACES:
        notes.append(f"{COLOUR_SPACES[image.mode]} was converted to RGB")
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None
        image = converted
    pixels = np.asarray(image.convert("RGB"), np.float32)
    grey_palette = image.mode == "P" and bool((pixels == pixels[..., :1]).all())
    return pixels[..., :1] if grey_palette else pixels


def _on_black(rgba: np.ndarray, full: int, notes: list[str]) -> np.ndarray:
    """RGB of RGBA in the same range, blended with a black background."""
    alpha = rgba[..., 3:].astype(np.float32) / full
    if (alpha < 1).any():
        notes.append(ALPHA_NOTE)
    return np.rint(rgba[..., :3].astype(np.float32) * alpha)


def _palette_labels(image: Image.Image, path: str | Path, notes: list[str]) -> np.ndarray:
    """The numbers of a palette file; its greys where the palette is nothing but greys."""
    index = np.asarray(image)
    palette = np.asarray(image.getpalette("RGB") or [], np.int64).reshape(-1, 3)
    used = np.unique(index)
    if used.max(initial=0) >= len(palette):
        raise unreadable(path, "a pixel has a number beyond the palette", "image")
    colours = palette[used]
    if (colours == colours[:, :1]).all():
        return colours[np.searchsorted(used, index), :1].astype(np.float32)
    grey = np.ptp(colours, axis=1).max() <= GREY_PALETTE
    if grey and (np.diff(colours.sum(axis=1)) < 0).any():
        raise unreadable(
            path, "its palette shows larger numbers darker, so that it is unclear which are meant", "image"
        )
    notes.append(PALETTE_NOTE)
    return index.astype(np.float32)[..., None]


def _deep_colour(image: Image.Image, path: str | Path, frame: int | None, mode: str) -> np.ndarray | None:
    """All 16 bits of each channel, or None. Pillow keeps one byte of two; read in both byte orders, it gives both."""
    if getattr(image, "tag_v2", {}).get(284, 1) != 1:  # each channel by itself (TIFF 6.0, PlanarConfiguration)
        return None
    swapped = mode[:-1] + ("L" if mode.endswith("B") else "B")
    try:
        with _open(path) as second:
            second.seek((frame or 1) - 1)
            second.tile = [  # type: ignore[attr-defined]
                tile._replace(args=swapped if isinstance(tile.args, str) else (swapped, *tile.args[1:]))
                for tile in second.tile  # type: ignore[attr-defined]
            ]
            low = np.asarray(second, np.uint16)
    except (InputError, OSError, SyntaxError, ValueError, EOFError):
        return None
    high = np.asarray(image, np.uint16)
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


def _seek(image: Image.Image, frame: int | None, name: str, notes: list[str]) -> None:
    try:
        pages = int(getattr(image, "n_frames", 1))
        if image.format == "MPO" and frame is None:
            notes.append("a camera's preview or depth image in the same file was ignored")
            frame = 1
        if frame is None and pages > 1:
            raise InputError(
                f"{name} holds {pages} pages.",
                "one image in each row.",
                f"Name one of them, {name}#1 to {name}#{pages}, or save the pages as separate files or one volume.",
            )
        if frame is not None and not 1 <= frame <= pages:
            raise InputError(
                f"{name} has no page {frame}.", f"an integer from 1 to {pages}.", f"Write {name}#1 for the first page."
            )
        image.seek((frame or 1) - 1)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError) as problem:
        raise unreadable(name, "its pages cannot be read", "image") from problem


def _load(image: Image.Image, path: str | Path) -> None:
    try:
        image.load()
    except Image.DecompressionBombError as problem:
        raise _too_large(path) from problem
    except Exception as problem:
        raise unreadable(path, "it is cut short or damaged", "image") from problem


def _raw_mode(image: Any) -> str:
    """How the pixels are stored in the file, as Pillow writes it, such as ``"RGB;16B"``."""
    tiles = getattr(image, "tile", None)
    args = tiles[0].args if tiles else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _rotation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (OSError, SyntaxError, TypeError, ValueError):
        return 1


def _open(path: str | Path) -> Image.Image:
    refuse_special(path)
    try:
        with quiet_libraries():  # Pillow warns of sizes that are beyond our own limit anyway.
            image = Image.open(path, formats=FORMATS)
    except FileNotFoundError as problem:
        raise missing(path) from problem
    except Image.DecompressionBombError as problem:
        raise _too_large(path) from problem
    except UnidentifiedImageError as problem:
        with open(path, "rb") as file:
            damaged = file.read(8).startswith(SIGNATURES)
        raise (unreadable(path, "its header is damaged", "image") if damaged else unsupported(path)) from problem
    except Exception as problem:
        why = "its header is damaged, or its texts unpack to too much"
        raise unreadable(path, why, "image") from problem
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(path)
    # Pillow 13 garbles a rotated grey TIFF when it maps the file into memory, which it does for files with a name.
    image.filename = ""
    return image


def _too_large(path: str | Path) -> InputError:
    return InputError(
        f"{Path(path).name} says it holds more than {MAX_PIXELS:,} pixels.",
        f"at most {MAX_PIXELS:,} pixels in one image.",
        "Reduce or crop the image (a whole-slide image needs to be tiled first).",
    )
