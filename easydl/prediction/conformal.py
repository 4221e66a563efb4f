"""Sets of classes and intervals that hold the truth as often as was asked for, from the validation part. It opens no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError, ModelError
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

MOST = 2000
"""Scores of a class that are kept in the model; of more, so many quantiles."""
UNCERTAIN = "uncertain: "


def conformal_scores(predictions: Predictions, *, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """How wrong the model is on validation patients, by head: what sets and intervals are made by.

    For classes that exclude each other, one minus the probability of the right one, by class; for labels, one minus that of
    their true state (``+edema`` where it is present, ``-edema`` where it is not); for a value, the absolute error. One
    image of each patient is drawn: several of one patient are no further evidence.
    """
    found = {}
    for head in predictions.heads or [""]:
        one = predictions.head(head) if head else predictions
        if Task(one.task).per_pixel or "label" not in one.frame.columns:
            continue
        frame = one.frame.sample(frac=1, random_state=seed)
        frame = frame[labelled(one, frame)]
        if one.patients_known:
            frame = frame[~frame["patient"].duplicated()]
        found[head] = {name: _kept(scores) for name, scores in _scores(one, frame).items()}
    return found


def labelled(one: Predictions, frame: pd.DataFrame) -> np.ndarray:
    """bool per row: whether it has a reference."""
    labels, task = frame["label"].astype(str).str.strip(), Task(one.task)
    if task.is_value:
        return np.isfinite(pd.to_numeric(labels, errors="coerce").to_numpy(float))
    return labels.isin(one.classes).to_numpy() if task.exclusive else np.ones(len(frame), bool)


def _scores(one: Predictions, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    labels, task = frame["label"].astype(str).str.strip(), Task(one.task)
    if task.is_value:
        return {"value": np.abs(pd.to_numeric(labels).to_numpy(float) - frame["value"].to_numpy(float))}
    shares = {name: frame[f"p({name})"].to_numpy(float) for name in one.classes}
    if task.exclusive:
        return {name: 1 - share[(labels == name).to_numpy()] for name, share in shares.items()}
    found = {}
    for name, present in zip(one.classes, _present(one, labels).T, strict=True):
        found[f"+{name}"], found[f"-{name}"] = 1 - shares[name][present], shares[name][~present]
    return found


def _present(one: Predictions, cells: pd.Series) -> np.ndarray:
    """bool ``(rows, labels)``: which labels a cell names."""
    listed = [set(cell.split(JOIN)) for cell in cells.astype(str)]
    return np.array([[name in cell for name in one.classes] for cell in listed], bool).reshape(-1, len(one.classes))


def _kept(scores: np.ndarray) -> list[float]:
    """The scores in order; of very many the upper of as many equal parts, which makes sets larger, never smaller."""
    scores = np.sort(scores)
    if len(scores) > MOST:
        scores = scores[np.ceil(np.linspace(len(scores) / MOST, len(scores), MOST)).astype(int) - 1]
    return [float(one) for one in scores]


def limit(scores: Sequence[float], coverage: float) -> float:
    """Up to which score a class belongs to the set; infinite where there are too few to say.

    Example:
        >>> limit([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 0.9), limit([0.1, 0.2], 0.9)
        (0.9, inf)
    """
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    return float(sorted(scores)[place - 1]) if place <= len(scores) else math.inf


def patients_needed(coverage: float) -> int:
    """The fewest validation patients of a class with which its sets can leave it out."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def with_sets(predictions: Predictions, stored: Any, coverage: float) -> Predictions:
    """The predictions with columns that hold the truth as often as was asked for.

    Of classes a column ``set``: one class, or ``uncertain: A or B``. Of labels: those that are present, and ``uncertain: A``
    for one that may be. Of a value ``low`` and ``high``. Every class (and each state of a label) has a limit of its own, so
    the coverage holds among the patients of each, not only over all. A set always holds the prediction.

    Raises:
        InputError: The coverage is not between 0.5 and 1.
        ModelError: The model keeps no scores of its validation part, or too few.

    References:
        Vovk V et al. Algorithmic learning in a random world, 2005, section 4.5 (label-conditional); Sadinle M et al.
        Least ambiguous set-valued classifiers. JASA 2019;114:223-234; Lei J et al. Distribution-free predictive inference
        for regression. JASA 2018;113:1094-1111.
    """
    if not 0.5 <= coverage < 1:
        raise InputError(f"coverage is {coverage}.", "0.5 or more, and below 1.", "Use coverage=0.9.")
    columns: dict[str, Any] = {}
    notes: list[str] = []
    for head in predictions.heads or [""]:
        one, start = (predictions.head(head), f"{head}: ") if head else (predictions, "")
        task = Task(one.task)
        make, meaning = (
            (_interval, _VALUE)
            if task.is_value
            else (_set_of_one, _ONE)
            if task.exclusive
            else (_set_of_labels, _SEVERAL)
        )
        limits = _limits(one, stored, head, coverage)
        columns |= {f"{start}{name}": cells for name, cells in make(one, limits).items()}
        notes.append(start + meaning.format(100 * coverage))
        if always := [_called(name, task) for name, one_limit in limits.items() if math.isinf(one_limit)]:
            notes.append(
                f"{start}{', '.join(always)} can never be left out of a set: the validation part has too few patients of it "
                f"({patients_needed(coverage)} are needed for a coverage of {coverage:g})."
            )
    frame = predictions.frame.assign(**columns)
    return replace(predictions, frame=frame, notes=[*predictions.notes, *dict.fromkeys(notes)])


_LIKE = "if they are like those of the validation part"
_ONE = (
    "set: holds the right class for at least {:g}% of new patients of every class, "
    + _LIKE
    + "; where it holds several, "
    "the model cannot distinguish them."
)
_SEVERAL = (
    "set: of every label, what it says is right for at least {:g}% of new patients who have it and of those who do not, "
    + _LIKE
    + "; of a label that is called uncertain it says nothing."
)
_VALUE = "low and high: hold the value of at least {:g}% of new patients, " + _LIKE + "."


def _called(name: str, task: Task) -> str:
    return name if task.exclusive else f"{name[1:]} {'present' if name[0] == '+' else 'absent'}"


def _set_of_one(one: Predictions, limits: Mapping[str, float]) -> dict[str, Any]:
    names = np.asarray(one.classes, object)
    inside = np.stack([1 - one.frame[f"p({name})"].to_numpy(float) <= limits[name] for name in names], axis=1)
    inside |= one.frame["prediction"].to_numpy()[:, None] == names[None]
    return {"set": [names[row][0] if row.sum() == 1 else UNCERTAIN + " or ".join(names[row]) for row in inside]}


def _set_of_labels(one: Predictions, limits: Mapping[str, float]) -> dict[str, Any]:
    called = _present(one, one.frame["prediction"])
    cells: list[list[str]] = [[] for _ in range(len(one.frame))]
    for name, present in zip(one.classes, called.T, strict=True):
        share = one.frame[f"p({name})"].to_numpy(float)
        may, may_not = (1 - share <= limits[f"+{name}"]) | present, (share <= limits[f"-{name}"]) | ~present
        for cell, yes, no in zip(cells, may, may_not, strict=True):
            cell += [(UNCERTAIN if no else "") + name] if yes else []
    return {"set": [JOIN.join(cell) for cell in cells]}


def _interval(one: Predictions, limits: Mapping[str, float]) -> dict[str, Any]:
    value, half = one.frame["value"].to_numpy(float), limits["value"]
    return {"low": value - half, "high": value + half}


def _limits(one: Predictions, stored: Any, head: str, coverage: float) -> dict[str, float]:
    kept, task = stored.get(head) if isinstance(stored, Mapping) else None, Task(one.task)
    names = ["value"] if task.is_value else list(one.classes)
    names = names if task.is_value or task.exclusive else [sign + name for name in names for sign in "+-"]
    if not isinstance(kept, Mapping) or set(kept) != set(names):
        raise ModelError(
            "The model keeps no scores of its validation part, by which sets are made.",
            "a model that easydl.fit trained, with the classes that it has now.",
            "Train it again, or leave coverage out.",
        )
    limits = {name: limit([float(score) for score in kept[name]], coverage) for name in names}
    if all(map(math.isinf, limits.values())):
        most, of = max(len(kept[name]) for name in names), "" if task.is_value else " of a class"
        raise ModelError(
            f"A coverage of {coverage:g} is not reachable: the validation part has {most} patients{of} at most.",
            f"{patients_needed(coverage)} patients{of}.",
            "Ask for less, or train with a larger validation part.",
        )
    return limits


def covered(predictions: Predictions) -> tuple[np.ndarray, np.ndarray] | None:
    """How much of the truth the set or interval of each labelled row holds, and how large it is; None where there is none.

    Returns:
        Of classes 0 or 1 and the number of classes; of labels the fraction that is right, and one more than are uncertain;
        of a value 0 or 1 and the width.
    """
    frame, task = predictions.frame, Task(predictions.task)
    made = "low" if task.is_value else "set"
    if made not in frame.columns or "label" not in frame.columns or task.is_multiple:
        return None
    frame = frame[labelled(predictions, frame)]
    labels = frame["label"].astype(str).str.strip()
    if task.is_value:
        truth = pd.to_numeric(labels).to_numpy(float)
        low, high = (frame[name].to_numpy(float) for name in ("low", "high"))
        return ((low <= truth) & (truth <= high)).astype(float), high - low
    sets = frame["set"].astype(str)
    if task.exclusive:
        listed = [cell.removeprefix(UNCERTAIN).split(" or ") if cell.startswith(UNCERTAIN) else [cell] for cell in sets]
        inside = [label in names for label, names in zip(labels, listed, strict=True)]
        return np.array(inside, float), np.array([len(names) for names in listed])
    unsure = _present(predictions, sets.str.replace(f"(^|{JOIN}){UNCERTAIN}", r"\1", regex=True)) & ~_present(
        predictions, sets
    )
    right = unsure | (_present(predictions, labels) == _present(predictions, sets))
    return right.mean(axis=1), 1 + unsure.sum(axis=1)
