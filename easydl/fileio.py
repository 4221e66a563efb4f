"""Files that are whole or not there: the one safe write, digest and lock. It knows nothing of what files say."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock

from easydl import processes
from easydl.errors import DiskFullError

if TYPE_CHECKING:
    import pandas as pd

DRAFT = ".draft-"
"""How the names of files begin that are not whole yet; a killed process leaves them behind."""
_DRAFTS = (f"{DRAFT}*", ".*.tmp.keras")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")


def workspace() -> Path:
    """Where runs and uploads are kept: ``EASYDL_WORKSPACE``, or ``easydl`` in the home folder."""
    return Path(os.environ.get("EASYDL_WORKSPACE") or Path.home() / "easydl").expanduser()


@contextmanager
def replacing(path: str | Path, *, mode: int = 0o644) -> Iterator[Path]:
    """A temporary path in the same folder, with the same endings, that takes the place of ``path`` when the block ends.

    A reader sees the old file or the whole new one; after an error the old one stays and nothing is left behind.

    Example:
        >>> with replacing("mask.nii.gz") as draft:  # doctest: +SKIP
        ...     image.to_filename(draft)
    """
    path = Path(path)
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=DRAFT, suffix="".join(path.suffixes[-2:]))
        draft = Path(name)
        os.close(handle)
        yield draft
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException as problem:
        if draft is not None:
            draft.unlink(missing_ok=True)
        if not isinstance(problem, DiskFullError) and is_disk_full(problem):
            raise disk_full(path) from problem
        raise


def is_disk_full(problem: BaseException) -> bool:
    """Whether an error means that the disk has no room; HDF5 says so in its text alone."""
    full = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    if isinstance(problem, DiskFullError):
        return True
    if isinstance(problem, OSError) and problem.errno is not None:
        return problem.errno in full
    return isinstance(problem, (OSError, RuntimeError)) and bool(re.search(r"errno = (28|122)\b", str(problem)))


def disk_full(path: Path) -> DiskFullError:
    """The error for a file that a full disk has no room for."""
    free = ""
    with suppress(OSError):
        free = f": {shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free"
    return DiskFullError(
        f"The disk of the folder {path.parent} is full{free}.",
        f"room for {path.name} there.",
        "Free some space, then go on. What was written before is unchanged.",
    )


def remove_drafts(folder: str | Path) -> int:
    """Remove what killed processes left unfinished in a folder and the folders in it, which nobody else may be writing to.

    Returns:
        How many files were removed.
    """
    found = [path for name in _DRAFTS for path in chain(Path(folder).glob(name), Path(folder).glob(f"*/{name}"))]
    for path in found:
        with suppress(OSError):
            path.unlink()
    return len(found)


def write_text(path: str | Path, text: str, *, mode: int = 0o644) -> Path:
    """Write a text file whole, as UTF-8; ``mode`` 0600 is for what names images and patients."""
    with replacing(path, mode=mode) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
    return Path(path)


def private_log(path: str | Path) -> IO[str]:
    """A log to add to, which only this user can read (mode 0600): its lines name files."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.chmod(path, 0o600)
    return open(handle, "a", encoding="utf-8")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal text."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: str | Path, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file; the system lets go of it when the process ends, however it ends.

    Raises:
        filelock.Timeout: Another process (or thread) held it for longer than ``timeout_s``.
    """
    with FileLock(path, timeout=timeout_s, thread_local=False):
        yield


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV in which no cell is run as a formula when a spreadsheet opens it (CWE-1236).

    Text that begins as a formula does is preceded by an apostrophe, in the header too; numbers, also those kept as
    text (``-0.3``), stay as they are.

    Args:
        table: Any table.

    Returns:
        The CSV, without the index.

    Example:
        >>> import pandas as pd
        >>> csv_text(pd.DataFrame({"label": ["=1+1", "-0.3"], "value": [-0.3, 2.0]})).splitlines()
        ['label,value', "'=1+1,-0.3", '-0.3,2.0']
    """
    return str(table.map(inert).rename(columns=inert).to_csv(index=False))


def inert(cell: Any) -> Any:
    """A cell that no spreadsheet runs as a formula; anything but such text is returned as it is.

    Example:
        >>> inert("@SUM(A1)"), inert("-0.3"), inert(-0.3)
        ("'@SUM(A1)", '-0.3', -0.3)
    """
    if not isinstance(cell, str):
        return cell
    risky = cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell)
    # The csv module leaves a lone carriage return unquoted, and what follows would be a row of its own.
    text = cell.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if risky else text


def write_status(folder: Path, **changes: Any) -> dict[str, Any]:
    """Change fields of a run folder's ``status.json``; the heartbeat and the process number are always set."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = {"started": now, "error": None, **read_status(folder), **changes, "heartbeat": now, **processes.this()}
    path, text = folder / "status.json", json.dumps(status, indent=1)
    try:
        write_text(path, text)
    except DiskFullError:
        if not _into_its_own_room(path, text.encode()):
            raise
    return status


def read_status(folder: Path) -> dict[str, Any]:
    """What a run folder's ``status.json`` holds; empty when there is none, or half of one."""
    try:
        return dict(json.loads((folder / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _into_its_own_room(path: Path, content: bytes) -> bool:
    """Write over a small file: a full disk has no room for a draft, but keeps the room of what is there."""
    try:
        with open(path, "r+b", buffering=0) as file:
            if len(content) > getattr(os.fstat(file.fileno()), "st_blocks", 0) * 512:
                return False
            file.write(content)
            file.truncate()
    except OSError:
        return False
    return True
