"""Sets of classes that hold the right one as often as was asked for, from the validation part. It opens no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from easydl.errors import InputError, ModelError
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

MOST = 2000
"""Scores of a class that are kept in the model; of more, so many quantiles."""
UNCERTAIN = "uncertain: "


def conformal_scores(predictions: Predictions, *, seed: int = 0) -> dict[str, dict[str, list[float]]]:
    """What one minus the probability of the right class is, over validation patients: by head, then by class.

    One image of each patient is drawn: several of one patient are no further evidence. Only classes that exclude each
    other have sets.
    """
    found = {}
    for head in predictions.heads or [""]:
        one = predictions.head(head) if head else predictions
        if not Task(one.task).exclusive or Task(one.task).per_pixel or "label" not in one.frame.columns:
            continue
        frame = one.frame.sample(frac=1, random_state=seed)
        labels = frame["label"].astype(str).str.strip()
        frame, labels = frame[labels.isin(one.classes)], labels[labels.isin(one.classes)]
        if one.patients_known:
            first = ~frame["patient"].duplicated()
            frame, labels = frame[first], labels[first]
        found[head] = {name: _kept(1 - frame.loc[labels == name, f"p({name})"].to_numpy(float)) for name in one.classes}
    return found


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
    """The predictions with a column ``set``: one class, or ``uncertain: A or B``.

    Every class has a limit of its own, so the coverage holds among the patients of each class, not only over all. The
    set always holds the prediction.

    Raises:
        InputError: The coverage is not between 0.5 and 1, or the model has no classes that exclude each other.
        ModelError: The model keeps no scores of its validation part, or too few.

    References:
        Vovk V et al. Algorithmic learning in a random world, 2005, section 4.5 (label-conditional); Sadinle M et al.
        Least ambiguous set-valued classifiers. JASA 2019;114:223-234.
    """
    if not 0.5 <= coverage < 1:
        raise InputError(f"coverage is {coverage}.", "0.5 or more, and below 1.", "Use coverage=0.9.")
    heads = [head for head in (predictions.heads or [""]) if _exclusive(predictions, head)]
    if not heads:
        raise InputError(
            f"coverage was given for a model whose task is {predictions.task}.",
            "classes of which one is right.",
            "Leave it out.",
        )
    columns, notes = {}, []
    for head in heads:
        one, start = (predictions.head(head), f"{head}: ") if head else (predictions, "")
        limits = _limits(one, stored, head, coverage)
        inside = np.stack([1 - one.frame[f"p({name})"].to_numpy(float) <= limits[name] for name in one.classes], axis=1)
        inside |= one.frame["prediction"].to_numpy()[:, None] == np.asarray(one.classes, object)[None]
        names = np.asarray(one.classes, object)
        columns[f"{start}set"] = [
            names[row][0] if row.sum() == 1 else UNCERTAIN + " or ".join(names[row]) for row in inside
        ]
        always = [name for name in one.classes if math.isinf(limits[name])]
        if always:
            notes.append(
                f"{start}{', '.join(always)} can never be left out of a set: the validation part has too few patients of it "
                f"({patients_needed(coverage)} are needed for a coverage of {coverage:g})."
            )
    said = (
        f"set: holds the right class for at least {100 * coverage:g}% of new patients of every class, if they are like those "
        "of the validation part; where it holds several, the model cannot distinguish them."
    )
    frame = predictions.frame.assign(**columns)
    return Predictions(
        frame, predictions.classes, predictions.patients_known, predictions.name, predictions.task, predictions.heads,
        [*predictions.notes, said, *notes], predictions.thresholds,
    )  # fmt: skip


def _exclusive(predictions: Predictions, head: str) -> bool:
    return Task(predictions.heads[head].task if head else predictions.task).exclusive


def _limits(one: Predictions, stored: Any, head: str, coverage: float) -> dict[str, float]:
    kept = stored.get(head) if isinstance(stored, Mapping) else None
    if not isinstance(kept, Mapping) or set(kept) != set(one.classes):
        raise ModelError(
            "The model keeps no scores of its validation part, by which sets are made.",
            "a model that easydl.fit trained, with the classes that it has now.",
            "Train it again, or leave coverage out.",
        )
    limits = {name: limit([float(score) for score in kept[name]], coverage) for name in one.classes}
    if all(map(math.isinf, limits.values())):
        most = max(len(kept[name]) for name in one.classes)
        raise ModelError(
            f"A coverage of {coverage:g} is not reachable: the validation part has {most} patients of a class at most.",
            f"{patients_needed(coverage)} patients of a class.",
            "Ask for less, or train with a larger validation part.",
        )
    return limits


def covered(predictions: Predictions) -> tuple[np.ndarray, np.ndarray] | None:
    """Whether the set of each labelled row holds its label, bool ``(rows,)``, and how many classes it holds."""
    frame = predictions.frame
    if "set" not in frame.columns or "label" not in frame.columns:
        return None
    kept = frame["label"].astype(str).str.strip() != ""
    labels, sets = frame.loc[kept, "label"].astype(str).str.strip(), frame.loc[kept, "set"].astype(str)
    listed = [cell.removeprefix(UNCERTAIN).split(" or ") if cell.startswith(UNCERTAIN) else [cell] for cell in sets]
    inside = [
        label in names or label == JOIN.join(names) for label, names in zip(labels, listed, strict=True)
    ]  # fmt: skip
    return np.array(inside, bool), np.array([len(names) for names in listed])
