"""DICOM files and series become Scans. Decoding is pydicom's, geometry highdicom's; the header loses every identifier."""

from __future__ import annotations

import hashlib
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.limits import check_size
from easydl.images.scan import Scan

HEADER_TAGS = (
    "PatientID", "PatientSex", "PatientAge", "Manufacturer", "ManufacturerModelName", "StudyDate",
    "ViewPosition", "Modality", "BodyPartExamined", "KVP", "SeriesInstanceUID", "StudyInstanceUID",
    "SOPInstanceUID", "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "ImageType", "ImageOrientationPatient",
    "ImagePositionPatient", "PhotometricInterpretation", "BitsStored", "BurnedInAnnotation", "SamplesPerPixel",
)  # fmt: skip
PROJECTION = {"CR", "DX", "DR", "MG", "XA", "RF", "US", "OT", "SC", "XC", "OP", "ES", "GM", "SM", "IO", "PX"}
"""Modalities in which every file is an image of its own rather than a slice of a volume (PS3.3 C.7.3.1.1.1)."""


def read_header(path: str | Path) -> Any:
    """The header of one DICOM file, pixels left on disk; only the tags easydl looks at.

    Raises:
        InputError: The file is missing, is not DICOM, or is cut in its header.
    """
    return _dcmread(path, pixels=False)


def safe_header(dataset: Any) -> dict[str, str]:
    """The fields that may leave this room: what was scanned, how and on whom in general, never who.

    Returns:
        Any of ``sex``, ``age_years`` (``"90+"`` from 90 on), ``scanner``, ``date`` (year and month), ``view``,
        ``modality``, ``body_part`` and ``kvp``, as text; absent fields are left out.

    References:
        DICOM PS3.15 annex E; HIPAA safe harbor, 45 CFR 164.514(b)(2) (ages over 89).
    """
    found: dict[str, str] = {}

    def take(name: str, value: Any) -> None:
        text = " ".join(str(value).split()) if value not in (None, "") else ""
        if text:
            found[name] = text[:64]

    take("sex", dataset.get("PatientSex"))
    take("age_years", _age(dataset.get("PatientAge")))
    take("scanner", f"{dataset.get('Manufacturer') or ''} {dataset.get('ManufacturerModelName') or ''}".strip())
    date = str(dataset.get("StudyDate") or "")
    take("date", f"{date[:4]}-{date[4:6]}" if len(date) == 8 and date.isdigit() else None)
    take("view", dataset.get("ViewPosition"))
    take("modality", dataset.get("Modality"))
    take("body_part", dataset.get("BodyPartExamined"))
    take("kvp", dataset.get("KVP"))
    return found


def pseudonym(patient_id: Any) -> str | None:
    """A stable stand-in for a patient's identifier: ``P-`` and ten hexadecimal digits; None without one.

    The same identifier gives the same pseudonym on every machine, so splits can be repeated; whoever knows an
    identifier can therefore recognise its pseudonym. It is no anonymisation.
    """
    text = str(patient_id or "").strip()
    return "P-" + hashlib.sha256(f"easydl patient {text}".encode()).hexdigest()[:10] if text else None


def read_dicom(path: str | Path) -> Scan:
    """Read one DICOM file: modality LUT applied, ``MONOCHROME1`` inverted, colour brought to RGB.

    Args:
        path: A DICOM file holding one image (or one multi-frame volume with even spacing).

    Returns:
        A Scan ``(height, width, 1 or 3)``; ``"HU"`` for CT with a rescale, ``"0-255"`` for 8-bit images,
        ``"relative"`` otherwise. A multi-frame object with geometry becomes ``(depth, height, width, 1)``.

    Raises:
        InputError: Missing, not DICOM, not an image, not decodable, or with values that cannot be right.

    References:
        DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.11.1 (modality LUT).
    """
    dataset = _dcmread(path, pixels=True)
    name = Path(path).name
    pixels, units, notes = _pixels(dataset, name)
    spacing: tuple[float, ...] | None = _spacing(dataset)
    affine = None
    if pixels.ndim == 4 and pixels.shape[0] > 1:
        volume = _multiframe(dataset, pixels, name)
        pixels, spacing, affine = volume.array, tuple(float(mm) for mm in volume.spacing), volume.affine
    elif pixels.ndim == 4:
        pixels = pixels[0]
    elif spacing is not None:
        position = _finite(dataset.get("ImagePositionPatient"), 3)
        orientation = _finite(dataset.get("ImageOrientationPatient"), 6)
        if position and orientation:
            from highdicom import VolumeGeometry

            affine = VolumeGeometry.from_attributes(
                image_position=position, image_orientation=orientation,
                rows=pixels.shape[0], columns=pixels.shape[1], pixel_spacing=spacing, spacing_between_slices=1.0,
                number_of_frames=1, coordinate_system="PATIENT",
            ).affine  # fmt: skip
    return Scan(
        pixels, units, spacing_mm=spacing, affine=affine, header=safe_header(dataset),
        patient=pseudonym(dataset.get("PatientID")), source=str(path), notes=tuple(notes),
    )  # fmt: skip


def read_series(paths: list[Path], name: str) -> Scan:
    """Read the slices of one series as one volume, sorted by position, in real units.

    Args:
        paths: The series' files, in any order.
        name: What to call the series in messages.

    Returns:
        A Scan ``(depth, height, width, 1)`` with spacing from the slice positions, never from SliceThickness.

    Raises:
        InputError: Two patients, mixed sizes or orientations, a missing or doubled slice, or no geometry.

    References:
        DICOM PS3.3 C.7.6.2 (image plane module).
    """
    from highdicom import Volume
    from highdicom.spatial import get_volume_positions

    if len(paths) == 1:
        return read_dicom(paths[0])
    datasets = [_dcmread(path, pixels=True) for path in paths]
    first = datasets[0]
    if len({str(ds.get("PatientID") or "") for ds in datasets}) > 1:
        raise _series_error(name, "its files carry more than one patient identifier", "one patient in one series")
    if len({(ds.get("Rows"), ds.get("Columns")) for ds in datasets}) > 1:
        raise _series_error(name, "its slices differ in size", "slices of one size")
    positions, orientations = [], []
    for ds in datasets:
        position, orientation = (
            _finite(ds.get("ImagePositionPatient"), 3),
            _finite(ds.get("ImageOrientationPatient"), 6),
        )
        if position is None or orientation is None:
            raise _series_error(name, "a slice has no usable position or orientation", "both in every slice")
        positions.append(position)
        orientations.append(orientation)
    if np.ptp(np.asarray(orientations), axis=0).max() > 1e-3:
        raise _series_error(name, "its slices differ in orientation", "parallel slices (localizers set apart)")
    spacing = _spacing(first)
    if spacing is None:
        raise _series_error(name, "PixelSpacing is missing, zero or not a number", "the millimetres of a pixel")
    distance, order = get_volume_positions(
        positions, orientations[0], rtol=0.01, sort=True, allow_missing_positions=False
    )
    if distance is None or order is None:
        raise _series_error(name, _uneven(positions, orientations[0]), "evenly spaced slices, none twice")
    slices: list[np.ndarray] = []
    notes: list[str] = []
    units = ""
    for index in np.argsort(order):
        pixels, units, notes = _pixels(datasets[index], paths[index].name)
        slices.append(pixels)
    stack = np.stack(slices)
    low = int(np.argmin(order))
    volume = Volume.from_attributes(
        array=stack[..., 0] if stack.shape[-1] == 1 else stack, image_position=positions[low],
        image_orientation=orientations[0], pixel_spacing=spacing, spacing_between_slices=float(distance),
        coordinate_system="PATIENT", channels={"RGB": ["R", "G", "B"]} if stack.shape[-1] == 3 else None,
    )  # fmt: skip
    return Scan(
        stack, units, spacing_mm=tuple(float(mm) for mm in volume.spacing), affine=volume.affine,
        header=safe_header(first), patient=pseudonym(first.get("PatientID")), source=name, notes=tuple(notes),
    )  # fmt: skip


def _dcmread(path: str | Path, *, pixels: bool) -> Any:
    import pydicom
    from pydicom.errors import InvalidDicomError

    name = Path(path).name
    if not Path(path).is_file():
        raise InputError(f"The file {path} does not exist.", "a file at this path.", "Correct the path in the table.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (
                pydicom.dcmread(path) if pixels
                else pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(HEADER_TAGS))
            )  # fmt: skip
    except InvalidDicomError as problem:
        raise _unreadable(name, "it is not a DICOM file") from problem
    except Exception as problem:
        raise _unreadable(name, "its header is cut short or damaged") from problem


def _pixels(dataset: Any, name: str) -> tuple[np.ndarray, str, list[str]]:
    """Pixels in real units as ``([frames,] height, width, channel)``, their units, and what was assumed."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    kind = str(getattr(dataset.get("SOPClassUID"), "name", "") or "object without a type")
    if not any(tag in dataset for tag in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{name} holds no image: it is a {kind}.", "a DICOM image.", "Leave it out of the study.")
    if "Segmentation" in kind:
        raise InputError(f"{name} is a segmentation.", "an image.", "Use it as a mask, not as an image.")
    sides = [dataset.get("NumberOfFrames") or 1, dataset.get("Rows"), dataset.get("Columns")]
    try:
        frames, rows, columns = (int(side) for side in sides)
    except (TypeError, ValueError) as problem:
        raise _unreadable(name, "Rows, Columns or NumberOfFrames is missing or not a number") from problem
    check_size((frames, rows, columns, int(dataset.get("SamplesPerPixel") or 1)), name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = dataset.pixel_array
    except Exception as problem:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        how = getattr(syntax, "name", "unknown")
        raise InputError(
            f"The pixels of {name} cannot be decoded ({how}).",
            "a whole image in an encoding that the installed decoders read.",
            "Run: python -m pip install python-gdcm pylibjpeg pylibjpeg-openjpeg pyjpegls . If that does not help, "
            "the file is damaged: export it again, uncompressed.",
        ) from problem
    notes: list[str] = []
    photometric = str(dataset.get("PhotometricInterpretation") or "")
    modality = str(dataset.get("Modality") or "")
    if photometric == "PALETTE COLOR":
        rgb = apply_color_lut(stored, dataset).astype(np.float32)
        return (rgb / 257.0 if rgb.max() > 255 else rgb), "0-255", ["palette applied"]
    if int(dataset.get("SamplesPerPixel") or 1) == 3:
        colour = stored.astype(np.float32)
        return (colour / 257.0 if int(dataset.get("BitsStored") or 8) > 8 else colour), "0-255", notes
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if slope is not None and not (math.isfinite(float(slope)) and float(slope) != 0):
        raise _unreadable(name, f"RescaleSlope is {slope}")
    if intercept is not None and not math.isfinite(float(intercept)):
        raise _unreadable(name, f"RescaleIntercept is {intercept}")
    values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
    bits = int(dataset.get("BitsStored") or 16)
    rescaled = slope is not None or "ModalityLUTSequence" in dataset
    units = "HU" if modality == "CT" and rescaled else "0-255" if bits <= 8 and not rescaled else "relative"
    if modality == "CT" and not rescaled:
        notes.append("labelled CT but without RescaleSlope: the values are not Hounsfield units")
    if photometric == "MONOCHROME1" and units != "HU":
        signed = int(dataset.get("PixelRepresentation") or 0) == 1
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        ends = ends * float(slope or 1) + float(intercept or 0)
        values = np.float32(ends.sum()) - values
        notes.append("MONOCHROME1: inverted, so that bone is bright")
    return values[..., None], units, notes


def _multiframe(dataset: Any, pixels: np.ndarray, name: str) -> Any:
    from highdicom import Image as DicomImage

    try:
        volume = DicomImage.from_dataset(dataset, copy=True).get_volume(apply_presentation_lut=False)
    except Exception as problem:
        raise InputError(
            f"{name} holds {pixels.shape[0]} frames that do not form one evenly spaced volume.",
            "a single image, or frames with positions (enhanced CT or MR).",
            "Export the frame you mean as a file of its own.",
        ) from problem
    array = np.asarray(volume.array, dtype=np.float32)
    return volume.with_array(array) if array.ndim == 4 else volume.with_array(
        array[..., None], channels={"OpticalPathIdentifier": ["1"]}
    )  # fmt: skip


def _spacing(dataset: Any) -> tuple[float, float] | None:
    for tag in ("PixelSpacing", "ImagerPixelSpacing"):
        values = _finite(dataset.get(tag), 2)
        if values is not None and min(values) > 0:
            return (values[0], values[1])
    return None


def _finite(value: Any, count: int) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _age(text: Any) -> str | None:
    text = str(text or "").strip()
    if len(text) != 4 or not text[:3].isdigit() or text[3] not in "DWMY":
        return None
    years = int(text[:3]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[text[3]]
    return "90+" if years >= 90 else str(int(years))


def _uneven(positions: list[tuple[float, ...]], orientation: tuple[float, ...]) -> str:
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff(np.sort(np.asarray(positions) @ normal))
    if steps.size and steps.min() < 0.01:
        return "two slices lie at the same position"
    return f"its slices lie {steps.min():.2f} to {steps.max():.2f} mm apart: one is missing, or the gantry was tilted"


def _series_error(name: str, why: str, expected: str) -> InputError:
    return InputError(
        f"The series {name} is no volume: {why}.",
        f"{expected}.",
        "Export the series again, or leave it out of the study.",
    )


def _unreadable(name: str, why: str) -> InputError:
    return InputError(
        f"{name} cannot be read: {why}.",
        "a whole DICOM file.",
        "Export it again from the PACS, or leave it out of the study.",
    )
