"""Files that are whole or not there: the one safe write, digest and lock. It knows nothing of what files say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from easydl import processes

if TYPE_CHECKING:
    import pandas as pd

DRAFT = ".draft-"
"""How the names of files begin that are not whole yet; a killed process leaves them behind."""
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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=DRAFT, suffix="".join(path.suffixes[-2:]))
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        os.chmod(draft, mode)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole, as UTF-8."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")
    return Path(path)


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
    path = folder / "status.json"
    try:
        status = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        status = {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    status = {"started": now, "error": None, **status, **changes, "heartbeat": now, **processes.this()}
    write_text(path, json.dumps(status, indent=1))
    return status
