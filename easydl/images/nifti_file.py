"""The header and the voxels of one NIfTI file, read in bounded steps: a false header costs no memory. No geometry."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from easydl.errors import InputError
from easydl.images.file_errors import missing, refuse_special, unreadable, unsupported

MAX_STREAM_BYTES = 4_000_000_000
"""Bytes that one file may declare, all its time points together."""
MAX_EXTENSION_BYTES = 16_000_000
PADDING_BYTES = 4096
"""Bytes after the declared ones that count as padding; more mean that the header is wrong."""
CHUNK = 1 << 20


class Header(NamedTuple):
    """A NIfTI header and where its voxels lie.

    Attributes:
        fields: nibabel's header.
        data: The file with the voxels: the same, or the ``.img`` of a pair.
        shape: All declared dimensions, x first.
    """

    fields: Any
    data: Path
    shape: tuple[int, ...]


def nifti_header(path: Path) -> Header:
    """The fixed part of a NIfTI-1 or NIfTI-2 header; extensions and voxels wait until their sizes are known."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    refuse_special(path)
    if not path.is_file():
        raise missing(path)
    try:
        with _opened(path) as file:
            start = file.read(540)
    except (OSError, EOFError, zlib.error) as problem:
        raise unreadable(path, "it is cut short or damaged", "NIfTI") from problem
    if not start:
        raise unreadable(path, "it is empty", "NIfTI")
    first = {int.from_bytes(start[:4], order) for order in ("little", "big")}
    magic = start[4:8] if 540 in first else start[344:348]
    if not first & {348, 540} or len(start) < (540 if 540 in first else 348):
        raise unreadable(path, "its header is not a NIfTI header", "NIfTI")
    if magic[:3] not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise unreadable(path, "it is in the older Analyze format, which does not say left from right", "NIfTI")
    kind = Nifti2Header if 540 in first else Nifti1Header
    try:
        fields = kind(start[: kind.template_dtype.itemsize], check=False)
        shape = tuple(int(side) for side in fields.get_data_shape())
        fields.get_data_dtype()
        offset = float(fields["vox_offset"])
    except Exception as problem:
        raise unreadable(path, "its header is damaged", "NIfTI") from problem
    data = path
    if magic[:2] == b"ni":
        halves = [half for half in (path.with_suffix(".img"), path.with_suffix(".IMG")) if half.is_file()]
        if not halves:
            raise unsupported(path)
        data = halves[0]
    if not shape or min(shape) < 1 or not 0 <= offset <= MAX_EXTENSION_BYTES:
        raise unreadable(path, f"its header gives the size {shape} and begins the voxels at byte {offset:.0f}", "NIfTI")
    return Header(fields, data, shape)


def voxels(header: Header, shape: tuple[int, int, int], index: int, name: str) -> np.ndarray:
    """The voxels of one volume (``index`` from 0), scaled once, as float32 ``(x, y, z)``.

    Memory follows what the file really holds, not what it declares.
    """
    from nibabel.volumeutils import apply_read_scaling

    dtype = header.fields.get_data_dtype()
    if dtype.names is not None or dtype.kind not in "iuf":
        kind = "colours (RGB)" if dtype.names is not None else f"values of type {dtype}"
        raise InputError(
            f"{name} holds {kind}.",
            "one real value in each voxel.",
            "Export the grey values, not a rendering or a colour map.",
        )
    try:
        if np.isinf(header.fields["scl_slope"]):  # nibabel takes it, like NaN, for values that are not scaled
            raise ValueError
        slope, intercept = header.fields.get_slope_inter()
    except Exception as problem:
        raise unreadable(name, "its scaling (scl_slope, scl_inter) is not usable", "NIfTI") from problem
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    total = dtype.itemsize * int(np.prod(header.shape, dtype=np.int64))
    if total > MAX_STREAM_BYTES:
        raise InputError(
            f"{name} says it holds {total / 1e9:,.1f} GB.",
            f"at most {MAX_STREAM_BYTES / 1e9:,.0f} GB in one file.",
            "Save the volumes as separate files, or crop them.",
        )
    offset = int(header.fields["vox_offset"])
    data = _bounded(header.data, offset + index * size, size, total - (index + 1) * size, name)
    stored = np.frombuffer(data, dtype).reshape(shape, order="F")
    if slope is None:
        return stored.astype(np.float32, order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        return apply_read_scaling(stored, slope, intercept or 0.0).astype(np.float32, order="K")


def _bounded(path: Path, skip: int, size: int, rest: int, name: str) -> bytearray:
    """``size`` bytes after ``skip``; the file has to end ``rest`` bytes later, give or take some padding."""
    data = bytearray()
    needed, length = skip + size + rest, path.stat().st_size
    try:
        with _opened(path) as file:
            if isinstance(file, gzip.GzipFile):
                before = _drain(file, skip)
            else:
                if length < needed:
                    raise _short(name, needed, f"{length:,} bytes")
                before = file.seek(skip)
            while len(data) < size and (part := file.read(min(CHUNK, size - len(data)))):
                data += part
            # A compressed stream is read to its end: the checksum is there, and only then is the length known.
            compressed = isinstance(file, gzip.GzipFile)
            after = _drain(file, rest + PADDING_BYTES + 1) if compressed else length - skip - size
    except (OSError, EOFError, zlib.error) as problem:
        raise unreadable(name, "it is cut short or damaged", "NIfTI") from problem
    if before < skip or len(data) < size or after < rest:
        raise _short(name, needed, "less")
    if after > rest + PADDING_BYTES:
        raise unreadable(name, "it holds more voxels than its header declares", "NIfTI")
    return data


def _drain(file: IO[bytes], size: int) -> int:
    """Read past some bytes without keeping them, and count them."""
    left = size
    while left and (part := file.read(min(CHUNK, left))):
        left -= len(part)
    return size - left


def _opened(path: Path) -> IO[bytes]:
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else open(path, "rb")  # type: ignore[return-value]


def _short(name: str, needed: int, held: str) -> InputError:
    return unreadable(name, f"its header declares {needed:,} bytes and the file holds {held}", "NIfTI")
