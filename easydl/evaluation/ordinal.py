"""The metrics of ordered classes: weighted kappa, error in classes, accuracy. It runs no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import MINIMUM_PATIENTS, Interval, mean_interval, not_computable
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import FEW_IN_A_CLASS, ClassSample, class_rows
from easydl.tasks import Task


def ordinal_metrics(
    frame: pd.DataFrame, classes: Sequence[str], *, patients_known: bool = True, seed: int = 0, resamples: int = 2000
) -> Metrics:
    """Test a model of ordered classes: quadratic-weighted kappa, mean absolute error in classes, accuracy, within one.

    Args:
        frame: As for `classification_metrics`; ``prediction`` is the class the model gave.
        classes: The classes from the lowest to the highest.
        patients_known: As for `classification_metrics`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the quadratic-weighted kappa, with the confusion matrix.

    Raises:
        InputError: As for `classification_metrics`.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["1", "1", "2", "2", "3", "3"],
        ...     "prediction": ["1", "2", "2", "2", "3", "2"], "p(1)": 0.2, "p(2)": 0.6, "p(3)": 0.2})
        >>> ordinal_metrics(frame, ["1", "2", "3"]).table["value"].round(2).tolist()
        [0.67, 0.33, 0.67, 1.0]

    References:
        Cohen J. Psychol Bull 1968;70:213-220.
    """
    names = [str(name) for name in classes]
    resampling = Resampling(patients_known, seed, resamples)
    table, notes = class_rows(frame, names, patients_known)
    sample = ClassSample(table, names, resampling)
    if sample.absent:
        notes.append(f"No test image has the class {', '.join(sample.absent)}: nothing can be said about it.")
    notes += size_notes(dict(zip(names, sample.patients_of, strict=True)), resampling.unit_of_n)
    notes.append(
        "The prediction is the median of the model's distribution over the classes, which has the least expected error. "
        "Kappa, errors and accuracy hold only at the prevalence of each class in this test set."
    )
    return run(
        Task.ORDINAL,
        names,
        ORDINAL,
        sample,
        notes=notes,
        per_class=sample.per_class,
        confusion=sample.confusion.tolist(),
    )


def weighted_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights of matrices ``(matrices, classes, classes)``, reference by prediction.

    From -1 to 1; NaN where all images have one class, reference and prediction.
    """
    weight = _distance(counts.shape[1]) ** 2.0
    total = counts.sum(axis=(1, 2))
    expected = counts.sum(axis=2)[:, :, None] * counts.sum(axis=1)[:, None, :] / total[:, None, None]
    by_chance = (weight * expected).sum(axis=(1, 2))
    missed = (weight * counts).sum(axis=(1, 2))
    return 1 - np.divide(missed, by_chance, out=np.full(len(counts), np.nan), where=by_chance > 0)


def _distance(classes: int) -> np.ndarray:
    places = np.arange(classes)
    return np.abs(places[:, None] - places[None, :])


def _present(sample: ClassSample) -> list[int]:
    return [c for c, patients in enumerate(sample.patients_of) if patients]


def _unless_few(sample: ClassSample, interval: Interval) -> Interval:
    few = any(sample.patients_of[c] < MINIMUM_PATIENTS for c in _present(sample))
    return not_computable(FEW_IN_A_CLASS) if few else interval


def _kappa(sample: ClassSample) -> Estimate:
    value = float(weighted_kappa(sample.confusion[None].astype(float))[0])
    drawn = weighted_kappa(sample.resampled_confusion)
    defined = np.isfinite(value) and np.isfinite(drawn).any()
    interval = mean_interval(drawn, sample.patients) if defined else not_computable("all images have one class")
    note = "agreement beyond chance; a miss by two classes counts four times a miss by one"
    return Estimate(value, _unless_few(sample, interval), sample.patients, sample.images, note)


def _error(sample: ClassSample) -> Estimate:
    distance, counts = _distance(len(sample.names)), sample.resampled_confusion
    value = float((sample.confusion * distance).sum() / sample.images)
    drawn = (counts * distance).sum(axis=(1, 2)) / counts.sum(axis=(1, 2))
    interval = _unless_few(sample, mean_interval(drawn, sample.patients))
    return Estimate(value, interval, sample.patients, sample.images)


def _within(sample: ClassSample, classes: int) -> Estimate:
    return sample.ratio(sample.cells(), _distance(len(sample.names)) <= classes, _present(sample))


ORDINAL: tuple[Metric[ClassSample], ...] = (
    Metric("quadratic-weighted kappa", _kappa),
    Metric("mean absolute error", _error, unit="classes"),
    Metric("accuracy", lambda sample: _within(sample, 0).noted("exactly the class")),
    Metric("accuracy within one class", lambda sample: _within(sample, 1)),
)
