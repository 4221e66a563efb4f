"""Work in a process of its own, with a folder for what was asked, how far it is and what came of it. It loads no TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from easydl import processes
from easydl.fileio import private_log, write_text
from easydl.reporting import progress

REQUEST = "request.json"


@dataclass
class Work:
    """Something that was asked of another process.

    Attributes:
        folder: Its own folder in the workspace.
    """

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name, by which a browser finds it again."""
        return self.folder.name

    @cached_property
    def status(self) -> dict[str, Any]:
        """Its ``status.json``, as that of a run: state, started, error."""
        return progress.status(self.folder)

    @property
    def state(self) -> str:
        """``running``, ``finished``, ``stopped``, ``failed`` or ``interrupted``."""
        return str(self.status["state"])

    @property
    def running(self) -> bool:
        """Whether its process is at work."""
        return self.state == "running"

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return progress.seconds(self.status) or 0.0

    @property
    def message(self) -> str:
        """What it is doing; empty where that is not known."""
        return str(self.status["message"] or "")

    @property
    def error(self) -> dict[str, str]:
        """Why it failed, in the three parts of an error."""
        error = self.status.get("error") or {}
        return {
            "found": str(error.get("found") or "The work ended before it was finished."),
            "expected": str(error.get("expected") or "a process that runs to its end."),
            "do": str(error.get("do") or f"Try it again. The details are in {self.folder / 'log.txt'}."),
        }

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What was asked; empty where that cannot be read."""
        return read(self.folder / REQUEST)

    def stop(self) -> None:
        """End its process."""
        if processes.end(self.status["pid"], self.status["pid_started"]):
            write_text(self.folder / "status.json", json.dumps(self.status | {"state": "stopped"}))
            self.__dict__.pop("status", None)


def begin(home: Path, request: dict[str, Any]) -> None:
    """Write down what is asked (``work`` names it, see `easydl.workspace.background_process`), and start its process."""
    write_text(home / REQUEST, json.dumps(request), mode=0o600)
    with private_log(home / "log.txt") as log:
        child = subprocess.Popen(
            command(home), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=home,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    noted = {"pid": child.pid, "pid_started": processes.mark(child.pid)}
    begun = {"state": "running", "started": datetime.now(UTC).isoformat(), **noted}
    write_text(home / "status.json", json.dumps(progress.EMPTY | begun))


def command(home: Path) -> list[str]:
    """The process that does the work of a folder."""
    return [sys.executable, "-m", "easydl.workspace.background_process", str(home)]


def read(path: Path) -> dict[str, Any]:
    """A JSON file's dict; empty where there is none, or half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
