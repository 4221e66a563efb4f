"""The slices of one DICOM series become one Scan, or are refused. Geometry is highdicom's; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.decoding import check_image, decode
from easydl.images.dicom import read_dicom
from easydl.images.headers import numbers, open_dicom, pixel_spacing, pseudonym, safe_header, trusting
from easydl.images.scan import Scan

DIRECTION_TOLERANCE = 1e-3
GAP_SHARE, GAP_MM, SAME_PLACE_MM = 0.01, 0.01, 0.01


def read_series(paths: list[Path], name: str) -> Scan:
    """Read the slices of one series as one volume, sorted by position, in real units.

    Args:
        paths: The series' files, in any order.
        name: What to call the series in messages.

    Returns:
        A Scan ``(depth, height, width, 1 or 3)`` with spacing from the slice positions, never from SliceThickness.

    Raises:
        InputError: Two patients, mixed sizes, spacings or orientations, a missing or doubled slice, a tilted gantry, or
            no usable geometry; the odd slices are named.

    References:
        DICOM PS3.3 C.7.6.2 (image plane module), C.7.6.2.1.1 (position and orientation).
    """
    if len(paths) == 1:
        return read_dicom(paths[0])
    with trusting(name):
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
    spacing, said = _one_spacing(slices, name)
    _check_even(positions, orientation, slices, name)
    distance, places = get_volume_positions(
        positions, orientation, atol=_tolerance(positions, orientation), sort=True, allow_missing_positions=False
    )
    if distance is None or places is None:
        raise _refused(name, "its slices do not lie evenly behind each other", "evenly spaced slices")
    order = np.argsort(places)
    rows, columns, samples = sides[0]
    stack = np.empty((len(slices), rows, columns, samples), np.float32)
    seen: dict[str, None] = dict.fromkeys([*notes, *said])
    units: set[str] = set()
    for place, index in enumerate(order):
        file, dataset = slices[index]
        pixels = decode(dataset, file, checked=True)
        if pixels.values.shape != stack.shape[1:]:  # A palette gives three channels where one sample was declared.
            raise _refused(name, f"{file} has {pixels.values.shape[-1]} channels", "slices of one kind")
        stack[place] = pixels.values
        units.add(pixels.units)
        seen |= dict.fromkeys(pixels.notes)
        del dataset.PixelData
    if len(units) > 1:
        raise _refused(name, f"its slices are in different units ({', '.join(sorted(units))})", "slices of one kind")
    volume = Volume.from_attributes(
        array=stack[..., 0] if samples == 1 else stack, image_position=positions[order[0]],
        image_orientation=orientation, pixel_spacing=spacing, spacing_between_slices=float(distance),
        coordinate_system="PATIENT", channels={"RGB": ["R", "G", "B"]} if samples == 3 else None,
    )  # fmt: skip
    first = slices[order[0]][1]
    return Scan(
        stack, units.pop(), spacing_mm=tuple(float(mm) for mm in volume.spacing), affine=volume.affine,
        header=safe_header(first), patient=pseudonym(first.get("PatientID")), source=name, notes=tuple(seen),
    )  # fmt: skip


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
        elif np.array_equal(decode(dataset, file).values, decode(first[uid][1], first[uid][0]).values):
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
            raise _refused(name, f"{file} has no usable {what}", "finite numbers for the place of every slice")
        row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
        if max(abs(np.linalg.norm(row) - 1), abs(np.linalg.norm(column) - 1), abs(row @ column)) > DIRECTION_TOLERANCE:
            raise _refused(
                name, f"ImageOrientationPatient of {file} is not two unit vectors at right angles",
                "directions of length 1 at right angles",
            )  # fmt: skip
        positions.append(position)
        orientations.append(orientation)
    usual = np.median(np.asarray(orientations), axis=0)
    far = np.abs(np.asarray(orientations) - usual).max(axis=1) > DIRECTION_TOLERANCE
    if far.any():
        odd = ", ".join(slices[k][0] for k in np.flatnonzero(far)[:5])
        raise _refused(name, f"its slices differ in orientation: {odd}", "parallel slices (localizers set apart)")
    return positions, orientations[0]


def _one_spacing(slices: Slices, name: str) -> tuple[tuple[float, float], list[str]]:
    found = [pixel_spacing(dataset) for _, dataset in slices]
    missing = [file for (file, _), (spacing, _) in zip(slices, found, strict=True) if spacing is None]
    if missing:
        raise _refused(
            name, f"PixelSpacing of {missing[0]} is missing, zero or not a number", "the millimetres of a pixel"
        )
    if len({spacing for spacing, _ in found}) > 1:
        odd = _odd([(file, spacing) for (file, _), (spacing, _) in zip(slices, found, strict=True)])
        raise _refused(name, f"its slices differ in pixel spacing: {odd}", "one pixel spacing")
    spacing, said = found[0]
    assert spacing is not None
    return spacing, said


def _tolerance(positions: list[tuple[float, ...]], orientation: tuple[float, ...]) -> float:
    """How far a distance between slices may be from the usual one, in mm."""
    heights = np.sort(np.asarray(positions) @ np.cross(orientation[:3], orientation[3:]))
    return max(GAP_SHARE * float(np.median(np.diff(heights))), GAP_MM)


def _check_even(positions: list[tuple[float, ...]], orientation: tuple[float, ...], slices: Slices, name: str) -> None:
    """Doubled places, gaps and a tilted gantry, each in its own words."""
    points = np.asarray(positions)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = points @ normal
    order = np.argsort(heights, kind="stable")
    steps = np.diff(heights[order])
    same = np.flatnonzero(steps < SAME_PLACE_MM)
    if same.size:
        pair = " and ".join(slices[order[same[0] + k]][0] for k in (0, 1))
        raise _refused(
            name, f"{same.size + 1} or more slices share a place, such as {pair}",
            "one slice at each place; phases, echoes and b-values in series of their own",
        )  # fmt: skip
    shift = (points[order] - points[order[0]]) - np.outer(heights[order] - heights[order[0]], normal)
    if np.linalg.norm(shift[-1]) > max(GAP_MM * 10, GAP_SHARE * (heights[order[-1]] - heights[order[0]])):
        tilt = np.degrees(np.arctan2(np.linalg.norm(shift[-1]), heights[order[-1]] - heights[order[0]]))
        raise _refused(
            name, f"the gantry was tilted: the slices are shifted against each other by {tilt:.1f} degrees",
            "slices straight behind each other",
        )  # fmt: skip
    usual = float(np.median(steps))
    far = np.flatnonzero(np.abs(steps - usual) > _tolerance(positions, orientation))
    if far.size:
        place = far[0]
        raise _refused(
            name, f"between {slices[order[place]][0]} and {slices[order[place + 1]][0]} lie {steps[place]:.2f} mm where "
            f"slices are {usual:.2f} mm apart; a slice is missing",
            "evenly spaced slices",
        )  # fmt: skip


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
        f"The series {name} is no volume: {why}.",
        f"{expected}.",
        "Export the series again, or leave it out of the study.",
    )
