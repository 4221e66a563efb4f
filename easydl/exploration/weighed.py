"""What inputs are worth, as a sentence, a table and a figure, with the interval of each loss. It shuffles nothing."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t

from easydl.comparison.results import plain
from easydl.errors import RESEARCH_USE
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.level import level
from easydl.evaluation.measuring import Measure
from easydl.fileio import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_GROUPS = 100
"""Groups of patients of which one at a time is left out: more change the standard error by less than its own error."""


@dataclass(frozen=True)
class Weighed:
    """What shuffling one input costs.

    Attributes:
        name: The covariate, ``the image``, or a group of features.
        loss: How much worse the measure is without it, the mean over the repeats.
        low: Lower end of its 95% interval, by patient; NaN where it cannot be computed.
        high: Upper end.
    """

    name: str
    loss: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether a loss is shown: its interval lies above 0."""
        return self.low > 0


@dataclass(frozen=True, repr=False)
class Importance:
    """What each input is worth to a model.

    Attributes:
        rows: The largest loss first.
        measure: What is lost.
        value: The measure with everything in place: value, low, high.
        n: Patients (images where patients are not known).
        images: Images.
        unit_of_n: ``patients`` or ``images``.
        target: The class, label or task that was meant; empty for all classes.
        who: ``the model``, or ``forest``.
        warnings: To be read before the numbers.
        notes: To be read with them.
    """

    rows: tuple[Weighed, ...]
    measure: Measure
    value: tuple[float, float, float]
    n: int
    images: int
    unit_of_n: str = "patients"
    target: str = ""
    who: str = "the model"
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row for each input: name, loss, low, high, n, images."""
        return pd.DataFrame([{**asdict(row), "n": self.n, "images": self.images} for row in self.rows])

    @property
    def headline(self) -> str:
        """The measure with everything in place."""
        value, low, high = self.value
        cells = {"value": value, "low": low, "high": high, "unit": self.measure.unit}
        return f"{self.measure.name} {number(value, self.measure.unit)} (95% CI {interval_text(cells)}), {self.n} {self.unit_of_n}"

    @property
    def sentence(self) -> str:
        """What is lost without which input, and of which no loss is shown."""
        verb = "rises" if self.measure.lower_is_better else "falls"
        lost = [f"by {self.loss_text(row)} without {row.name}" for row in self.rows if row.shown]
        others = [row.name for row in self.rows if not row.shown]
        said = [f"It {verb} {', '.join(lost)}."] if lost else []
        said += [f"No loss is shown without {', '.join(others)}."] if others else []
        of = f" [{self.target}]" if self.target else ""
        return " ".join([f"{self.headline}{of}.", *said])

    def loss_text(self, row: Weighed) -> str:
        """As in ``0.21 (95% CI 0.11 to 0.31)``."""
        if not np.isfinite(row.low):
            return f"{self._amount(row.loss)} (interval not computable)"
        return f"{self._amount(row.loss)} (95% CI {self._amount(row.low)} to {self._amount(row.high)})"

    def _amount(self, value: float) -> str:
        if self.measure.unit:
            return number(value, self.measure.unit)
        text = f"{value:.2f}" if abs(value) >= 0.01 else f"{value:.3f}"
        return text.removeprefix("-") if float(text) == 0 else text

    def __repr__(self) -> str:
        wide = max((len(row.name) for row in self.rows), default=0)
        lines = [f"  {row.name:{wide}}  {self.loss_text(row)}" for row in self.rows]
        return "\n".join([*self.warnings, self.sentence, *lines, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        warned = "".join(f"<p><b>{html.escape(one)}</b></p>" for one in self.warnings)
        cells = "".join(
            f"<tr><td style='text-align:left'>{html.escape(row.name)}</td>"
            f"<td style='text-align:left'>{html.escape(self.loss_text(row))}</td></tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{html.escape(one)}</p>" for one in self.notes)
        return (
            f"{warned}<p><b>{html.escape(self.sentence)}</b></p><table><thead><tr><th style='text-align:left'>shuffled</th>"
            f"<th style='text-align:left'>loss of {html.escape(self.measure.name)}</th></tr></thead><tbody>{cells}</tbody>"
            f"</table>{notes}<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def show(self, ax: Axes | None = None) -> Figure:
        """Horizontal bars, the largest loss at the top, each with its interval; what is not shown to cost anything is grey.

        Args:
            ax: Draw into these axes instead of a new figure.

        Returns:
            A matplotlib figure.
        """
        from easydl.figures import BLUE, GREY, figure_of, frame, literal, new_figure, sign

        own = new_figure(7.5, 1.7 + 0.42 * len(self.rows)) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        for place, row in enumerate(self.rows):
            ax.barh([place], [row.loss], height=0.55, color=BLUE if row.shown else "#c9d1d6")
            if np.isfinite(row.low):
                ax.plot([row.low, row.high], [place, place], color="#1c2730", linewidth=1.4, solid_capstyle="butt")
        ax.axvline(0, color=GREY, linewidth=0.8)
        ax.set_yticks(range(len(self.rows)), [literal(row.name) for row in self.rows])
        ax.set_ylim(len(self.rows) - 0.4, -0.6)
        unit = f" ({self.measure.unit})" if self.measure.unit else ""
        verb = "rise" if self.measure.lower_is_better else "loss"
        ax.set_xlabel(
            f"{verb} of {self.measure.name}{unit} when shuffled, 95% CI, {self.n} {self.unit_of_n}", fontsize=9
        )
        ax.set_title(literal(f"With everything in place: {self.headline}"), fontsize=10, loc="left")
        frame(ax, "x")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        if own is not None:
            sign(own)
        return figure_of(ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not a number is None."""
        own = {"measure": asdict(self.measure), "n": self.n, "images": self.images, "unit_of_n": self.unit_of_n}
        said = {"sentence": self.sentence, "target": self.target, "who": self.who}
        read = {"warnings": list(self.warnings), "notes": list(self.notes)}
        value = plain(dict(zip(("value", "low", "high"), self.value, strict=True)))
        rows = [plain(asdict(row)) for row in self.rows]
        return {"research_use": RESEARCH_USE, **said, **own, "value": value, "rows": rows, **read}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, all or nothing. Returns the path."""
        return write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))


def jackknife(
    losses: Sequence[Callable[[np.ndarray], float]], units: np.ndarray, labels: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """The mean of numbers of the same images, with its interval when one group of patients at a time is left out.

    Args:
        losses: For each repeat a function of a mask over the images.
        units: The patient of every image.
        labels: Their labels: groups have them in nearly equal numbers.
        seed: Of the groups, where there are more patients than groups.

    Returns:
        Value, low, high; the limits are NaN where the number is not defined without some group.

    References:
        Efron B, Stein C. The jackknife estimate of variance. Ann Stat 1981;9:586-596.
    """
    everything = np.ones(len(units), bool)
    each = np.array([loss(everything) for loss in losses])
    names, first, index = np.unique(units, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(names)), labels[first]))
    group = np.empty(len(names), int)
    groups = min(MOST_GROUPS, len(names))
    group[order] = np.arange(len(names)) % groups
    of_image = group[index]
    left = np.array([[loss(of_image != one) for loss in losses] for one in range(groups)]).mean(axis=1)
    if groups < 2 or not np.isfinite(left).all():
        return float(each.mean()), float("nan"), float("nan")
    by_patient = (groups - 1) / groups * float(((left - left.mean()) ** 2).sum())
    error = np.sqrt(by_patient + each.var(ddof=1) / len(each))
    half = float(t.ppf((1 + level()) / 2, groups - 1) * error)
    return float(each.mean()), float(each.mean()) - half, float(each.mean()) + half
