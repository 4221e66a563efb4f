"""Predictions of any classifier, tested by their task; of several heads each by its own. It runs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.evaluation.asked import check_prevalence, prevalence_of_heads
from easydl.evaluation.classification import Prevalence, classification_metrics
from easydl.evaluation.decided import PREVALENCE
from easydl.evaluation.multilabel import multilabel_metrics
from easydl.evaluation.ordinal import ordinal_metrics, weighted_kappa
from easydl.evaluation.regression import regression_metrics
from easydl.evaluation.results import Metrics
from easydl.evaluation.subgroups import BESIDE, subgroups
from easydl.prediction.doubt import SPREAD
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.prediction.results import Predictions

_METRICS: dict[Task, Callable[..., Metrics]] = {
    Task.CLASSIFICATION: classification_metrics,
    Task.MULTILABEL: multilabel_metrics,
    Task.ORDINAL: lambda frame, classes, thresholds, **options: ordinal_metrics(frame, classes, **options),
    Task.REGRESSION: lambda frame, classes, thresholds, **options: regression_metrics(frame, classes[0], **options),
}


def table_metrics(
    predictions: Predictions,
    *,
    groups: Mapping[str, pd.Series] | None = None,
    prevalence: Prevalence = None,
    **bootstrap: int,
) -> Metrics:
    """Test a table of predictions; each of several heads on the images labelled for it.

    Args:
        predictions: Of a test set.
        groups: Columns by which the test is also shown group by group, with the index of the predictions.
        prevalence: As for `classification_metrics`.
        bootstrap: ``seed`` and ``resamples``.
    """
    task = Task(predictions.task)
    if task.is_multiple:
        own = prevalence_of_heads(prevalence, predictions.heads)
        heads = {
            name: table_metrics(predictions.head(name), groups=groups, prevalence=own.get(name), **bootstrap)
            for name in predictions.heads
        }
        return _together(predictions, heads)
    stated = {} if prevalence is None else {"prevalence": prevalence}
    check_prevalence(prevalence, task, predictions.classes)

    def measured(frame: pd.DataFrame, **options: Any) -> Metrics:
        return _METRICS[task](
            frame,
            predictions.classes,
            patients_known=predictions.patients_known,
            thresholds=predictions.thresholds,
            **options,
        )

    metrics = measured(predictions.frame, **stated, **bootstrap)
    metrics.notes.extend(note for note in predictions.notes if not note.startswith(SPREAD))
    metrics.summary.extend(_stated(metrics) if stated else [])
    if not groups:
        return metrics
    labelled = predictions.frame["label"].notna()
    if task is not Task.MULTILABEL:
        labelled &= predictions.frame["label"].astype(str).str.strip() != ""
    frame = predictions.frame[labelled]
    units = (
        frame["patient"].astype(str) if predictions.patients_known else pd.Series(frame.index.astype(str), frame.index)
    )

    def lines(inside: np.ndarray) -> list[dict[str, Any]]:
        rows = measured(frame[inside], **bootstrap).rows
        shown = rows[:1] + [row for row in rows[1:] if row.name in BESIDE]
        # How a number is made stands beside that of all images.
        return [{**row.model_dump(), "note": "" if row.low is not None else row.note} for row in shown]

    headline = headline_of(task, tuple(map(str, predictions.classes)), frame)
    columns = {name: column[labelled.to_numpy()] for name, column in groups.items()}
    return subgroups(metrics, columns, units, lines, headline, seed=bootstrap.get("seed", 0))


def _stated(metrics: Metrics) -> list[str]:
    """PPV and NPV at the stated prevalence, a sentence for each class or label."""
    found: dict[str, list[str]] = {}
    for place, row in enumerate(metrics.rows):
        note = row.note.split("; ")[0]
        if note.startswith(PREVALENCE.format("")):
            found.setdefault(note, []).append(metrics.sentence(place))
    return [f"{note[0].upper()}{note[1:]}: {'; '.join(numbers)}." for note, numbers in found.items()]


def headline_of(task: Task, classes: tuple[str, ...], frame: pd.DataFrame) -> Callable[[np.ndarray], float]:
    """A function from a mask over the images to their headline number, without interval: NaN where it is not defined."""
    label = frame["label"].to_numpy(object)
    if task is Task.REGRESSION:
        distance = np.abs(frame["value"].to_numpy(float) - label.astype(float))
        return lambda inside: float(distance[inside].mean())
    if task is Task.ORDINAL:
        code = {name: k for k, name in enumerate(classes)}
        truth, called = (np.array([code[str(one)] for one in each]) for each in (label, frame["prediction"]))
        cells = np.eye(len(classes) ** 2)[truth * len(classes) + called].reshape(-1, len(classes), len(classes))
        return lambda inside: float(weighted_kappa(cells[inside].sum(axis=0)[None])[0])
    named = classes[1:] if task is Task.CLASSIFICATION and len(classes) == 2 else classes
    labels = [{str(one)} if task is Task.CLASSIFICATION else set(str(one).split(JOIN)) for one in label]
    positive = [np.array([name in one for one in labels], bool) for name in named]
    scores = [frame[f"p({name})"].to_numpy(float) for name in named]

    def mean_area(inside: np.ndarray) -> float:
        areas = [
            area(score[inside], here)
            for score, of in zip(scores, positive, strict=True)
            if 0 < (here := of[inside]).sum() < len(here)
        ]
        return float(np.mean(areas)) if areas else np.nan

    return mean_area


def area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The AUC by the sum of ranks (Mann and Whitney), ties counting half; many times faster than by a curve."""
    positives = int(positive.sum())
    ranks = float(rankdata(scores)[positive].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(scores) - positives))


def _together(predictions: Predictions, heads: dict[str, Metrics]) -> Metrics:
    """All rows in one table, each with the head before its name."""
    images, first = len(predictions.frame), next(iter(heads.values()))
    rows = [
        row.model_copy(update={"name": f"{name}: {row.name}"})
        for name, metrics in heads.items()
        for row in metrics.rows
    ]
    patients = predictions.frame["patient"].nunique() if predictions.patients_known else images
    return Metrics(
        task=Task.MULTITASK,
        classes=tuple(heads),
        table=rows,
        notes=_notes(heads),
        groups=[
            row.model_copy(update={"by": f"{name}: {row.by}"}) for name, one in heads.items() for row in one.group_rows
        ],
        summary=[f"{name}: {one}" for name, metrics in heads.items() for one in metrics.summary],
        warnings=[f"{name}: {warning}" for name, metrics in heads.items() for warning in metrics.warnings],
        patients_known=predictions.patients_known,
        images=images,
        patients=patients,
        heads=heads,
        seed=first.seed,
        resamples=first.resamples,
    )


def _notes(heads: dict[str, Metrics]) -> list[str]:
    """What holds for every head once, and the rest with the head it is about."""
    first = next(iter(heads.values()))
    common = [note for note in first.notes if all(note in metrics.notes for metrics in heads.values())]
    own = [f"{name}: {note}" for name, metrics in heads.items() for note in metrics.notes if note not in common]
    return [*common, *own]
