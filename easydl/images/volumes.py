"""The slices of one DICOM series become one Scan, or are refused. Geometry is highdicom's; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.decoding import Pixels, check_image, decode, drop_pixels
from easydl.images.dicom import read_dicom, scan_of
from easydl.images.headers import header_errors, numbers, open_dicom, pixel_spacing
from easydl.images.scan import Scan

DIRECTION_TOLERANCE = 1e-3
GAP_FRACTION, GAP_MM, SAME_POSITION_MM = 0.01, 0.01, 0.01


def read_series(paths: list[Path], name: str) -> Scan:
    """Read the slices of one series, given in any order, as one volume ``(depth, height, width, 1 or 3)``.

    They are sorted by position; the spacing comes from the positions, never from SliceThickness. What does not form one
    even volume is refused and the odd slices are named. DICOM PS3.3 C.7.6.2 (image plane module).
    """
    if len(paths) == 1:
        return read_dicom(paths[0])
    with header_errors(name):
        return _read(paths, name)


def _read(paths: list[Path], name: str) -> Scan:
    from highdicom import Volume
    from highdicom.spatial import get_volume_positions

    slices = [(path.name, open_dicom(path)) for path in paths]
    sides = [check_image(dataset, file)[1:] for file, dataset in slices]
    if len({str(dataset.get("PatientID") or "").strip() for _, dataset in slices}) > 1:
        raise _refused(name, "its files carry more than one patient identifier", "one patient in one series")
    if len(set(sides)) > 1:
        odd = _odd([(file, size) for (file, _), size in zip(slices, sides, strict=True)])
        raise _refused(name, f"its slices differ in size: {odd}", "slices of one size")
    slices, notes = _without_copies(slices, name)
    positions, orientation = _geometry(slices, name)
    spacing, spacing_notes = _one_spacing(slices, name)
    _check_even(positions, orientation, slices, name)
    distance, indices = get_volume_positions(
        positions, orientation, atol=_tolerance(positions, orientation), sort=True, allow_missing_positions=False
    )
    if distance is None or indices is None:
        raise _refused(name, "its slices are not evenly spaced", "evenly spaced slices")
    order = np.argsort(indices)
    rows, columns, samples = sides[0]
    stack = np.empty((len(slices), rows, columns, samples), np.float32)
    all_notes: dict[str, None] = dict.fromkeys([*notes, *spacing_notes])
    units: set[str] = set()
    for place, index in enumerate(order):
        file, dataset = slices[index]
        pixels = decode(dataset, file, checked=True)
        if pixels.values.shape != stack.shape[1:]:  # A palette gives three channels where one sample was declared.
            raise _refused(name, f"{file} has {pixels.values.shape[-1]} channels", "slices of one kind")
        stack[place] = pixels.values
        units.add(pixels.units)
        all_notes |= dict.fromkeys(pixels.notes)
        drop_pixels(dataset)
    if len(units) > 1:
        raise _refused(name, f"its slices are in different units ({', '.join(sorted(units))})", "slices of one kind")
    volume = Volume.from_attributes(
        array=stack[..., 0] if samples == 1 else stack,
        image_position=positions[order[0]],
        image_orientation=orientation,
        pixel_spacing=spacing,
        spacing_between_slices=float(distance),
        coordinate_system="PATIENT",
        channels={"RGB": ["R", "G", "B"]} if samples == 3 else None,
    )
    pixels = Pixels(stack, units.pop(), list(all_notes))
    return scan_of(slices[order[0]][1], pixels, volume.spacing, volume.affine, name)


Slices = list[tuple[str, Any]]


def _without_copies(slices: Slices, name: str) -> tuple[Slices, list[str]]:
    """Leave out files that repeat an instance; refuse two instances of one identifier and different pixels."""
    first: dict[str, tuple[str, Any]] = {}
    kept: Slices = []
    copies = 0
    for file, dataset in slices:
        uid = str(dataset.get("SOPInstanceUID") or "").strip()
        if not uid or uid not in first:
            first[uid] = (file, dataset)
            kept.append((file, dataset))
        elif np.array_equal(decode(dataset, file).values, decode(first[uid][1], first[uid][0]).values, equal_nan=True):
            copies += 1
        else:
            raise _refused(
                name,
                f"{first[uid][0]} and {file} have one identifier and different pixels",
                "an identifier for each slice",
            )
    return kept, [f"{copies} files repeat a slice and were left out"] if copies else []


def _geometry(slices: Slices, name: str) -> tuple[list[tuple[float, ...]], tuple[float, ...]]:
    """The position of every slice and their one orientation."""
    positions, orientations = [], []
    for file, dataset in slices:
        position = numbers(dataset, "ImagePositionPatient", 3)
        orientation = numbers(dataset, "ImageOrientationPatient", 6)
        if position is None or orientation is None:
            what = "ImagePositionPatient" if position is None else "ImageOrientationPatient"
            raise _refused(name, f"{file} has no usable {what}", "finite numbers for the position of every slice")
        row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
        if max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column)) > DIRECTION_TOLERANCE:
            raise _refused(
                name,
                f"ImageOrientationPatient of {file} is not two unit vectors at right angles",
                "directions of length 1 at right angles",
            )
        positions.append(position)
        orientations.append(orientation)
    usual = np.median(np.asarray(orientations), axis=0)
    far = np.abs(np.asarray(orientations) - usual).max(axis=1) > DIRECTION_TOLERANCE
    if far.any():
        odd = ", ".join(slices[k][0] for k in np.flatnonzero(far)[:5])
        raise _refused(
            name, f"its slices differ in orientation: {odd}", "parallel slices (localizers in a separate series)"
        )
    return positions, orientations[0]


def _one_spacing(slices: Slices, name: str) -> tuple[tuple[float, float], list[str]]:
    spacings = [pixel_spacing(dataset) for _, dataset in slices]
    missing = [file for (file, _), (spacing, _) in zip(slices, spacings, strict=True) if spacing is None]
    if missing:
        raise _refused(
            name, f"PixelSpacing of {missing[0]} is missing, zero or not a number", "the pixel spacing in millimetres"
        )
    if len({spacing for spacing, _ in spacings}) > 1:
        odd = _odd([(file, spacing) for (file, _), (spacing, _) in zip(slices, spacings, strict=True)])
        raise _refused(name, f"its slices differ in pixel spacing: {odd}", "one pixel spacing")
    spacing, notes = spacings[0]
    assert spacing is not None
    return spacing, notes


def _tolerance(positions: list[tuple[float, ...]], orientation: tuple[float, ...]) -> float:
    """How far a distance between slices may be from the usual one, in mm."""
    heights = np.sort(np.asarray(positions) @ np.cross(orientation[:3], orientation[3:]))
    return max(GAP_FRACTION * float(np.median(np.diff(heights))), GAP_MM)


def _check_even(positions: list[tuple[float, ...]], orientation: tuple[float, ...], slices: Slices, name: str) -> None:
    """Refuse duplicated positions, gaps and a tilted gantry, each with its own message."""
    points = np.asarray(positions)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = points @ normal
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    same = np.flatnonzero(steps < SAME_POSITION_MM)
    if same.size:
        pair = " and ".join(slices[order[same[0] + k]][0] for k in (0, 1))
        raise _refused(
            name,
            f"{same.size + 1} or more slices share a position, such as {pair}",
            "one slice at each position; phases, echoes and b-values in separate series",
        )
    shift = (points[order] - points[order[0]]) - np.outer(heights[order] - heights[order[0]], normal)
    if np.linalg.norm(shift[-1]) > max(GAP_MM * 10, GAP_FRACTION * (heights[order[-1]] - heights[order[0]])):
        tilt = np.degrees(np.arctan2(np.linalg.norm(shift[-1]), heights[order[-1]] - heights[order[0]]))
        raise _refused(
            name,
            f"the gantry was tilted: the slices are shifted against each other by {tilt:.1f} degrees",
            "slices stacked at right angles to their plane",
        )
    usual = float(np.median(steps))
    far = np.flatnonzero(np.abs(steps - usual) > _tolerance(positions, orientation))
    if far.size:
        gap = far[0]
        raise _refused(
            name,
            f"between {slices[order[gap]][0]} and {slices[order[gap + 1]][0]} lie {steps[gap]:.2f} mm where "
            f"slices are {usual:.2f} mm apart; a slice is missing",
            "evenly spaced slices",
        )


def _odd(values: list[tuple[str, Any]]) -> str:
    """The files whose value is not the usual one, at most five, with what they have."""
    counts: dict[Any, int] = {}
    for _, value in values:
        counts[value] = counts.get(value, 0) + 1
    usual = max(counts, key=lambda value: counts[value])
    odd = [(file, value) for file, value in values if value != usual]
    return ", ".join(f"{file} ({' x '.join(f'{x:g}' for x in value)})" for file, value in odd[:5])


def _refused(name: str, why: str, expected: str) -> InputError:
    return InputError(
        f"The series {name} is not one volume: {why}.",
        f"{expected}.",
        "Export the series again, or leave it out of the study.",
    )
