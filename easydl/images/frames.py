"""Where the frames of a multi-frame object lie: whether they are one even volume. It reads no pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.geometry import apart
from easydl.images.headers import numbers, pixel_spacing
from easydl.images.slices import EVEN, SAME_POSITION_MM, TURNED, Plane, even_stack, is_straight, straight


def settle_frames(dataset: Any, name: str) -> None:
    """Put the frames on the even grid that their numbers were rounded from, in the data set and not in its file.

    Frames without positions are left to the reader.

    Raises:
        InputError: They differ in orientation or pixel spacing, share positions, or lie unevenly.
    """
    planes = [_plane(dataset, index) for index in range(int(dataset.NumberOfFrames))]
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes):
        return
    try:
        stack = even_stack(known, (int(dataset.Rows), int(dataset.Columns)), name)
    except InputError as problem:
        raise InputError(
            problem.found.replace("The series", "The object", 1).replace("slices", "frames"),
            problem.expected.replace("slices", "frames"),
            f"Name the frame you mean, counted from 1: {name}#1; or export the frames as separate files.",
        ) from problem
    normal = np.cross(stack.orientation[:3], stack.orientation[3:])
    for place, index in enumerate(stack.order):
        _place(dataset, int(index), stack.position - place * stack.distance * normal, stack.orientation)
        measures = _group(dataset, int(index), "PixelMeasuresSequence")
        measures.PixelSpacing = [f"{mm:.9g}" for mm in stack.spacing]


def snap_frames(dataset: Any) -> None:
    """Move the frames of a segmentation, of which empty ones may be absent, to the even grid that they were rounded from.

    Positions that are on no even grid, or not known, are left as they are.
    """
    planes = [_plane(dataset, index) for index in range(int(dataset.get("NumberOfFrames") or 1))]
    known = [plane for plane in planes if plane is not None]
    if len(known) < max(2, len(planes)):
        return
    if not is_straight(known[0].orientation) or np.ptp([plane.orientation for plane in known], axis=0).max() > TURNED:
        return
    directions = straight(np.median([plane.orientation for plane in known], axis=0)).ravel()
    normal = np.cross(directions[:3], directions[3:])
    points = np.asarray([plane.position for plane in known], float)
    heights = points @ normal
    levels = np.unique(np.round(heights, 6))
    steps = np.diff(levels)
    steps = steps[steps > SAME_POSITION_MM]
    said = float(_group(dataset, 0, "PixelMeasuresSequence").get("SpacingBetweenSlices") or 1.0)
    distance = float(steps.min()) if len(steps) else said
    for level in levels:  # The further away, the less rounding counts: each level sharpens the distance for the next.
        count = round((level - levels[0]) / distance)
        distance = (level - levels[0]) / count if count else distance
    places = np.rint((heights - levels[0]) / distance)
    off = levels[0] + places * distance - heights
    if np.abs(off).max() > EVEN * distance:
        return
    middle = np.median(points - np.outer(heights, normal), axis=0)
    if not apart(_axes(known[0], directions), points - np.outer(heights, normal) - middle).same:
        return
    for index in range(len(known)):
        _place(dataset, index, middle + (heights + off)[index] * normal, directions)
        measures = _group(dataset, index, "PixelMeasuresSequence")
        if "SpacingBetweenSlices" in measures:
            measures.SpacingBetweenSlices = f"{distance:.9g}"


def _axes(plane: Plane, directions: np.ndarray) -> np.ndarray:
    """The steps of a slice, a row and a column in mm; slices count as 1 mm apart."""
    row, column = directions[:3], directions[3:]
    return np.stack([np.cross(row, column), column * plane.spacing[0], row * plane.spacing[1]], axis=1)


def _place(dataset: Any, index: int, position: np.ndarray, directions: np.ndarray) -> None:
    place, turn = (_group(dataset, index, name) for name in ("PlanePositionSequence", "PlaneOrientationSequence"))
    place.ImagePositionPatient = [f"{value:.9g}" for value in position]
    turn.ImageOrientationPatient = [f"{value:.9g}" for value in directions]


def _plane(dataset: Any, index: int) -> Plane | None:
    """Where one frame lies; None when the functional groups do not say (PS3.3 C.7.6.16.2)."""
    place = _group(dataset, index, "PlanePositionSequence")
    turn = _group(dataset, index, "PlaneOrientationSequence")
    measures = _group(dataset, index, "PixelMeasuresSequence")
    if place is None or turn is None or measures is None:
        return None
    position = numbers(place, "ImagePositionPatient", 3)
    orientation = numbers(turn, "ImageOrientationPatient", 6)
    spacing = pixel_spacing(measures)[0]
    if position is None or orientation is None or spacing is None:
        return None
    return Plane(f"frame {index + 1}", position, orientation, spacing)


def _group(dataset: Any, index: int, name: str) -> Any:
    """The item of one functional group: of the frame, or shared by all."""
    for groups, item in (("PerFrameFunctionalGroupsSequence", index), ("SharedFunctionalGroupsSequence", 0)):
        items = dataset.get(groups) or []
        found = items[item].get(name) if len(items) > item else None
        if found:
            return found[0]
    return None
