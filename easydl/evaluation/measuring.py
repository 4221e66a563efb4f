"""The first number of a test for each task. It runs no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from easydl.evaluation import classification, multilabel, ordinal
from easydl.evaluation.formatting import unit_of
from easydl.evaluation.metric import Resampling
from easydl.evaluation.multilabel import LabelsSample
from easydl.evaluation.regression import ValueSample, value_metrics
from easydl.evaluation.sample import ClassSample, class_rows, rows_to_test
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions
from easydl.tasks import Task

RESAMPLES = 2000


@dataclass(frozen=True)
class Measure:
    """The number that a task is judged by.

    Attributes:
        name: As the test's table calls it.
        short: In a sentence about a difference.
        unit: Empty for a number without.
        lower_is_better: An error.
    """

    name: str
    short: str
    unit: str = ""
    lower_is_better: bool = False


def measure_of(task: Task, classes: tuple[str, ...]) -> Measure:
    """The measure of a task; ``classes`` holds the name of a value, which says its unit."""
    if task.is_value:
        return Measure("mean absolute error", "mean absolute error", unit_of(classes[0]), lower_is_better=True)
    if task.has_masks:
        return Measure("Dice", "Dice")
    if task.ordered:
        return Measure("quadratic-weighted kappa", "kappa")
    if not task.exclusive:
        return Measure("AUC, mean over labels", "AUC")
    return Measure("AUC" if len(classes) == 2 else "AUC, mean over classes", "AUC")


def headline(predictions: Predictions, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The first line of the test's table alone: what `easydl.evaluate` would print, in a tenth of its time."""
    task, names = Task(predictions.task), [str(name) for name in predictions.classes]
    known, frame = predictions.patients_known, predictions.frame
    resampling = Resampling(known, seed, resamples)
    if task.is_value:
        sample = ValueSample(rows_to_test(frame, ["value"], known)[0], resampling)
        return value_metrics(unit_of(names[0]))[0].row(sample)
    if not task.exclusive:
        table = rows_to_test(frame, [f"p({name})" for name in names], known, empty_is_label=True)[0]
        decision = Decision(task, tuple(names), predictions.thresholds)
        return multilabel.OVERALL[0].row(LabelsSample(table, decision, resampling))
    classes = ClassSample(class_rows(frame, names, known)[0], names, resampling)
    if task.ordered:
        return ordinal.ORDINAL[0].row(classes)
    metrics = classification.two_classes(names[1], {}) if len(names) == 2 else classification.OVERALL
    return metrics[0].row(classes)
