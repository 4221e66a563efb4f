"""Which bits of a DICOM pixel are its value, which pixels are padding, and the colours of a palette. It decodes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from easydl.images.file_errors import unreadable
from easydl.images.values import NEGLIGIBLE_FRACTION

LEFT_ALIGNED = "the pixels lie in the upper bits (HighBit) and were moved down"
NOT_LEFT_ALIGNED = "HighBit contradicts BitsStored and the pixels: they were taken from the lower bits"
COLOURS = ("Red", "Green", "Blue")


def stored_bits(raw: np.ndarray, dataset: Any, name: str, notes: list[str]) -> np.ndarray:
    """The value of each pixel: BitsStored bits up to HighBit, sign extended. Float pixels are as they are.

    The other bits may hold an overlay or anything (PS3.5 8.1.1); it is noted when they held neither overlay nor sign.
    """
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    allocated = raw.dtype.itemsize * 8
    kept = int(dataset.get("BitsStored") or allocated)
    if raw.dtype.kind == "f" or not 0 < kept < allocated:
        return raw
    raw = _aligned(raw, kept, dataset, name, notes)
    unused = allocated - kept
    values = (raw << unused) >> unused
    beyond = raw.view(f"u{raw.dtype.itemsize}") >> kept
    fraction = float(np.count_nonzero((beyond != 0) & (values != raw))) / max(1, raw.size)
    if fraction > NEGLIGIBLE_FRACTION and not _has_overlay(dataset):
        notes.append(f"{fraction:.1%} of the pixels used bits beyond BitsStored={kept}, which were cut off")
    return values


def padding(dataset: Any, raw: np.ndarray, values: np.ndarray) -> np.ndarray | None:
    """Where pixels are padding and not a measurement, or None (PS3.3 C.7.5.1.1.2).

    The element may be written with the other sign than the pixels have, and its bits may lie beyond BitsStored.
    """
    kind = "FloatPixel" if raw.dtype.kind == "f" else "Pixel"
    value, limit = dataset.get(f"{kind}PaddingValue"), dataset.get(f"{kind}PaddingRangeLimit")
    try:
        ends = [float(end) for end in (value, limit) if end not in (None, "")]
    except (TypeError, ValueError):
        return None
    if value in (None, ""):
        return None
    if kind == "FloatPixel":
        found = (raw >= min(ends)) & (raw <= max(ends))
        return found if found.any() else None
    low, high = (_in_type(end, raw.dtype) for end in (ends[0], ends[-1]))
    if low == high:
        found = raw == raw.dtype.type(low)
        if values is not raw:
            found |= values == low
    else:
        found = (values >= min(low, high)) & (values <= max(low, high))
    return found if found.any() else None


def palette_colours(stored: np.ndarray, dataset: Any, name: str) -> np.ndarray:
    """float32 RGB in 0-255 of the numbers in a palette image (PS3.3 C.7.6.3.1.5-6)."""
    try:
        entries, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
        table = _palette(dataset, entries or 65536)
    except Exception as problem:
        raise unreadable(name, "its palette is missing or damaged") from problem
    last = first + len(table) - 1
    if int(stored.max()) > last:
        raise unreadable(name, f"a pixel points at entry {int(stored.max())} of a palette of {len(table)}")
    # Entries of 8 bits are often stored in words of 16, whatever the descriptor says.
    top = 255.0 if table.max() <= 255 else 2.0**bits - 1 if 2**bits > table.max() else 65535.0
    colours = table.astype(np.float32) * np.float32(255.0 / top)
    return colours[np.clip(stored.astype(np.int64) - first, 0, len(table) - 1)]


def _aligned(raw: np.ndarray, kept: int, dataset: Any, name: str, notes: list[str]) -> np.ndarray:
    """Pixels in the lower bits, wherever HighBit says they lie."""
    high = dataset.get("HighBit")
    if high in (None, "") or int(high) == kept - 1:
        return raw
    spare, unused = int(high) + 1 - kept, raw.dtype.itemsize * 8 - kept
    lower = bool((raw & ((1 << max(spare, 0)) - 1)).any())
    fits = bool((((raw << unused) >> unused) == raw).all())
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    is_stream = bool(getattr(syntax, "is_encapsulated", False)) and "RLE" not in str(getattr(syntax, "name", ""))
    if not 0 < spare <= unused or (fits and (lower or is_stream)):
        notes.append(NOT_LEFT_ALIGNED)
        return raw
    if lower and not _has_overlay(dataset):
        raise unreadable(name, "HighBit and BitsStored contradict its pixels, so that their values are not clear")
    notes.append(LEFT_ALIGNED)
    return raw >> spare


def _in_type(value: float, dtype: np.dtype) -> int:
    """An integer as pixels of this type hold it: the same bits, whatever sign it was written with."""
    number, bits = int(value), dtype.itemsize * 8
    if np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        return number
    number %= 1 << bits
    return number - (1 << bits) if dtype.kind == "i" and number >= 1 << (bits - 1) else number


def _has_overlay(dataset: Any) -> bool:
    """Whether an overlay lies in the bits of the pixels."""
    return any((0x6000 + 2 * k, 0x0102) in dataset for k in range(16))


def _palette(dataset: Any, entries: int) -> np.ndarray:
    """``(entries, 3)`` of any depth."""
    if "RedPaletteColorLookupTableData" not in dataset:
        from highdicom import PaletteColorLUTTransformation

        return np.asarray(PaletteColorLUTTransformation.extract_from_dataset(dataset).combined_lut_data)
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    planes = []
    for colour in COLOURS:
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        width = 2 if len(data) >= 2 * entries else 1
        planes.append(np.frombuffer(data, f"{order}u{width}", count=entries))
    return np.stack(planes, axis=-1)
