"""One DICOM file becomes a Scan: an image, a frame, or an enhanced volume. Geometry is highdicom's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.decoding import (
    INVERTED,
    NO_HOUNSFIELD,
    Pixels,
    check_image,
    decode,
    grey_units,
    header_notes,
    is_ct,
    is_inverted,
    rescale,
    stored_ends,
)
from easydl.images.file_errors import unreadable
from easydl.images.frames import settle_frames
from easydl.images.headers import header_errors, numbers, open_dicom, pixel_spacing, pseudonym, safe_header
from easydl.images.scan import Scan
from easydl.images.slices import is_straight, straight


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
    pixels = decode(dataset, name, None if frame is None or frames == 1 else frame - 1)
    if pixels.values.ndim == 4:
        pixels.values = pixels.values[0]
    spacing, notes = pixel_spacing(_measures(dataset, frame))
    pixels.notes += notes
    return scan_of(dataset, pixels, spacing, _plane(dataset, spacing, pixels.values.shape), source)


def scan_of(
    dataset: Any, pixels: Pixels, spacing: tuple[float, ...] | None, affine: np.ndarray | None, source: str
) -> Scan:
    """The Scan of decoded pixels, with the safe fields of their header."""
    return Scan(
        pixels.values,
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
    settle_frames(dataset, name)
    try:
        volume = Image.from_dataset(dataset, copy=False).get_volume(
            apply_real_world_transform=False, apply_presentation_lut=False, dtype=np.float64
        )
    except Exception as problem:
        raise InputError(
            f"{name} holds {frames} frames that do not form one evenly spaced volume.",
            "a single image, or frames at even distances (enhanced CT or MR), one at each position.",
            f"Name the frame you mean, counted from 1: {name}#1; or export the frames as separate files.",
        ) from problem
    line = rescale(dataset, name, 0)
    notes = header_notes(dataset)
    values = np.asarray(volume.array, dtype=np.float32)
    if not np.isfinite(values).all():
        raise unreadable(name, "some pixels are not numbers")
    if values.ndim == 4:
        units = "0-255"
        values *= np.float32(255.0 / (2.0 ** int(dataset.get("BitsStored") or 8) - 1))
    else:
        values = values[..., None]
        units = grey_units(dataset, line)
        if units != "HU" and is_inverted(dataset):
            values = np.float32(stored_ends(dataset, line).sum()) - values
            notes.append(INVERTED)
        if is_ct(dataset) and units != "HU":
            notes.append(NO_HOUNSFIELD)
    return scan_of(dataset, Pixels(values, units, notes), volume.spacing, volume.affine, source)
