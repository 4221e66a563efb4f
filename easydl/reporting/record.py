"""The one reader of run folders, for the report, the app and the command line. It changes nothing in them."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.comparison import BaselineComparisons
from easydl.errors import InputError, RunError
from easydl.evaluation import Metrics
from easydl.evaluation.overfitting import overfitting
from easydl.networks.by_default import network_for
from easydl.reporting import progress, reproduce
from easydl.reporting.curves import curve_title, followed
from easydl.reporting.names import Names
from easydl.reporting.run_files import RunFiles, entries

_FILES = ("config.json", "status.json", "audit.json", "split.json", "history.csv", "metrics.json", "run.json")

PARTS = {"train": "training", "val": "validation", "test": "test"}
"""The parts of a split, as text."""


@dataclass
class RunRecord:
    """What a run folder holds. What is missing is empty; what is broken is empty, too, and named in ``problems``.

    Attributes:
        folder: The run folder.

    Example:
        >>> from tempfile import mkdtemp
        >>> record = RunRecord(Path(mkdtemp()))
        >>> record.status["state"], len(record.history), record.metrics
        ('interrupted', 0, None)
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> RunRecord:
        """Read a run folder whole, however far the run came.

        Raises:
            RunError: It is not a run folder.
        """
        path = Path(folder)
        if not any((path / name).is_file() for name in _FILES):
            raise RunError(
                f"{path} is not a run folder.",
                "A folder with config.json and status.json, as easydl train writes it.",
                "Give the folder of a run; easydl train and easydl demo print its path.",
            )
        record = cls(path)
        for name in (
            "config",
            "status",
            "split",
            "facts",
            "audit",
            "history",
            "metrics",
            "baselines",
            "shared_patients",
            "heatmaps",
            "image_map",
        ):
            getattr(record, name)
        return record

    @cached_property
    def files(self) -> RunFiles:
        """Its files, and what could not be read of them."""
        return RunFiles(self.folder)

    @property
    def problems(self) -> list[str]:
        """What could not be read, as sentences; complete after `open`."""
        return self.files.problems

    @property
    def id(self) -> str:
        """The folder's name, by which a browser finds the run again."""
        return self.folder.name

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``: the settings of the run."""
        return self.files.dictionary("config.json")

    @cached_property
    def status(self) -> dict[str, Any]:
        """``status.json``, with a default for what is missing; a run whose process is gone is ``interrupted``."""
        return progress.corrected(self.files.dictionary("status.json"))

    @cached_property
    def split(self) -> dict[str, Any]:
        """``split.json``: seed, fractions, and what is in each part."""
        return self.files.dictionary("split.json")

    @property
    def split_table(self) -> pd.DataFrame:
        """The parts of the split: patients (when known), images, and images of each class; empty before it."""
        rows = []
        for part, name in PARTS.items():
            facts = self.split.get(part)
            if isinstance(facts, dict):
                classes = (facts.get("per_class") or {}).items()
                counts = {f"images of {label}": int(counted["images"]) for label, counted in classes}
                rows.append({"part": name, "patients": facts["patients"], "images": facts["images"], **counts})
        frame = pd.DataFrame(rows)
        return frame.drop(columns="patients", errors="ignore") if self.patients_known is False else frame

    @cached_property
    def facts(self) -> dict[str, Any]:
        """``run.json``: versions, device, seeds, fingerprint, durations, command."""
        return self.files.dictionary("run.json")

    @cached_property
    def audit(self) -> dict[str, Any]:
        """``audit.json``."""
        return self.files.dictionary("audit.json")

    @cached_property
    def issues(self) -> list[dict[str, Any]]:
        """The issues of the audit; empty before it."""
        return entries(self.audit.get("issues"))

    @property
    def overfitting(self) -> str:
        """How much better the model is on its training images than on the test's, with the interval; empty where that is not shown."""
        return overfitting(self.metrics, self.issues)

    def thumbnails(self, issue: dict[str, Any]) -> bytes:
        """The PNG of an issue's images from the folder ``audit``; empty where there is none."""
        name = str(issue.get("thumbnails") or "")
        path = self.files.image("audit", name)["path"] if name else None
        return b"" if path is None else Path(path).read_bytes()

    @cached_property
    def overrides(self) -> list[str]:
        """Reasons given in writing for going against a refusal, from all files, each once."""
        listed = [source.get("overrides") for source in (self.split, self.audit, self.facts)]
        reasons = [str(reason) for one in listed if isinstance(one, list) for reason in one]
        given = self.config.get("override")
        if isinstance(given, str) and given.strip() and not any(given.strip() in reason for reason in reasons):
            reasons.append(given.strip())
        return list(dict.fromkeys(reasons))

    @cached_property
    def history(self) -> pd.DataFrame:
        """``history.csv``: one row per epoch, numbers as numbers; empty before the first."""
        history = self.files.table("history.csv")
        for column in history.columns.drop("stage", errors="ignore"):
            history[column] = pd.to_numeric(history[column], errors="coerce")
        return history.astype({"stage": str}) if "stage" in history.columns else history

    @cached_property
    def curves(self) -> dict[str, pd.DataFrame]:
        """The loss, then the metrics, the main one first: ``training`` and ``validation`` by epoch, counted from 1."""
        epochs = pd.RangeIndex(1, len(self.history) + 1, name="epoch")
        return {
            curve_title(name): pd.DataFrame(
                {"training": self.history[name].to_list(), "validation": self.history[f"val_{name}"].to_list()},
                index=epochs,
            )
            for name in followed(self.history)
        }

    @cached_property
    def metrics(self) -> Metrics | None:
        """``metrics.json``, or None before the test."""
        content = self.files.dictionary("metrics.json")
        try:
            return Metrics.from_dict(content) if content else None
        except InputError:
            self.files.not_what_it_should("metrics.json")
            return None

    @cached_property
    def baselines(self) -> BaselineComparisons:
        """``baselines.json``: the network beside its baselines; without comparisons where there are none."""
        content = self.files.dictionary("baselines.json")
        try:
            return BaselineComparisons.from_dict(content) if content else BaselineComparisons(())
        except InputError:
            self.files.not_what_it_should("baselines.json")
            return BaselineComparisons(())

    @property
    def warnings(self) -> list[str]:
        """What must be said before any number: what the test found, or, before it, what the validation part says."""
        if self.metrics is not None:
            return self.metrics.warnings
        found = self.training.get("warnings")
        return [f"On the validation part: {one}" for one in found] if isinstance(found, list) else []

    @property
    def coach(self) -> list[str]:
        """What is wrong with the training and what to do about it; empty where nothing is, or nobody looked."""
        found = entries(self.status.get("coach"))
        return [f"{one.get('sentence', '')} {one.get('advice', '')}".strip() for one in found]

    @cached_property
    def table(self) -> pd.DataFrame:
        """``table.csv``: the rows of the study as text; empty before the split."""
        return self.files.table("table.csv", dtype=str, keep_default_na=False)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the model file says of itself; empty before there is one."""
        try:
            with zipfile.ZipFile(self.folder / "model.keras") as file:
                metadata = json.loads(file.read("easydl.json"))["metadata"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return {}
        return metadata if isinstance(metadata, dict) else {}

    @cached_property
    def shared_patients(self) -> int | None:
        """How many patients of ``table.csv`` are in more than one part; None when it is not known."""
        table = self.table
        if not {"patient", "split"} <= set(table.columns):
            return None
        placed = table[(table["split"] != "") & (table["patient"] != "")]
        return int((placed.groupby("patient")["split"].nunique() > 1).sum()) if len(placed) else None

    @cached_property
    def heatmaps(self) -> list[dict[str, Any]]:
        """The entries of ``heatmaps/index.json``, each with the ``path`` of its image, or None and the ``problem``."""
        return [
            {**entry, **self.files.image("heatmaps", str(entry.get("file", "")))}
            for entry in entries(self.files.json("heatmaps/index.json"))
        ]

    @cached_property
    def image_map(self) -> dict[str, Any]:
        """``image_map.json`` with its ``table``, a row for each image, and the ``path`` of its picture; empty without it."""
        found = self.files.dictionary("image_map.json")
        if not found:
            return {}
        try:
            table = pd.DataFrame(found["points"])
            if not {"x", "y", "island"} <= set(table.columns):
                raise KeyError("x")
        except (KeyError, TypeError, ValueError):
            self.files.not_what_it_should("image_map.json")
            return {}
        return {**found, "table": table, **self.files.image("", "image_map.png")}

    @property
    def patients_known(self) -> bool | None:
        """Whether the study says which images belong to one patient; None when no file tells."""
        if isinstance(self.split.get("patients_known"), bool):
            return self.split["patients_known"]
        if self.metrics is not None:
            return self.metrics.patients_known
        return False if "patient" in self.config and self.config["patient"] is None else None

    @property
    def training(self) -> dict[str, Any]:
        """What the training recorded of itself in ``run.json``."""
        training = self.facts.get("training")
        return training if isinstance(training, dict) else {}

    @property
    def study(self) -> str:
        """What its study is called."""
        name = self.config.get("name") or Path(str(self.config.get("source") or "")).name
        return str(name or self.folder.resolve().name)

    @property
    def given_name(self) -> str:
        """The name that its study was given, for what is passed on; "" where there is only that of a file."""
        return str(self.config.get("name") or "")

    @cached_property
    def names(self) -> Names:
        """Its images and patients under numbered names, as far as ``table.csv`` has them."""
        classes = self.split.get("classes")
        listed = classes if isinstance(classes, list) else []
        return Names(self.table, self.config, patients_known=self.patients_known is not False, classes=listed)

    @property
    def short(self) -> str:
        """Its model and when it began."""
        started = progress.moment(self.status["started"])
        time = f"{started.astimezone():%d %b %H:%M}" if started else self.id
        name = self.config.get("model", "model")
        chosen = name == "auto" and (self.folder / "model.keras").is_file()
        return f"{self._built()[1] if chosen else name}, {time}"

    @property
    def title(self) -> str:
        """One line that tells this run from others: its study, model and time."""
        return f"{self.study}, {self.short}"

    @property
    def running(self) -> bool:
        """Whether its process is alive and at work."""
        return self.status["state"] == "running"

    @property
    def state(self) -> str:
        """Its state as text, such as ``in progress`` or ``finished``."""
        return "in progress" if self.running else str(self.status["state"])

    @property
    def sentence(self) -> str:
        """Where the run stands."""
        if not self.running:
            return self.state.capitalize()
        text = (progress.doing(self.status) or "starting").capitalize()
        training = self.status["stage"] == "training" and self.status["epochs"]
        return f"{text}, epoch {self.status['epoch'] or 0} of {self.status['epochs']}" if training else text

    @property
    def progress(self) -> float:
        """The fraction of the work that is done, 0 to 1."""
        return progress.fraction(self.status)

    @property
    def stopping_seconds(self) -> float | None:
        """Seconds since somebody asked the run to stop, or None when nobody has."""
        try:
            return max(0.0, datetime.now(UTC).timestamp() - (self.folder / "stop").stat().st_mtime)
        except OSError:
            return None

    def file(self, name: str) -> Path | None:
        """A file of the run, or None when it has not been written."""
        path = self.folder / name
        return path if path.is_file() and path.stat().st_size else None

    @property
    def code(self) -> str:
        """The lines of Python that repeat this run."""
        return reproduce.python(self.config, *self._built())

    @property
    def notebook(self) -> str:
        """The same lines as a Jupyter notebook (JSON), without the place of the study: it may be passed on."""
        title = self.given_name or "A run of easydl"
        return reproduce.notebook(reproduce.without_places(self.config), *self._built(), title=title)

    @property
    def command(self) -> str:
        """The command that repeats this run: the one that was given, or the one that its settings amount to."""
        given = self.facts.get("command")
        if isinstance(given, str) and given.split()[:2] in (["easydl", "train"], ["easydl", "demo"]):
            return given
        return reproduce.command(self.config)

    def _built(self) -> tuple[str, str]:
        """The builder and the name of the model, from the model file once there is one."""
        name, known = str(self.config.get("model", "auto")), self.metadata
        if isinstance(known.get("builder"), str) and isinstance(known.get("arguments"), dict):
            return known["builder"], str(known["arguments"].get("name", name))
        if name == "auto":
            name = network_for(self.config)
        builder = "segmenter" if self.config.get("mask") and name != "auto" else "classifier"
        return (name if name in ("unet", "unet3d") else builder), name
