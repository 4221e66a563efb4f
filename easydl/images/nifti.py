"""NIfTI files become Scans, and masks on a Scan's grid become NIfTI files, by the geometry of highdicom and nibabel."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import replacing
from easydl.images.file_errors import unreadable
from easydl.images.limits import check_size
from easydl.images.nifti_file import nifti_header, voxels
from easydl.images.scan import Scan
from easydl.images.values import settled

SAME_MM = 0.1
TO_MM = {"meter": 1000.0, "micron": 0.001}
PLAUSIBLE_MM = (1e-5, 100.0)


def read_nifti(path: str | Path, frame: int | None = None, *, labels: bool = False) -> Scan:
    """Read one volume of a NIfTI file, scaled once, as ``(depth, height, width, 1)`` with its affine in LPS.

    ``frame`` chooses a volume of a 4D file, from 1; in a mask (``labels``) NaN is refused instead of filled. NIfTI does
    not say its units: they are ``"relative"`` until a person says that they are Hounsfield units. The sform counts
    before the qform; lengths in metres or micrometres become millimetres.

    References:
        NIfTI-1.1, https://nifti.nimh.nih.gov/nifti-1 (methods 2 and 3 of orientation; xyzt_units).
    """
    import nibabel
    from highdicom import Volume

    name = Path(path).name
    header = nifti_header(Path(path))
    shape = _volume_shape(header.shape, frame, name)
    check_size((*shape[::-1], 1), name)
    affine, notes = _affine(header.fields, shape, name)
    array = voxels(header, shape, (frame or 1) - 1, name)
    array = settled(array, None, notes, name, labels=labels)
    try:
        volume = Volume.from_nibabel(nibabel.Nifti1Image(array, affine)).permute_spatial_axes([2, 1, 0])
    except ValueError as problem:
        raise unreadable(name, "its axes are not at right angles (a sheared affine)", "NIfTI") from problem
    if len(header.shape) == 2:
        notes.append("a file of two dimensions was read as a volume of one slice")
    return Scan(
        np.ascontiguousarray(volume.array, dtype=np.float32)[..., None],
        "relative",
        spacing_mm=tuple(float(mm) for mm in volume.spacing),
        affine=np.asarray(volume.affine),
        source=str(path),
        notes=tuple(notes),
    )


def nifti_facts(path: str | Path) -> dict[str, str]:
    """``width``, ``height``, ``slices`` and ``file_type`` from the header alone, as text, for the study table."""
    header = nifti_header(Path(path))
    return {**dict(zip(("width", "height", "slices"), map(str, header.shape), strict=False)), "file_type": "NIfTI"}


def write_nifti(mask: np.ndarray, affine: np.ndarray, path: str | Path) -> Path:
    """Write a mask ``(depth, height, width)`` on a Scan's grid (affine in LPS) as uint8 or uint16, axes as in a NIfTI source.

    Integers from 0 to 65535 of any dtype; the header's description says research use only.
    """
    from highdicom import Volume

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
    volume = Volume(stored, np.asarray(affine, dtype=float), coordinate_system="PATIENT")
    image = volume.permute_spatial_axes([2, 1, 0]).to_nibabel()
    image.header["descrip"] = ("easydl: " + RESEARCH_USE)[:79].encode()
    image.header.set_xyzt_units("mm")
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


def _affine(header: Any, shape: tuple[int, ...], name: str) -> tuple[np.ndarray, list[str]]:
    """The affine in millimetres (RAS, as NIfTI has it), and what was assumed."""
    notes: list[str] = []
    try:
        sform, scode = header.get_sform(coded=True)
        affine = np.asarray(sform if scode else header.get_best_affine(), dtype=float)
    except Exception as problem:
        raise unreadable(name, "its affine (position and spacing) is not usable", "NIfTI") from problem
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or zooms.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / zooms)) < 1e-6:
        raise unreadable(name, "its affine (position and spacing) is zero, not a number or flat", "NIfTI")
    qform, qcode = _qform(header)
    if scode and qcode and qform is None:
        notes.append("the qform is damaged: the sform was used")
    elif scode and qcode:
        corners = np.array([[*corner, 1] for corner in product(*((0, side - 1) for side in shape))], dtype=float)
        distance = float(np.linalg.norm(corners @ (affine - qform).T, axis=1).max())
        if distance > SAME_MM:
            notes.append(f"sform and qform place the volume up to {distance:.1f} mm apart: the sform was used")
    elif not scode and not qcode:
        notes.append("orientation unknown: the file has neither sform nor qform, left and right may be exchanged")
    try:
        unit = header.get_xyzt_units()[0]
    except Exception:
        unit = "unknown"
    if unit in TO_MM:
        factor = TO_MM[unit]
        long_name = {"meter": "metres", "micron": "micrometres"}[unit]
        if PLAUSIBLE_MM[0] <= zooms.min() * factor and zooms.max() * factor <= PLAUSIBLE_MM[1]:
            affine = np.diag([factor, factor, factor, 1.0]) @ affine
            spacing = " x ".join(f"{zoom * factor:g}" for zoom in zooms)
            notes.append(f"lengths are in {long_name} and were converted to millimetres (spacing {spacing} mm)")
        else:
            notes.append(
                f"the header says {long_name}, which would make voxels {zooms.max() * factor:g} mm long: "
                "its values were taken as millimetres"
            )
    elif unit != "mm":
        notes.append("the file does not say its unit of length: millimetres were assumed")
    return affine, notes


def _qform(header: Any) -> tuple[np.ndarray | None, int]:
    code = int(header["qform_code"])
    try:
        qform = header.get_qform()
        return (qform if np.isfinite(qform).all() else None), code
    except Exception:
        return None, code
