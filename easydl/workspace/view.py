"""A run folder as somebody watching it sees it, at any moment. It writes nothing and loads no TensorFlow."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from easydl.evaluation import Metrics

STAGES = {
    "loading": "Reading the images",
    "splitting": "Splitting by patient",
    "checking": "Looking for traps",
    "training": "Training",
    "testing": "Testing on patients it has not seen",
    "explaining": "Drawing the heatmaps",
    "reporting": "Writing the report",
    "done": "Done",
}
"""The steps of a run in their order, in the words people are shown."""

STATES = {
    "running": "in progress",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}
"""The states of a run, in the words people are shown."""


@dataclass(frozen=True)
class RunView:
    """What a run folder tells. Whatever has not been written yet is empty, never an error.

    Args:
        folder: The run folder.

    Example:
        >>> from tempfile import mkdtemp
        >>> view = RunView(Path(mkdtemp()))
        >>> view.status["state"], len(view.history), view.metrics
        ('interrupted', 0, None)
    """

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name, by which a browser finds the run again."""
        return self.folder.name

    @cached_property
    def status(self) -> dict[str, Any]:
        """``status.json`` as `easydl.runs.status` sees it: a run whose process is gone is ``interrupted``."""
        from easydl.runs import status

        return status(self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: the settings of the run."""
        stored = self._json("config.json")
        return stored if isinstance(stored, dict) else {}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: versions, device, seeds, fingerprint, durations."""
        stored = self._json("run.json")
        return stored if isinstance(stored, dict) else {}

    @property
    def running(self) -> bool:
        """Whether its process is alive and at work."""
        return self.status["state"] == "running"

    @property
    def title(self) -> str:
        """One line that tells this run from others: its study, model and time."""
        return f"{self.study}, {self.short}"

    @property
    def study(self) -> str:
        """What its study is called."""
        return str(self.config.get("name") or Path(str(self.config.get("source") or "study")).name)

    @property
    def short(self) -> str:
        """Its model and when it began."""
        started = _when(self.status.get("started"))
        time = f"{started.astimezone():%d %b %H:%M}" if started else self.id
        return f"{self.config.get('model', 'model')}, {time}"

    @property
    def state(self) -> str:
        """Its state in words, such as ``in progress`` or ``finished``."""
        return STATES.get(str(self.status["state"]), str(self.status["state"]))

    @property
    def sentence(self) -> str:
        """Where the run stands, in words."""
        status = self.status
        if status["state"] != "running":
            return self.state.capitalize()
        words = STAGES.get(status.get("stage", ""), "Starting")
        if status.get("stage") == "training" and status.get("epochs"):
            words += f", epoch {status.get('epoch') or 0} of {status['epochs']}"
        return words

    @property
    def progress(self) -> float:
        """The share of the steps that are done, 0 to 1; training counts for most of it."""
        status, steps = self.status, list(STAGES)
        if status["state"] == "finished":
            return 1.0
        stage = status.get("stage")
        if stage not in steps:
            return 0.0
        if stage == "training":
            return 0.1 + 0.7 * min(1.0, (status.get("epoch") or 0) / max(1, status.get("epochs") or 1))
        before = {"loading": 0.0, "splitting": 0.03, "checking": 0.06}
        after = {"testing": 0.8, "explaining": 0.87, "reporting": 0.95, "done": 1.0}
        return (before | after)[stage]

    @property
    def stopping_seconds(self) -> float | None:
        """Seconds since somebody asked the run to stop, or None when nobody has."""
        try:
            return max(0.0, datetime.now(UTC).timestamp() - (self.folder / "stop").stat().st_mtime)
        except OSError:
            return None

    @property
    def seconds(self) -> float | None:
        """Seconds from the start to the last sign of life, or None when it has not begun."""
        started, last = _when(self.status.get("started")), _when(self.status.get("heartbeat"))
        if started is None:
            return None
        end = datetime.now(UTC) if self.running or last is None else last
        return max(0.0, (end - started).total_seconds())

    @property
    def seconds_left(self) -> float | None:
        """About how long the training still takes if its epochs go on as they did, or None when unknown."""
        status = self.status
        epoch, epochs, seconds = status.get("epoch") or 0, status.get("epochs") or 0, self.seconds
        if not self.running or status.get("stage") != "training" or seconds is None or epoch < 1:
            return None
        return seconds / epoch * max(0, epochs - epoch)

    @cached_property
    def history(self) -> pd.DataFrame:
        """``history.csv``: one row per epoch; empty before the first."""
        return self._table("history.csv")

    @cached_property
    def curves(self) -> dict[str, pd.DataFrame]:
        """What was followed during training, by epoch: first the loss, then the metric.

        Returns:
            For each followed number that has a validation twin, a frame with the columns ``training`` and
            ``validation`` and the epoch, counted through all phases from 1, as its index.
        """
        history = self.history
        names = [name for name in history.columns if f"val_{name}" in history.columns]
        index = pd.RangeIndex(1, len(history) + 1, name="epoch")
        found = {}
        first = ("loss", "auc", "dice", "ordinal_error", "mean_absolute_error")
        for name in sorted(names, key=lambda name: first.index(name) if name in first else len(first)):
            columns = {"training": history[name].to_list(), "validation": history[f"val_{name}"].to_list()}
            title = {"auc": "AUC"}.get(name, name.replace("_", " ").capitalize())
            found[title] = pd.DataFrame(columns, index=index)
        return found

    @cached_property
    def metrics(self) -> Metrics | None:
        """``metrics.json``, or None before the test."""
        stored = self._json("metrics.json")
        if not stored:
            return None
        from easydl.evaluation import Metrics

        return Metrics.from_dict(stored)

    @cached_property
    def issues(self) -> list[dict[str, Any]]:
        """The audit's findings (``audit.json``); empty before the audit."""
        stored = self._json("audit.json")
        return stored.get("issues", []) if isinstance(stored, dict) else []

    @cached_property
    def split(self) -> pd.DataFrame:
        """``split.json`` as a table: part, patients, images and images per class; empty before the split."""
        stored = self._json("split.json")
        stored = stored if isinstance(stored, dict) else {}
        rows = []
        for part, words in (("train", "training"), ("val", "validation"), ("test", "test")):
            if isinstance(stored.get(part), dict):
                facts = stored[part]
                classes = (facts.get("per_class") or {}).items()
                counts = {f"images of {name}": int(found["images"]) for name, found in classes}
                rows.append({"part": words, "patients": facts["patients"], "images": facts["images"], **counts})
        frame = pd.DataFrame(rows)
        return frame if stored.get("patients_known", True) else frame.drop(columns="patients", errors="ignore")

    @property
    def patients_known(self) -> bool:
        """Whether the run knew which images belong to one patient."""
        stored = self._json("split.json")
        return bool(stored.get("patients_known", True)) if isinstance(stored, dict) else True

    @cached_property
    def heatmaps(self) -> list[dict[str, Any]]:
        """The heatmaps' index with ``path`` added; those whose picture is missing are left out."""
        stored = self._json("heatmaps/index.json") or []
        folder = self.folder / "heatmaps"
        found = []
        for entry in stored:
            path = folder / Path(str(entry.get("file", ""))).name
            if path.is_file():
                found.append({**entry, "path": path})
        return found

    def file(self, name: str) -> Path | None:
        """A file of the run, or None when it has not been written."""
        path = self.folder / name
        return path if path.is_file() and path.stat().st_size else None

    @property
    def code(self) -> str:
        """The lines of Python that do this run again."""
        from easydl.reporting.reproduce import python

        return python(self.config, *self._built())

    @property
    def command(self) -> str:
        """The command that does this run again, quoted for this system's command line."""
        from easydl.reporting.reproduce import command

        return command(self.config)

    def _built(self) -> tuple[str, str]:
        """The builder and the name of the model, from the model file once there is one."""
        name = str(self.config.get("model", "auto"))
        try:
            with zipfile.ZipFile(self.folder / "model.keras") as file:
                metadata = json.loads(file.read("easydl.json"))["metadata"]
            return str(metadata["builder"]), str(metadata["arguments"].get("name", name))
        except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
            if name == "auto":
                name = "resnet" if self.config.get("pretrained") else "tiny"
            outlines = "segmenter" if self.config.get("mask") and name != "auto" else "classifier"
            return (name if name in ("unet", "unet3d") else outlines), name

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _table(self, name: str) -> pd.DataFrame:
        try:
            return pd.read_csv(self.folder / name)
        except (OSError, ValueError):  # ValueError covers an empty or half-written table
            return pd.DataFrame()


def _when(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
