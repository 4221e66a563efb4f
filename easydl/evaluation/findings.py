"""What makes a test's numbers worth nothing, as sentences: one answer for all images, no better than chance, no mask.

It computes no metric: it reads those that were computed, and the answers they are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.intervals import mean_interval
from easydl.tasks import Task

SURE, EQUAL = 0.9, 1e-4
CHANCE = "chance"
ONE_ANSWER = "One answer for every image"
NO_OVERLAP = 0.05
"""A Dice whose interval begins below this shows no overlap."""
MOST_NAMES = 5

Rows = Mapping[str, Mapping[str, Any]]


def findings(task: Task, rows: Sequence[Mapping[str, Any]], sample: Any) -> list[str]:
    """What must be said before the first number; nothing where the model is shown to know something.

    Args:
        task: Of the test.
        rows: The lines of its table, the headline first.
        sample: The images that they were computed from.
    """
    return [sentence for sentence in _FINDINGS[task]({row["name"]: row for row in rows}, sample) if sentence]


def _classes(rows: Rows, sample: Any, chance: float = 0.5) -> list[str]:
    """Of classes; ``chance`` is the headline of guessing: an AUC of 0.5, a weighted kappa of 0."""
    headline = next(iter(rows.values()))
    return [
        _one_answer(sample),
        _no_better(headline, CHANCE, chance) + _sure(headline, chance, sample.scores.max(axis=1)),
        _worse_than_prevalence(sample, headline["low"] > chance),
    ]


def _labels(rows: Rows, sample: Any) -> list[str]:
    stuck = [
        f"{label.name} (called in {'all' if label.predicted.any() else 'none'} of {label.images} images, present in "
        f"{label.images_of[1]})"
        for label in sample.labels
        if label.ranked and len(np.unique(label.predicted)) == 1
    ]
    no_better = [
        label.name
        for label in sample.labels
        if label.ranked and len(sample.labels) > 1 and not rows[f"AUC, {label.name}"]["low"] > 0.5
    ]
    losses = {label.name: _loss_above_prevalence(label) for label in sample.labels if label.ranked}
    worse = [
        f"{name} ({said}; answering every image with how common the label is has {free})"
        for name, (said, free) in losses.items()
        if said
    ]
    return [
        f"{ONE_ANSWER}: {_listed(stuck)}." if stuck else "",
        _no_better(next(iter(rows.values())), CHANCE, 0.5),
        "Not shown to be better than chance (the 95% CI of the AUC includes 0.5, or cannot be computed): "
        f"{_listed(no_better)}."
        if no_better
        else "",
        f"The probabilities are worse than none: {_listed(worse)}." if worse else "",
    ]


def _values(rows: Rows, sample: Any) -> list[str]:
    constant = np.ptp(sample.value) < 0.01 * np.ptp(sample.reference)
    return [
        f"{ONE_ANSWER}: all {sample.images} got nearly the same value." if constant else "",
        _no_better(rows["R²"], "answering the mean for every image", 0.0),
    ]


def _masks(rows: Rows, sample: Any) -> list[str]:
    found = []
    for name, cases in sample.frame.groupby("class", sort=False):
        with_it = int((cases["reference_voxels"] > 0).sum())
        dice = rows.get(f"Dice, {name}", rows.get("Dice"))
        if with_it and not cases["predicted_voxels"].any():
            found.append(f"{name} was marked in none of {len(cases)} images, although {with_it} have it.")
        elif with_it and dice is not None:
            computable = np.isfinite(dice["low"])
            if (dice["low"] if computable else dice["value"]) < NO_OVERLAP:
                found.append(f"Hardly any overlap with the reference is shown: {_said(dice)}.")
    return found


def _reconstructions(rows: Rows, sample: Any) -> list[str]:
    gain = rows.get("gain in PSNR")
    return [] if gain is None else [_no_better(gain, "the corrupted images themselves", 0.0)]


_FINDINGS: dict[Task, Callable[[Rows, Any], list[str]]] = {
    Task.CLASSIFICATION: _classes,
    Task.ORDINAL: partial(_classes, chance=0.0),
    Task.MULTILABEL: _labels,
    Task.REGRESSION: _values,
    Task.SEGMENTATION: _masks,
    Task.RECONSTRUCTION: _reconstructions,
}


def _said(row: Mapping[str, Any]) -> str:
    who = row["unit_of_n"] if row["n"] != 1 else str(row["unit_of_n"]).removesuffix("s")
    return f"{row['name']} {number(row['value'], row['unit'])} (95% CI {interval_text(row)}), {row['n']} {who}"


def _no_better(row: Mapping[str, Any], what: str, level: float) -> str:
    """A sentence where the interval of a number does not lie above what costs nothing."""
    if row["low"] > level:
        return ""
    by_chance = what == CHANCE
    if row["high"] < level:
        advice = " Check that the names of the classes are not exchanged." if by_chance else ""
        return f"Worse than {what}: {_said(row)}.{advice}"
    known = by_chance and np.isfinite(row["low"])
    return f"Not shown to be better than {what}: {_said(row)}{f' ({what} is {level:g})' if known else ''}."


def _sure(row: Mapping[str, Any], level: float, confidence: np.ndarray) -> str:
    mean = float(confidence.mean())
    if row["low"] > level or mean < SURE:
        return ""
    return f" Its probabilities say otherwise (mean confidence {number(mean)}): they mean nothing."


def _one_answer(sample: Any) -> str:
    """A sentence where all images of several classes got one answer."""
    called = np.unique(sample.predicted)
    present = sum(images > 0 for images in sample.images_of)
    if len(called) > 1 or present < 2:
        return ""
    if np.ptp(sample.scores, axis=0).max() < EQUAL:
        return f"{ONE_ANSWER}: all {sample.images} got the same probabilities, whatever they show."
    name, right = sample.names[called[0]], int(sample.images_of[called[0]])
    others = sample.images - right
    return f"{ONE_ANSWER}: all {sample.images} were called {name}, also the {others} that are not."


def _worse_than_prevalence(sample: Any, ranks: bool) -> str:
    said, free = _loss_above_prevalence(sample)
    if not said:
        return ""
    return (
        f"The probabilities are worse than none: {said}; answering every image with how common each class is has "
        f"{free}.{' Only their order can be used.' if ranks else ''}"
    )


def _loss_above_prevalence(sample: Any) -> tuple[str, str]:
    """The log loss and what costs nothing, where it is surely above answering with the prevalences and knowing nothing.

    Training with weights for rare classes moves probabilities towards equal ones, which is no fault. Else two empty texts.
    """
    images_of = sample.images_of
    prevalence = images_of[images_of > 0] / images_of.sum()
    free = max(float(-(prevalence * np.log(prevalence)).sum()), float(np.log(len(images_of))))
    loss = sample.probability.log_loss
    value = float(loss(sample.probability.columns.sum(axis=0)[None])[0])
    interval = mean_interval(loss(sample.resampled_probability), sample.patients)
    if not interval.low > free:
        return "", ""
    row = {"name": "log loss", "value": value, "low": interval.low, "high": interval.high}
    said = _said({**row, "unit": "", "n": sample.patients, "unit_of_n": sample.resampling.unit_of_n})
    return said, number(free)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
