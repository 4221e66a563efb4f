"""The pixels of one DICOM object in real units. pydicom decodes; the meaning of the values is decided here."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.errors import InputError
from easydl.images.file_errors import unreadable
from easydl.images.headers import is_lossy, no_image, sop_class
from easydl.images.limits import check_size
from easydl.images.quiet import quiet_libraries

UNDECODABLE = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")
"""JPEG encodings of 12 bits that no decoder with a permissive licence for Python reads."""
IN_SUBPROCESS = "gdcm"
NEGLIGIBLE_FRACTION = 0.001
WRAPPED_HU = (-10_000.0, 31_743.0)
"""Beyond these no CT value lies; the lower leaves room for the -3024 that scanners put outside their field of view."""
INVERTED = "MONOCHROME1: inverted, so that bone is bright"
NO_HOUNSFIELD = "labelled CT but without RescaleSlope: the values are not Hounsfield units"


@dataclass
class Pixels:
    """Decoded pixels: float32 ``([frame,] height, width, channel)``, units as in `Scan.units`, what was assumed."""

    values: np.ndarray
    units: str
    notes: list[str]


def check_image(dataset: Any, name: str) -> tuple[int, int, int, int]:
    """Refuse what is not an image or claims an impossible size, before memory is taken for its pixels.

    Returns (frames, rows, columns, samples).
    """
    kind = sop_class(dataset)
    keyword = next((key for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if key in dataset), None)
    if keyword is None:
        raise no_image(dataset, name)
    if "Segmentation" in kind:
        raise InputError(f"{name} is a segmentation.", "an image.", "Use it as a mask, not as an image.")
    if "RT Dose" in kind:
        raise InputError(f"{name} is a dose distribution.", "an image.", "Use the planning CT of the same study.")
    try:
        frames, samples = (int(dataset.get(tag) or 1) for tag in ("NumberOfFrames", "SamplesPerPixel"))
        rows, columns = (int(dataset.get(tag)) for tag in ("Rows", "Columns"))
        int(dataset.get("BitsAllocated") or 16)
    except (TypeError, ValueError) as problem:
        raise unreadable(name, "Rows, Columns, NumberOfFrames or BitsAllocated is missing or not a number") from problem
    check_size((frames, rows, columns, samples), name)
    if samples not in (1, 3):
        raise unreadable(name, f"it has {samples} samples a pixel; images have 1 (grey, palette) or 3 (colour)")
    return frames, rows, columns, samples


def decode(dataset: Any, name: str, frame: int | None = None, *, checked: bool = False) -> Pixels:
    """Pixels with the modality LUT applied, ``MONOCHROME1`` inverted, and colour converted to RGB.

    ``frame`` counts from 0, None means all; ``checked`` says that `check_image` has passed the data set already. The
    VOI LUT or window of the file is a choice of display and is never applied: training and prediction see the same
    stored contrast, whoever last set a window. DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.7.6.3.1.5-6
    (palette), C.11.1 (modality LUT), C.7.5.1.1.2 (pixel padding), C.11.2 (VOI LUT).
    """
    samples = int(dataset.get("SamplesPerPixel") or 1) if checked else check_image(dataset, name)[3]
    notes = header_notes(dataset)
    stored = _stored(dataset, name, frame, notes)
    if str(dataset.get("PhotometricInterpretation") or "").strip() == "PALETTE COLOR":
        return Pixels(_palette(stored, dataset, name), "0-255", [*notes, "palette applied"])
    if samples == 3:
        top = 2.0 ** int(dataset.get("BitsStored") or 8) - 1
        return Pixels(stored.astype(np.float32) * np.float32(255.0 / top), "0-255", notes)
    return _grey(stored, dataset, name, frame, notes)


def _stored(dataset: Any, name: str, frame: int | None, notes: list[str]) -> np.ndarray:
    from pydicom.pixels import pixel_array

    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise unreadable(name, "it does not say how its pixels are encoded (no TransferSyntaxUID)")
    native = not getattr(syntax, "is_encapsulated", False)
    if native:
        _check_length(dataset, name, notes)
        plain = _native(dataset) if frame is None and syntax.is_little_endian else None
        if plain is not None:
            return _cut(plain, dataset, notes)
    try:
        with quiet_libraries():
            stored = pixel_array(dataset, index=frame) if native else _decompressed(dataset, syntax, frame)
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
    return stored


def _decompressed(dataset: Any, syntax: Any, frame: int | None) -> np.ndarray:
    """By the decoders that fail with an exception; by GDCM, which some damaged files crash, in a separate process."""
    from pydicom.pixels import get_decoder, pixel_array

    from easydl.images.decoder_process import decode_in_subprocess

    plugins = get_decoder(syntax).available_plugins
    for name in plugins:
        if name != IN_SUBPROCESS:
            with contextlib.suppress(Exception):  # The next decoder may read it; the last one says why it cannot.
                return pixel_array(dataset, index=frame, decoding_plugin=name)
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


def _cut(raw: np.ndarray, dataset: Any, notes: list[str]) -> np.ndarray:
    """Clear the bits above BitsStored; note it when they held more than a declared overlay or an extended sign."""
    allocated, kept = raw.dtype.itemsize * 8, int(dataset.get("BitsStored") or raw.dtype.itemsize * 8)
    if kept >= allocated:
        return raw
    unused = allocated - kept
    values = (raw << unused) >> unused
    fraction = float(np.count_nonzero(values != raw)) / max(1, raw.size)
    if fraction > NEGLIGIBLE_FRACTION and not any((0x6000 + 2 * k, 0x0102) in dataset for k in range(16)):
        notes.append(f"{fraction:.1%} of the pixels used bits beyond BitsStored={kept}, which were cut off")
    return values


def _check_length(dataset: Any, name: str, notes: list[str]) -> None:
    """Compare the bytes in the file with the bytes that the declared size needs (PS3.5 8.1.1)."""
    keyword = next(key for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if key in dataset)
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(dataset.get("BitsAllocated") or 16)
    if str(dataset.get("PhotometricInterpretation") or "").startswith("YBR_FULL_422"):
        samples = 2
    needed = math.ceil(frames * rows * columns * samples * bits / 8)
    there = len(dataset[keyword].value or b"")
    if there < needed:
        raise unreadable(name, f"its pixels are cut short, {there:,} bytes of {needed:,}")
    if there > needed + needed % 2 and keyword == "PixelData":
        notes.append(f"{there - needed:,} bytes more than the image needs were ignored")


def _palette(stored: np.ndarray, dataset: Any, name: str) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    try:
        descriptor = [int(value) for value in dataset.RedPaletteColorLookupTableDescriptor]
        entries, first = descriptor[0] or 65536, descriptor[1]
        if int(stored.max()) >= first + entries:
            raise unreadable(name, f"a pixel points at entry {int(stored.max())} of a palette of {entries}")
        colours = apply_color_lut(stored, dataset)
    except InputError:
        raise
    except Exception as problem:
        raise unreadable(name, "its palette is missing or damaged") from problem
    top = float(np.iinfo(colours.dtype).max)
    return colours.astype(np.float32) * np.float32(255.0 / top)


def rescale(dataset: Any, name: str, frame: int | None = None) -> tuple[float, float] | None:
    """RescaleSlope and RescaleIntercept of an image or of one frame; None when the image has neither."""
    places = [dataset]
    for groups, index in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame or 0)):
        items = dataset.get(groups) or []
        if len(items) > index:
            places += list(items[index].get("PixelValueTransformationSequence") or [])
    for place in places:
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


def header_notes(dataset: Any) -> list[str]:
    """Warnings in the header itself: lossy compression, burned-in text."""
    notes = ["the pixels went through lossy compression"] if is_lossy(dataset) else []
    if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
        notes.append("the header says that text is burned into the pixels")
    return notes


def is_ct(dataset: Any) -> bool:
    """By the modality."""
    return str(dataset.get("Modality") or "").strip() == "CT"


def is_inverted(dataset: Any) -> bool:
    """Whether the lowest value is shown white."""
    return str(dataset.get("PhotometricInterpretation") or "").strip() == "MONOCHROME1"


def grey_units(dataset: Any, line: tuple[float, float] | None) -> str:
    """The units of grey values after the modality LUT, as in `Scan.units`."""
    has_table = bool(dataset.get("ModalityLUTSequence"))
    if is_ct(dataset) and (line or has_table):
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


def _grey(stored: np.ndarray, dataset: Any, name: str, frame: int | None, notes: list[str]) -> Pixels:
    from pydicom.pixels import apply_modality_lut

    line = rescale(dataset, name, frame)
    if dataset.get("ModalityLUTSequence"):
        try:
            values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
        except Exception as problem:
            raise unreadable(name, "its modality LUT is damaged") from problem
        notes.append("modality LUT applied")
    else:
        slope, intercept = line or (1.0, 0.0)
        exact = np.float64 if stored.dtype.itemsize > 2 else np.float32  # Above 24 bits float32 is not exact.
        values = stored.astype(exact)
        if slope != 1.0:
            values *= exact(slope)
        if intercept != 0.0:
            values += exact(intercept)
        values = values.astype(np.float32, copy=False)
    lowest, highest = float(values.min()), float(values.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):  # NaN and infinity both show in the extremes.
        raise unreadable(name, "some pixels are not numbers")
    units = grey_units(dataset, line)
    if is_ct(dataset) and units != "HU":
        notes.append(NO_HOUNSFIELD)
    padding = _padding(dataset, stored)
    if units == "HU":
        if lowest < WRAPPED_HU[0] or highest > WRAPPED_HU[1]:
            inside = values if padding is None else values[~padding]
            wrapped = float(((inside < WRAPPED_HU[0]) | (inside > WRAPPED_HU[1])).mean()) if inside.size else 0.0
            if wrapped > NEGLIGIBLE_FRACTION:
                notes.append(f"{wrapped:.1%} of the pixels lie beyond any tissue: their sign may be declared wrongly")
    elif is_inverted(dataset):
        np.subtract(np.float32(stored_ends(dataset, line).sum()), values, out=values)
        notes.append(INVERTED)
    if padding is not None and not padding.all():
        values[padding] = values[~padding].min()
        notes.append("padding outside the image was set to its lowest value")
    return Pixels(values[..., None], units, notes)


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray | None:
    """Where the pixels are padding and not a measurement (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    try:
        low = int(value)
        high = low if limit in (None, "") else int(limit)
    except (TypeError, ValueError):
        return None
    padding = stored == low if high == low else (stored >= min(low, high)) & (stored <= max(low, high))
    return padding if padding.any() else None
