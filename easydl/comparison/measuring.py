"""The first number of a test for each task, and the difference of two tests of the same images. It runs no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from easydl.evaluation import classification, multilabel, ordinal
from easydl.evaluation.formatting import unit_of
from easydl.evaluation.intervals import auc_statistic
from easydl.evaluation.level import level
from easydl.evaluation.metric import Resampling
from easydl.evaluation.multilabel import LabelsSample
from easydl.evaluation.paired import paired_difference
from easydl.evaluation.regression import ValueSample, value_metrics
from easydl.evaluation.sample import ClassSample, class_rows, rows_to_test
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

RESAMPLES = 2000


class Gap(NamedTuple):
    """The first less the second on the same images, with its 95% interval by patient; NaN where not computable."""

    difference: float
    low: float
    high: float


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

    def gain(self, difference: float) -> float:
        """A difference such that more is better."""
        return -difference if self.lower_is_better else difference


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


def gap(first: Predictions, second: Predictions, *, seed: int = 0, resamples: int = RESAMPLES) -> Gap:
    """The first predictions' number less the second's.

    Args:
        first: Of some images.
        second: Of the same images in the same order, with the same labels.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.
    """
    task, names = Task(first.task), list(first.classes)
    a, b = first.frame, second.frame
    label = a["label"].astype(str)
    known = (label.str.strip() != "").to_numpy() | (task == Task.MULTILABEL)
    a, b, label = a[known], b[known], label[known]
    patients = _patients(a, first.patients_known)
    options = {"seed": seed, "resamples": resamples}
    if not task.is_value and not task.exclusive:
        return _of_labels(a, b, names, label, patients, resamples, seed)
    if task.is_value:
        found = paired_difference(label.astype(float), a["value"], b["value"], patients, measure="mae", **options)
    elif task.ordered:
        code = {name: place for place, name in enumerate(names)}
        truth, one, other = (cells.astype(str).map(code) for cells in (label, a["prediction"], b["prediction"]))
        found = paired_difference(truth, one, other, patients, measure="kappa", **options)
    else:
        truth = label.map({name: place for place, name in enumerate(names)})
        columns = [f"p({name})" for name in names]
        found = paired_difference(truth, a[columns], b[columns], patients, measure="auc", **options)
    return Gap(found.difference, found.low, found.high)


def _patients(frame: pd.DataFrame, known: bool) -> np.ndarray:
    rows = np.array([f"(image {row})" for row in range(len(frame))])
    if not known:
        return rows
    said = frame["patient"].astype(str).str.strip().to_numpy()
    return np.where(said == "", rows, said)


def _of_labels(
    a: pd.DataFrame,
    b: pd.DataFrame,
    names: list[str],
    label: pd.Series,
    patients: np.ndarray,
    resamples: int,
    seed: int,
) -> Gap:
    """Of the mean AUC over labels: patients are drawn for all labels and both models together."""
    columns = [f"p({name})" for name in names]
    content = np.column_stack([frame[columns].to_numpy(float) for frame in (a, b)])
    bootstrap = Resampling(True, seed, resamples).bootstrap(patients, content=content)
    pairs = []
    for name in names:
        present = np.array([name in cell.split(JOIN) for cell in label])
        if 0 < present.sum() < len(present):
            scores = (frame[f"p({name})"].to_numpy(float) for frame in (a, b))
            pairs.append(tuple(auc_statistic(score, present, bootstrap.index) for score in scores))
    if not pairs:
        return Gap(np.nan, np.nan, np.nan)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.mean([one(weights) - other(weights) for one, other in pairs], axis=0)[:, None]

    value = float(statistic(np.ones((1, len(bootstrap.names))))[0, 0])
    drawn = bootstrap.run(statistic)[:, 0]
    drawn = drawn[np.isfinite(drawn)]
    if len(bootstrap.names) < 2 or not len(drawn):
        return Gap(value, np.nan, np.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + level()) / 2, len(bootstrap.names) - 1) * drawn.std())
    return Gap(value, value - half, value + half)
