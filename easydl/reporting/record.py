"""Collects what a run folder holds, in whatever state it is. It shows nothing and changes nothing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import InputError, RunError
from easydl.evaluation import Metrics

_MEGABYTE = 2**20
_LARGEST_JSON, _LARGEST_TABLE, _LARGEST_PICTURE, _PICTURES = (
    64 * _MEGABYTE,
    256 * _MEGABYTE,
    8 * _MEGABYTE,
    48,
)
_FILES = ("config.json", "status.json", "audit.json", "split.json", "history.csv", "metrics.json", "run.json")


@dataclass
class RunRecord:
    """What a run folder holds. Missing and broken parts are empty; broken ones are named in ``problems``.

    Attributes:
        folder: The run folder.
        config: ``config.json``, the settings.
        status: ``status.json``.
        findings: The findings of ``audit.json``.
        split: ``split.json``.
        facts: ``run.json``: versions, device, durations, command.
        overrides: Reasons given in writing for going against a refusal, from all files, each once.
        history: ``history.csv``, one row per epoch, numbers as numbers.
        metrics: ``metrics.json``, or None.
        heatmaps: The entries of ``heatmaps/index.json``, each with its picture as bytes under ``"png"``, or
            None there and the reason under ``"problem"``.
        heatmaps_left_out: How many further heatmaps the folder holds.
        shared_patients: How many patients of ``table.csv`` are in more than one part; None when it cannot be
            told.
        problems: What could not be read, in words.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    split: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    metrics: Metrics | None = None
    heatmaps: list[dict[str, Any]] = field(default_factory=list)
    heatmaps_left_out: int = 0
    shared_patients: int | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def patients_known(self) -> bool | None:
        """Whether the study says which images belong to one patient; None when no file tells."""
        if isinstance(self.split.get("patients_known"), bool):
            return self.split["patients_known"]
        if self.metrics is not None:
            return self.metrics.patients_known
        return False if "patient" in self.config and self.config["patient"] is None else None


def collect(folder: str | os.PathLike[str]) -> RunRecord:
    """Read a run folder, however far the run came.

    Args:
        folder: The run folder.

    Returns:
        What it holds.

    Raises:
        RunError: It is not a run folder.

    Example:
        >>> collect("runs/2026-11-20_1530_tiny").status["state"]  # doctest: +SKIP
        'finished'
    """
    path = Path(folder)
    if not any((path / name).is_file() for name in _FILES):
        raise RunError(
            f"{path} is not a run folder.",
            "A folder with config.json and status.json, as easydl train writes it.",
            "Give the folder of a run; easydl train and easydl demo print its path.",
        )
    record = RunRecord(path)
    record.config = _dictionary(record, "config.json")
    record.status = _dictionary(record, "status.json")
    record.split = _dictionary(record, "split.json")
    record.facts = _dictionary(record, "run.json")
    audit = _dictionary(record, "audit.json")
    record.issues = _entries(audit.get("issues"))
    record.overrides = _overrides(record, audit)
    record.history = _history(record)
    record.metrics = _metrics(record)
    record.shared_patients = _shared_patients(record)
    _heatmaps(record)
    return record


def _json(record: RunRecord, name: str) -> Any:
    path = record.folder / name
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError("too large")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        record.problems.append(f"{name} could not be read.")
        return None


def _dictionary(record: RunRecord, name: str) -> dict[str, Any]:
    content = _json(record, name)
    if content is not None and not isinstance(content, dict):
        record.problems.append(f"{name} does not hold what it should.")
    return content if isinstance(content, dict) else {}


def _entries(content: Any) -> list[dict[str, Any]]:
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []


def _overrides(record: RunRecord, audit: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for source in (record.split, audit, record.facts):
        listed = source.get("overrides")
        found += [str(reason) for reason in listed] if isinstance(listed, list) else []
    given = record.config.get("override")
    if isinstance(given, str) and given.strip() and not any(given.strip() in reason for reason in found):
        found.append(given.strip())
    return list(dict.fromkeys(found))


def _table(record: RunRecord, name: str, **options: Any) -> pd.DataFrame:
    path = record.folder / name
    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise ValueError("too large")
        return pd.read_csv(path, **options)
    except FileNotFoundError:
        return pd.DataFrame()
    except (OSError, ValueError):  # a half-written or empty table is a ValueError for pandas
        record.problems.append(f"{name} could not be read.")
        return pd.DataFrame()


def _history(record: RunRecord) -> pd.DataFrame:
    history = _table(record, "history.csv")
    for column in history.columns:
        if column != "stage":
            history[column] = pd.to_numeric(history[column], errors="coerce")
    return history.astype({"stage": str}) if "stage" in history.columns else history


def _metrics(record: RunRecord) -> Metrics | None:
    content = _dictionary(record, "metrics.json")
    if not content:
        return None
    try:
        return Metrics.from_dict(content)
    except InputError:
        record.problems.append("metrics.json does not hold what it should.")
        return None


def _shared_patients(record: RunRecord) -> int | None:
    table = _table(record, "table.csv", dtype=str, keep_default_na=False)
    if not {"patient", "split"} <= set(table.columns):
        return None
    placed = table[(table["split"] != "") & (table["patient"] != "")]
    return int((placed.groupby("patient")["split"].nunique() > 1).sum()) if len(placed) else None


def _heatmaps(record: RunRecord) -> None:
    listed = _entries(_json(record, "heatmaps/index.json"))
    record.heatmaps_left_out = max(0, len(listed) - _PICTURES)
    for entry in listed[:_PICTURES]:
        picture, problem = _picture(record.folder / "heatmaps", str(entry.get("file", "")))
        record.heatmaps.append({**entry, "png": picture, "problem": problem})


def _picture(folder: Path, name: str) -> tuple[bytes | None, str]:
    path = folder / name
    try:
        if path.resolve().parent != folder.resolve():  # an index must not reach for files elsewhere
            return None, "The picture is not in the folder of heatmaps."
        if path.stat().st_size > _LARGEST_PICTURE:
            return None, "The picture is too large for this page; it is in the folder of heatmaps."
        content = path.read_bytes()
    except (OSError, ValueError):
        return None, "The picture is missing."
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return None, "The picture is not a PNG file."
    return content, ""
