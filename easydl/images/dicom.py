"""One DICOM file becomes a Scan: an image, a frame, or an enhanced volume. Geometry is highdicom's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.decoding import (
    INVERTED,
    NO_HOUNSFIELD,
    check_image,
    decode,
    grey_units,
    is_ct,
    is_inverted,
    rescale,
    standing_notes,
    stored_ends,
)
from easydl.images.headers import numbers, open_dicom, pixel_spacing, pseudonym, safe_header, trusting, unreadable
from easydl.images.scan import Scan


def read_dicom(path: str | Path, frame: int | None = None) -> Scan:
    """Read one DICOM file: modality LUT applied, ``MONOCHROME1`` inverted, colour brought to RGB.

    Args:
        path: A DICOM file holding one image, or a multi-frame object whose frames form one evenly spaced volume.
        frame: The frame to take from a multi-frame object, from 1 as in the standard.

    Returns:
        A Scan ``(height, width, 1 or 3)``; ``"HU"`` for CT with a rescale, ``"0-255"`` for 8-bit images,
        ``"relative"`` otherwise. A multi-frame object with geometry becomes ``(depth, height, width, 1)``.

    Raises:
        InputError: Missing, not DICOM, not an image, not decodable, or with values that cannot be right.

    References:
        DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.11.1 (modality LUT), C.7.6.16 (multi-frame groups).
    """
    name = Path(path).name
    with trusting(name):
        return _read(open_dicom(path), name, str(path), frame)


def _read(dataset: Any, name: str, source: str, frame: int | None) -> Scan:
    frames = check_image(dataset, name)[0]
    if frame is not None and not 1 <= frame <= frames:
        raise InputError(
            f"{name} has no frame {frame}: it holds {frames}.", f"a number from 1 to {frames}.", "Correct the address."
        )
    if frames > 1 and frame is None:
        return _volume(dataset, name, source)
    pixels = decode(dataset, name, None if frame is None or frames == 1 else frame - 1)
    if pixels.values.ndim == 4:
        pixels.values = pixels.values[0]
    spacing, notes = pixel_spacing(_measures(dataset, frame))
    return Scan(
        pixels.values, pixels.units, spacing_mm=spacing, affine=_plane(dataset, spacing, pixels.values.shape),
        header=safe_header(dataset), patient=pseudonym(dataset.get("PatientID")), source=source,
        notes=(*pixels.notes, *notes),
    )  # fmt: skip


def _plane(dataset: Any, spacing: tuple[float, float] | None, shape: tuple[int, ...]) -> np.ndarray | None:
    position = numbers(dataset, "ImagePositionPatient", 3)
    orientation = numbers(dataset, "ImageOrientationPatient", 6)
    if spacing is None or position is None or orientation is None:
        return None
    from highdicom import VolumeGeometry

    try:
        return VolumeGeometry.from_attributes(
            image_position=position, image_orientation=orientation, rows=shape[0], columns=shape[1],
            pixel_spacing=spacing, spacing_between_slices=1.0, number_of_frames=1, coordinate_system="PATIENT",
        ).affine  # fmt: skip
    except ValueError:  # Directions that are not at right angles: a picture can be used, its place in space cannot.
        return None


def _measures(dataset: Any, frame: int | None) -> Any:
    """Where the pixel spacing stands: in the functional groups of a multi-frame object, else in the data set."""
    for groups, index in (
        ("PerFrameFunctionalGroupsSequence", (frame or 1) - 1),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        items = dataset.get(groups) or []
        found = items[index].get("PixelMeasuresSequence") if len(items) > index else None
        if found:
            return found[0]
    return dataset


def _volume(dataset: Any, name: str, source: str) -> Scan:
    """An enhanced CT or MR whose frames lie evenly behind each other."""
    from highdicom import Image

    frames = int(dataset.NumberOfFrames)
    try:
        volume = Image.from_dataset(dataset, copy=False).get_volume(
            apply_real_world_transform=False, apply_presentation_lut=False, dtype=np.float64
        )
    except Exception as problem:
        raise InputError(
            f"{name} holds {frames} frames that do not form one evenly spaced volume.",
            "a single image, or frames at even distances (enhanced CT or MR), one at each position.",
            f"Name the frame you mean, counted from 1: {name}#1; or export the frames as files of their own.",
        ) from problem
    line = rescale(dataset, name, 0)
    notes = standing_notes(dataset)
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
    return Scan(
        values, units, spacing_mm=tuple(float(mm) for mm in volume.spacing), affine=volume.affine,
        header=safe_header(dataset), patient=pseudonym(dataset.get("PatientID")), source=source, notes=tuple(notes),
    )  # fmt: skip
