"""The slices of one DICOM series become one Scan, or are refused. Geometry is highdicom's; nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.images.decoding import Pixels, check_image, decode, drop_pixels
from easydl.images.dicom import read_dicom, scan_of
from easydl.images.headers import header_errors, numbers, open_dicom, pixel_spacing
from easydl.images.scan import Scan
from easydl.images.slices import Plane, even_stack, odd, refused


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
    from highdicom import VolumeGeometry

    slices = [(path.name, open_dicom(path)) for path in paths]
    sides = [check_image(dataset, file)[1:] for file, dataset in slices]
    if len({str(dataset.get("PatientID") or "").strip() for _, dataset in slices}) > 1:
        raise refused(name, "its files carry more than one patient identifier", "one patient in one series")
    if len(set(sides)) > 1:
        different = odd([file for file, _ in slices], sides)
        raise refused(name, f"its slices differ in size: {different}", "slices of one size")
    slices, notes = _without_copies(slices, name)
    planes, plane_notes = _planes(slices, name)
    stack = even_stack(planes, sides[0][:2], name)
    rows, columns, samples = sides[0]
    values = np.empty((len(slices), rows, columns, samples), np.float32)
    all_notes: dict[str, None] = dict.fromkeys([*notes, *plane_notes])
    units: set[str] = set()
    for place, index in enumerate(stack.order):
        file, dataset = slices[index]
        pixels = decode(dataset, file, checked=True)
        if pixels.values.shape != values.shape[1:]:  # A palette gives three channels where one sample was declared.
            raise refused(name, f"{file} has {pixels.values.shape[-1]} channels", "slices of one kind")
        values[place] = pixels.values
        units.add(pixels.units)
        all_notes |= dict.fromkeys(pixels.notes)
        drop_pixels(dataset)
    if len(units) > 1:
        raise refused(name, f"its slices are in different units ({', '.join(sorted(units))})", "slices of one kind")
    grid = VolumeGeometry.from_attributes(
        image_position=stack.position.tolist(),
        image_orientation=stack.orientation.tolist(),
        rows=rows,
        columns=columns,
        pixel_spacing=stack.spacing,
        spacing_between_slices=stack.distance,
        number_of_frames=len(slices),
        coordinate_system="PATIENT",
    )
    pixels = Pixels(values, units.pop(), list(all_notes))
    return scan_of(slices[stack.order[0]][1], pixels, grid.spacing, grid.affine, name)


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
            raise refused(
                name,
                f"{first[uid][0]} and {file} have one identifier and different pixels",
                "an identifier for each slice",
            )
    return kept, [f"{copies} files repeat a slice and were left out"] if copies else []


def _planes(slices: Slices, name: str) -> tuple[list[Plane], list[str]]:
    """Where every slice lies, and what was assumed about its pixel spacing."""
    planes = []
    notes: dict[str, None] = {}
    for file, dataset in slices:
        position = numbers(dataset, "ImagePositionPatient", 3)
        orientation = numbers(dataset, "ImageOrientationPatient", 6)
        spacing, said = pixel_spacing(dataset)
        if position is None or orientation is None:
            what = "ImagePositionPatient" if position is None else "ImageOrientationPatient"
            raise refused(name, f"{file} has no usable {what}", "finite numbers for the position of every slice")
        if spacing is None:
            raise refused(
                name, f"PixelSpacing of {file} is missing, zero or not a number", "the pixel spacing in millimetres"
            )
        planes.append(Plane(file, position, orientation, spacing))
        notes |= dict.fromkeys(said)
    return planes, list(notes)
