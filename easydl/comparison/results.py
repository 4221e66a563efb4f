"""Models and baselines side by side: a table, a sentence, a figure, JSON. It computes no number."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.comparison.drawing import against_cost, check_against, cost_text, forest_plot
from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.paired import Difference
from easydl.fileio import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ComparedModel:
    """One line of a comparison.

    Attributes:
        name: What the user typed, or the model's name.
        text: What it is.
        value: The measure on the compared images; NaN where undefined.
        low: Lower end of its 95% interval, by patient.
        high: Upper end.
        n: Patients (images where patients are not known).
        images: Images.
        difference: The number of the line that others are compared with less this one, on the same images; NaN for
            that line itself.
        difference_low: Lower end of its 95% interval, paired by patient.
        difference_high: Upper end.
        seconds: Time to fit and apply it; NaN where it was not measured.
        baseline: Whether it is a baseline.
        spread: Standard deviation of the number over the seeds of several trainings, of which it is the mean; else NaN.
        by_seed: The number of each training.
        ms: Milliseconds for one image on this machine, the median of several answers; NaN where it was not measured.
        mb: Megabytes (10^6 bytes) of its parameters in float32; NaN where it has none.
    """

    name: str
    text: str
    value: float
    low: float
    high: float
    n: int
    images: int
    difference: float = math.nan
    difference_low: float = math.nan
    difference_high: float = math.nan
    seconds: float = math.nan
    baseline: bool = False
    spread: float = math.nan
    by_seed: tuple[float, ...] = ()
    ms: float = math.nan
    mb: float = math.nan

    @property
    def about(self) -> str:
        """What it is, and what an answer of it costs where that was measured."""
        return "; ".join(filter(None, [self.text, cost_text(self)]))


@dataclass(frozen=True, repr=False)
class Comparison:
    """Models and baselines on the same images of the same patients.

    Attributes:
        rows: The best first; the network before its baselines where it is compared with them.
        measure: What is compared.
        unit: Its unit; empty for a number without.
        lower_is_better: Whether it is an error.
        against: The name of the line that the differences are of: that line's number less each other's.
        unit_of_n: ``patients``, or ``images`` where patients are not known.
        part: Which images: ``test``, ``validation``, or ``folds`` (every patient, by models that have not seen them).
        head: Of several tasks, which.
        left_out: What could not be compared, and why, by name.
        differences: Of trained models by name every number of ``against`` less theirs, the first that of the line.
        notes: What must be read with the numbers.

    Example:
        >>> row = ComparedModel("forest", "random forest", 0.81, 0.72, 0.88, 90, 90)
        >>> Comparison((row,), "AUC", against="forest")
        AUC of 90 test patients
          forest  0.81 (95% CI 0.72-0.88)
        ...
    """

    rows: tuple[ComparedModel, ...]
    measure: str
    unit: str = ""
    lower_is_better: bool = False
    against: str = ""
    unit_of_n: str = "patients"
    part: str = "test"
    head: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    differences: Mapping[str, Sequence[Difference]] = field(default_factory=dict)

    @property
    def details(self) -> pd.DataFrame:
        """Of trained models one row per number: model, measure, first (the number of ``against``), second (the model's),
        difference (first less second), low, high, p, n, images, note."""
        rows = [{"model": name, **asdict(one)} for name, found in self.differences.items() for one in found]
        return pd.DataFrame(rows, columns=["model", *(one.name for one in fields(Difference))])

    @property
    def table(self) -> pd.DataFrame:
        """One row for each: name, text, value, low, high, n, images, the difference with its interval, seconds, spread, ms, mb."""
        columns = [one.name for one in fields(ComparedModel) if one.name != "by_seed"]
        return pd.DataFrame([asdict(row) for row in self.rows], columns=columns)

    @property
    def best_baseline(self) -> ComparedModel | None:
        """The baseline with the best number on these very images; a tie goes to the simplest."""
        known = [row for row in self.rows if row.baseline and math.isfinite(row.value)]
        return max(known, key=lambda row: -row.value if self.lower_is_better else row.value, default=None)

    @property
    def sentence(self) -> str:
        """Whether the first line adds anything over the best baseline (or the second line), with the interval."""
        first = self.rows[0] if self.rows else None
        others = [row for row in self.rows if row is not first]
        best_baseline = self.best_baseline if first is not None and not first.baseline else None
        other = best_baseline or next(iter(others), None)
        if first is None or other is None:
            return f"There is nothing to compare with{self._of_head}."
        who = "the network" if first.name == "network" else first.name
        best = f"the best baseline ({other.name})" if other.baseline and not first.baseline else other.name
        n = f"{first.n} {self.unit_of_n if first.n != 1 else self.unit_of_n.rstrip('s')}"
        if not math.isfinite(other.difference_low) and self._gain(other)[0] > 0:
            text = f"whether {who} adds anything over {best} cannot be said: the interval is not computable, {n}"
        elif self._gain(other)[1] > 0:
            value, low, high = (self._amount(one) for one in self._gain(other))
            if self.lower_is_better:
                text = f"{who} lowers the {self.measure} by {value} (95% CI {low} to {high}) compared with {best}, {n}"
            else:
                text = f"{who} adds {value} {self._short} (95% CI {low}-{high}) over {best}, {n}"
        elif self._gain(other)[2] < 0:
            text = f"{who} is worse than {best}: difference in {self._short} {self.gap_text(other)}, {n}"
        else:
            shown = f"difference in {self._short} {self.gap_text(other)}, {n}"
            text = f"{who} adds nothing that can be shown over {best}: {shown}"
        begins = text.startswith(("the network", "whether"))  # a model's name keeps its letters
        return f"{text[0].upper() if begins else text[0]}{text[1:]}{self._of_head}."

    @property
    def _of_head(self) -> str:
        return f" [{self.head}]" if self.head else ""

    @property
    def _short(self) -> str:
        return self.measure.split(",")[0]

    def _gain(self, row: ComparedModel) -> tuple[float, float, float]:
        """How much better than ``row`` the compared line is: value, low, high."""
        if self.lower_is_better:
            return -row.difference, -row.difference_high, -row.difference_low
        return row.difference, row.difference_low, row.difference_high

    def _amount(self, value: float) -> str:
        # Two decimals of a fraction hide a difference of 0.004, three do not.
        if self.unit:
            return number(value, self.unit)
        text = f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.3f}"
        return text.removeprefix("-") if float(text) == 0 else text

    def value_text(self, row: ComparedModel) -> str:
        """A line's number with its interval, as in "0.81 (95% CI 0.72-0.88)"; of several seeds with the SD over them."""
        cells = {"value": row.value, "low": row.low, "high": row.high, "unit": self.unit}
        return f"{number(row.value, self.unit)} (95% CI {interval_text(cells)}{self._spread_text(row)})"

    def _spread_text(self, row: ComparedModel) -> str:
        if not row.by_seed:
            return ""
        return f" over {self.unit_of_n}; SD over {len(row.by_seed)} seeds {self._amount(row.spread)}"

    def gap_text(self, row: ComparedModel) -> str:
        """The difference of the compared line and this one, with its interval; empty for that line itself."""
        if not math.isfinite(row.difference):
            return ""
        if not math.isfinite(row.difference_low):
            return f"{self._amount(row.difference)} (interval not computable)"
        low, high = self._amount(row.difference_low), self._amount(row.difference_high)
        return f"{self._amount(row.difference)} (95% CI {low} to {high})"

    @property
    def where(self) -> str:
        """On which patients, as text."""
        n = max((row.n for row in self.rows), default=0)
        kind = {"test": " test", "validation": " validation"}.get(self.part, "")
        folds = ", each tested out of fold" if self.part == "folds" else ""
        return f"{n}{kind} {self.unit_of_n}{folds}"

    def __repr__(self) -> str:
        wide = max((len(row.name) for row in self.rows), default=0)
        lines = [f"{self.measure} of {self.where}{self._of_head}"]
        for row in self.rows:
            gap = self.gap_text(row)
            said = f"; {self.against} less {row.name}: {gap}" if gap else ""
            time = f"; {row.seconds:.1f} s" if math.isfinite(row.seconds) else ""
            cost = f"; {text}" if (text := cost_text(row)) else ""
            lines.append(f"  {row.name:{wide}}  {self.value_text(row)}{said}{time}{cost}")
        if len(self.rows) > 1:
            lines.append(self.sentence)
        for name, found in self.differences.items():
            lines += [f"  {self.against} less {name}: {one!r}" for one in found[1:]]
        lines += [f"{name} left out: {why}" for name, why in self.left_out.items()]
        return "\n".join([*lines, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        heads = (
            "",
            self.measure,
            "95% CI",
            self.unit_of_n,
            f"{self.against} less this",
            "95% CI",
            "seconds",
            "an answer",
        )
        cells = [
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in self._cells(row))
            + "</tr>"
            for row in self.rows
        ]
        said = [self.sentence if len(self.rows) > 1 else "", *self.notes]
        said += [f"{name} left out: {why}" for name, why in self.left_out.items()]
        return (
            f"<p><b>{html.escape(self.measure)} of {html.escape(self.where)}</b></p><table><thead><tr>"
            + "".join(f"<th style='text-align:left'>{html.escape(head)}</th>" for head in heads)
            + f"</tr></thead><tbody>{''.join(cells)}</tbody></table>"
            + self._details_html
            + "".join(f"<p>{html.escape(one)}</p>" for one in said if one)
            + f"<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    @property
    def _details_html(self) -> str:
        if not self.differences:
            return ""
        table = self.details.rename(columns={"first": self.against}).to_html(
            index=False, border=0, float_format="{:.3f}".format
        )
        return f"<details><summary>Every number, paired by patient</summary>{table}</details>"

    def _cells(self, row: ComparedModel) -> tuple[str, ...]:
        limits = {"value": row.value, "low": row.low, "high": row.high, "unit": self.unit}
        known = math.isfinite(row.difference_low)
        paired = f"{self._amount(row.difference_low)} to {self._amount(row.difference_high)}" if known else ""
        return (
            f"{row.name}: {row.text}" if row.text != row.name else row.name,
            number(row.value, self.unit),
            interval_text(limits) + self._spread_text(row),
            str(row.n),
            self._amount(row.difference) if math.isfinite(row.difference) else "",
            paired,
            f"{row.seconds:.1f}" if math.isfinite(row.seconds) else "",
            cost_text(row),
        )

    def show(self, ax: Axes | None = None, *, against: str | None = None) -> Figure:
        """A forest plot: every number with its interval, the best at the top; baselines are hollow.

        Args:
            ax: Axes to draw on; a new figure when None.
            against: ``"ms"`` or ``"mb"`` draws the numbers over the milliseconds for an image, or the megabytes of parameters.

        Raises:
            InputError: Another word, or no line with this cost.
        """
        check_against(against)
        return forest_plot(self, ax) if against is None else against_cost(self, against, ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without paths or names of images and patients; what is not a number is None."""
        rows = [plain(asdict(row)) for row in self.rows]
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("rows", "differences")}
        said = {"left_out": dict(self.left_out), "notes": list(self.notes), "sentence": self.sentence}
        differences = {name: [plain(asdict(one)) for one in found] for name, found in self.differences.items()}
        return {"research_use": RESEARCH_USE, **own, **said, "rows": rows, "differences": differences}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Comparison:
        """Read back what ``to_dict`` wrote.

        Raises:
            InputError: It is something else.
        """
        try:
            rows = tuple(ComparedModel(**_read(one, ComparedModel)) for one in content["rows"])
            plain = {one.name for one in fields(cls)} - {"rows", "differences"}
            own = {name: cell for name, cell in content.items() if name in plain}
            differences = {
                name: [Difference(**_read(one, Difference)) for one in found]
                for name, found in content.get("differences", {}).items()
            }
            found = cls(rows, **own, differences=differences)
            _ = found.sentence, found.table, found.details, [found.value_text(row) for row in rows]
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise InputError(
                "This is not the content of a comparison.",
                "what to_dict() of one gave.",
                "Compare again, or run the training again.",
            ) from problem
        return found

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, or as a table if the name ends in ``.csv``; all or nothing. Returns the path."""
        if str(path).endswith(".csv"):
            return write_text(path, f"# {RESEARCH_USE}\n{self.table.to_csv(index=False)}")
        return write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))


def plain(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells for JSON, which has no NaN."""
    return {
        key: None if isinstance(cell, float) and not math.isfinite(cell) else cell for key, cell in cells.items()
    }  # fmt: skip


def _read(content: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The cells that `plain` gave, as they were."""
    numbers = {one.name for one in fields(kind) if one.type == "float"}
    found = {key: math.nan if key in numbers and cell is None else cell for key, cell in content.items()}
    return found | {"by_seed": tuple(content["by_seed"])} if "by_seed" in content else found


def sorted_rows(rows: Sequence[ComparedModel], lower_is_better: bool) -> tuple[ComparedModel, ...]:
    """The best first; what has no number last."""

    def key(row: ComparedModel) -> float:
        if not math.isfinite(row.value):
            return np.inf
        return row.value if lower_is_better else -row.value

    return tuple(sorted(rows, key=key))
