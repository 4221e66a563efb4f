"""Predictions of any classifier, tested by their task; of several heads each by its own. It runs no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from easydl.evaluation.classification import classification_metrics
from easydl.evaluation.multilabel import multilabel_metrics
from easydl.evaluation.ordinal import ordinal_metrics
from easydl.evaluation.regression import regression_metrics
from easydl.evaluation.results import Metrics
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.prediction.results import Predictions

_METRICS: dict[Task, Callable[..., Metrics]] = {
    Task.CLASSIFICATION: classification_metrics,
    Task.MULTILABEL: multilabel_metrics,
    Task.ORDINAL: lambda frame, classes, thresholds, **options: ordinal_metrics(frame, classes, **options),
    Task.REGRESSION: lambda frame, classes, thresholds, **options: regression_metrics(frame, classes[0], **options),
}


def table_metrics(predictions: Predictions, **bootstrap: int) -> Metrics:
    """Test a table of predictions, with ``seed`` and ``resamples``; each of several heads on the images labelled for it."""
    task = Task(predictions.task)
    if task.is_multiple:
        heads = {name: table_metrics(predictions.head(name), **bootstrap) for name in predictions.heads}
        return _together(predictions, heads)
    metrics = _METRICS[task](
        predictions.frame,
        predictions.classes,
        patients_known=predictions.patients_known,
        thresholds=predictions.thresholds,
        **bootstrap,
    )
    metrics.notes.extend(predictions.notes)
    return metrics


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
