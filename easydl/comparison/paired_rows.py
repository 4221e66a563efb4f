"""Answers of several models for the same images, each measured and compared with one of them. It runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from easydl.comparison.baselines import BASELINES
from easydl.comparison.results import ComparedModel, Comparison, sorted_rows
from easydl.evaluation import Metrics, paired_differences
from easydl.evaluation.measuring import RESAMPLES, Measure, headline, measure_of
from easydl.evaluation.paired import Difference
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions, output_columns
from easydl.tasks import Task


def as_predictions(like: Predictions, outputs: np.ndarray) -> Predictions:
    """Outputs ``(rows, classes)`` as predictions of the images of other predictions."""
    columns = output_columns(outputs, Decision(Task(like.task), tuple(like.classes), {}))
    return replace(like, frame=like.frame.assign(**columns), thresholds={}, notes=[])


def side_by_side(
    entries: Mapping[str, Predictions | Metrics],
    texts: Mapping[str, str],
    seconds: Mapping[str, float],
    *,
    against: str | None = None,
    every: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
    facts: Mapping[str, Any] | None = None,
) -> Comparison:
    """Answers of several models for the same images, measured and compared with those of one.

    Args:
        entries: By name the Predictions of the same rows, or the Metrics of the same cases of masks or images.
        texts: What each is.
        seconds: What each took, where that is known.
        against: The one that the others are compared with; None for the best.
        every: Compare every number of the task, not only the one that it is judged by.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
        facts: Further fields of the `Comparison`.
    """
    first = next(iter(entries.values()))
    measure = _measure_of(first)
    rows = []
    for name, one in entries.items():
        if isinstance(one, Metrics):
            line = dict(one.table.iloc[0])
        else:
            line = headline(one, seed=seed, resamples=resamples)
        value, low, high = (float(line[key]) for key in ("value", "low", "high"))
        if name == "prevalence" and measure.short == "AUC":  # ties alone: 0.5 whatever patients are drawn
            low = high = value
        n, images, spent = int(line["n"]), int(line["images"]), float(seconds.get(name, np.nan))
        rows.append(
            ComparedModel(name, texts[name], value, low, high, n, images, seconds=spent, baseline=name in BASELINES)
        )
    ordered = sorted_rows(rows, measure.lower_is_better)
    if against is not None:
        ordered = (*(row for row in ordered if row.name == against), *(row for row in ordered if row.name != against))
    best, found = ordered[0], {}
    for row in ordered[1:]:
        pairs = paired_differences(entries[best.name], entries[row.name], seed=seed, resamples=resamples)
        found[row.name] = list(pairs) if every else [next(pairs)]
        found[row.name][0] = _with_limits(found[row.name][0], best, row)
    gaps = {name: differences[0] for name, differences in found.items()}
    return Comparison(
        tuple(_with_gap(row, gaps.get(row.name)) for row in ordered),
        measure.name,
        measure.unit,
        measure.lower_is_better,
        against=best.name,
        unit_of_n="patients" if first.patients_known else "images",
        differences=found if every else {},
        **dict(facts or {}),
    )


def over_seeds(
    repeated: Sequence[Mapping[str, Predictions]],
    texts: Mapping[str, str],
    seconds: Mapping[str, float],
    **options: Any,
) -> Comparison:
    """The same of several trainings of the networks: the means of all numbers, and their standard deviation over seeds.

    The limits are means, too: an interval of one training's number by patient is at least as wide as that of the mean.

    Args:
        repeated: For each seed the answers by name; those of a baseline are the same for all.
        texts: What each is.
        seconds: What each took.
        options: Of `side_by_side`.
    """
    each = [side_by_side(entries, texts, seconds, **options) for entries in repeated]
    if len(each) == 1:
        return each[0]
    values = {row.name: [_row(one, row.name).value for one in each] for row in each[0].rows}
    better = min if each[0].lower_is_better else max
    best = better(
        (name for name in values if np.isfinite(np.mean(values[name]))), key=lambda name: np.mean(values[name])
    )
    each = [
        one if one.against == best else side_by_side(entries, texts, seconds, against=best, **options)
        for one, entries in zip(each, repeated, strict=True)
    ]
    rows = [_mean([_row(one, name) for one in each]) for name in values]
    return replace(each[0], rows=sorted_rows(rows, each[0].lower_is_better))


def _row(comparison: Comparison, name: str) -> ComparedModel:
    return next(row for row in comparison.rows if row.name == name)


def _mean(rows: Sequence[ComparedModel]) -> ComparedModel:
    numbers = ("value", "low", "high", "difference", "difference_low", "difference_high")
    means: dict[str, Any] = {name: float(np.mean([getattr(row, name) for row in rows])) for name in numbers}
    if rows[0].baseline:
        return replace(rows[0], **means)
    by_seed = tuple(row.value for row in rows)
    return replace(rows[0], **means, spread=float(np.std(by_seed, ddof=1)), by_seed=by_seed)


def _measure_of(first: Predictions | Metrics) -> Measure:
    """The number that the task is judged by: of cases the first of their test."""
    if isinstance(first, Metrics):
        row = first.rows[0]
        return Measure(row.name, row.name, row.unit)
    return measure_of(Task(first.task), tuple(first.classes))


def _with_gap(row: ComparedModel, gap: Difference | None) -> ComparedModel:
    if gap is None:
        return row
    return replace(row, difference=gap.difference, difference_low=gap.low, difference_high=gap.high)


def _with_limits(found: Difference, first: ComparedModel, second: ComparedModel) -> Difference:
    """A difference with an interval also where no resample differs, as that of two perfect numbers.

    Then it is made of the two intervals as if the numbers were independent, which is wider than the truth (MOVER; Zou GY,
    Donner A. Stat Med 2008;27:1693-1702).
    """
    if np.isfinite(found.low) and found.low < found.high:
        return found
    low = found.difference - float(np.hypot(first.value - first.low, second.high - second.value))
    high = found.difference + float(np.hypot(first.high - first.value, second.value - second.low))
    return replace(found, low=low, high=high, note="limits of both numbers, as if they were independent")
