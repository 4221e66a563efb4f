"""Pixels copied as they are, without what may hide beside them: spare bits, comments in frames, bytes at the end."""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NATIVE = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian}  # fmt: skip
JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}  # fmt: skip
JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
JPEG_2000 = {uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL}
KNOWN = NATIVE | JPEG | JPEG_LS | JPEG_2000 | {uid.RLELossless}
"""Transfer syntaxes whose frames can be looked into. Video is not among them."""
BLANKED = "comments inside the compressed frames were blanked"
MAX_FRAMES = 64
"""Maximum number of frames, evenly spread, that are searched for burned-in text."""


class UnsafePixels(Exception):
    """The pixels cannot be copied safely; the text says why and names nobody."""


def copy_pixels(source: Any, target: Any) -> list[str]:
    """Give `target` the pixels of `source`, the same values, and say what was removed beside them."""
    syntax = source.file_meta.TransferSyntaxUID
    keyword = next(name for name in KEYWORDS if name in source)
    data = source[keyword].value
    if not isinstance(data, bytes):
        raise UnsafePixels("its pixels are not plain bytes")
    if syntax in NATIVE:
        data, notes = _native(source, keyword, data, little=syntax != uid.ExplicitVRBigEndian)
    else:
        data, notes = _encapsulated(source, data, syntax)
    vr = source[keyword].VR if keyword == "PixelData" else {"FloatPixelData": "OF"}.get(keyword, "OD")
    target.add_new(keyword, vr if vr in ("OB", "OW", "OF", "OD") else "OW", data)
    target[keyword].is_undefined_length = syntax not in NATIVE
    return notes


def frames(dataset: Any, *, raw: bool = True, most: int | None = MAX_FRAMES) -> Iterator[np.ndarray]:
    """Decoded frames ``(height, width[, channel])``, at most ``most``, evenly spread; not raw, colours become RGB."""
    from pydicom.pixels import iter_pixels

    count = int(dataset.get("NumberOfFrames") or 1)
    chosen = sorted(set(np.linspace(0, count - 1, most or count).round().astype(int).tolist()))
    # Indices are always given: without them pydicom 3.0.2 fails to correct the sign in frames that are read-only.
    options: dict[str, Any] = {"correct_unused_bits": False} if raw else {}
    yield from iter_pixels(dataset, raw=raw, indices=chosen, **options)


def same_frames(one: Any, other: Any) -> bool:
    """Whether two data sets decode to the same values, frame by frame."""
    pairs = zip(frames(one), frames(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def beyond_stored_bits(dataset: Any, array: np.ndarray) -> bool:
    """Whether decoded values need more bits than BitsStored says: the rest may be an overlay (PS3.5 8.1.1)."""
    stored, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    if stored >= int(dataset.BitsAllocated):
        return False
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    return bool(array.size) and (int(array.min()) < low or int(array.max()) > high)


def decompress(dataset: Any, bands: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
    """Decode all frames in place and uncompressed; bands (top, bottom, left, right, in pixels) become black."""
    if int(dataset.BitsAllocated) not in (8, 16, 32):
        raise UnsafePixels("pixels of less than a byte cannot be blackened")
    try:
        stack = np.stack(list(frames(dataset, raw=False, most=None)))
    except Exception as problem:
        raise UnsafePixels("its pixels cannot be decoded here, so they cannot be written uncompressed") from problem
    top, bottom, left, right = bands
    rows, columns = stack.shape[1:3]
    black = _black(dataset, stack)
    stack[:, :top] = stack[:, max(0, rows - bottom) :] = black
    stack[:, :, :left] = stack[:, :, max(0, columns - right) :] = black
    if dataset.file_meta.TransferSyntaxUID not in NATIVE:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    big = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    data = stack.astype(stack.dtype.newbyteorder(">" if big else "<")).tobytes()
    if stack.ndim == 4:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.add_new("PixelData", "OB" if dataset.BitsAllocated == 8 else "OW", data + b"\0" * (len(data) % 2))
    dataset["PixelData"].is_undefined_length = False


def blank_jpeg(frame: bytes, *, ls: bool = False) -> bytes:
    """A JPEG or JPEG-LS frame whose comments and application segments are zeros, of the same length.

    The segments that decoders need stay: JFIF without its thumbnail, Adobe's colour transform, HP's for JPEG-LS
    (ITU-T T.81 annex B, T.87 annex C).
    """
    if frame[:2] != b"\xff\xd8":
        raise UnsafePixels("a compressed frame does not begin as JPEG does")
    blank, at = bytearray(frame), 2
    after_scan = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]" if ls else rb"\xff[\x01-\xcf\xd8-\xfe]")
    while at + 4 <= len(frame):
        marker = _marker(frame, at)
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            break
        end = _end_of_segment(frame, at)
        if marker == 0xFE or 0xE0 <= marker <= 0xEF:
            needed = _needed(marker, frame[at + 4 : end])
            blank[at + 4 + needed : end] = bytes(end - at - 4 - needed)
            if marker == 0xE0 and needed:
                blank[at + 16 : at + 18] = b"\0\0"
        at = end
        if marker == 0xDA:
            next_marker = after_scan.search(frame, at)
            at = next_marker.start() if next_marker else len(frame)
    if at == 2 or b"\xff\xda" not in frame[:at]:
        raise UnsafePixels("a compressed frame is cut short or damaged")
    return _without_trailer(blank, at)


def blank_jpeg_2000(frame: bytes) -> bytes:
    """A JPEG 2000 codestream whose comments are blanks, of the same length.

    COM is FF64, SOT FF90, SOD FF93, EOC FFD9 (ITU-T T.800 annex A).
    """
    if frame[:4] != b"\xff\x4f\xff\x51":
        raise UnsafePixels("a compressed frame is not a bare JPEG 2000 codestream")
    blank, at, tile = bytearray(frame), 2, 0
    while at + 4 <= len(frame) and frame[at : at + 2] != b"\xff\xd9":
        marker = _marker(frame, at)
        if marker == 0x93:
            # A tile-part without a length is the last one, and its packets hold no FF90 to FFFF (T.800 B.10.1).
            at = tile or (frame.find(b"\xff\xd9", at) if b"\xff\xd9" in frame[at:] else len(frame))
            tile = at
            continue
        end = _end_of_segment(frame, at)
        if marker == 0x90:
            length = int.from_bytes(frame[at + 6 : at + 10], "big")
            tile = at + length if length else 0
            if length and not end <= tile <= len(frame):
                raise UnsafePixels("a compressed frame is cut short or damaged")
        if marker == 0x64:
            blank[at + 6 : end] = b" " * max(0, end - at - 6)
        at = end
    if not tile:
        raise UnsafePixels("a compressed frame is cut short or damaged")
    return _without_trailer(blank, at)


def trimmed_rle(frame: bytes, segments: int, length: int) -> bytes:
    """An RLE frame of as many segments, each cut where it has given ``length`` bytes (PS3.5 annex G)."""
    count, *offsets = struct.unpack("<16I", frame[:64].ljust(64, b"\0"))
    starts = offsets[:count]
    if count != segments or starts[:1] != [64] or starts != sorted(set(starts)) or starts[-1] >= len(frame):
        raise UnsafePixels("a compressed frame is cut short or damaged")
    parts = [_run_lengths(frame[begin:end], length) for begin, end in itertools.pairwise([*starts, len(frame)])]
    places = [64 + sum(map(len, parts[:number])) for number in range(count)]
    return struct.pack("<16I", count, *places, *[0] * (15 - count)) + b"".join(parts)


def _run_lengths(data: bytes, length: int) -> bytes:
    """The runs that give ``length`` bytes: n below 128 announces n + 1 bytes, above it one byte 257 - n times."""
    at = made = control = last = 0
    while made < length:
        if at >= len(data):
            raise UnsafePixels("a compressed frame is cut short or damaged")
        control = data[at]
        last, size, run = at, *((control + 2, control + 1) if control < 128 else (2, 257 - control))
        at, made = (at + 1, made) if control == 128 else (at + size, made + run)
    if at > len(data):
        raise UnsafePixels("a compressed frame is cut short or damaged")
    kept, surplus = bytearray(data[:at]), made - length
    if surplus:
        kept[last] = control - surplus if control < 128 else control + surplus
        del kept[len(kept) - (surplus if control < 128 else 0) :]
    rest = data[at:]
    return bytes(kept) + (rest if rest in (b"", b"\0") and not surplus else b"\0" * (len(kept) % 2))


def _marker(frame: bytes, at: int) -> int:
    if frame[at] != 0xFF:
        raise UnsafePixels("a compressed frame has bytes between its segments")
    return frame[at + 1]


def _end_of_segment(frame: bytes, at: int) -> int:
    end = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    if not at + 4 <= end <= len(frame):
        raise UnsafePixels("a compressed frame is cut short or damaged")
    return end


def _without_trailer(frame: bytearray, at: int) -> bytes:
    """Nothing but padding after the marker that ends a JPEG or JPEG 2000 image, if there is one at ``at``."""
    ends = frame[at : at + 2] == b"\xff\xd9" and frame[at + 2 :].strip(b"\0")
    return bytes(frame[: at + 2] if ends else frame)


def _native(source: Any, keyword: str, data: bytes, *, little: bool) -> tuple[bytes, list[str]]:
    count, samples = int(source.get("NumberOfFrames") or 1), int(source.get("SamplesPerPixel") or 1)
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword) or int(source.BitsAllocated)
    subsampled = source.get("PhotometricInterpretation") == "YBR_FULL_422"
    values = count * int(source.Rows) * int(source.Columns) * (2 if subsampled else samples)
    length = math.ceil(values * bits / 8)
    if len(data) < length:
        raise UnsafePixels("its pixels are cut short")
    notes = ["bytes after the last pixel were dropped"] if data[length:].strip(b"\0") else []
    data = data[:length]
    if keyword == "PixelData" and bits in (8, 16, 32) and int(source.BitsStored) < bits:
        cleaned = _stored_bits(source, np.frombuffer(data, f"{'<' if little else '>'}u{bits // 8}")).tobytes()
        if cleaned != data:
            data, notes = cleaned, [*notes, "bits beside the stored ones (an overlay may lie there) were cleared"]
    return data + b"\0" * (length % 2), notes


def _stored_bits(source: Any, values: np.ndarray) -> np.ndarray:
    """The stored bits alone; in signed data the bits above them repeat the sign."""
    bits, stored = values.dtype.itemsize * 8, int(source.BitsStored)
    high = int(source.get("HighBit", stored - 1))
    if not stored - 1 <= high < bits:
        raise UnsafePixels("BitsStored and HighBit do not go together")
    native = values.astype(f"{'i' if int(source.get('PixelRepresentation') or 0) else 'u'}{bits // 8}")
    above, below = bits - 1 - high, high - stored + 1
    return (native << above >> above >> below << below).astype(values.dtype.str.replace("u", native.dtype.kind))


def _encapsulated(source: Any, data: bytes, syntax: str) -> tuple[bytes, list[str]]:
    count = int(source.get("NumberOfFrames") or 1)
    tables = [source.get(name) for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    offsets = (tables[0], tables[1]) if all(isinstance(table, bytes) for table in tables) else None
    try:
        original = list(generate_frames(data, number_of_frames=count, extended_offsets=offsets))
    except Exception as problem:
        raise UnsafePixels("its compressed frames are damaged") from problem
    if len(original) != count:
        raise UnsafePixels("its number of frames differs from NumberOfFrames")
    if syntax in JPEG_2000:
        blanked = [blank_jpeg_2000(frame) for frame in original]
    elif syntax in JPEG | JPEG_LS:
        blanked = [blank_jpeg(frame, ls=syntax in JPEG_LS) for frame in original]
    else:
        segments = int(source.get("SamplesPerPixel") or 1) * math.ceil(int(source.BitsAllocated) / 8)
        length = math.ceil(int(source.Rows) * int(source.Columns) * min(8, int(source.BitsAllocated)) / 8)
        blanked = [trimmed_rle(frame, segments, length) for frame in original]
    what = "bytes beside the compressed segments were dropped" if syntax == uid.RLELossless else BLANKED
    notes = [] if blanked == original else [what]
    return encapsulate(blanked, has_bot=count > 1), notes


def _needed(marker: int, payload: bytes) -> int:
    """How many bytes of an application segment decoders need."""
    if marker == 0xE0 and payload[:5] == b"JFIF\0":
        return min(14, len(payload))
    if marker == 0xEE and payload[:5] == b"Adobe" and len(payload) == 12:
        return 12
    return 5 if marker == 0xE8 and payload[:4] == b"mrfx" and len(payload) == 5 else 0


def _black(dataset: Any, stack: np.ndarray) -> Any:
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return stack.max()
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        shades = np.unique(stack)
        return shades[np.argmin(apply_color_lut(shades[None], dataset).sum(axis=-1)[0].astype(float))]
    return stack.min() if stack.ndim == 3 else 0
