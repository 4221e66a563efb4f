"""A run folder as somebody watching it sees it, at any moment. It writes nothing and loads no TensorFlow."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from easydl.evaluation import Metrics

PHASES = {
    "loading": "Reading the images",
    "checking": "Looking for traps",
    "splitting": "Splitting by patient",
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
    "stopped": "stopped by you",
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
        return self._json("config.json") or {}

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: versions, device, seeds, fingerprint, durations."""
        return self._json("run.json") or {}

    @property
    def running(self) -> bool:
        """Whether its process is alive and at work."""
        return self.status["state"] == "running"

    @property
    def title(self) -> str:
        """One line that tells this run from others: its study, model and time."""
        source = str(self.config.get("name") or self.config.get("source") or "study")
        started = _when(self.status.get("started"))
        time = f"{started.astimezone():%d %b %H:%M}" if started else self.id
        return f"{Path(source).name}, {self.config.get('model', 'model')}, {time}"

    @property
    def sentence(self) -> str:
        """Where the run stands, in words."""
        status = self.status
        if status["state"] != "running":
            return STATES.get(status["state"], str(status["state"])).capitalize()
        words = PHASES.get(status.get("phase", ""), "Starting")
        if status.get("phase") == "training" and status.get("epochs"):
            words += f", epoch {status.get('epoch') or 0} of {status['epochs']}"
        return words

    @property
    def progress(self) -> float:
        """The share of the steps that are done, 0 to 1; training counts for most of it."""
        status, steps = self.status, list(PHASES)
        if status["state"] == "finished":
            return 1.0
        phase = status.get("phase")
        if phase not in steps:
            return 0.0
        if phase == "training":
            return 0.1 + 0.7 * min(1.0, (status.get("epoch") or 0) / max(1, status.get("epochs") or 1))
        before = {"loading": 0.0, "checking": 0.03, "splitting": 0.07}
        after = {"testing": 0.8, "explaining": 0.87, "reporting": 0.95, "done": 1.0}
        return (before | after)[phase]

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
        if not self.running or status.get("phase") != "training" or seconds is None or epoch < 1:
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
        for name in sorted(names, key=lambda name: name != "loss"):
            columns = {"training": history[name].to_list(), "validation": history[f"val_{name}"].to_list()}
            title = {"auc": "AUC"}.get(name, name.replace("_", " ").capitalize())
            found[title] = pd.DataFrame(columns, index=index)
        return found

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: one row per test image; empty before the test."""
        return self._table(
            "predictions.csv", dtype=dict.fromkeys(("image", "patient", "label", "prediction"), str)
        )

    @cached_property
    def metrics(self) -> Metrics | None:
        """``metrics.json``, or None before the test."""
        stored = self._json("metrics.json")
        if not stored:
            return None
        from easydl.evaluation import Metrics

        return Metrics.from_dict(stored)

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """The audit's findings (``audit.json``); empty before the audit."""
        stored = self._json("audit.json")
        return stored.get("findings", []) if isinstance(stored, dict) else []

    @cached_property
    def split(self) -> pd.DataFrame:
        """``split.json`` as a table: part, patients, images and images per class; empty before the split."""
        stored = self._json("split.json") or {}
        rows = []
        for part, words in (("train", "training"), ("val", "validation"), ("test", "test")):
            if isinstance(stored.get(part), dict):
                facts = stored[part]
                counts = {str(name): count for name, count in (facts.get("per_class") or {}).items()}
                rows.append(
                    {"part": words, "patients": facts["patients"], "images": facts["images"], **counts}
                )
        return pd.DataFrame(rows)

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
        config = self.config
        columns = {name: config[name] for name in ("image", "label", "mask") if config.get(name)}
        if config.get("patient", "auto") != "auto":
            columns["patient"] = config["patient"]
        seed = config.get("seed", 0)
        builder = {"unet": "unet", "unet3d": "unet3d"}.get(str(config.get("model")), "classifier")
        named = f"{config.get('model')!r}, " if builder == "classifier" else ""
        weights = f", pretrained={config.get('pretrained')!r}" if builder == "classifier" else ""
        fit = {"augment": config.get("preset"), "epochs": config.get("epochs"), "seed": seed}
        given = "".join(f", {name}={value!r}" for name, value in columns.items())
        options = "".join(f", {name}={value!r}" for name, value in fit.items() if value is not None)
        return "\n".join(
            [
                "import easydl",
                "",
                f"study = easydl.load({config.get('source', '')!r}{given})",
                "print(easydl.audit(study))",
                f"train, val, test = study.split(seed={seed!r})",
                f"model = easydl.{builder}({named}classes=study.classes{weights}, seed={seed!r})",
                f"easydl.fit(model, train, val{options})",
                "print(easydl.evaluate(model, test))",
                "easydl.saliency(model, test).show()",
            ]
        )

    @property
    def command(self) -> str:
        """The command that does this run again, quoted for this system's command line."""
        stored = self.facts.get("command")
        if isinstance(stored, str) and stored:
            return stored
        config = self.config
        words = ["easydl", "train", str(config.get("source", ""))]
        for name in ("model", "preset", "epochs", "seed", "image", "label", "mask"):
            if config.get(name) is not None:
                words += [f"--{name}", str(config[name])]
        if config.get("pretrained"):
            words.append("--pretrained")
        return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)

    def _json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _table(self, name: str, **options: Any) -> pd.DataFrame:
        try:
            return pd.read_csv(self.folder / name, keep_default_na=not options, **options)
        except (OSError, ValueError):  # ValueError covers an empty or half-written table
            return pd.DataFrame()


def _when(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
