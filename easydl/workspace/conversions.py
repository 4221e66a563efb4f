"""The model of a run for other programs: converted once in another process, kept with the run. It loads no TensorFlow."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from easydl.errors import EasyDLError, MissingPackageError, RunError
from easydl.fileio import write_status, write_text
from easydl.options_of_use import ExportOptions
from easydl.workspace.background import REQUEST, Work, begin, read

if TYPE_CHECKING:
    from easydl.reporting import RunRecord

FOLDER, FOUND = "exports", "export.json"
FORMATS = {".tflite": "TensorFlow Lite", ".onnx": "ONNX", ".xml": "OpenVINO"}
WEIGHTS: tuple[str, ...] = get_args(ExportOptions.model_fields["to"].annotation)


@dataclass
class Conversion(Work):
    """A model in one other format: how far it has come, and what was measured of it."""

    @property
    def title(self) -> str:
        """As in ``TensorFlow Lite, int8``."""
        return f"{FORMATS.get(str(self.asked.get('ending')), 'unknown')}, {self.asked.get('weights', '')}"

    @cached_property
    def _found(self) -> dict[str, Any]:
        return read(self.folder / FOUND)

    @property
    def lines(self) -> list[str]:
        """Its size, its agreement with the Keras model, each with n and interval, and what else must be known."""
        said = self._found.get("lines")
        return [str(one) for one in said] if isinstance(said, list) else []

    @property
    def files(self) -> list[Path]:
        """The converted model, and what describes it; empty before they are written."""
        paths = [self.folder / str(name) for name in self._found.get("files") or ()]
        return [path for path in paths if path.parent == self.folder and path.is_file()]

    def packed(self) -> io.BytesIO:
        """Its files in one zip."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in self.files:
                archive.write(path, path.name)
        packed.seek(0)
        return packed


class Conversions:
    """The conversions of one run, one folder each; those of an earlier model of the run do not count."""

    def __init__(self, run: RunRecord) -> None:
        self.run, self.folder = run, run.folder / FOLDER

    def all(self) -> list[Conversion]:
        """Those that were asked for, in the order of formats and weights."""
        found = (self.find(ending, weights) for ending in FORMATS for weights in WEIGHTS)
        return [one for one in found if one is not None]

    def find(self, ending: str, weights: str) -> Conversion | None:
        """That in one format, or None where nobody asked for it."""
        home, model = self._home(ending, weights), self.run.file("model.keras")
        asked = read(home / REQUEST)
        if not asked or model is None or asked.get("model_changed") != model.stat().st_mtime_ns:
            return None
        return Conversion(home)

    def begin(self, ending: str, weights: str) -> Conversion:
        """Convert the model in another process; asked twice for the same, it does it once.

        Raises:
            MissingPackageError: The package of the format is not installed.
            RunError: There is no model, or another conversion of this run is in progress.
        """
        model = self.run.file("model.keras")
        if model is None:
            raise RunError("The run has no model.", "a run that was trained.", "Wait for it, or train again.")
        if problem := missing(ending):
            raise problem
        found = self.find(ending, weights)
        if found is not None and found.state in ("running", "finished"):
            return found
        if any(one.running for one in self.all()):
            raise RunError("Another format is being made.", "one at a time.", "Wait for it, or stop it.")
        home = self._home(ending, weights)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, mode=0o700)
        asked = {"ending": ending, "weights": weights, "model_changed": model.stat().st_mtime_ns}
        begin(home, {"work": "convert", **asked})
        return Conversion(home)

    def _home(self, ending: str, weights: str) -> Path:
        return self.folder / f"{FORMATS[ending].lower().replace(' ', '-')}-{weights}"


def missing(ending: str) -> MissingPackageError | None:
    """What has to be installed for a format, or None."""
    from easydl.exporting.converters import check_packages

    try:
        check_packages(ending)
    except MissingPackageError as problem:
        return problem
    return None


def convert(asked: dict[str, Any], home: Path) -> None:
    """Convert the model of the run whose folder this one lies in, and measure it on the run's validation part.

    Raises:
        EasyDLError: The model cannot be converted, or for int8 the study cannot be read.
    """
    from easydl.exporting import export
    from easydl.runs.resuming import study_of

    run, ending, weights = home.parents[1], str(asked["ending"]), str(asked["weights"])
    write_status(home, message="Reading the validation part")
    unread = []
    try:
        val = study_of(run).part("val")
    except EasyDLError as problem:
        if weights == "int8":
            raise
        val, unread = None, [f"The study of the run cannot be read: {problem.found}"]
    write_status(home, message="Converting the model, and asking both on the validation images")
    options: dict[str, Any] = {"to": weights, "verbose": False}
    made = export(run / "model.keras", home / f"model-{weights}{ending}", val, **options)
    agreement = [f"{str(one)[0].upper()}{str(one)[1:]}." for one in made.agreement]
    files = sorted(path.name for path in home.glob(f"model-{weights}*"))
    said = {**made.to_dict(), "lines": [f"{made.size}.", *agreement, *made.notes, *unread], "files": files}
    write_text(home / FOUND, json.dumps(said), mode=0o600)
