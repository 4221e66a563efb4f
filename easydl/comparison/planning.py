"""How wide an interval will be with n patients, before anybody collects them. It looks at no data."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import multivariate_normal, norm, t

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.intervals import wilson
from easydl.evaluation.level import level
from easydl.option_model import documented
from easydl.options_of_planning import PlanOptions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 2
"""Patients of a kind below which no interval is computable."""
SHOWN = (0.25, 4.0)
"""The figure's range, in multiples of the number of patients asked for."""


@dataclass(frozen=True, repr=False)
class PlannedInterval:
    """The 95% interval to be expected.

    Attributes:
        measure: ``AUC``, ``proportion`` or ``Dice``.
        value: What is expected to be found.
        patients: How many are tested.
        low: Lower end of the interval, if exactly that value is found.
        high: Upper end.
        counts: The patients behind it, as text.
        settings: What it was asked with.
    """

    measure: str
    value: float
    patients: int
    low: float
    high: float
    counts: str
    settings: dict[str, float]

    @property
    def width(self) -> float:
        """Upper less lower end."""
        return self.high - self.low

    def __repr__(self) -> str:
        name = "an AUC" if self.measure == "AUC" else f"a {self.measure}"
        return (
            f"With {self.counts}, {name} of {self.value:.2f} will have a 95% interval of about {self.low:.2f} to "
            f"{self.high:.2f} (width {self.width:.2f}).\n{RESEARCH_USE}"
        )

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in repr(self).splitlines())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        own = {name: getattr(self, name) for name in ("measure", "value", "patients", "low", "high", "width", "counts")}
        return {"research_use": RESEARCH_USE, **own}

    def show(self, ax: Axes | None = None) -> Figure:
        """The interval against the number of patients, from a quarter to four times as many."""
        from easydl.figures import BLUE, GREY, ORANGE, figure_of, new_figure, sign

        own = new_figure(6.5, 4) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        numbers = np.unique(np.geomspace(max(4, SHOWN[0] * self.patients), SHOWN[1] * self.patients, 60).astype(int))
        limits = [_limits(self.measure, int(number), self.settings) for number in numbers]
        low, high = np.array([one[:2] for one in limits], float).T
        ax.fill_between(numbers, low, high, color=BLUE, alpha=0.18, linewidth=0, label="95% interval")
        ax.axhline(self.value, color=BLUE, linewidth=1.5)
        ax.plot([self.patients] * 2, [self.low, self.high], color=ORANGE, linewidth=2.5,
                label=f"{self.patients} patients: {self.low:.2f} to {self.high:.2f}")  # fmt: skip
        ax.set(xscale="log", xlabel="patients tested", ylabel=self.measure)
        ticks = sorted({int(numbers[0]), round(self.patients / 2), self.patients, 2 * self.patients, int(numbers[-1])})
        ax.set_xticks(ticks, [f"{one:,}" for one in ticks])
        ax.minorticks_off()
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=9, labelcolor=GREY)
        if own is not None:
            sign(own)
        return figure_of(ax)


@documented(PlanOptions)
def interval_width(
    *,
    patients: int,
    auc: float | None = None,
    positive: float = 0.5,
    proportion: float | None = None,
    dice: float | None = None,
    sd: float | None = None,
) -> PlannedInterval:
    """How wide a test's 95% interval will be with so many patients: ask before collecting them.

    Args:
        {options}

    Give one of ``auc``, ``proportion`` and ``dice``. One image a patient is assumed: several of one patient count for
    less than so many patients.

    Returns:
        A `PlannedInterval` with ``low``, ``high`` and ``width``; it prints itself, and ``.show()`` shows other numbers of
        patients.

    Raises:
        InputError: Not exactly one number was given, a value is out of range, or too few patients are left in a class.

    Example:
        >>> easydl.interval_width(auc=0.85, patients=200, positive=0.3)
        With 200 patients (60 of them with the disease), an AUC of 0.85 will have a 95% interval of about 0.79 to 0.90 ...

    References:
        Hanley JA, McNeil BJ. Radiology 1982;143:29-36 (the variance, here of two normal distributions instead of
        exponential ones). Wilson EB. J Am Stat Assoc 1927;22:209-212.
    """
    given = {"AUC": auc, "proportion": proportion, "Dice": dice}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) != 1 or (sd is None) != (dice is None):
        raise InputError(
            f"{', '.join(asked) or 'No number'} {'was' if len(asked) < 2 else 'were'} given"
            f"{' without its standard deviation' if dice is not None and sd is None else ''}"
            f"{', and sd without dice' if sd is not None and dice is None else ''}.",
            "one of auc, proportion, and dice with sd.",
            "For example: interval_width(auc=0.85, patients=200, positive=0.3).",
        )
    PlanOptions.checked(patients=patients, auc=auc, positive=positive, proportion=proportion, dice=dice, sd=sd)
    (measure, value), *_ = asked.items()
    settings = {"value": float(value), "positive": positive, "sd": sd or 0.0}
    low, high, counts = _limits(measure, patients, settings)
    if not np.isfinite(low):
        raise InputError(
            f"{counts} leave fewer than {FEWEST} patients in a class.",
            f"at least {FEWEST} with and {FEWEST} without the disease.",
            "Plan for more patients, or for more of the rarer class.",
        )
    return PlannedInterval(measure, float(value), patients, low, high, counts, settings)


def _limits(measure: str, patients: int, settings: dict[str, float]) -> tuple[float, float, str]:
    value = settings["value"]
    if measure == "proportion":
        interval = wilson(value, patients)
        return interval.low, interval.high, f"{patients:,} patients"
    if measure == "Dice":
        half = float(t.ppf((1 + level()) / 2, patients - 1) * settings["sd"] / np.sqrt(patients))
        return max(0.0, value - half), min(1.0, value + half), f"{patients:,} patients"
    with_it = round(patients * settings["positive"])
    counts = f"{patients:,} patients ({with_it:,} of them with the disease)"
    if min(with_it, patients - with_it) < FEWEST:
        return np.nan, np.nan, counts
    # On the logit scale, as `easydl.evaluate` has it: an AUC of 0.97 can be 0.9, not 1.04.
    error = np.sqrt(auc_variance(value, with_it, patients - with_it))
    half = float(t.ppf((1 + level()) / 2, patients - 2) * error / (value * (1 - value)))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half)), counts


def auc_variance(auc: float, positives: int, negatives: int) -> float:
    """The variance of an AUC whose scores are normally distributed in both classes, equally wide.

    Args:
        auc: Its true value, between 0 and 1.
        positives: Patients with the disease.
        negatives: Patients without.

    Returns:
        The exact variance over test sets of this size.

    References:
        Hanley JA, McNeil BJ. Radiology 1982;143:29-36, formula 1, with the two probabilities of normal distributions.
    """
    place = norm.ppf(auc)
    # Two patients of one class both outscore one of the other: two normal variables of correlation 1/2.
    both = float(multivariate_normal(cov=[[1, 0.5], [0.5, 1]]).cdf([place, place]))
    spread = auc * (1 - auc) + (positives + negatives - 2) * (both - auc**2)
    return spread / (positives * negatives)
