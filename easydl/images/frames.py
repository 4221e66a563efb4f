"""Where the frames of a multi-frame object lie: whether they are one even volume. It reads no pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.headers import numbers, pixel_spacing
from easydl.images.slices import EVEN, SAME_POSITION_MM, Plane, even_stack

STEP_TOLERANCE = 2 * EVEN
"""How far one distance may be from the usual one when no frame is further than `EVEN` from its place."""


def check_frames(dataset: Any, name: str) -> None:
    """Refuse frames that lie on no even grid, with the reason; frames without positions are left to the reader.

    Raises:
        InputError: They differ in orientation or pixel spacing, share positions, or lie unevenly.
    """
    planes = [_plane(dataset, index) for index in range(int(dataset.NumberOfFrames))]
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes):
        return
    try:
        even_stack(known, (int(dataset.Rows), int(dataset.Columns)), name)
    except InputError as problem:
        raise InputError(
            problem.found.replace("The series", "The object", 1).replace("slices", "frames"),
            problem.expected.replace("slices", "frames"),
            f"Name the frame you mean, counted from 1: {name}#1; or export the frames as separate files.",
        ) from problem


def snap_frames(dataset: Any) -> None:
    """Move the frames of a segmentation, of which empty ones may be absent, to the even grid that they were rounded from.

    Positions that are on no even grid, or not known, are left as they are.
    """
    planes = [_plane(dataset, index) for index in range(int(dataset.get("NumberOfFrames") or 1))]
    known = [plane for plane in planes if plane is not None]
    if len(known) < max(2, len(planes)):
        return
    normal = np.cross(known[0].orientation[:3], known[0].orientation[3:])
    heights = np.asarray([plane.position for plane in known]) @ normal
    levels = np.unique(np.round(heights, 6))
    steps = np.diff(levels)
    steps = steps[steps > SAME_POSITION_MM]
    if not len(steps):
        return
    distance = float(steps.min())
    for level in levels:  # The further away, the less rounding counts: each level sharpens the distance for the next.
        count = round((level - levels[0]) / distance)
        distance = (level - levels[0]) / count if count else distance
    places = np.rint((heights - levels[0]) / distance)
    off = levels[0] + places * distance - heights
    if np.abs(off).max() > EVEN * distance:
        return
    for index, plane in enumerate(known):
        place = _group(dataset, index, "PlanePositionSequence")
        place.ImagePositionPatient = [f"{value:.9g}" for value in plane.position + off[index] * normal]


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
