"""The run folder seen from outside: make one, start it in a child process, ask how it is, stop it. No TensorFlow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from easydl.errors import RunError
from easydl.fileio import write_text
from easydl.runs.config import RunConfig


def new_folder(workspace: str | Path, model: str) -> Path:
    """Make a run folder named by the time and the model, such as ``runs/2026-11-20_1530_resnet``."""
    runs = Path(workspace) / "runs"
    stem = f"{datetime.now():%Y-%m-%d_%H%M}_{re.sub(r'[^A-Za-z0-9_-]', '', model) or 'model'}"
    for number in range(1, 1000):
        folder = runs / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as problem:
            raise RunError(
                f"No run folder can be made in {runs}: {problem.strerror}.",
                "a folder that may be written to.",
                "Set EASYDL_WORKSPACE to such a folder.",
            ) from problem
    raise RunError(f"{runs} holds a thousand runs of this minute.", "a free name.", "Wait a minute.")


def start(config: RunConfig, folder: str | Path) -> int:
    """Start a run in a child process that outlives this one; its words go to log.txt.

    Args:
        config: The settings.
        folder: An empty run folder, or one whose run is over or was interrupted.

    Returns:
        The child's process number.

    Raises:
        RunError: A run is already going on there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if status(folder)["state"] == "running":
        raise RunError(
            f"A run is going on in {folder.name}.",
            "one run in a folder.",
            "Wait, stop it, or start a new one.",
        )
    config.save(folder)
    (folder / "stop").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with open(folder / "log.txt", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "easydl", "resume", str(folder)], stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True, env=environment, cwd=folder,
        )  # fmt: skip
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    write_text(
        folder / "status.json",
        json.dumps({"state": "running", "stage": "loading", "started": now, "heartbeat": now, "pid": child.pid,
                    "epoch": 0, "epochs": 0, "metrics": {}, "message": "Starting", "error": None}),
    )  # fmt: skip
    return child.pid


def resume(folder: str | Path) -> int:
    """Start a run again: one that was killed or failed trains on from its last checkpoint; one that was stopped has a
    model already, which is tested and explained as it is.

    Returns:
        The child's process number.
    """
    return start(RunConfig.open(Path(folder)), folder)


def status(folder: str | Path) -> dict[str, Any]:
    """What status.json says, corrected by whether the process is still alive.

    Returns:
        ``state`` (running, finished, stopped, failed, interrupted), ``phase``, ``epoch``, ``epochs``, ``metrics``,
        ``started``, ``heartbeat``, ``pid``, ``message``, ``error``. A folder without a status is ``interrupted``.
    """
    empty = {"stage": "", "epoch": 0, "epochs": 0, "metrics": {}, "message": "", "error": None, "pid": None}
    try:
        found = dict(json.loads((Path(folder) / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {"state": "interrupted", "started": None, "heartbeat": None, **empty}
    known = {"state": "interrupted", "started": None, "heartbeat": None, **empty, **found}
    if known["state"] == "running" and not _alive(known["pid"]):
        known["state"], known["message"] = "interrupted", "The process has ended without finishing."
    return known


def stop(folder: str | Path, *, wait_s: float = 0.0) -> None:
    """Ask a run to stop: training ends after the current step and keeps the best weights so far.

    Args:
        folder: The run folder.
        wait_s: Seconds to wait for it; when they are over the process is ended.
    """
    folder = Path(folder)
    if status(folder)["state"] != "running":
        return
    (folder / "stop").touch()
    end = time.monotonic() + wait_s
    while wait_s and status(folder)["state"] == "running":
        if time.monotonic() > end:
            pid = status(folder)["pid"]
            if pid and pid != os.getpid():
                os.kill(pid, 9)
            return
        time.sleep(0.2)


def listing(workspace: str | Path) -> list[Path]:
    """The run folders of a workspace, the newest first."""
    runs = Path(workspace) / "runs"
    found = [path for path in runs.iterdir() if (path / "config.json").is_file()] if runs.is_dir() else []
    return sorted(found, key=lambda path: path.name, reverse=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder; a lock left by a process that is gone is taken over.

    Raises:
        RunError: Another live process holds it.
    """
    lock = folder / "lock"
    for _ in range(2):
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            break
        except FileExistsError:
            try:
                holder = int(lock.read_text() or 0)
            except (OSError, ValueError):
                holder = 0
            if holder and holder != os.getpid() and _alive(holder):
                raise RunError(
                    f"Process {holder} is at work in {folder.name}.", "one run in a folder.",
                    "Wait for it, stop it, or use another folder.",
                ) from None  # fmt: skip
            lock.unlink(missing_ok=True)
    else:
        raise RunError(f"{folder.name} cannot be locked.", "one run in a folder.", "Try again.")
    with os.fdopen(handle, "w") as file:
        file.write(str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    # A child of ours that has ended stays as a zombie until it is asked for; asking tells the two apart.
    with suppress(OSError):
        if hasattr(os, "WNOHANG") and os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
