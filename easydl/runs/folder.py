"""The run folder seen from outside: make one, start it in a child process, ask how it is, stop it. No TensorFlow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import Timeout

from easydl import fileio, processes
from easydl.errors import RunError
from easydl.reporting import status
from easydl.reporting.progress import EMPTY
from easydl.runs.config import RunConfig
from easydl.runs.resuming import KEPT


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


def start(config: RunConfig, folder: str | Path, *, train: bool = True) -> int:
    """Start a run in a child process that outlives this one, and return its process number; its output goes to log.txt.

    Without ``train``, a model that was trained in part is tested as it is.

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
    with fileio.private_log(folder / "log.txt") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "easydl", "resume", str(folder.resolve()), *([] if train else ["--no-train"])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
            cwd=folder,
        )
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    kept = {name: value for name, value in fileio.read_status(folder).items() if name in KEPT}
    begun = {"state": "running", "stage": "loading", "started": now, "heartbeat": now, "message": "Starting"}
    noted = {"pid": child.pid, "pid_started": processes.mark(child.pid)}
    fileio.write_text(folder / "status.json", json.dumps(EMPTY | kept | begun | noted))
    return child.pid


def resume(folder: str | Path, *, train: bool = True) -> int:
    """Start a run again: whether it was killed, failed or was stopped, it trains on from its last checkpoint.

    Without ``train``, the model of a training that was stopped is tested and explained as it is.
    """
    return start(RunConfig.open(Path(folder)), folder, train=train)


def stop(folder: str | Path, *, wait_s: float = 0.0) -> None:
    """Ask a run to stop: training ends after the current step and keeps the best weights so far.

    After ``wait_s`` seconds, where they are given, the process is ended: only the one whose start was noted down.
    """
    folder = Path(folder)
    if status(folder)["state"] != "running":
        return
    (folder / "stop").touch()
    end = time.monotonic() + wait_s
    while wait_s and status(folder)["state"] == "running":
        if time.monotonic() > end:
            known = status(folder)
            processes.end(known["pid"], known["pid_started"])
            return
        time.sleep(0.2)


def listing(workspace: str | Path) -> list[Path]:
    """The run folders of a workspace, the newest first."""
    runs = Path(workspace) / "runs"
    folders = [path for path in runs.iterdir() if (path / "config.json").is_file()] if runs.is_dir() else []
    return sorted(folders, key=lambda path: path.name, reverse=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder; the lock of a process that was killed is free at once.

    Raises:
        RunError: Another process holds it.
    """
    try:
        with fileio.locked(folder / ".lock"):
            yield
    except Timeout:
        raise RunError(
            f"Another process is at work in {folder.name}.",
            "one run in a folder.",
            "Wait for it, stop it, or use another folder.",
        ) from None
