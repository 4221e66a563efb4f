"""NIfTI files become Scans, and masks on a Scan's grid become NIfTI files. Geometry is highdicom's and nibabel's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import RESEARCH_USE, InputError
from easydl.images.limits import check_size
from easydl.images.scan import Scan


def read_nifti(path: str | Path) -> Scan:
    """Read one 3D NIfTI file, scaled once, with depth first.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three dimensions.

    Returns:
        A Scan of shape ``(depth, height, width, 1)`` in ``"relative"`` units (NIfTI does not say its units;
        values below -500 mark a CT, which becomes ``"HU"``), with its affine in LPS.

    Raises:
        InputError: Missing, damaged, not three-dimensional, or without a usable geometry.
    """
    import nibabel
    from highdicom import Volume

    name = Path(path).name
    if not Path(path).is_file():
        raise InputError(f"The file {path} does not exist.", "a file at this path.", "Correct the path in the table.")
    image: Any
    try:
        image = nibabel.load(path)
        shape = tuple(int(side) for side in image.shape)
    except Exception as problem:
        raise _unreadable(name, "its header is not a NIfTI header") from problem
    if len(shape) == 4 and shape[3] == 1:
        image = nibabel.funcs.four_to_three(image)[0]
        shape = shape[:3]
    if len(shape) != 3:
        raise InputError(
            f"{name} has {len(shape)} dimensions {shape}.",
            "three dimensions: one volume in one file.",
            "Save each time point, echo or channel as a file of its own, and list them as image columns.",
        )
    check_size((*shape, 1), name)
    try:
        array = np.asarray(image.get_fdata(dtype=np.float32))
    except Exception as problem:
        raise _unreadable(name, "it is cut short or damaged") from problem
    affine = image.affine
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise _unreadable(name, "its affine (position and spacing) is not usable")
    notes = []
    header = image.header
    if int(header.get("sform_code", 1)) == 0 and int(header.get("qform_code", 1)) == 0:
        notes.append("orientation unknown: the file has neither sform nor qform")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        notes.append(f"{bad} voxels were not numbers and were set to 0")
        array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    try:
        volume = Volume.from_nibabel(nibabel.Nifti1Image(array, affine)).permute_spatial_axes([2, 1, 0])
    except ValueError as problem:
        raise _unreadable(name, "its axes are not at right angles") from problem
    is_ct = float(array.min()) < -500
    return Scan(
        np.ascontiguousarray(volume.array, dtype=np.float32)[..., None],
        "HU" if is_ct else "relative",
        spacing_mm=tuple(float(mm) for mm in volume.spacing),
        affine=np.asarray(volume.affine),
        source=str(path),
        notes=tuple(notes),
    )


def write_nifti(mask: np.ndarray, affine: np.ndarray, path: str | Path) -> Path:
    """Write a mask on a Scan's grid as NIfTI, with the axes in the order a NIfTI source had.

    Args:
        mask: Integer array ``(depth, height, width)``.
        affine: The Scan's affine (LPS, depth first).
        path: Where to write, ``.nii`` or ``.nii.gz``.

    Returns:
        The path written. The header's description says research use only.
    """
    from highdicom import Volume

    stored = mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16)
    volume = Volume(stored, np.asarray(affine, dtype=float), coordinate_system="PATIENT")
    image = volume.permute_spatial_axes([2, 1, 0]).to_nibabel()
    image.header["descrip"] = ("easydl: " + RESEARCH_USE)[:79].encode()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    handle, temporary = tempfile.mkstemp(suffix=suffix, dir=path.parent)
    os.close(handle)
    try:
        image.to_filename(temporary)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def _unreadable(name: str, why: str) -> InputError:
    return InputError(
        f"{name} cannot be read: {why}.",
        "a whole NIfTI volume (.nii or .nii.gz).",
        "Open it in a viewer; export it again if it is damaged, or leave it out of the study.",
    )
