"""What `easydl.tune` found: the settings, each trial with its interval, the honest number of the search. It trains nothing."""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from easydl.comparison.results import plain
from easydl.errors import RESEARCH_USE
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.measuring import Measure
from easydl.fileio import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_DRAWN = 30
"""Trials in a figure, the best first."""


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes:
        name: Its settings as text.
        settings: Its settings.
        validation: The measure on the validation parts, the mean over the folds: what it was chosen by.
        folds: In how many folds it was trained.
        value: The measure out of fold, on patients that it was not trained on.
        low: Lower end of its 95% interval, by patient.
        high: Upper end.
        n: Patients (images where patients are not known).
        images: Images.
        difference: The number of the chosen trial less this one's, on the same patients; NaN for the chosen one.
        difference_low: Lower end of its 95% interval, paired by patient.
        difference_high: Upper end.
        seconds: Of all its trainings.
        chosen: Whether it is the best.
    """

    name: str
    settings: dict[str, Any]
    validation: float
    folds: int
    value: float
    low: float
    high: float
    n: int
    images: int
    difference: float = math.nan
    difference_low: float = math.nan
    difference_high: float = math.nan
    seconds: float = math.nan
    chosen: bool = False


@dataclass(frozen=True, repr=False)
class Tuning:
    """The settings that were chosen, and what choosing them in this way reaches.

    Attributes:
        trials: The chosen one first, then by their validation.
        settings: The chosen ones, with those that were the same for all.
        measure: What is compared.
        value: What the search reaches on patients that no choice has seen: nested, out of fold.
        low: Lower end of its 95% interval, by patient.
        high: Upper end.
        n: Patients (images where patients are not known).
        images: Images.
        winners: What was chosen in each fold.
        search: ``grid``, ``random`` or ``optuna``.
        unit_of_n: ``patients``, or ``images`` where patients are not known.
        of_model: Which of the settings are those of `easydl.classifier`.
        failed: Trials whose training failed, and why.
        notes: What must be read with the numbers.
    """

    trials: tuple[Trial, ...]
    settings: dict[str, Any]
    measure: Measure
    value: float
    low: float
    high: float
    n: int
    images: int
    winners: tuple[str, ...]
    search: str = "grid"
    unit_of_n: str = "patients"
    of_model: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> dict[str, dict[str, Any]]:
        """Keyword arguments: ``["classifier"]`` of `easydl.classifier`, beside the study, and ``["fit"]`` of `easydl.fit`."""
        named = {name: value for name, value in self.settings.items() if value is not None}
        network = {"name" if name == "model" else name: named[name] for name in self.of_model if name in named}
        return {
            "classifier": network,
            "fit": {name: value for name, value in named.items() if name not in self.of_model},
        }

    @property
    def table(self) -> pd.DataFrame:
        """One row for each trial: its settings, validation, folds, the number out of fold with its interval, the rest."""
        rows = []
        for one in self.trials:
            cells = {key: cell for key, cell in asdict(one).items() if key not in ("name", "settings")}
            rows.append({**{name: _text(value) for name, value in one.settings.items()}, **cells})
        return pd.DataFrame(rows)

    @property
    def sentence(self) -> str:
        """What the search reaches on patients that it has not seen, and what it chose."""
        best, folds = self.trials[0], len(self.winners)
        same = sum(winner == best.name for winner in self.winners)
        return (
            f"Choosing in this way reaches {self.measure.name} {self.value_text(self)} on {self.n} {self.unit_of_n} that neither "
            f"training nor choice has seen. Best settings: {best.name} (chosen in {same} of {folds} folds)."
        )

    @property
    def caution(self) -> str:
        """Why the best trial's own number is not the one to quote."""
        if len(self.trials) == 1:
            return ""
        return (
            f"The number of the best trial itself, {self.value_text(self.trials[0])}, is that of the best of {len(self.trials)}: "
            "quote the first."
        )

    def value_text(self, one: Trial | Tuning) -> str:
        """The number of a trial, or of the search, with its interval, as in "0.81 (95% CI 0.72-0.88)"."""
        cells = {"value": one.value, "low": one.low, "high": one.high, "unit": self.measure.unit}
        return f"{number(one.value, self.measure.unit)} (95% CI {interval_text(cells)})"

    def gap_text(self, one: Trial) -> str:
        """The number of the chosen trial less this one's, with its interval; empty for that trial itself."""
        if not math.isfinite(one.difference):
            return ""
        low_high = f"{one.difference_low:.3f} to {one.difference_high:.3f}"
        known = math.isfinite(one.difference_low)
        return f"{one.difference:.3f} ({f'95% CI {low_high}' if known else 'interval not computable'})"

    @property
    def said(self) -> list[str]:
        """What must be read with the numbers."""
        failed = [f"{name} failed: {why}" for name, why in self.failed.items()]
        return [one for one in (self.caution, *failed, *self.notes) if one]

    def __repr__(self) -> str:
        wide = max(len(one.name) for one in self.trials)
        lines = [self.sentence, f"{self.measure.name} out of fold (on validation: what is chosen by):"]
        for one in self.trials:
            gap = f"; best less this: {self.gap_text(one)}" if self.gap_text(one) else ""
            validation = number(one.validation, self.measure.unit)
            lines.append(
                f"  {one.name:{wide}}  {self.value_text(one)}, n = {one.n} ({validation}){gap}; {one.seconds:.0f} s"
            )
        return "\n".join([*lines, *self.said, RESEARCH_USE])

    def _repr_html_(self) -> str:
        heads = (
            "settings",
            f"{self.measure.name} out of fold",
            self.unit_of_n,
            "on validation",
            "folds",
            "best less this",
        )
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td style='text-align:left'>{html.escape(cell)}</td>"
                for cell in (
                    one.name,
                    self.value_text(one),
                    str(one.n),
                    number(one.validation, self.measure.unit),
                    str(one.folds),
                    self.gap_text(one),
                )
            )
            + "</tr>"
            for one in self.trials
        )
        titles = "".join(f"<th style='text-align:left'>{html.escape(head)}</th>" for head in heads)
        said = "".join(f"<p>{html.escape(one)}</p>" for one in self.said)
        return (
            f"<p><b>{html.escape(self.sentence)}</b></p><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"
            f"{said}<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def show(self, ax: Axes | None = None) -> Figure:
        """A forest plot: the search's own number at the top, then each trial with its interval, the chosen one first."""
        from easydl.figures import BLUE, GREY, ORANGE, figure_of, frame, literal, new_figure, sign

        drawn = self.trials[:MOST_DRAWN]
        own = new_figure(7.5, 1.8 + 0.32 * (len(drawn) + 1)) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        lines: list[tuple[str, Trial | Tuning, str]] = [("the search, nested", self, ORANGE)]
        lines += [(one.name, one, BLUE if one.chosen else GREY) for one in drawn]
        for place, (_, one, colour) in enumerate(lines):
            if math.isfinite(one.low):
                ax.plot([one.low, one.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            ax.plot([one.value], [place], "D" if place == 0 else "o", markersize=7, color=colour)
        ax.set_yticks(range(len(lines)), [literal(name) for name, *_ in lines], fontsize=9)
        ax.set_ylim(len(lines) - 0.5, -0.5)
        ax.axhline(0.5, color=GREY, linewidth=0.6)
        unit = f" ({self.measure.unit})" if self.measure.unit else ""
        ax.set_xlabel(
            f"{self.measure.name}{unit}, 95% CI, {self.n} {self.unit_of_n}, each tested out of fold", fontsize=9
        )
        ax.set_title("Orange: no choice has seen these patients; blue: the settings chosen", fontsize=10, loc="left")
        frame(ax, "x")
        if own is not None:
            sign(own)
        return figure_of(ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; Keras objects by their names."""
        own = {"measure": asdict(self.measure), "search": self.search, "unit_of_n": self.unit_of_n}
        numbers = plain({"value": self.value, "low": self.low, "high": self.high, "n": self.n, "images": self.images})
        trials = [
            {**plain(asdict(one)), "settings": {name: _text(value) for name, value in one.settings.items()}}
            for one in self.trials
        ]
        best = {kind: {name: _text(value) for name, value in found.items()} for kind, found in self.best.items()}
        said = {
            "sentence": self.sentence,
            "caution": self.caution,
            "notes": list(self.notes),
            "failed": dict(self.failed),
        }
        winners = {"winners": list(self.winners)}
        return {"research_use": RESEARCH_USE, **own, **numbers, **said, "best": best, **winners, "trials": trials}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, or the trials as a table if the name ends in ``.csv``; all or nothing. Returns the path."""
        if str(path).endswith(".csv"):
            return write_text(path, f"# {RESEARCH_USE}\n{self.table.to_csv(index=False)}")
        return write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as a person writes them."""
    return ", ".join(f"{name} {_text(value)}" for name, value in settings.items())


def label_of(settings: Mapping[str, Any]) -> str:
    """A name that is another for other settings: two objects of one class differ by their config."""
    from easydl.training.own_objects import mark_of

    marks = [mark_of(value) for value in settings.values() if not _is_plain(value)]
    short = hashlib.sha256("|".join(marks).encode()).hexdigest()[:4]
    return f"{settings_text(settings)} [{short}]" if marks else settings_text(settings)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (str, int, float))


def _text(value: Any) -> Any:
    from easydl.training.own_objects import name_of

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value) if _is_plain(value) else name_of(value)
