"""New cases, one or a study of them: put to a model in a process of their own, and kept meanwhile. It loads no TensorFlow."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from easydl.errors import InputError, RunError
from easydl.workspace.background import REQUEST, Work, begin, read
from easydl.workspace.similar import NearestImages, from_kept
from easydl.workspace.studies import typed_path

if TYPE_CHECKING:
    import pandas as pd

_ID = re.compile(r"[0-9a-f]{16}")
RESULT, NEAREST = "result", "nearest.json"


@dataclass
class Case(Work):
    """A case that was put to a model: how far it has come, and what came of it."""

    @cached_property
    def found(self) -> dict[str, Any]:
        """``case.json`` as `easydl.reporting.case_page` writes it; empty before."""
        return read(self.folder / RESULT / "case.json")

    @cached_property
    def nearest(self) -> NearestImages | None:
        """The training images that are nearest to it; None where nobody looked."""
        return from_kept(read(self.folder / RESULT / NEAREST), self.folder / RESULT)

    @property
    def page(self) -> Path | None:
        """The page of the case that can be taken away."""
        path = self.folder / RESULT / "case.html"
        return path if path.is_file() else None

    @property
    def sheet(self) -> Path | None:
        """The sheet of all calls, where many cases were asked about."""
        path = Path(str(self.found.get("sheet") or ""))
        return path if path.is_file() and path.is_relative_to(self.folder.parents[1]) else None

    @property
    def ready(self) -> str:
        """Whether the model is ready for many cases, in a few words; empty for one case."""
        return str(self.found.get("ready") or "")

    @property
    def reasons(self) -> list[str]:
        """What that rests on."""
        return self._sentences("reasons")

    @property
    def to_look_at(self) -> pd.DataFrame:
        """Of many cases those that a reader should look at."""
        import pandas as pd

        rows = self.found.get("to_look_at")
        return pd.DataFrame(rows if isinstance(rows, list) else [])

    @property
    def to_label(self) -> pd.DataFrame | None:
        """The images to label next, by their place in the study, where that was asked."""
        import pandas as pd

        rows = self.found.get("to_label")
        return pd.DataFrame(rows) if isinstance(rows, list) else None

    @property
    def list_to_label(self) -> Path | None:
        """The same list with the images and patients, to take away."""
        path = self.folder / RESULT / "to_label.csv"
        return path if path.is_file() else None

    @property
    def images(self) -> list[Path]:
        """Its images, of those that lie in its folder."""
        folder = self.folder / RESULT
        paths = [folder / str(name) for name in self.found.get("images") or ()]
        return [path for path in paths if path.parent == folder and path.is_file()]

    @property
    def scores(self) -> pd.DataFrame:
        """One row a class: its score, and the threshold from which on it is called; empty for a segmentation."""
        import pandas as pd

        given, threshold = self.found.get("probabilities"), self.found.get("threshold")
        rows = []
        for name, score in (given if isinstance(given, dict) else {}).items():
            own = threshold.get(name) if isinstance(threshold, dict) else None
            rows.append({"class": name, "score": _text(score), "called from": _text(own)})
        table = pd.DataFrame(rows)
        return table if isinstance(threshold, dict) else table.drop(columns="called from", errors="ignore")

    @property
    def rules(self) -> list[str]:
        """From which score on something is called, how that was chosen, and that one case has no interval."""
        return self._sentences("rules")

    @property
    def doubt(self) -> list[str]:
        """What else the answer may be, as sentences."""
        return self._sentences("doubt")

    @property
    def volumes(self) -> list[str]:
        """Each structure of the mask with its volume."""
        given = self.found.get("volumes_ml")
        return [f"{name}: {_text(ml, '.1f')} mL" for name, ml in (given if isinstance(given, dict) else {}).items()]

    @property
    def verdict(self) -> dict[str, str]:
        """Whether to believe the heatmap, and where it lies: ``level``, ``sentence`` and ``words``; empty without a heatmap."""
        given = self.found.get("verdict")
        if isinstance(given, dict):
            return {key: str(given.get(key) or "") for key in ("level", "sentence", "words")}
        level, _, sentence = str(given or "").partition(":")
        return {"level": level.strip().upper(), "sentence": sentence.strip()} if level else {}

    @property
    def unlike(self) -> list[str]:
        """How it differs from the training images, as sentences."""
        return self._sentences("unlike")

    @property
    def notes(self) -> list[str]:
        """What must be read with the answer."""
        return self._sentences("notes")

    def _sentences(self, key: str) -> list[str]:
        given = self.found.get(key)
        return [str(sentence) for sentence in given] if isinstance(given, list) else []


class Cases:
    """The cases of one workspace, one folder each; their images are copies that `remove` deletes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, model: Path, files: Iterable[tuple[str, IO[bytes]]], *, method: str = "gradcam") -> Case:
        """Keep one image or the files of one series (also as one zip), and put them to a model; ``method`` is the heatmap's.

        Raises:
            InputError: Nothing that can be used; nothing is left behind.
        """
        from easydl.workspace.uploads import keep, unpack

        given = iter(files)
        first = next(given, None)
        if first is None:
            raise InputError("No file was given.", "one image, or the files of one series.", "Choose the files again.")
        home = self.folder / secrets.token_hex(8)
        home.mkdir(parents=True, mode=0o700)
        try:
            if first[0].lower().endswith(".zip"):
                packed = home / "given.zip"
                with open(packed, "wb") as copy:
                    shutil.copyfileobj(first[1], copy)
                source = unpack(packed, home / "files")
                packed.unlink()
            else:
                source, _ = keep(chain([first], given), home / "files")
            inside = list(source.iterdir())
            only = inside[0] if len(inside) == 1 else source
            request = {"work": "case", "model": str(model.resolve()), "source": str(only), "method": method}
            return self._begun(home, request)
        except BaseException:
            shutil.rmtree(home, ignore_errors=True)
            raise

    def accept(self, model: Path, study_id: str) -> Case:
        """Ask whether a model is ready for the cases of a study of this workspace (`easydl.accept`)."""
        home = self.folder / secrets.token_hex(8)
        home.mkdir(parents=True, mode=0o700)
        return self._begun(home, {"work": "accept", "model": str(model.resolve()), "study": study_id})

    def label_next(self, model: Path, study_id: str, count: int) -> Case:
        """Ask which images of a study of this workspace to label next (`Predictions.most_useful`)."""
        home = self.folder / secrets.token_hex(8)
        home.mkdir(parents=True, mode=0o700)
        return self._begun(
            home, {"work": "label", "model": str(model.resolve()), "study": study_id, "to_label": str(count)}
        )

    def _begun(self, home: Path, request: dict[str, str]) -> Case:
        begin(home, request)
        return Case(home)

    def all(self) -> list[Case]:
        """The cases that are kept."""
        if not self.folder.is_dir():
            return []
        return [Case(place) for place in self.folder.iterdir() if (place / REQUEST).is_file()]

    @staticmethod
    def model(typed: str) -> Path:
        """The model file that a person typed or pasted.

        Raises:
            InputError: There is no such file.
        """
        path = typed_path(typed)
        if path is None or not path.is_file():
            raise InputError(
                "There is no model file at this path.",
                "the full path of a file that ends in .keras.",
                "Copy the path from the file manager and paste it here.",
            )
        return path

    def find(self, case_id: str) -> Case | None:
        """One case by its id, or None when it is not here."""
        kept = _ID.fullmatch(case_id) and (self.folder / case_id / REQUEST).is_file()
        return Case(self.folder / case_id) if kept else None

    def one(self, case_id: str) -> Case:
        """One case by its id.

        Raises:
            RunError: It is not here.
        """
        case = self.find(case_id)
        if case is None:
            raise RunError("This case is not here any more.", "a case that was not removed.", "Choose its files again.")
        return case

    def stop(self, case_id: str) -> None:
        """End the work on a case."""
        self.one(case_id).stop()

    def remove(self, case_id: str) -> None:
        """Delete a case: the copies of its images and what came of it."""
        self.stop(case_id)
        shutil.rmtree(self.folder / case_id)


def _text(value: Any, form: str = ".2f") -> str:
    return format(value, form) if isinstance(value, int | float) else str(value or "")
