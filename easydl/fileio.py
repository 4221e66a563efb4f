"""Files that are whole or not there: text, tables, and the status of a run. It knows nothing of what they say."""

from __future__ import annotations

import json
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file so that a reader sees the old one or the whole new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


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
    status = {"started": now, "error": None, **status, **changes, "heartbeat": now, "pid": os.getpid()}
    write_text(path, json.dumps(status, indent=1))
    return status
