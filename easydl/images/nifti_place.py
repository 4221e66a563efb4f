"""Where a NIfTI volume lies: one affine in millimetres from its sform, its qform and its unit of length. No voxels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import polar

from easydl.images.file_errors import unreadable
from easydl.images.geometry import displacement

SAME_MM = 0.1
TO_MM = {"meter": 1000.0, "micron": 0.001}
PLAUSIBLE_MM = (1e-5, 100.0)
LAST_CODE = 5
"""NIFTI_XFORM_TEMPLATE_OTHER."""


class Place(NamedTuple):
    """Where the voxels of a NIfTI file lie.

    Attributes:
        affine: From the index (x, y, z) to RAS in millimetres, at right angles.
        notes: What was assumed.
        forms: What the header says, as `with_forms` writes it again.
        other: The affine that was not used, in millimetres, where it lies elsewhere.
    """

    affine: np.ndarray
    notes: tuple[str, ...]
    forms: dict[str, Any]
    other: np.ndarray | None


def to_lps(affine: np.ndarray) -> np.ndarray:
    """From an affine of (x, y, z) to RAS to one of (depth, row, column) = (z, y, x) to LPS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine[:, [2, 1, 0, 3]]


to_ras = to_lps
"""The way back: both reversals undo themselves."""


def nifti_place(header: Any, shape: tuple[int, ...], name: str) -> Place:
    """The affine of a header: the sform before the qform, unless only the qform has its axes at right angles.

    References:
        NIfTI-1.1, https://nifti.nimh.nih.gov/nifti-1 (methods 2 and 3 of orientation; xyzt_units).
    """
    notes: list[str] = []
    try:
        sform, scode = header.get_sform(coded=True)
        best = np.asarray(sform if scode else header.get_best_affine(), dtype=float)
    except Exception as problem:
        raise unreadable(name, "its affine (position and spacing) is not usable", "NIfTI") from problem
    qform, qcode = _qform(header)
    zooms = np.linalg.norm(best[:3, :3], axis=0)
    if not np.isfinite(best).all() or zooms.min() <= 0 or abs(np.linalg.det(best[:3, :3] / zooms)) < 1e-6:
        raise unreadable(name, "its affine (position and spacing) is zero, not a number or flat", "NIfTI")
    affine, other = _straight(best, shape), qform if scode and qcode else None
    if scode and qcode and qform is None:
        notes.append("the qform is damaged: the sform was used")
    elif not scode and not qcode:
        notes.append("orientation unknown: the file has neither sform nor qform, left and right may be exchanged")
    if affine is None:
        if other is None:
            raise unreadable(name, "its axes are not at right angles (a sheared affine)", "NIfTI")
        affine, other = other, best
        notes.append("the axes of the sform are not at right angles: the qform was used")
    elif other is not None and (far := displacement(affine, other, shape).mm) > SAME_MM:
        notes.append(f"sform and qform place the volume up to {far:.1f} mm apart: the sform was used")
    factor, said = _millimetres(header, affine)
    scale = np.diag([factor, factor, factor, 1.0])
    elsewhere = other is not None and not displacement(affine, other, shape).same
    forms = {
        "sform": None if sform is None else np.asarray(sform).tolist(),
        "qform": None if qform is None else qform.tolist(),
        "codes": [_known(int(scode)), _known(int(qcode)) if qform is not None else 0],
        "zooms": [float(zoom) for zoom in (*header.get_zooms(), 1.0)[:3]],
        "unit": _unit(header),
    }
    return Place(scale @ affine, (*notes, *said), forms, scale @ other if other is not None and elsewhere else None)


def with_forms(header: Any, forms: dict[str, Any]) -> None:
    """Give a header that describes the same voxels both affines, codes and the unit of length of another."""
    if np.isfinite(forms["zooms"]).all() and min(forms["zooms"]) > 0:
        header.set_zooms((*forms["zooms"], *header.get_zooms()[3:]))
    for kind, code, set_form in zip(
        ("sform", "qform"), forms["codes"], (header.set_sform, header.set_qform), strict=True
    ):
        matrix = forms[kind]
        set_form(None if matrix is None else np.asarray(matrix), int(code))
    header.set_xyzt_units(forms["unit"])


def _straight(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The nearest affine with its axes at right angles; None where that would move a corner to another voxel."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / zooms
    if np.abs(directions.T @ directions - np.eye(3)).max() < 1e-5:  # Rounding of the header's float32.
        return affine
    middle = np.array([*((side - 1) / 2 for side in shape), 1.0])
    straight = affine.copy()
    straight[:3, :3] = polar(directions)[0] * zooms
    straight[:3, 3] += ((affine - straight) @ middle)[:3]
    return straight if displacement(affine, straight, shape).same else None


def _millimetres(header: Any, affine: np.ndarray) -> tuple[float, list[str]]:
    """From the header's unit of length to millimetres, and what was assumed."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    unit = _unit(header)
    if unit == "mm":
        return 1.0, []
    if unit not in TO_MM:
        return 1.0, ["the file does not say its unit of length: millimetres were assumed"]
    factor = TO_MM[unit]
    long_name = {"meter": "metres", "micron": "micrometres"}[unit]
    if PLAUSIBLE_MM[0] <= zooms.min() * factor and zooms.max() * factor <= PLAUSIBLE_MM[1]:
        spacing = " x ".join(f"{zoom * factor:g}" for zoom in zooms)
        return factor, [f"lengths are in {long_name} and were converted to millimetres (spacing {spacing} mm)"]
    return 1.0, [
        f"the header says {long_name}, which would make voxels {zooms.max() * factor:g} mm long: "
        "its values were taken as millimetres"
    ]


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except Exception:
        return "unknown"


def _known(code: int) -> int:
    """A code of the standard; one that is not in it stands for some position."""
    return code if 0 <= code <= LAST_CODE else 1


def _qform(header: Any) -> tuple[np.ndarray | None, int]:
    code = int(header["qform_code"])
    try:
        qform = header.get_qform()
        return (np.asarray(qform, float) if np.isfinite(qform).all() else None), code
    except Exception:
        return None, code
