"""Mask files become class indices on the image's grid. What the values stand for is decided in `mask_labels`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from easydl import cache
from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.images.dicom_seg import is_segmentation, on_grid, read_segments
from easydl.images.geometry import along, difference, displacement, moved
from easydl.images.raster import ALPHA_NOTE, PALETTE_NOTE
from easydl.studies.pixel_facts import compact
from easydl.studies.soft_edges import FAINT, Values, looked_at

FEW_VALUES = 10
ROUNDING = 1e-3
WHOLE_AREAS = 0.8
"""Least fraction of foreground pixels whose neighbour has the same value: label maps 0.86 to 1, images up to 0.74."""
ENDS, AT_ENDS = 0.15, 0.98
"""A lossy mask: fraction of pixels within this part of the range from black or white."""
JPEG_SPREAD = 24
"""Largest difference of the channels of a grey mask that lossy compression has tinted."""
MOST_CUT = 0.001
SAMPLED = 100_000


class MaskFacts(NamedTuple):
    """What is remembered of a mask file.

    Attributes:
        name: Its file name.
        values: The values that occur.
        segments: The label of each segment of a DICOM Segmentation, by its number; None for other files.
        notes: How it was read.
        look: Which of its values fill areas, and which are edges only.
    """

    name: str
    values: tuple[int, ...]
    segments: dict[int, str] | None
    notes: tuple[str, ...]
    look: Values = Values()


class Mask(NamedTuple):
    """One mask file on its own grid.

    Attributes:
        stored: Integers of any type, the mask's own spatial shape; memory-mapped when they come from the cache.
        affine: Its 4x4 affine, or None.
        facts: What is remembered of it.
        other: Where the sform or qform that was not used places it, when that is elsewhere.
        placed: Whether the file says where it lies.
    """

    stored: np.ndarray
    affine: np.ndarray | None
    facts: MaskFacts
    other: np.ndarray | None = None
    placed: bool = True


def read_mask(path: str, *, collapse: bool = False, entry: str | None = None) -> Mask:
    """Read one mask file: a raster image, a NIfTI volume or a DICOM Segmentation.

    Args:
        path: The file.
        collapse: Every value but 0 becomes 1.
        entry: Where the cache keeps what was decoded; None decodes.

    Raises:
        InputError: Colours, fractions, negative values, or the grey values of an image.
    """
    stored, facts = cache.array(entry, lambda: _decode(path)) if entry is not None else _decode(path)
    values = tuple(facts["values"])
    if collapse:
        stored, values = (stored > 0).astype(np.uint8), tuple(sorted({int(value > 0) for value in values}))
    look = Values() if collapse else Values(*map(tuple, facts["look"]))
    segments = facts["segments"]
    if segments is not None:  # JSON has text for keys
        segments = {int(number): label for number, label in segments.items()}
    affine, other = (None if facts[key] is None else np.array(facts[key]) for key in ("affine", "other"))
    known = MaskFacts(file_name(path), values, segments, tuple(facts["notes"]), look)
    return Mask(stored, affine, known, other, facts["placed"])


def on_image(
    mask: Mask, index: Mapping[int, int], scan: Scan, *, resample: bool, note: Callable[[str], Any] | None = None
) -> np.ndarray:
    """A mask as class indices on the grid of its image.

    Args:
        mask: The mask.
        index: The class of every value.
        scan: Its image.
        resample: Bring a mask on another grid to the image's by the nearest neighbour in millimetres.
        note: Called with a sentence when a part of the mask lies outside its image.

    Returns:
        int32 array of the scan's spatial shape.

    Raises:
        InputError: Another shape or another position in space than the image's, or a value of no class.
    """
    labels = _placed(mask, scan, resample, note)
    values = np.asarray(sorted(index))
    place = np.searchsorted(values, labels).clip(0, len(values) - 1)
    if not np.array_equal(values[place], labels):
        strange = sorted(set(np.unique(labels).tolist()) - set(index))
        raise InputError(
            f"The mask {mask.facts.name} holds the value {strange[0]}.",
            f"only {', '.join(map(str, values.tolist()))}.",
            "Correct the mask, or name the value with mask_labels= (--mask-labels).",
        )
    return np.asarray([index[value] for value in values.tolist()], np.int32)[place]


def file_name(path: str) -> str:
    """The last part of an address, for messages."""
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _decode(path: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The labels of a mask file in a small type, and what belongs to them, as the cache keeps it."""
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
            f"The mask {name} is a colour image.",
            "one number for each class.",
            "Export it as a label map (PNG, NIfTI or DICOM Segmentation), or check that the image and mask columns are "
            "not exchanged.",
        )
    if _is_jpeg(path):
        pixels, said = _from_jpeg(pixels, name)
        notes += said
    rounded = np.rint(pixels)
    remainder = float(np.abs(pixels - rounded).max())
    if remainder >= ROUNDING or rounded.min() < 0:
        raise InputError(
            f"The mask {name} holds {'fractions' if remainder >= ROUNDING else 'negative values'} "
            f"({pixels.min():g} to {pixels.max():g}).",
            "integers from 0 on.",
            "Export it as a label map, or check that the image and mask columns are not exchanged.",
        )
    if remainder:
        notes.append("numbers next to integers were rounded")
    labels = rounded.astype(np.int32)
    values = np.unique(labels)
    look, soft = looked_at(labels)
    if not soft:
        _refuse_image(labels, values, name)
    facts = {
        "affine": None if scan.affine is None else scan.affine.tolist(),
        "other": None if scan.other_affine is None else scan.other_affine.tolist(),
        "placed": scan.says_position,
        "segments": segments,
        "notes": notes,
        "values": values.tolist(),
        "look": look,
    }
    return compact(labels), facts


def _placed(mask: Mask, scan: Scan, resample: bool, note: Callable[[str], Any] | None) -> np.ndarray:
    labels, affine, to = mask.stored.astype(np.int32), mask.affine, scan.affine
    if affine is None or to is None:
        if labels.shape != scan.shape:
            raise _shapes(mask.facts.name, labels.shape, scan.shape)
        return labels
    shape = scan.shape if scan.dimension == 3 else (1, *scan.shape)
    labels = labels if labels.ndim == 3 else labels[None]
    own, place = along(labels, affine, to)
    if own.shape == shape and displacement(to, place, shape).same:
        return np.ascontiguousarray(own).reshape(scan.shape)
    placed: np.ndarray | None = None
    if mask.facts.segments is not None:
        try:
            placed = on_grid(labels, affine, scan, mask.facts.name)
        except InputError:
            if not resample:
                raise
    elif own.shape == shape:
        drawn_here = _by_another_form(mask, scan, labels, shape)
        if not resample:
            raise _apart(mask, scan, difference(to, place, shape), disagree=drawn_here is not None)
        if drawn_here is not None:
            if note is not None:
                note(
                    f"the mask {mask.facts.name} was taken voxel by voxel: sform and qform disagree, and by one it fits"
                )
            return drawn_here.reshape(scan.shape)
        if note is not None:
            note(f"the mask {mask.facts.name} has the shape of its image and was moved: {difference(to, place, shape)}")
    elif not resample:
        raise _shapes(mask.facts.name, own.shape, scan.shape)
    if placed is None:
        placed = moved(labels, affine, to, shape).reshape(scan.shape)
    _check_cut(mask, placed, scan, note)
    return placed


def _by_another_form(mask: Mask, scan: Scan, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The mask voxel by voxel, when it lies on its image by the sform of one and the qform of the other, or by qforms."""
    pairs = [(scan.affine, mask.other), (scan.other_affine, mask.affine), (scan.other_affine, mask.other)]
    for to, affine in pairs:
        if to is not None and affine is not None:
            own, place = along(labels, affine, to)
            if own.shape == shape and displacement(to, place, shape).same:
                return np.ascontiguousarray(own)
    return None


def _shapes(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> InputError:
    return InputError(
        f"The mask {name} has the shape {shape}, its image {wanted}.",
        "a mask on the grid of its image: the same shape, position, spacing and orientation.",
        "Export the mask on the image's grid, pass resample_masks=True (--resample-masks) to bring it there by "
        "nearest neighbour and position in space, or correct the table if it is another image's mask.",
    )


def _apart(mask: Mask, scan: Scan, how: str | None, *, disagree: bool) -> InputError:
    """The voxels are as many and lie elsewhere: a header is wrong, or it is another scan's mask. Which, nobody can see."""
    name = mask.facts.name
    if disagree:
        what = "image" if scan.other_affine is not None else "mask"
        found = (
            f"The sform and qform of the {what} disagree: by one the mask {name} fits its image, by the sform {how}."
        )
    elif mask.placed != scan.says_position:
        without, other = ("image", "the mask") if mask.placed else ("mask", "its image")
        found = f"The {without} has no position in space (neither sform nor qform), {other} has (mask {name})."
    else:
        found = f"The mask {name} has the shape of its image and lies elsewhere in space: {how}."
    return InputError(
        found,
        "a mask on the grid of its image: the same shape, position, spacing and orientation.",
        "If it was drawn on this very image, save it again with the header of the image (in nibabel: "
        "Nifti1Image(mask, image.affine, image.header)). If it was drawn on another scan, bring it to the grid of this "
        "one in the program that registered them, or correct the table.",
    )


def _check_cut(mask: Mask, placed: np.ndarray, scan: Scan, note: Callable[[str], Any] | None) -> None:
    """What does not lie inside the image is lost: some of it goes on the record, all of it is another patient's mask."""
    inside = np.flatnonzero(mask.stored)
    if not len(inside) or mask.affine is None or scan.affine is None:
        return
    if not placed.any():
        raise InputError(
            f"Nothing that the mask {mask.facts.name} segments lies inside its image.",
            "a mask of this image.",
            "Correct the table: it seems to be another image's mask.",
        )
    inside = inside[:: max(1, len(inside) // SAMPLED)]
    indices = np.stack(np.unravel_index(inside, mask.stored.shape), axis=-1)
    steps = np.linalg.inv(scan.affine) @ mask.affine
    sides = np.asarray(scan.shape if scan.dimension == 3 else (1, *scan.shape))
    there = indices @ steps[:3, :3].T + steps[:3, 3]
    if scan.dimension == 2:
        there[:, 0] = 0
    outside = float(((there < -0.5) | (there > sides - 0.5)).any(axis=1).mean())
    if outside > MOST_CUT and note is not None:
        note(f"{outside:.0%} of what the mask {mask.facts.name} segments lies outside its image and was cut")


def _refuse_image(labels: np.ndarray, values: np.ndarray, name: str) -> None:
    """Few values, or areas of one value: anything else is an image that was given as a mask."""
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
            f"The mask {name} is a JPEG image whose grey values ({pixels.min():g} to {top:g}) do not fall into black and "
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
