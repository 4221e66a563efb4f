"""One DICOM file becomes a Scan: an image, a frame, or an enhanced volume. Geometry is highdicom's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.decoding import Pixels, check_image, decode
from easydl.images.frames import settle_frames
from easydl.images.headers import header_errors, numbers, open_dicom, pixel_spacing, pseudonym, safe_header
from easydl.images.scan import Scan
from easydl.images.slices import is_straight, straight
from easydl.images.values import settled


def read_dicom(path: str | Path, frame: int | None = None) -> Scan:
    """Read one DICOM file: modality LUT applied, ``MONOCHROME1`` inverted, colour converted to RGB.

    Args:
        path: One image, or a multi-frame object whose frames form one evenly spaced volume.
        frame: The frame to take from a multi-frame object, from 1 as in the standard.

    Returns:
        A Scan ``(height, width, 1 or 3)``; ``"HU"`` for CT with a rescale, ``"0-255"`` for 8-bit images,
        ``"relative"`` otherwise. A multi-frame object with geometry becomes ``(depth, height, width, 1)``.

    References:
        DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.11.1 (modality LUT), C.7.6.16 (multi-frame groups).
    """
    name = Path(path).name
    with header_errors(name):
        return _read(open_dicom(path), name, str(path), frame)


def _read(dataset: Any, name: str, source: str, frame: int | None) -> Scan:
    frames = check_image(dataset, name)[0]
    if frame is not None and not 1 <= frame <= frames:
        raise InputError(
            f"{name} has no frame {frame}: it holds {frames}.",
            f"an integer from 1 to {frames}.",
            "Correct the address.",
        )
    if frames > 1 and frame is None:
        return _volume(dataset, name, source)
    pixels = decode(dataset, name, None if frame is None else frame - 1)
    spacing, notes = pixel_spacing(_measures(dataset, frame))
    pixels.notes += notes
    return scan_of(dataset, pixels, spacing, _plane(dataset, spacing, pixels.values.shape), source)


def scan_of(
    dataset: Any, pixels: Pixels, spacing: tuple[float, ...] | None, affine: np.ndarray | None, source: str
) -> Scan:
    """The Scan of decoded pixels, with the safe fields of their header."""
    values = settled(pixels.values, pixels.units, pixels.notes, Path(source).name)
    return Scan(
        values,
        pixels.units,
        spacing_mm=spacing and tuple(float(mm) for mm in spacing),
        affine=affine,
        header=safe_header(dataset),
        patient=pseudonym(dataset.get("PatientID")),
        source=source,
        notes=tuple(pixels.notes),
    )


def _plane(dataset: Any, spacing: tuple[float, float] | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """The affine of a single image; None when its position is not known."""
    position = numbers(dataset, "ImagePositionPatient", 3)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    if spacing is None or position is None or orientation is None or not is_straight(orientation):
        return None
    from highdicom import VolumeGeometry

    try:
        return VolumeGeometry.from_attributes(
            image_position=position,
            image_orientation=straight(orientation).ravel().tolist(),
            rows=shape[0],
            columns=shape[1],
            pixel_spacing=spacing,
            spacing_between_slices=1.0,
            number_of_frames=1,
            coordinate_system="PATIENT",
        ).affine
    except ValueError:  # Directions that are not at right angles: the image can be used, its position cannot.
        return None


def _measures(dataset: Any, frame: int | None) -> Any:
    """The data set with the pixel spacing: a functional group of a multi-frame object, or the data set itself."""
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", (frame or 1) - 1),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = dataset.get(groups) or []
        measures = items[index].get("PixelMeasuresSequence") if len(items) > index else None
        if measures:
            return measures[0]
    return dataset


def _volume(dataset: Any, name: str, source: str) -> Scan:
    """An enhanced CT or MR whose frames are evenly spaced."""
    from highdicom import Image

    frames = int(dataset.NumberOfFrames)
    grid = order = None
    settle_frames(dataset, name)
    try:
        grid = Image.from_dataset(dataset, copy=False).get_volume_geometry(allow_duplicate_positions=False)
        order = _order(dataset, grid) if grid is not None and grid.spatial_shape[0] == frames else None
    except Exception:  # highdicom has an error for each way in which frames may be odd
        order = None
    if grid is None or order is None:
        raise InputError(
            f"{name} holds {frames} frames that do not form one evenly spaced volume.",
            "a single image, or frames at even distances (enhanced CT or MR), one at each position.",
            f"Name the frame you mean, counted from 1: {name}#1; or export the frames as separate files.",
        )
    pixels = decode(dataset, name, checked=True)
    pixels.values = pixels.values[order]
    return scan_of(dataset, pixels, grid.spacing, grid.affine, source)


def _order(dataset: Any, grid: Any) -> np.ndarray | None:
    """Which frame lies in each slice of a grid; None when they do not fill it."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    places = [
        (group.get("PlanePositionSequence") or shared.PlanePositionSequence)[0].ImagePositionPatient
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    points = np.column_stack([np.asarray(places, float), np.ones(len(places))])
    slices = np.rint((np.linalg.inv(grid.affine) @ points.T)[0]).astype(int)
    return np.argsort(slices) if sorted(slices) == list(range(len(places))) else None
