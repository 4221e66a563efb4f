"""`easydl.learning_curve`: what more patients would bring, measured at several sizes and extrapolated where that is honest."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t

from easydl.comparison.baselines import BASELINES, LeftOut
from easydl.comparison.candidates import Candidates, check_names, without_test
from easydl.comparison.paired_rows import as_predictions
from easydl.comparison.power_law import Fit, fit_law
from easydl.comparison.results import plain
from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.bootstrap import MINIMUM_RESAMPLES
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.level import level
from easydl.evaluation.measuring import Measure, headline, measure_of
from easydl.fileio import write_text
from easydl.option_model import documented
from easydl.options_of_planning import CurveOptions
from easydl.prediction.results import Predictions
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from easydl.studies import Study

TESTED = 0.25
"""Fraction of the patients that a repeat holds back to measure with."""
VALIDATED = 0.2
"""Fraction of the training patients that stop a network's training."""
SMALLEST, FEWEST = 0.1, 8
"""The smallest size: a tenth of the training patients, at least eight."""
FURTHEST = 4.0
"""How many times the patients of the study an extrapolation may reach."""
REPEATS = {True: 20, False: 3}
"""For a baseline, and for a network."""


@dataclass(frozen=True)
class CurvePoint:
    """The mean over repeats at one size; the 95% band is of that mean."""

    patients: int
    value: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, repr=False)
class Projection:
    """What the law says of a number of patients, with the 95% band of the law."""

    patients: int
    value: float
    low: float
    high: float

    def __repr__(self) -> str:
        between = " to " if self.low < 0 else "-"
        band = f"95% band {self.low:.2f}{between}{self.high:.2f}"
        return f"With {self.patients} training patients {self.value:.2f} ({band}) is to be expected. {RESEARCH_USE}"


@dataclass(frozen=True, repr=False)
class LearningCurve:
    """A measure against the number of training patients.

    Attributes:
        name: The baseline or network.
        text: What it is.
        points: One for each size, ascending.
        measure: What is measured, on patients held back.
        tested: Patients tested in each repeat.
        refusal: Why nothing is extrapolated; empty where it is.
        notes: What must be read with it.
        unit_of_n: ``patients``, or ``images`` where patients are not known.
    """

    name: str
    text: str
    points: tuple[CurvePoint, ...]
    measure: Measure
    tested: int
    refusal: str
    notes: tuple[str, ...] = ()
    unit_of_n: str = "patients"
    _fit: Fit = field(default_factory=lambda: Fit(None))

    @property
    def table(self) -> pd.DataFrame:
        """One row for each size: patients, value, low, high, repeats."""
        return pd.DataFrame([asdict(point) for point in self.points])

    def at(self, patients: int) -> Projection:
        """What this many training patients would bring, by the inverse power law.

        Args:
            patients: At most four times those of the largest size.

        Raises:
            InputError: The curve is not extrapolated (`refusal` says why), or that is too far.
        """
        most = int(FURTHEST * self.points[-1].patients)
        if self.refusal:
            raise InputError(
                f"The curve is not extrapolated: {self.refusal}.",
                "points that rise along an inverse power law.",
                "Collect more patients, or raise repeats= (--repeats).",
            )
        if not self.points[0].patients <= patients <= most:
            raise InputError(
                f"{patients} {self.unit_of_n} are too far from those tried.",
                f"{self.points[0].patients} to {most:,}: four times what was tried.",
                "Ask nearer; measure again when there are more.",
            )
        assert self._fit.law is not None
        low, high = (float(one[0]) for one in self._fit.band(np.array([patients])))
        value = float(self._fit.law.at(patients))
        if self.measure.lower_is_better:
            value, low, high = -value, -high, -low
        return Projection(patients, value, low, high)

    @property
    def sentence(self) -> str:
        """What twice as many patients would bring, or why that is not said."""
        last = self.points[-1]
        if self.refusal:
            return f"What more {self.unit_of_n} would bring is not extrapolated: {self.refusal}."
        more = self.at(2 * last.patients)
        return (
            f"With {more.patients} training {self.unit_of_n} instead of {last.patients}, {self.measure.name} "
            f"{self._text(more)} is to be expected, against {self._text(last)} now."
        )

    def _text(self, one: CurvePoint | Projection) -> str:
        cells = {"value": one.value, "low": one.low, "high": one.high, "unit": self.measure.unit}
        return f"{number(one.value, self.measure.unit)} (95% band {interval_text(cells)})"

    def __repr__(self) -> str:
        lines = [f"{self.measure.name} of {self.name}, on {self.tested} {self.unit_of_n} held back in each repeat"]
        lines += [
            f"  {one.patients:5} {self.unit_of_n}: {self._text(one)}, {one.repeats} repeats" for one in self.points
        ]
        return "\n".join([*lines, self.sentence, *self.notes, RESEARCH_USE])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{one.patients}</td><td style='text-align:left'>{html.escape(self._text(one))}</td>"
            f"<td>{one.repeats}</td></tr>"
            for one in self.points
        )
        said = "".join(f"<p>{html.escape(one)}</p>" for one in (self.sentence, *self.notes))
        return (
            f"<p><b>{html.escape(self.measure.name)} of {html.escape(self.name)}</b>, on {self.tested} "
            f"{self.unit_of_n} held back in each repeat</p><table><thead><tr><th>training {self.unit_of_n}</th>"
            f"<th style='text-align:left'>value</th><th>repeats</th></tr></thead><tbody>{rows}</tbody></table>{said}"
            f"<p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def show(self, ax: Axes | None = None) -> Figure:
        """The curve with its band, and the law with its own up to four times as many patients."""
        from easydl.figures import BLUE, GREY, ORANGE, figure_of, frame, literal, new_figure, sign

        own = new_figure(7, 4.4) if ax is None else None
        ax = own.subplots() if own is not None else ax
        assert ax is not None
        table = self.table
        spread = [table["value"] - table["low"], table["high"] - table["value"]]
        ax.errorbar(table["patients"], table["value"], yerr=spread, fmt="o", color=BLUE, capsize=3, markersize=6,
                    label=f"measured, {self.points[0].repeats} repeats, 95% band of the mean")  # fmt: skip
        ticks = [one.patients for one in self.points]
        if not self.refusal:
            last = self.points[-1].patients
            far = np.unique(np.geomspace(self.points[0].patients, FURTHEST * last, 60).astype(int))
            drawn = [self.at(int(one)) for one in far]
            ax.plot(far, [one.value for one in drawn], color=ORANGE, linewidth=1.5, linestyle="--",
                    label="inverse power law, 95% band")  # fmt: skip
            low, high = [one.low for one in drawn], [one.high for one in drawn]
            ax.fill_between(far, low, high, color=ORANGE, alpha=0.15, linewidth=0)
            ax.axvline(last, color=GREY, linewidth=0.8, linestyle=":")
            ticks += [2 * last, int(FURTHEST * last)]
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{one:,}" for one in ticks])
        ax.minorticks_off()
        unit = f" ({self.measure.unit})" if self.measure.unit else ""
        ax.set(xlabel=f"training {self.unit_of_n}", ylabel=f"{self.measure.name}{unit}")
        ax.set_title(literal(f"{self.name}, {self.tested} {self.unit_of_n} held back"), fontsize=10.5, loc="left")
        ax.legend(frameon=False, fontsize=9, loc="upper right" if self.measure.lower_is_better else "lower right")
        frame(ax, "y")
        if own is not None:
            sign(own)
        return figure_of(ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        points = [plain(asdict(one)) for one in self.points]
        own = {"name": self.name, "text": self.text, "tested": self.tested, "unit_of_n": self.unit_of_n}
        said = {"sentence": self.sentence, "refusal": self.refusal, "notes": list(self.notes)}
        return {"research_use": RESEARCH_USE, **own, "measure": asdict(self.measure), **said, "points": points}

    def save(self, path: str | Path) -> Path:
        """Write it as JSON, all or nothing. Returns the path."""
        return write_text(path, json.dumps(self.to_dict(), indent=1, allow_nan=False))


@documented(CurveOptions)
def learning_curve(
    study: Study,
    model: str = "forest",
    *,
    sizes: int = 5,
    repeats: int | None = None,
    seed: int = 0,
    epochs: int | None = None,
    pretrained: bool | str = False,
    size: int | None = None,
) -> LearningCurve:
    """Measure a model at several numbers of training patients, and say what more of them would bring.

    In every repeat a quarter of the patients is held back to measure with, and growing parts of the others are trained
    on. The band takes into account that the repeats share patients. A study that is split is used without its test part.

    Args:
        study: A `Study` with one label, several labels or a value for each image.
        model: A baseline (``forest``, ``thumbnail``, ``metadata``, ``features``) or a network of `easydl.models`.
        {options}

    Returns:
        A `LearningCurve`: ``.table``, ``.show()``, and ``.at(patients)`` for a number between, or beyond up to four times
        as many. Where the points do not rise along an inverse power law nothing is extrapolated and ``.refusal`` says why.

    Raises:
        InputError: An unknown name, too few patients, or a baseline that the study does not allow.

    Example:
        >>> easydl.learning_curve(study, "forest").at(500)  # doctest: +SKIP

    References:
        Figueroa RL et al. BMC Med Inform Decis Mak 2012;12:8; Nadeau C, Bengio Y. Mach Learn 2003;52:239-281.
    """
    given = {"sizes": sizes, "repeats": repeats, "seed": seed, "epochs": epochs, "pretrained": pretrained, "size": size}
    CurveOptions.checked(**given)
    check_names([model], study)
    kept, notes = without_test(study)
    candidates = Candidates(kept, seed, epochs, pretrained, size)
    times = repeats or REPEATS[model in BASELINES]
    task = Task(kept.task)
    measure = measure_of(task, tuple(kept.classes))
    orders = [_order(kept, seed + repeat) for repeat in range(times)]
    patients = len(orders[0])
    held, available = round(TESTED * patients), patients - round(TESTED * patients)
    numbers = _sizes(available, sizes, kept)
    values = np.full((times, len(numbers)), np.nan)
    for repeat, order in enumerate(orders):
        test = np.concatenate(order[available:])
        for place, count in enumerate(numbers):
            stop = 0 if model in BASELINES else max(1, round(VALIDATED * count))
            val = np.concatenate(order[:stop]) if stop else np.empty(0, int)
            train = np.concatenate(order[stop:count])
            try:
                outputs = candidates.outputs(model, train, val, test, seed + repeat)
            except LeftOut as reason:
                raise InputError(
                    f"{model}: {reason}.", "a baseline that this study allows.", "Choose another."
                ) from None
            values[repeat, place] = _value(kept, test, outputs, seed)
    shared = held / available
    limits = (0.0, np.inf) if measure.lower_is_better else (-1.0 if task.ordered else 0.0, 1.0)
    points = tuple(_point(count, column, shared, limits) for count, column in zip(numbers, values.T, strict=True))
    better = -values if measure.lower_is_better else values
    whole = np.isfinite(better).all(axis=0)
    ceiling = 0.0 if measure.lower_is_better else 1.0
    fit = fit_law(np.array(numbers)[whole], better[:, whole], shared, ceiling, seed)
    unit = "patients" if kept.patients_known else "images"
    if model not in BASELINES:
        notes.append(f"A fifth of the training {unit} stop the training.")
    return LearningCurve(model, candidates.texts[model], points, measure, held, fit.refusal, tuple(notes), unit, fit)


def _order(study: Study, seed: int) -> list[np.ndarray]:
    """The rows of every patient, drawn so that any first patients have the classes in nearly their proportions."""
    frame = study.frame.reset_index(drop=True)
    who = frame["patient"].astype(str) if study.patients_known else frame.index.to_series().astype(str)
    rows = [np.asarray(one) for one in who.groupby(who, sort=True).indices.values()]
    first = frame["label"].astype(str).iloc[[one[0] for one in rows]].reset_index(drop=True)
    if Task(study.task).is_value:
        first = pd.qcut(pd.to_numeric(first), 5, labels=False, duplicates="drop").astype(str)
    rng = np.random.default_rng(seed)
    place = np.empty(len(rows))
    for label in sorted(first.unique()):
        members = rng.permutation(np.flatnonzero((first == label).to_numpy()))
        place[members] = (np.arange(len(members)) + rng.random(len(members))) / len(members)
    return [rows[one] for one in np.argsort(place, kind="stable")]


def _sizes(available: int, count: int, study: Study) -> list[int]:
    """Numbers of patients, equally spaced on a logarithmic scale."""
    classes = 1 if Task(study.task).is_value else len(study.classes)
    least = max(FEWEST, 4 * classes, round(SMALLEST * available))
    if available < 2 * least:
        raise InputError(
            f"{available} patients are left to train on.",
            f"at least {2 * least}: the smallest size takes {least}.",
            "Collect more first; easydl.interval_width says how many a test needs.",
        )
    return sorted({int(one) for one in np.geomspace(least, available, count).round()})


def _value(study: Study, test: np.ndarray, outputs: np.ndarray, seed: int) -> float:
    frame = study.frame.iloc[test]
    columns = {"image": frame[study.image_columns[0]], "patient": frame["patient"], "label": frame["label"].astype(str)}
    like = Predictions(pd.DataFrame(columns), tuple(study.classes), study.patients_known, study.name, str(study.task))
    return float(headline(as_predictions(like, outputs), seed=seed, resamples=MINIMUM_RESAMPLES)["value"])


def _point(patients: int, values: np.ndarray, shared: float, limits: tuple[float, float]) -> CurvePoint:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return CurvePoint(patients, float(known.mean()) if len(known) else np.nan, np.nan, np.nan, len(known))
    half = float(t.ppf((1 + level()) / 2, len(known) - 1) * known.std(ddof=1) * np.sqrt(1 / len(known) + shared))
    mean = float(known.mean())
    return CurvePoint(patients, mean, max(limits[0], mean - half), min(limits[1], mean + half), len(known))
