"""Networks, or learning rates, compared on the folds of a study in another process; its test part is left alone. No TensorFlow."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.comparison.baselines import BASELINES
from easydl.errors import RunError
from easydl.fileio import replacing, write_text
from easydl.options import SplitOptions
from easydl.options_of_planning import CompareOptions, TuneOptions
from easydl.workspace.background import REQUEST, Work, begin, read

if TYPE_CHECKING:
    import pandas as pd

    from easydl.studies import Study
    from easydl.workspace.studies import StudyEntry

FOLDER, FOUND, FIGURE, FIGURE_PX = "comparisons", "found.json", "figure.png", 760
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass
class ComparisonWork(Work):
    """A comparison on folds: how far it has come, and what came of it."""

    @property
    def title(self) -> str:
        """What is compared."""
        names = ", ".join(map(str, self.asked.get("compared") or ()))
        model = f" of {self.asked.get('model')}" if self.asked.get("model") else ""
        return f"Comparing the learning rates {names}{model}" if model else f"Comparing {names}"

    @property
    def message(self) -> str:
        """The model and fold that it is at."""
        return next(iter(self._begun[-1:]), "")

    @property
    def fraction(self) -> float:
        """Of the fits that have ended, 0 to 1; one of a network counts for twenty of a baseline."""
        names = [str(one) for one in self.asked.get("compared") or ()]
        each = {name: 0.05 if name in BASELINES else 1.0 for name in names}
        total = sum(each.values()) * int((self.asked.get("options") or {}).get("folds") or 5)
        ended = self._begun[:-1] if self.asked.get("work") == "compare" else self._begun  # `tune` says each at its end
        done = sum(each.get(line.partition(", ")[2], 1.0) for line in ended)
        return min(1.0, done / max(total, 0.05))

    @property
    def _begun(self) -> list[str]:
        """What `compare` and `tune` print of each fit."""
        try:
            lines = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if line.startswith("Fold ")]

    @cached_property
    def found(self) -> dict[str, Any]:
        """What came of it; empty before."""
        return read(self.folder / FOUND)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each, the best first, as text."""
        import pandas as pd

        rows = self.found.get("rows")
        return pd.DataFrame(rows if isinstance(rows, list) else [])

    @property
    def figure(self) -> Path | None:
        """The forest plot."""
        path = self.folder / FIGURE
        return path if path.is_file() else None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a run that the best one amounts to; empty where a baseline is the best."""
        found = self.found.get("settings")
        return found if isinstance(found, dict) else {}


class Comparisons:
    """The comparisons of one workspace, one folder each.

    Args:
        folder: Of the workspace.
        alone: Holds the workspace while work is begun, and refuses it while a training or a comparison is in progress.
    """

    def __init__(self, folder: Path, alone: Callable[[], AbstractContextManager[None]]) -> None:
        self.folder, self._alone = folder / FOLDER, alone

    def of(self, study_id: str) -> list[ComparisonWork]:
        """Those of one study, the newest first."""
        places = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [one for place in places if (one := self.find(place.name)) and one.asked.get("study") == study_id]
        return sorted(found, key=lambda one: str(one.status["started"]), reverse=True)

    def find(self, work_id: str) -> ComparisonWork | None:
        """One by its id, or None when it is not here."""
        kept = _ID.fullmatch(work_id) and (self.folder / work_id / REQUEST).is_file()
        return ComparisonWork(self.folder / work_id) if kept else None

    def networks(self, entry: StudyEntry, names: list[str], split: dict[str, Any], **options: Any) -> ComparisonWork:
        """Compare networks and baselines by name (`easydl.compare`).

        Raises:
            RunError: An option is not valid, or a training or a comparison is in progress.
        """
        given = CompareOptions.checked(**options).model_dump()
        return self._begin(entry, {"work": "compare", "compared": names, "split": split, "options": given})

    def rates(
        self, entry: StudyEntry, model: str, rates: list[float], split: dict[str, Any], **options: Any
    ) -> ComparisonWork:
        """Choose among learning rates of a network (`easydl.tune`).

        Raises:
            RunError: As for `networks`.
        """
        given = TuneOptions.checked(**options).model_dump()
        asked = {"work": "tune", "compared": rates, "model": model, "split": split, "options": given}
        return self._begin(entry, asked)

    def remove(self, work_id: str) -> None:
        """Stop it, and delete what came of it."""
        work = self.find(work_id)
        if work is not None:
            work.stop()
            shutil.rmtree(work.folder)

    def forget(self, study_id: str) -> None:
        """Delete those of a study that is forgotten."""
        for one in self.of(study_id):
            self.remove(one.id)

    def _begin(self, entry: StudyEntry, asked: dict[str, Any]) -> ComparisonWork:
        asked = {**asked, "study": entry.id}
        with self._alone():
            home = self.folder / secrets.token_hex(8)
            home.mkdir(parents=True, mode=0o700)
            begin(home, asked)
        return ComparisonWork(home)


def refuse_while_comparing(folder: Path) -> None:
    """Refuse to begin anything in a workspace in which networks are being compared.

    Raises:
        RunError: They are.
    """
    homes = (folder / FOLDER).iterdir() if (folder / FOLDER).is_dir() else ()
    if any(Work(home).running for home in homes):
        raise RunError(
            "Networks are being compared already.",
            "one training or comparison at a time: two would slow each other down.",
            "Wait until it is finished, or stop it, on the page Train.",
        )


def compare_networks(asked: dict[str, Any], home: Path) -> None:
    """Compare networks and baselines, and write down what came of it."""
    from easydl.comparison import compare

    found = compare(_study(asked, home), asked["compared"], verbose=True, **asked["options"])
    rows = [
        {
            "model": row.name,
            f"{found.measure} (95% CI)": found.value_text(row),
            f"{found.against} less this (95% CI)": found.gap_text(row),
            "n": f"{row.n} {found.unit_of_n}",
            "what it is": row.text,
        }
        for row in found.rows
    ]
    best = next(iter(found.rows), None)
    settings = {}
    if best is not None and not best.baseline:
        settings = {"model": best.name, "pretrained": bool(asked["options"]["pretrained"])}
    left_out = [f"{name} left out: {why}." for name, why in found.left_out.items()]
    _write(home, found, {"rows": rows, "settings": settings, "notes": [*left_out, *found.notes]})


def tune_rates(asked: dict[str, Any], home: Path) -> None:
    """Choose among learning rates, nested, and write down what came of it."""
    from easydl.comparison import tune

    space = {"model": [asked["model"]], "learning_rate": [float(rate) for rate in asked["compared"]]}
    found = tune(_study(asked, home), space, verbose=True, **asked["options"])
    rows = [
        {
            "learning rate": f"{one.settings['learning_rate']:g}",
            f"{found.measure.name} (95% CI)": found.value_text(one),
            "best less this (95% CI)": found.gap_text(one),
            "n": f"{one.n} {found.unit_of_n}",
        }
        for one in found.trials
    ]
    chosen = found.trials[0].settings
    settings = {**chosen, "pretrained": bool(asked["options"]["pretrained"])}
    _write(home, found, {"rows": rows, "settings": settings, "notes": found.said})


def _study(asked: dict[str, Any], home: Path) -> Study:
    """The whole study with its split, of which the test part is not read."""
    from easydl.workspace.home import Workspace

    studies = Workspace(home.parents[1]).studies
    study = studies.load(studies.one(asked["study"]))
    whole = study.split(**SplitOptions.checked(**asked["split"]).model_dump())[0].parent
    assert whole is not None
    return whole


def _write(home: Path, found: Any, said: dict[str, Any]) -> None:
    from easydl.figures import png_of
    from easydl.workspace.screen import on_page

    with replacing(home / FIGURE) as path:
        path.write_bytes(png_of(on_page(found.show(), FIGURE_PX)))
    write_text(home / FOUND, json.dumps({"sentence": found.sentence, **said}))
