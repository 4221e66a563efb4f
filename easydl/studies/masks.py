"""Mask files become class indices on the image's grid. What the values stand for is told elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.images.geometry import difference, moved
from easydl.images.raster import ALPHA_NOTE, PALETTE_NOTE

if TYPE_CHECKING:
    from easydl.studies.mask_labels import Meaning

FEW_VALUES = 10
ROUNDING = 1e-3
WHOLE_AREAS = 0.8
"""Least share of outlined pixels whose neighbour has the same value: label maps 0.86 to 1, images up to 0.74."""
ENDS, AT_ENDS = 0.15, 0.98
"""A lossy mask: share of pixels within this part of the range from black or white."""
FAINT = 64
JPEG_SPREAD = 24
"""Largest difference of the channels of a grey mask that lossy compression has tinted."""
MOST_CUT = 0.001
SAMPLED = 100_000


class Mask(NamedTuple):
    """One mask file.

    Attributes:
        labels: int32, the mask's own spatial shape.
        affine: Its 4x4 affine, or None.
        segments: The label of each segment of a DICOM Segmentation, by its number; None for other files.
        notes: How it was read, in words.
    """

    labels: np.ndarray
    affine: np.ndarray | None
    segments: dict[int, str] | None
    notes: tuple[str, ...]


def read_labels(
    path: str, known: Meaning, scan: Scan, *, resample: bool = False, collapse: bool = False,
    note: Callable[[str], Any] | None = None,
) -> np.ndarray:  # fmt: skip
    """Read one mask as class indices on the grid of its image.

    Args:
        path: The mask file: a picture, a NIfTI volume or a DICOM Segmentation, which is placed by its positions.
        known: What the values stand for.
        scan: The image it belongs to.
        resample: Bring a mask on another grid to the image's by the nearest neighbour in millimetres.
        collapse: Every value but 0 is foreground.
        note: Called with a sentence when a part of the mask lies outside its image.

    Returns:
        int32 array of the scan's spatial shape.

    Raises:
        InputError: Another shape or another position in space than the image's, or a value of no class.
    """
    mask = read_mask(path, collapse=collapse)
    labels = _placed(mask, scan, file_name(path), resample, note)
    values = np.asarray(sorted(known.index))
    place = np.searchsorted(values, labels).clip(0, len(values) - 1)
    if not np.array_equal(values[place], labels):
        strange = sorted(set(np.unique(labels).tolist()) - set(known.index))
        raise InputError(
            f"The mask {file_name(path)} holds the value {strange[0]}.",
            f"only {', '.join(map(str, values.tolist()))}.",
            "Correct the mask, or name the value with mask_labels= (--mask-labels).",
        )
    return np.asarray([known.index[value] for value in values.tolist()], np.int32)[place]


def read_mask(path: str, *, collapse: bool = False) -> Mask:
    """Read one mask file on its own grid.

    Args:
        path: A picture, a NIfTI volume or a DICOM Segmentation.
        collapse: Every value but 0 becomes 1.

    Raises:
        InputError: Colours, fractions, negative values, or the grey values of an image.
    """
    from easydl.images.dicom_seg import is_segmentation, read_segments

    name = file_name(path)
    segments: dict[int, str] | None = None
    if is_segmentation(path):
        scan, segments = read_segments(path)
    else:
        scan = read(path, labels=True)
    notes = [note for note in scan.notes if note in (ALPHA_NOTE, PALETTE_NOTE)]
    pixels = scan.pixels[..., 0]
    spread = float(np.ptp(scan.pixels, axis=-1).max())
    if spread > (JPEG_SPREAD if _is_jpeg(path) else 0):
        raise InputError(
            f"The mask {name} is a colour picture.",
            "one number for each class.",
            "Export it as a label map (PNG, NIfTI or DICOM Segmentation), or check that the image and mask columns are "
            "not exchanged.",
        )
    if _is_jpeg(path):
        pixels, said = _from_jpeg(pixels, name)
        notes += said
    rounded = np.rint(pixels)
    apart = float(np.abs(pixels - rounded).max())
    if apart >= ROUNDING or rounded.min() < 0:
        raise InputError(
            f"The mask {name} holds {'fractions' if apart >= ROUNDING else 'negative values'} "
            f"({pixels.min():g} to {pixels.max():g}).",
            "whole numbers from 0 on.",
            "Export it as a label map, or check that the image and mask columns are not exchanged.",
        )
    if apart:
        notes.append("numbers next to whole ones were rounded")
    labels = rounded.astype(np.int32)
    _refuse_image(labels, name)
    return Mask((labels > 0).astype(np.int32) if collapse else labels, scan.affine, segments, tuple(notes))


def _placed(mask: Mask, scan: Scan, name: str, resample: bool, note: Callable[[str], Any] | None) -> np.ndarray:
    from easydl.images.dicom_seg import on_grid

    labels, affine, to = mask.labels, mask.affine, scan.affine
    apart = difference(to, affine) if affine is not None and to is not None else None
    if labels.shape == scan.shape and apart is None:
        return labels
    placed: np.ndarray | None = None
    if mask.segments is not None and affine is not None:
        try:
            placed = on_grid(labels, affine, scan, name)
        except InputError:
            if not resample or to is None:
                raise
    if placed is None and resample and affine is not None and to is not None and labels.ndim == 3:
        shape = scan.shape if scan.dimension == 3 else (1, *scan.shape)
        placed = moved(labels, affine, to, shape).reshape(scan.shape)
    if placed is None:
        raise InputError(
            f"The mask {name} has the shape {labels.shape}, its image {scan.shape}."
            if labels.shape != scan.shape
            else f"The mask {name} lies elsewhere in space than its image: {apart}.",
            "a mask on the grid of its image: the same shape, position, spacing and orientation.",
            "Export the mask on the image's grid, pass resample_masks=True (--resample-masks) to bring it there by "
            "nearest neighbour and position in space, or correct the table if it is another image's mask.",
        )
    _check_cut(mask, placed, scan, name, note)
    return placed


def _check_cut(mask: Mask, placed: np.ndarray, scan: Scan, name: str, note: Callable[[str], Any] | None) -> None:
    """What does not lie inside the image is lost: some of it goes on the record, all of it is another patient's mask."""
    inside = np.flatnonzero(mask.labels)
    if not len(inside) or mask.affine is None or scan.affine is None:
        return
    if not placed.any():
        raise InputError(
            f"Nothing that the mask {name} outlines lies inside its image.",
            "a mask of this image.",
            "Correct the table: it seems to be another image's mask.",
        )
    inside = inside[:: max(1, len(inside) // SAMPLED)]
    indices = np.stack(np.unravel_index(inside, mask.labels.shape), axis=-1)
    steps = np.linalg.inv(scan.affine) @ mask.affine
    sides = np.asarray(scan.shape if scan.dimension == 3 else (1, *scan.shape))
    there = indices @ steps[:3, :3].T + steps[:3, 3]
    if scan.dimension == 2:
        there[:, 0] = 0
    outside = float(((there < -0.5) | (there > sides - 0.5)).any(axis=1).mean())
    if outside > MOST_CUT and note is not None:
        note(f"{outside:.0%} of what the mask {name} outlines lies outside its image and was cut")


def _refuse_image(labels: np.ndarray, name: str) -> None:
    """Few values, or areas of one value: anything else is an image that was given as a mask."""
    values = np.unique(labels)
    if len(values) <= FEW_VALUES:
        return
    inside = labels[..., :-1] > 0
    alike = float((labels[..., :-1] == labels[..., 1:])[inside].mean()) if inside.any() else 1.0
    if alike < WHOLE_AREAS:
        raise InputError(
            f"The mask {name} looks like an image: {len(values)} values from {values[0]} to {values[-1]}, and "
            f"{1 - alike:.0%} of neighbours differ.",
            "areas of one value each.",
            "Check that the image and mask columns are not exchanged.",
        )


def _from_jpeg(pixels: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """0 and 255 from a mask that lossy compression has smeared."""
    top = float(pixels.max())
    if len(np.unique(pixels)) <= 2 and top in (0, 255):
        return pixels, []
    ends = float(((pixels <= ENDS * top) | (pixels >= (1 - ENDS) * top)).mean())
    if top < FAINT or ends < AT_ENDS:
        raise InputError(
            f"The mask {name} is a JPEG picture whose grey values ({pixels.min():g} to {top:g}) do not fall into black and "
            "white.",
            "a mask saved without loss.",
            "Export it again as PNG, NIfTI or DICOM Segmentation: JPEG changes the numbers that stand for the classes.",
        )
    return np.where(pixels > top / 2, 255.0, 0.0), ["grey values of a lossy JPEG were cut at half of the largest"]


def _is_jpeg(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(3) == b"\xff\xd8\xff"
    except OSError:
        return False


def file_name(path: str) -> str:
    """The last part of an address, for messages."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]
