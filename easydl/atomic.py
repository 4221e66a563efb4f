"""Files that are whole or not there: text, and the status of a run. It knows nothing of what they say."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


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
