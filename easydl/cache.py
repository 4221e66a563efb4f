"""A bounded folder of decoded arrays and known facts, shared by all processes of a user. It decodes nothing itself."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = b"EASYDLA1"
DEFAULT_GB, SHARE_OF_DISK, LEFT_FREE = 20.0, 0.2, 0.05
EVICT_TO = 0.8
LOOK_AFTER_BYTES = 256 * 1024**2
ROWS_AT_ONCE = 500
_written = 0


def folder() -> Path | None:
    """Where decoded images are kept: ``EASYDL_CACHE`` (``off`` for nowhere), else the system's cache folder of the user.

    Returns:
        The folder, made with access for this user only; None when it is switched off or cannot be written.
    """
    wanted = os.environ.get("EASYDL_CACHE", "").strip()
    place = _place(wanted)
    if place is not None and not place.is_dir():  # Somebody deleted it; that is always allowed.
        _place.cache_clear()
        place = _place(wanted)
    return place


@lru_cache(8)
def _place(wanted: str) -> Path | None:
    if wanted.lower() in ("off", "0", "none"):
        return None
    place = Path(wanted).expanduser() if wanted else _system_cache() / "easydl"
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return place if os.access(place, os.W_OK) else None


def limit_bytes() -> int:
    """The size at which the oldest arrays go: ``EASYDL_CACHE_GB``, else 20 GB but at most a fifth of the disk."""
    asked = os.environ.get("EASYDL_CACHE_GB", "").strip()
    with contextlib.suppress(ValueError):
        if asked:
            return int(float(asked) * 1e9)
    place = folder()
    if place is None:
        return 0
    return int(min(DEFAULT_GB * 1e9, SHARE_OF_DISK * shutil.disk_usage(place).total))


def used_bytes(place: Path) -> int:
    """Size of all arrays in a cache folder."""
    return sum(size for _, size, _ in _arrays(place))


def array(key: str, make: Callable[[], tuple[np.ndarray, dict[str, Any]]]) -> tuple[np.ndarray, dict[str, Any]]:
    """The array of a key, made once and then memory-mapped, with the facts that belong to it.

    A file is written under another name and renamed when it is whole, so that two processes never see half of one. One
    whose header, length or sum does not fit is made again.

    Args:
        key: SHA-256 (hexadecimal) of everything the array depends on: contents and settings.
        make: Makes the array and its facts (JSON values) when they are not there.

    Returns:
        A read-only array (memory-mapped when it came from or went to the disk) and its facts.
    """
    place = folder()
    if place is None:
        return make()
    path = place / "arrays" / key[:2] / f"{key}.bin"
    found = _open(path)
    if found is not None:
        with contextlib.suppress(OSError):
            os.utime(path)  # The oldest use goes first when room is needed.
        return found
    made, facts = make()
    disk = shutil.disk_usage(place)
    if made.nbytes > limit_bytes() // 4 or disk.free - made.nbytes < LEFT_FREE * disk.total:
        return made, facts  # Too large to keep, or the disk is nearly full: it is used and forgotten.
    with contextlib.suppress(OSError):
        _write(path, made, facts)
        _make_room(place, made.nbytes)
        return _open(path) or (made, facts)
    return made, facts


class Facts:
    """What is known of files, kept beside their size and time of change, so that none is opened twice.

    Args:
        name: The name of the table: one for each kind of fact, with a version.
        pack: Makes text or bytes of a fact.
        unpack: Makes the fact of these again.
    """

    def __init__(
        self, name: str, *, pack: Callable[[Any], str | bytes] = json.dumps, unpack: Callable[[Any], Any] = json.loads
    ) -> None:
        self.name, self._pack, self._unpack = name, pack, unpack

    def known(self, stats: dict[str, tuple[int, int]]) -> dict[str, Any]:
        """The facts of those files that have not changed since; ``stats`` gives (size, time of change in ns)."""
        found: dict[str, Any] = {}
        with self._database() as base:
            if base is None:
                return found
            paths = list(stats)
            for begin in range(0, len(paths), ROWS_AT_ONCE):
                some = paths[begin : begin + ROWS_AT_ONCE]
                marks = ",".join("?" * len(some))
                for path, size, changed, fact in base.execute(
                    f"select path, size, changed, fact from {self.name} where path in ({marks})", some
                ):
                    if stats[path] == (size, changed):
                        found[path] = self._unpack(fact)
        return found

    def keep(self, rows: Iterable[tuple[str, tuple[int, int], Any]]) -> bool:
        """Store facts as (path, (size, time of change), fact), all or none; whether they were stored."""
        stored = False
        with self._database() as base:
            if base is not None:
                base.executemany(
                    f"insert or replace into {self.name} values (?, ?, ?, ?)",
                    ((path, *stat, self._pack(fact)) for path, stat, fact in rows),
                )
                stored = True
        return stored

    @contextlib.contextmanager
    def _database(self) -> Any:
        """An open database; None when there is none to be had. What cannot be stored is worked out again."""
        place = folder()
        base = None
        try:
            if place is not None:
                path = place / "facts.sqlite"
                base = sqlite3.connect(path, timeout=30)
                base.execute("pragma synchronous = off")  # All of it can be worked out again.
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o600)
                base.execute(
                    f"create table if not exists {self.name} (path text primary key, size int, changed int, fact text)"
                )
        except sqlite3.Error:
            _discard(base, place)
            base = None
        try:
            yield base
            if base is not None:
                base.commit()
        except sqlite3.Error:
            _discard(base, place)
        finally:
            if base is not None:
                base.close()


def contents(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the bytes of files; one is read again only when its size or time of change differ.

    Raises:
        OSError: A file is not there or cannot be read.
    """
    facts = Facts("contents_1")
    stats = {path: (stat.st_size, stat.st_mtime_ns) for path in paths for stat in [os.stat(path)]}
    found = facts.known(stats)
    missing = [path for path in stats if path not in found]
    for begin in range(0, len(missing), ROWS_AT_ONCE):
        some = missing[begin : begin + ROWS_AT_ONCE]
        for path in some:
            with open(path, "rb") as file:
                found[path] = hashlib.file_digest(file, "sha256").hexdigest()
        facts.keep((path, stats[path], found[path]) for path in some)
    return found


def _open(path: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    try:
        with open(path, "rb") as file:
            if file.read(8) != MAGIC:
                raise ValueError("another kind of file")
            length, check = struct.unpack("<II", file.read(8))
            text = file.read(length)
            if zlib.crc32(text) != check:
                raise ValueError("a damaged header")
            head = json.loads(text)
            start = 16 + length
            dtype, shape = np.dtype(head["dtype"]), tuple(head["shape"])
            if os.fstat(file.fileno()).st_size != start + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
                raise ValueError("a file cut short")
        mapped = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape)
        if zlib.adler32(_sample(mapped)) != head["sum"]:
            raise ValueError("damaged pixels")
        return mapped, head["facts"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        with contextlib.suppress(OSError):
            path.unlink()
        return None


def _write(path: Path, made: np.ndarray, facts: dict[str, Any]) -> None:
    made = np.ascontiguousarray(made)
    head = {"dtype": made.dtype.str, "shape": made.shape, "facts": facts, "sum": zlib.adler32(_sample(made))}
    text = json.dumps(head).encode()
    text += b" " * (-(len(text) + 16) % 64)  # The pixels begin at a multiple of 64 bytes.
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except FileNotFoundError:  # The first of its folder, or somebody emptied the cache.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + struct.pack("<II", len(text), zlib.crc32(text)) + text)
            file.write(made.data.cast("B") if made.size else b"")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sample(values: np.ndarray) -> bytes:
    """The first, middle and last 4 KB: a whole sum would read every byte at each use."""
    flat = values.reshape(-1).view(np.uint8) if values.size else np.empty(0, np.uint8)
    middle = len(flat) // 2
    return b"".join(np.asarray(part).tobytes() for part in (flat[:4096], flat[middle : middle + 4096], flat[-4096:]))


def _make_room(place: Path, added: int) -> None:
    """Let the arrays go that were used longest ago, when the limit is passed; looked at now and then, not each time."""
    global _written
    _written += added
    limit = limit_bytes()
    if _written < min(LOOK_AFTER_BYTES, limit // 10):
        return
    _written = 0
    arrays = sorted(_arrays(place), key=lambda one: one[2])
    total = sum(size for _, size, _ in arrays)
    if total <= limit:
        return
    for path, size, _ in arrays:
        with contextlib.suppress(OSError):  # In use on a system that locks open files: the next one goes.
            path.unlink()
            total -= size
        if total <= EVICT_TO * limit:
            return


def _arrays(place: Path) -> list[tuple[Path, int, float]]:
    found = []
    for path in (place / "arrays").glob("*/*"):
        with contextlib.suppress(OSError):
            stat = path.stat()
            if path.suffix == ".bin":
                found.append((path, stat.st_size, stat.st_mtime))
            elif time.time() - stat.st_mtime > 3600:  # Left behind by a process that was killed while writing.
                path.unlink()
    return found


def _discard(base: sqlite3.Connection | None, place: Path | None) -> None:
    """A damaged database is thrown away: all it holds can be worked out again. A busy one is left alone."""
    if base is None or place is None:
        return
    with contextlib.suppress(sqlite3.Error, OSError):
        if base.execute("pragma quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError
        return
    with contextlib.suppress(OSError):
        (place / "facts.sqlite").unlink()


def _system_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
