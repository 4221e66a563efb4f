"""How far a run has come: its stages, and whether its process is still alive. It reads one file, ``status.json``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from easydl import processes

STAGES = {
    "loading": ("reading the images", 0.0),
    "splitting": ("splitting by patient", 0.03),
    "checking": ("looking for traps", 0.06),
    "training": ("training", 0.1),
    "testing": ("testing on patients it has not seen", 0.8),
    "comparing": ("comparing it with baselines", 0.84),
    "explaining": ("drawing the heatmaps", 0.87),
    "reporting": ("writing the report", 0.95),
    "done": ("done", 1.0),
}
"""The stages of a run in their order: what the run is doing, and the fraction of the work that is done before."""
EMPTY = {
    "state": "interrupted",
    "stage": "",
    "epoch": 0,
    "epochs": 0,
    "metrics": {},
    "started": None,
    "heartbeat": None,
    "pid": None,
    "pid_started": None,
    "message": "",
    "error": None,
}


def status(folder: str | Path) -> dict[str, Any]:
    """What status.json says, corrected by whether the process is still alive.

    Returns:
        ``state`` (running, finished, stopped, failed, interrupted), ``stage``, ``epoch``, ``epochs``, ``metrics``,
        ``started``, ``heartbeat``, ``pid``, ``pid_started``, ``message``, ``error``. A folder without a status is ``interrupted``.
    """
    try:
        return corrected(dict(json.loads((Path(folder) / "status.json").read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        return corrected({})


def corrected(stored: dict[str, Any]) -> dict[str, Any]:
    """A status with nothing missing; a run whose process is gone is ``interrupted``."""
    known = EMPTY | stored
    if known["state"] == "running" and not processes.same(known["pid"], known["pid_started"]):
        known |= {"state": "interrupted", "message": "The process has ended without finishing."}
    return known


def doing(known: dict[str, Any]) -> str:
    """What the last stage does, such as ``looking for traps``; empty when that is unknown."""
    return STAGES.get(str(known["stage"]), ("", 0.0))[0]


def fraction(known: dict[str, Any]) -> float:
    """The fraction of the work that is done, 0 to 1; training counts for most of it."""
    if known["state"] == "finished":
        return 1.0
    begins = STAGES.get(str(known["stage"]), ("", 0.0))[1]
    if known["stage"] != "training":
        return begins
    return begins + (STAGES["testing"][1] - begins) * min(1.0, number(known["epoch"]) / max(1, number(known["epochs"])))


def seconds(known: dict[str, Any]) -> float | None:
    """Seconds from the start to the last sign of life, or None when it has not begun."""
    started, last = moment(known["started"]), moment(known["heartbeat"])
    if started is None:
        return None
    end = datetime.now(UTC) if known["state"] == "running" or last is None else last
    return max(0.0, (end - started).total_seconds())


def seconds_left(known: dict[str, Any]) -> float | None:
    """About how long the training still takes if its epochs go on as they did, or None when unknown."""
    epoch, passed = number(known["epoch"]), seconds(known)
    if known["state"] != "running" or known["stage"] != "training" or passed is None or epoch < 1:
        return None
    return passed / epoch * max(0, number(known["epochs"]) - epoch)


def moment(text: Any) -> datetime | None:
    """A time from a file, or None when it is not one."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def number(value: Any) -> float:
    """A number from a file; 0 when it is not one."""
    return value if isinstance(value, (int, float)) else 0
