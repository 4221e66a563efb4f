"""Whether slices lie on one even grid, judged by how far their corners are from it. It reads no files and no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import polar

from easydl.errors import InputError
from easydl.images.geometry import SAME_VOXEL, Displacement, apart, corners, unlike

DIRECTION_TOLERANCE = 0.01
"""How far directions may be from length 1 and right angles: they are often written with two or three decimals."""
TURNED = 0.01
"""How far the directions of two slices may differ in one series; what lies within one volume is decided afterwards."""
SAME_POSITION_MM = 0.01
EVEN = 0.1
"""Fraction of their distance by which slices may lie beside an even grid: a missing one moves some by about a half."""


class Plane(NamedTuple):
    """Where one slice lies.

    Attributes:
        name: What to call it in messages.
        position: ImagePositionPatient in mm.
        orientation: ImageOrientationPatient.
        spacing: PixelSpacing: between rows, between columns.
    """

    name: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]


class Stack(NamedTuple):
    """The even grid of some slices.

    Attributes:
        order: Their indices from the first slice of the volume to the last: against the normal of their plane, so that
            (slice, row, column) is right-handed, as highdicom has it.
        position: Of the first slice.
        orientation: Of all of them: two unit vectors at right angles.
        spacing: Of all of them.
        distance: Between slices, in mm.
    """

    order: np.ndarray
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    distance: float


def even_stack(planes: Sequence[Plane], size: tuple[int, int], name: str) -> Stack:
    """The even grid on which slices of ``size`` (rows, columns) lie.

    Numbers that were rounded, in positions, directions or spacings, are as good as the grid: nothing counts that moves no
    corner by more than `SAME_VOXEL` of a voxel. DICOM PS3.3 C.7.6.2 (image plane module).

    Raises:
        InputError: The slices do not form one even volume; the odd ones are named.
    """
    for plane in planes:
        _check_directions(plane, name)
    directions = np.asarray([plane.orientation for plane in planes], float)
    spacings = np.asarray([plane.spacing for plane in planes], float)
    points = np.asarray([plane.position for plane in planes], float)
    usual = straight(np.median(directions, axis=0))
    spacing = np.median(spacings, axis=0)
    normal = np.cross(*usual)
    heights = points @ normal
    order = np.argsort(-heights, kind="stable")
    steps = -np.diff(heights[order])
    _check_planes(planes, directions.reshape(-1, 2, 3), spacings, usual, spacing, size, name)
    _check_shared(planes, order, steps, name)
    # A single slice, of which the others were copies, has no distance to the next: as highdicom has it.
    distance = float((heights[order[0]] - heights[order[-1]]) / (len(planes) - 1)) if len(planes) > 1 else 1.0
    beside = points - np.outer(heights, normal)
    middle = np.median(beside, axis=0)
    first = middle + heights[order[0]] * normal
    grid = np.stack([-normal * distance, usual[1] * spacing[0], usual[0] * spacing[1]], axis=1)
    across = apart(grid, beside[order] - middle)
    if not across.same:
        raise _tilted(beside[order] - middle, heights[order], across, name)
    if np.abs(heights[order] - heights[order[0]] + np.arange(len(planes)) * distance).max() > EVEN * distance:
        raise _uneven(planes, order, steps, name)
    return Stack(order, first, usual.ravel(), (float(spacing[0]), float(spacing[1])), distance)


def straight(orientation: Sequence[float] | np.ndarray) -> np.ndarray:
    """The nearest two unit vectors at right angles, ``(2, 3)``: rounded ones are not quite."""
    return polar(np.asarray(orientation, float).reshape(2, 3).T)[0].T


def is_straight(orientation: Sequence[float]) -> bool:
    """Whether directions are unit vectors at right angles but for rounding."""
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    off = max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column))
    return bool(off <= DIRECTION_TOLERANCE)


def refused(
    name: str, why: str, expected: str, do: str = "Export the series again, or leave it out of the study."
) -> InputError:
    """That some slices are not one volume."""
    return InputError(f"The series {name} is not one volume: {why}.", f"{expected}.", do)


def odd(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """The slices whose value is not the usual one, at most five, with what they have and what is usual."""
    counts: dict[Sequence[float], int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    usual = max(counts, key=lambda value: counts[value])
    found = [(name, value) for name, value in zip(names, values, strict=True) if value != usual]
    return _named([(name, *unlike(value, usual)) for name, value in found])


def _named(found: Sequence[tuple[str, str, str]]) -> str:
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(f"{name} ({has} instead of {usual})" for name, has, usual in found[:5]) + more


def _check_directions(plane: Plane, name: str) -> None:
    if not is_straight(plane.orientation):
        raise refused(
            name,
            f"ImageOrientationPatient of {plane.name} is not two unit vectors at right angles",
            "directions of length 1 at right angles",
        )


def _check_planes(
    planes: Sequence[Plane],
    directions: np.ndarray,
    spacings: np.ndarray,
    usual: np.ndarray,
    spacing: np.ndarray,
    size: tuple[int, int],
    name: str,
) -> None:
    """Refuse slices that are turned, or whose pixels are larger or smaller, by more than a part of a pixel at a corner."""
    index = corners(size)[:, :2] - (np.asarray(size) - 1) / 2  # A slice turns about its middle.
    turned = np.abs(directions - usual).max(axis=(1, 2)) * np.abs(index).max() > SAME_VOXEL
    if turned.any():
        names = ", ".join(planes[int(k)].name for k in np.flatnonzero(turned)[:5])
        raise refused(
            name, f"its slices differ in orientation: {names}", "parallel slices (localizers in a separate series)"
        )
    wider = np.abs(spacings / spacing - 1).max(axis=1) * np.abs(index).max() > SAME_VOXEL
    if wider.any():
        found = [(planes[int(k)].name, *unlike(spacings[k], spacing)) for k in np.flatnonzero(wider)]
        raise refused(name, f"its slices differ in pixel spacing: {_named(found)}", "one pixel spacing")


def _check_shared(planes: Sequence[Plane], order: np.ndarray, steps: np.ndarray, name: str) -> None:
    same = np.flatnonzero(steps < SAME_POSITION_MM)
    if same.size:
        pair = " and ".join(planes[int(order[same[0] + k])].name for k in (0, 1))
        raise refused(
            name,
            f"{same.size + 1} or more slices share a position, such as {pair}",
            "one slice at each position; phases, echoes and b-values in separate series",
        )


def _tilted(beside: np.ndarray, heights: np.ndarray, across: Displacement, name: str) -> InputError:
    """Slices shifted against each other: evenly by a tilted gantry, or some of them."""
    length = heights - heights.mean()
    slope = (length @ beside) / (length @ length)
    if np.linalg.norm(beside - np.outer(length, slope), axis=1).max() < across.mm / 2:
        return refused(
            name,
            "the gantry was tilted: the slices are shifted against each other by "
            f"{np.degrees(np.arctan(np.linalg.norm(slope))):.1f} degrees",
            "slices stacked at right angles to their plane",
        )
    return refused(
        name,
        f"some slices are shifted in their plane against the others, by up to {across.mm:.2g} mm",
        "slices stacked at right angles to their plane",
    )


def _uneven(planes: Sequence[Plane], order: np.ndarray, steps: np.ndarray, name: str) -> InputError:
    """Slices are missing, or the distance changes from one part of the volume to the next."""
    runs = _runs(steps)
    long = [(begin, step) for begin, end, step in runs if end - begin > 1]
    long = [
        run for run, before in zip(long, [(0, 0.0), *long], strict=False) if abs(run[1] - before[1]) > EVEN * run[1]
    ]
    if len(long) > 1:
        texts = [f"{long[0][1]:.2f} mm apart at first"]
        texts += [f"{step:.2f} mm from {planes[order[begin]].name} on" for begin, step in long[1:4]]
        return refused(
            name,
            f"the distance between slices changes: {', '.join(texts)}",
            "slices at one distance from the first to the last",
            'Reconstruct it with one slice distance; or load it in 3D Slicer with the DICOM setting "apply harden regularization '
            'transform", which moves the slices to their places, and save it as NIfTI; or leave it out of the study.',
        )
    usual = float(np.median(steps))
    far = np.flatnonzero(np.abs(steps - usual) > 2 * EVEN * usual)
    gap = int(far[0]) if far.size else int(np.abs(steps - usual).argmax())
    has, should = (f"{steps[gap]:.2f}", f"{usual:.2f}")
    if has == should:
        has, should = unlike([float(steps[gap])], [usual])
    ratio = steps[gap] / usual
    missing = round(ratio) - 1 if abs(ratio - round(ratio)) <= EVEN else 0
    said = "" if missing < 1 else "; a slice is missing" if missing == 1 else f"; {missing} slices are missing"
    more = f", and at {far.size - 1} more places the distance is another" if far.size > 1 else ""
    return refused(
        name,
        f"between {planes[order[gap]].name} and {planes[order[gap + 1]].name} lie {has} mm where "
        f"slices are {should} mm apart{said}{more}",
        "evenly spaced slices",
    )


def _runs(steps: np.ndarray) -> list[tuple[int, int, float]]:
    """Where the distance stays the same: (first step, one after the last, distance)."""
    runs: list[tuple[int, int, float]] = []
    for place, step in enumerate(steps):
        if runs and abs(step - runs[-1][2]) <= EVEN * runs[-1][2]:
            begin, _, first = runs[-1]
            runs[-1] = (begin, place + 1, first)
        else:
            runs.append((place, place + 1, float(step)))
    return runs
