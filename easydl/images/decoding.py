"""The pixels of one DICOM object in real units. pydicom decodes; the meaning of the values is decided here."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.file_errors import unreadable
from easydl.images.headers import SEGMENTATIONS, is_lossy, no_image, refuse_mosaic, sop_class
from easydl.images.limits import check_size
from easydl.images.pixel_bits import padding, palette_colours, stored_bits
from easydl.images.quiet import quiet_libraries
from easydl.images.values import PADDED

UNDECODABLE = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
"""JPEG encodings of 12 bits that no decoder with a permissive licence for Python reads."""
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
STREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""The first bytes of a JPEG or JPEG-LS and of a JPEG 2000 image."""
IN_SUBPROCESS = "gdcm"
INVERTED = "MONOCHROME1: inverted, so that bone is bright"
NO_HOUNSFIELD = "labelled CT but without RescaleSlope: the values are not Hounsfield units"
OTHER_UNITS = ("OD", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")
"""What RescaleType may say beside HU (PS3.3 C.11.1.1.2)."""


@dataclass
class Pixels:
    """Decoded pixels: float32 ``([frame,] height, width, channel)``, units as in `Scan.units`, what was assumed.

    NaN is padding, until `easydl.images.values.settled` has seen the whole image or volume.
    """

    values: np.ndarray
    units: str
    notes: list[str]


def check_image(dataset: Any, name: str) -> tuple[int, int, int, int]:
    """Refuse what is not an image or claims an impossible size, before memory is taken for its pixels.

    Returns (frames, rows, columns, samples).
    """
    kind = sop_class(dataset)
    keyword = next((key for key in PIXELS if key in dataset), None)
    modality = str(dataset.get("Modality") or "").strip()
    is_segmentation = modality == "SEG" or str(dataset.get("SOPClassUID") or "") in SEGMENTATIONS
    if keyword is None:
        raise no_image(dataset, name)
    if is_segmentation or "SegmentSequence" in dataset:
        raise InputError(f"{name} is a segmentation.", "an image.", "Use it as a mask, not as an image.")
    if "RT Dose" in kind or modality == "RTDOSE":
        raise InputError(f"{name} is a dose distribution.", "an image.", "Use the planning CT of the same study.")
    refuse_mosaic(dataset, name)
    try:
        frames, samples = (int(dataset.get(tag) or 1) for tag in ("NumberOfFrames", "SamplesPerPixel"))
        rows, columns = (int(dataset.get(tag)) for tag in ("Rows", "Columns"))
        int(dataset.get("BitsAllocated") or 16)
    except Exception as problem:  # pydicom converts a value when it is asked for, and fails in its own ways
        raise unreadable(name, "Rows, Columns, NumberOfFrames or BitsAllocated is missing or not a number") from problem
    check_size((frames, rows, columns, samples), name)
    if samples not in (1, 3):
        raise unreadable(name, f"it has {samples} samples a pixel; images have 1 (grey, palette) or 3 (colour)")
    return frames, rows, columns, samples


def decode(dataset: Any, name: str, frame: int | None = None, *, checked: bool = False) -> Pixels:
    """Pixels with the modality LUT applied, ``MONOCHROME1`` inverted, and colour converted to RGB; padding is NaN.

    ``frame`` counts from 0, None means all; ``checked`` says that `check_image` has passed the data set already. The
    padding waits for `values.settled`, which knows the whole volume. The VOI LUT or window of the file is a choice of
    display and is never applied: training and prediction see the same stored contrast, whoever last set a window.
    DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.7.6.3.1.5-6 (palette), C.11.1 (modality LUT), C.7.5.1.1.2
    (pixel padding), C.11.2 (VOI LUT).
    """
    samples = int(dataset.get("SamplesPerPixel") or 1) if checked else check_image(dataset, name)[3]
    notes = header_notes(dataset)
    raw = _decoded(dataset, name, frame, notes)
    stored = stored_bits(raw, dataset, name, notes)
    if _photometric(dataset) == "PALETTE COLOR":
        return Pixels(palette_colours(stored, dataset, name), "0-255", [*notes, "palette applied"])
    if samples == 3:
        top = 2.0 ** int(dataset.get("BitsStored") or 8) - 1
        return Pixels(stored.astype(np.float32) * np.float32(255.0 / top), "0-255", notes)
    values, units = _grey(stored, dataset, name, frame, notes)
    outside = padding(dataset, raw, stored)
    if outside is not None:
        values[outside] = np.nan
        notes.append(PADDED)
    return Pixels(values[..., None], units, notes)


def drop_pixels(dataset: Any) -> None:
    """Free the memory of pixels that have been decoded."""
    for keyword in PIXELS:
        if keyword in dataset:
            del dataset[keyword]


def _decoded(dataset: Any, name: str, frame: int | None, notes: list[str]) -> np.ndarray:
    """The numbers in the file, unused bits and all, as ``([frame,] row, column[, sample])``."""
    from pydicom.pixels import pixel_array

    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise unreadable(name, "it does not say how its pixels are encoded (no TransferSyntaxUID)")
    native = not getattr(syntax, "is_encapsulated", False)
    if native:
        _check_length(dataset, name, frame, notes)
        plain = _native(dataset) if frame is None and syntax.is_little_endian else None
        if plain is not None:
            return plain
    try:
        with quiet_libraries():
            if native:
                stored = pixel_array(dataset, index=frame, correct_unused_bits=False)
            else:
                _check_streams(dataset, name, frame)
                stored = _decompressed(dataset, syntax, frame)
    except (InputError, MemoryError):
        raise
    except Exception as problem:
        how = (
            "No decoder with a permissive licence reads this one: convert the file with DCMTK (dcmdjpeg in.dcm out.dcm)."
            if str(syntax) in UNDECODABLE
            else "Run: python -m pip install python-gdcm pylibjpeg pylibjpeg-openjpeg pyjpegls . If that does not help, "
            "the file is damaged: export it again, uncompressed."
        )
        raise InputError(
            f"The pixels of {name} cannot be decoded ({getattr(syntax, 'name', 'unknown encoding')}).",
            "a whole image in an encoding that the installed decoders read.",
            how,
        ) from problem
    frames, has_colour = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1) > 1
    if frame is None and stored.ndim == 3 + has_colour and len(stored) > frames:
        raise _surplus(name, frames, len(stored))
    return stored


def _check_streams(dataset: Any, name: str, frame: int | None) -> None:
    """Refuse more compressed images than frames: decoders join them, and read the first (PS3.5 A.4)."""
    from pydicom.encaps import generate_fragments

    frames = int(dataset.get("NumberOfFrames") or 1)
    held = sum(fragment.startswith(STREAM_STARTS) for fragment in generate_fragments(dataset.PixelData))
    if frame is None and held > frames:
        raise _surplus(name, frames, held)


def _surplus(name: str, frames: int, held: int) -> InputError:
    return InputError(
        f"{name} says it holds {frames} {'frame' if frames == 1 else 'frames'} and holds {held}.",
        "the number of frames that the header gives (NumberOfFrames).",
        f"Export it again, or name the frame you mean, counted from 1: {name}#1.",
    )


def _decompressed(dataset: Any, syntax: Any, frame: int | None) -> np.ndarray:
    """By the decoders that fail with an exception; by GDCM, which some damaged files crash, in a separate process."""
    from pydicom.pixels import get_decoder, pixel_array

    from easydl.images.decoder_process import decode_in_subprocess

    plugins = get_decoder(syntax).available_plugins
    for name in plugins:
        if name != IN_SUBPROCESS:
            with contextlib.suppress(Exception):  # The next decoder may read it; the last one says why it cannot.
                return pixel_array(dataset, index=frame, decoding_plugin=name, correct_unused_bits=False)
    return decode_in_subprocess(str(dataset.filename), frame, IN_SUBPROCESS)


def _native(dataset: Any) -> np.ndarray | None:
    """The values of one uncompressed grey frame of 8 or 16 bits, as pydicom decodes them (tested), in a third of the time."""
    allocated = int(dataset.get("BitsAllocated") or 0)
    if (
        "PixelData" not in dataset
        or allocated not in (8, 16)
        or int(dataset.get("SamplesPerPixel") or 1) != 1
        or int(dataset.get("NumberOfFrames") or 1) != 1
    ):
        return None
    kind = "i" if int(dataset.get("PixelRepresentation") or 0) else "u"
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    values = np.frombuffer(dataset.PixelData, f"<{kind}{allocated // 8}", count=rows * columns)
    return values.reshape(rows, columns)


def _check_length(dataset: Any, name: str, frame: int | None, notes: list[str]) -> None:
    """Compare the bytes in the file with the bytes that the declared size needs (PS3.5 8.1.1)."""
    keyword = next(key for key in PIXELS if key in dataset)
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.get("BitsAllocated") or 16)
    if str(dataset.get("PhotometricInterpretation") or "").startswith("YBR_FULL_422"):
        samples = 2
    needed = math.ceil(frames * rows * columns * samples * bits / 8)
    there = len(dataset[keyword].value or b"")
    if there < needed:
        raise unreadable(name, f"its pixels are cut short, {there:,} bytes of {needed:,}")
    if there >= needed + math.ceil(needed / frames) and frame is None:
        raise _surplus(name, frames, there * frames // needed)
    if there > needed + needed % 2 and keyword == "PixelData":
        notes.append(f"{there - needed:,} bytes more than the image needs were ignored")


def rescale(dataset: Any, name: str, frame: int | None = None) -> tuple[float, float] | None:
    """RescaleSlope and RescaleIntercept of an image or of one frame; None when the image has neither."""
    for place in _transformations(dataset, frame):
        slope, intercept = place.get("RescaleSlope"), place.get("RescaleIntercept")
        if slope in (None, "") and intercept in (None, ""):
            continue
        try:
            line = float(1 if slope in (None, "") else slope), float(0 if intercept in (None, "") else intercept)
        except (TypeError, ValueError) as problem:
            raise unreadable(name, "RescaleSlope or RescaleIntercept is not a number") from problem
        if not (math.isfinite(line[0]) and line[0] != 0):
            raise unreadable(name, f"RescaleSlope is {slope}")
        if not math.isfinite(line[1]):
            raise unreadable(name, f"RescaleIntercept is {intercept}")
        return line
    return None


def rescale_type(dataset: Any, frame: int | None = None) -> str:
    """The units of values after the modality LUT: "HU", another term of the standard, "?" for any other; "" if not said."""
    tables = list(dataset.get("ModalityLUTSequence") or [])
    texts = [str(table.get("ModalityLUTType") or "") for table in tables]
    texts += [str(place.get("RescaleType") or "") for place in _transformations(dataset, frame)]
    kind = next((text.strip().upper() for text in texts if text.strip()), "")
    return kind if kind in ("", "HU", *OTHER_UNITS) else "?"


def _transformations(dataset: Any, frame: int | None) -> list[Any]:
    """Where the rescale of an image or of one frame may stand."""
    places = [dataset]
    for groups, index in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame or 0)):
        items = dataset.get(groups) or []
        if len(items) > index:
            places += list(items[index].get("PixelValueTransformationSequence") or [])
    return places


def header_notes(dataset: Any) -> list[str]:
    """Warnings in the header itself: lossy compression, burned-in text."""
    notes = ["the pixels went through lossy compression"] if is_lossy(dataset) else []
    if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        notes.append("the header says that text is burned into the pixels")
    return notes


def is_ct(dataset: Any) -> bool:
    """By the modality."""
    return str(dataset.get("Modality") or "").strip() == "CT"


def _photometric(dataset: Any) -> str:
    return str(dataset.get("PhotometricInterpretation") or "").strip().upper()


def grey_units(dataset: Any, line: tuple[float, float] | None, frame: int | None = None) -> str:
    """The units of grey values after the modality LUT, as in `Scan.units`."""
    has_table = bool(dataset.get("ModalityLUTSequence"))
    if is_ct(dataset) and (line or has_table) and rescale_type(dataset, frame) in ("", "HU"):
        return "HU"
    plain = not has_table and line in (None, (1.0, 0.0))
    return "0-255" if int(dataset.get("BitsStored") or 16) <= 8 and plain else "relative"


def stored_ends(dataset: Any, line: tuple[float, float] | None) -> np.ndarray:
    """The lowest and the highest value that can be stored, after the modality LUT."""
    if dataset.get("ModalityLUTSequence"):
        return np.asarray(dataset.ModalityLUTSequence[0].LUTData, dtype=np.float64)[[0, -1]]
    bits = int(dataset.get("BitsStored") or 16)
    signed = bool(int(dataset.get("PixelRepresentation") or 0))
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], dtype=np.float64)
    slope, intercept = line or (1.0, 0.0)
    return ends * slope + intercept


def _grey(stored: np.ndarray, dataset: Any, name: str, frame: int | None, notes: list[str]) -> tuple[np.ndarray, str]:
    """float32 values after the modality LUT, and their units."""
    per_frame = frame is None and stored.ndim == 3 and bool(dataset.get("PerFrameFunctionalGroupsSequence"))
    frames = list(range(len(stored))) if per_frame else [frame or 0]
    lines = [rescale(dataset, name, one) for one in frames]
    kinds = {grey_units(dataset, line, one) for line, one in zip(lines, frames, strict=True)}
    if len(kinds) > 1:
        raise unreadable(name, f"its frames are in different units ({', '.join(sorted(kinds))})")
    units = kinds.pop()
    if len(set(lines)) > 1:
        values = np.stack([_rescaled(plane, dataset, name, line) for plane, line in zip(stored, lines, strict=True)])
    else:
        values = _rescaled(stored, dataset, name, lines[0])
    if dataset.get("ModalityLUTSequence"):
        notes.append("modality LUT applied")
    if is_ct(dataset) and units != "HU":
        kind = rescale_type(dataset, frames[0])
        other = f"the RescaleType is {'not HU' if kind == '?' else kind}: the values are not Hounsfield units"
        notes.append(other if kind not in ("", "HU") else NO_HOUNSFIELD)
    if units != "HU" and _photometric(dataset) == "MONOCHROME1":
        if stored.dtype.kind == "f":
            raise unreadable(name, "its pixels are floats shown inverted (MONOCHROME1), which has no defined meaning")
        for plane, line in zip(values, lines, strict=True) if len(set(lines)) > 1 else [(values, lines[0])]:
            np.subtract(np.float32(stored_ends(dataset, line).sum()), plane, out=plane)
        notes.append(INVERTED)
    return values, units


def _rescaled(stored: np.ndarray, dataset: Any, name: str, line: tuple[float, float] | None) -> np.ndarray:
    """float32 after the modality LUT or the rescale."""
    from pydicom.pixels import apply_modality_lut

    if dataset.get("ModalityLUTSequence"):
        try:
            return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
        except Exception as problem:
            raise unreadable(name, "its modality LUT is damaged") from problem
    slope, intercept = line or (1.0, 0.0)
    exact = np.float64 if stored.dtype.itemsize > 2 else np.float32  # Above 24 bits float32 is not exact.
    values: np.ndarray = stored.astype(exact)
    if slope != 1.0:
        values *= exact(slope)
    if intercept != 0.0:
        values += exact(intercept)
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)
