"""An HDF5 file looked over before it is believed: links, outside data, sizes. It reads no values.

HDF5 can point at other files (external links, external storage, virtual datasets) and can declare terabytes
that are not there. A weights file needs none of that, so all of it is refused before a single array is read.

References:
    CVE-2026-1669 and CVE-2026-12480 (outside data), CVE-2026-0897 (declared sizes), in Keras' own loader.
"""

from __future__ import annotations

import math
from typing import Any

MOST_OBJECTS, DEEPEST, LONGEST_ATTRIBUTE = 20_000, 12, 1 << 20


class UnsafeFile(Exception):
    """A reason, as text, why an HDF5 file is not read."""


def datasets(file: Any, *, most_bytes: int, exact: bool) -> dict[str, Any]:
    """Every dataset of an open HDF5 file by its path without the leading slash, checked but not read.

    All arrays together may take at most ``most_bytes`` in memory; ``exact`` asks that every array is stored whole and
    uncompressed, as Keras 3 writes it.

    Raises:
        UnsafeFile: A link, outside or virtual data, a type that is not numeric, too many or too large arrays.
    """
    import h5py

    found: dict[str, Any] = {}
    total = seen = 0
    waiting: list[tuple[str, Any, int]] = [("", file, 0)]
    while waiting:
        prefix, group, depth = waiting.pop()
        for name in group:
            seen += 1
            path = f"{prefix}{name}"
            if seen > MOST_OBJECTS or depth > DEEPEST:
                raise UnsafeFile("it holds too many or too deeply nested parts")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnsafeFile(f"{path} is a link to somewhere else")
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((f"{path}/", item, depth + 1))
                continue
            if not isinstance(item, h5py.Dataset):
                raise UnsafeFile(f"{path} is not an array")
            total += _size(path, item, exact)
            if total > most_bytes:
                raise UnsafeFile(f"its arrays take more than the {most_bytes / 1e6:.1f} MB the network has room for")
            found[path] = item
    return found


def texts(group: Any, name: str) -> list[str]:
    """A list of names that Keras stored as an attribute, in one piece or several (``name0``, ``name1``...).

    Raises:
        UnsafeFile: The attribute is too long or holds no texts.
    """
    keys = [name] if name in group.attrs else []
    while not keys or keys != [name]:
        key = f"{name}{len(keys)}"
        if key not in group.attrs or len(keys) > MOST_OBJECTS:
            break
        keys.append(key)
    out: list[str] = []
    for key in keys:
        attribute = group.attrs.get_id(key)
        if math.prod(attribute.shape) * attribute.dtype.itemsize > LONGEST_ATTRIBUTE:
            raise UnsafeFile(f"its attribute {key} is too long")
        for value in group.attrs[key]:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if not isinstance(text, str):
                raise UnsafeFile(f"its attribute {key} holds no names")
            out.append(text)
    return out


def _size(path: str, item: Any, exact: bool) -> int:
    if item.is_virtual or item.external:
        raise UnsafeFile(f"{path} keeps its values outside the file")
    if item.dtype.kind not in "fiu" or item.dtype.itemsize > 8:
        raise UnsafeFile(f"{path} holds no plain numbers")
    size = math.prod(item.shape) * item.dtype.itemsize
    if exact and (item.chunks or item.compression or item.id.get_storage_size() != size):
        raise UnsafeFile(f"{path} is not stored whole")
    return size
