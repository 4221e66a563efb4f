"""NIfTI files become Scans, and masks on a Scan's grid become NIfTI files, by nibabel. Where a volume lies: `nifti_place`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import replacing
from easydl.images.limits import check_size
from easydl.images.nifti_file import nifti_header, voxels
from easydl.images.nifti_place import nifti_place, to_lps, to_ras, with_forms
from easydl.images.scan import Scan, SourceGrid
from easydl.images.values import settled


def read_nifti(path: str | Path, frame: int | None = None, *, labels: bool = False) -> Scan:
    """Read one volume of a NIfTI file, scaled once, as ``(depth, height, width, 1)`` with its affine in LPS.

    ``frame`` chooses a volume of a 4D file, from 1; in a mask (``labels``) NaN is refused instead of filled. NIfTI does
    not say its units: they are ``"relative"`` until a person says that they are Hounsfield units. The sform counts
    before the qform; lengths in metres or micrometres become millimetres.

    References:
        NIfTI-1.1, https://nifti.nimh.nih.gov/nifti-1 (methods 2 and 3 of orientation; xyzt_units).
    """
    name = Path(path).name
    header = nifti_header(Path(path))
    shape = _volume_shape(header.shape, frame, name)
    check_size((*shape[::-1], 1), name)
    place = nifti_place(header.fields, shape, name)
    notes = list(place.notes)
    array = voxels(header, shape, (frame or 1) - 1, name)
    array = settled(array, None, notes, name, labels=labels)
    if len(header.shape) == 2:
        notes.append("a file of two dimensions was read as a volume of one slice")
    affine = to_lps(place.affine)
    return Scan(
        np.ascontiguousarray(array.T, dtype=np.float32)[..., None],
        "relative",
        spacing_mm=tuple(float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)),
        affine=affine,
        source=str(path),
        notes=tuple(notes),
        grid=SourceGrid(affine, forms=place.forms, other=None if place.other is None else to_lps(place.other)),
    )


def nifti_facts(path: str | Path) -> dict[str, str]:
    """``width``, ``height``, ``slices`` and ``file_type`` from the header alone, as text, for the study table."""
    header = nifti_header(Path(path))
    return {**dict(zip(("width", "height", "slices"), map(str, header.shape), strict=False)), "file_type": "NIfTI"}


def write_nifti(mask: np.ndarray, to: Scan | np.ndarray, path: str | Path) -> Path:
    """Write a mask ``(depth, height, width)`` as uint8 or uint16.

    Integers from 0 to 65535 of any dtype; the header's description says research use only.

    Args:
        mask: Numbers of the classes.
        to: The Scan on whose grid it lies: it is written on the grid of the scan's file, in the order and with both
            affines of that. Or an affine in LPS: axes are then reversed, as in a NIfTI source.
        path: The file.
    """
    numbers = np.asarray(mask, dtype=np.float64) if mask.dtype.kind == "f" else mask
    whole = np.rint(numbers) if numbers.dtype.kind == "f" else numbers
    low, high = (whole.min(), whole.max()) if whole.size else (0, 0)
    fits = whole.size > 0 and bool(low >= 0) and bool(high <= np.iinfo(np.uint16).max)
    if not fits or (whole is not numbers and np.abs(whole - numbers).max() > 1e-3):
        raise InputError(
            f"The mask to be written holds {'fractions or ' if whole is not numbers else ''}values from {low} to {high}.",
            "integers from 0 to 65535.",
            "Give class numbers, not probabilities.",
        )
    stored = whole.astype(np.uint8 if high < 256 else np.uint16)
    return write_voxels(stored, to, path, "easydl: " + RESEARCH_USE)


def write_voxels(array: np.ndarray, to: Scan | np.ndarray, path: str | Path, description: str) -> Path:
    """Write an array ``(depth, height, width[, channel])`` as it is; see `write_nifti`."""
    import nibabel

    grid = SourceGrid(to) if isinstance(to, np.ndarray) else to.grid
    if isinstance(to, Scan):
        array = to.to_source(array)
        grid = grid or SourceGrid(np.asarray(to.affine))
    assert grid is not None
    affine = to_ras(np.asarray(grid.affine, float))
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0, *range(3, array.ndim))), affine)
    header = image.header
    header.set_xyzt_units("mm")
    if grid.forms is not None:
        with_forms(header, grid.forms)
        image = nibabel.Nifti1Image(image.dataobj, None, header)
    image.header["descrip"] = description[:79].encode()
    with replacing(path) as draft:
        image.to_filename(draft)
    return Path(path)


def _volume_shape(shape: tuple[int, ...], frame: int | None, name: str) -> tuple[int, int, int]:
    """The three sides of the chosen volume."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 4 or len(shape) < 2:
        raise InputError(
            f"{name} has {len(shape)} dimensions {shape}.",
            "three dimensions, or four when it holds several volumes.",
            "Save each volume as a separate file, and list them as image columns.",
        )
    volumes = shape[3] if len(shape) == 4 else 1
    if frame is None and volumes > 1:
        raise InputError(
            f"{name} holds {volumes} volumes of {' x '.join(map(str, shape[:3]))} voxels (time points, echoes or channels).",
            "one volume in each row.",
            f"Name one of them, {name}#1 to {name}#{volumes}; several can be listed as image columns.",
        )
    if frame is not None and not 1 <= frame <= volumes:
        raise InputError(
            f"{name} has no volume {frame}.",
            f"an integer from 1 to {volumes}.",
            f"Write {name}#1 for the first volume.",
        )
    return (*shape, 1)[:3] if len(shape) == 2 else shape[:3]  # type: ignore[return-value]
