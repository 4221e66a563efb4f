"""What an acceptance found: prints, shows itself in a notebook, and adds itself to those before. It asks no model."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.acceptance.shift import Shift
from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation import Metrics
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.looking import OVER_LOOKS
from easydl.fileio import csv_text, locked, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEETS = "acceptance"
PAGE, HISTORY, CASES = "acceptance.html", "history.json", "cases.csv"
DO_NOT, LOOK, NOTHING, UNKNOWN = (
    "Not ready for these cases",
    "Look before using it here",
    "Nothing found against it here",
    "Cannot be said from these cases",
)
ANSWERS = ("sensitivity", "specificity")
BAD = ("One answer", "Not shown to be better", "Worse than", "Hardly any overlap", "The probabilities are worse")
"""What warnings of a test begin with that make its numbers worth nothing."""
_COLOURS = {DO_NOT: "#9b2c1f", LOOK: "#8a5a00", NOTHING: "#2c6650", UNKNOWN: "#5b6570"}


@dataclass(eq=False)
class Acceptance:
    """What a hospital's own cases say of a model.

    Attributes:
        model: Its name.
        fingerprint: Of the model, by which calls are known to be of one.
        date: When it was asked, ISO 8601 with the offset of this computer's clock.
        images: Cases.
        patients: Patients, or None where they are unknown.
        shifts: Every field compared with the training, those that differ first.
        metrics: The test at the model's own threshold, or None without labels.
        calibration: Of two classes the mean probability less the observed fraction, with its interval; else None.
        called: The fraction of images called each class.
        labels: Images of every class in training.
        cases: Which cases to look at, by their names on this computer. It is not in what is passed on.
        notes: What could not be compared.
    """

    model: str
    fingerprint: str
    date: str
    images: int
    patients: int | None
    shifts: list[Shift]
    metrics: Metrics | None
    calibration: dict[str, Any] | None
    called: dict[str, float]
    labels: dict[str, int]
    cases: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The answer in a few words: `DO_NOT`, `LOOK`, `NOTHING` or `UNKNOWN`."""
        if self.metrics is None:
            return LOOK if self._differing else UNKNOWN
        if any(_begins(one, *BAD) for one in self.metrics.warnings):
            return DO_NOT
        few = any(_begins(note, "Too few") for note in self.metrics.notes)
        # That these cases were looked at before makes the intervals wider; it says nothing against the model.
        others = [one for one in self.metrics.warnings if OVER_LOOKS not in one]
        open_questions = self._differing or self._miscalibrated or few or others or not self.shifts
        return LOOK if open_questions else NOTHING

    @property
    def reasons(self) -> list[str]:
        """What the verdict rests on, as sentences with n and 95% intervals."""
        said = list(self.metrics.warnings) if self.metrics is not None else []
        if self.metrics is not None:
            for head, test in (self.metrics.heads or {"": self.metrics}).items():
                rows = [k for k, row in enumerate(test.rows) if k == 0 or row.name in ANSWERS]
                where = f"{head}: here" if head else "Here"
                said.append(f"{where}, at the model's own threshold: {'; '.join(map(test.sentence, rows))}.")
        if self.calibration is not None:
            said.append(self._calibrated())
        for one in self._differing:
            said.append(
                f"Differs from the training: {one.field} (p {_p(one.p)}); here {one.here}, there {one.training}. "
                f"{number(one.outside)} (95% CI {number(one.low)}-{number(one.high)}) of {one.n} cases lie outside what was "
                "usual there."
            )
        if self.shifts and not self._differing:
            said.append(f"None of {len(self.shifts)} fields is shown to differ from the training (n = {self._n}).")
        few = [] if self.metrics is None else [note for note in self.metrics.notes if _begins(note, "Too few")]
        return [*said, *few, *self.notes]

    @property
    def table(self) -> pd.DataFrame:
        """The fields as a DataFrame."""
        rows = [asdict(one) | {"verdict": one.verdict} for one in self.shifts]
        return pd.DataFrame(rows, columns=[*Shift.__dataclass_fields__, "verdict"])

    def __repr__(self) -> str:
        return "\n".join([f"{self.verdict} ({self._n}).", *self.reasons, RESEARCH_USE])

    def _repr_html_(self) -> str:
        reasons = "".join(f"<li>{html.escape(one)}</li>" for one in self.reasons)
        shown = self.table[["field", "here", "training", "n", "verdict"]].to_html(index=False, escape=True, border=0)
        cases = self.cases.to_html(index=False, escape=True, border=0, float_format="{:.2f}".format)
        return (
            f"<p style='color:{_COLOURS[self.verdict]}'><b>{self.verdict}</b> ({self._n})</p><ul>{reasons}</ul>"
            f"<details><summary>{len(self.shifts)} fields compared</summary>{shown}</details>"
            f"<details><summary>{len(self.cases)} cases to look at</summary>{cases}</details>"
            f"<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def to_dict(self) -> dict[str, Any]:
        """What is kept of it and may be passed on: no name of an image or patient."""
        rows = [] if self.metrics is None else self.metrics.to_dict()["table"]
        shown = ["field", "outside", "low", "high", "n", "p", "verdict"]
        return {
            "research_use": RESEARCH_USE,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "date": self.date,
            "images": self.images,
            "patients": self.patients,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "table": rows,
            "called": self.called,
            "calibration": self.calibration,
            "shifts": json.loads(self.table[shown].to_json(orient="records")),
        }

    def show(self, history: list[dict[str, Any]] | None = None) -> Figure:
        """Draw the numbers and the shifts over the dates of all calls (by default of this one)."""
        from easydl.acceptance.sheet import drift_chart

        return drift_chart(history or [self.to_dict()])

    def folder_in(self, home: Path) -> Path:
        """Where all sheets of this model are kept in a workspace."""
        return home / SHEETS / self.fingerprint[:16]

    def save(self, folder: str | Path) -> Path:
        """Add this call to those in a folder, and write the sheet of all: ``acceptance.html``.

        ``history.json`` has every call and may be passed on like the sheet; ``cases.csv`` names the cases of this one and
        stays on this computer (mode 0600). The same call is not added twice.

        Args:
            folder: One for each model; made when it is missing.

        Returns:
            The path of the sheet.

        Raises:
            InputError: The folder holds another model's acceptance, or a history that cannot be read.
        """
        from easydl.acceptance.sheet import sheet

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", timeout_s=20):
            history = read_history(folder)
            if history and history[-1]["fingerprint"] != self.fingerprint:
                raise InputError(
                    f"The folder {folder.name} holds the acceptance of another model ({history[-1]['model']}).",
                    "one folder for each model: another training is another model.",
                    "Give another folder.",
                )
            own = self.to_dict()
            history = [one for one in history if one["date"] != own["date"]] + [own]
            write_text(folder / HISTORY, json.dumps(history, indent=1, allow_nan=False))
            write_text(folder / CASES, f"# {RESEARCH_USE}\n{csv_text(self.cases)}", mode=0o600)
            return write_text(folder / PAGE, sheet(self, history))

    @property
    def _differing(self) -> list[Shift]:
        return [one for one in self.shifts if one.differs]

    @property
    def _miscalibrated(self) -> bool:
        known = self.calibration
        return known is not None and np.isfinite(known["low"]) and not known["low"] <= 0 <= known["high"]

    @property
    def _n(self) -> str:
        images = f"{self.images} image{'s' if self.images != 1 else ''}"
        return (
            images
            if self.patients is None
            else f"{images} of {self.patients} patient{'s' if self.patients != 1 else ''}"
        )

    def _calibrated(self) -> str:
        known: dict[str, Any] = self.calibration or {}
        said = (
            f"The mean probability of {known['positive']} is {number(known['predicted'])}; {number(known['observed'])} have it: "
            f"a difference of {number(known['value'])} (95% CI {interval_text({**known, 'unit': ''})}), "
            f"{known['n']} {known['unit_of_n']}."
        )
        if not self._miscalibrated:
            return said
        return f"{said} The probabilities are too {'high' if known['value'] > 0 else 'low'} here."


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The calls that were saved in a folder, in their order.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        content = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        if isinstance(content, list) and all({"date", "fingerprint", "model", "table"} <= set(one) for one in content):
            return content
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError):
        pass
    raise InputError(
        f"{HISTORY} in {folder.name} does not hold what it should.",
        "the calls that easydl wrote there.",
        "Put it back from a copy, or give another folder.",
    )


def _begins(sentence: str, *beginnings: str) -> bool:
    """Whether a sentence of a test begins so, be it behind the name of one of several tasks."""
    return any(sentence.startswith(one) or f": {one}" in sentence for one in beginnings)


def now() -> str:
    """The time, with the offset of this computer's clock; to the microsecond, because it tells two calls apart."""
    return datetime.now().astimezone().isoformat(timespec="microseconds")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
