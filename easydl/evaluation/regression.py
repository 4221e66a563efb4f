"""The metrics of a measured value: error, bias, limits of agreement. It runs no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.formatting import number, unit_of
from easydl.evaluation.intervals import Interval, mean_interval, not_computable, positive_mean_interval
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import rows_to_test
from easydl.studies.agreement import agreement
from easydl.tasks import Task

MAE, RMSE = 0, 1


def regression_metrics(
    frame: pd.DataFrame, name: str, *, patients_known: bool = True, seed: int = 0, resamples: int = 2000
) -> Metrics:
    """Test a model that measures a value: mean absolute error, RMSE, R², ICC, bias and limits of agreement.

    Args:
        frame: One row per image with the columns ``label`` (the reference, as text or number), ``value`` (the
            model's) and ``patient``. Rows without a label are left out and counted.
        name: What is measured; its end may say the unit, as in ``age_years``.
        patients_known: As for `classification_metrics`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the mean absolute error. Differences are prediction less reference. Every interval
        is a patient-level bootstrap.

    Raises:
        InputError: A column is missing, no row has a label, or a label or value is not a number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcd"), "label": [61, 45, 70, 52], "value": [60.0, 48.0, 66.0, 52.0]})
        >>> regression_metrics(frame, "age_years").table["value"].round(2).tolist()[:3]
        [2.0, 2.55, 0.93]

    References:
        Bland JM, Altman DG. Lancet 1986;327:307-310; Shrout PE, Fleiss JL. Psychol Bull 1979;86:420-428.
    """
    table, notes = rows_to_test(frame, ["value"], patients_known)
    sample = ValueSample(table, Resampling(patients_known, seed, resamples))
    reference, unit = sample.reference, unit_of(name)
    typical = float(np.abs(reference - np.median(reference)).mean())
    notes += size_notes({"all": sample.patients}, sample.resampling.unit_of_n)
    notes.append(
        f"Predicting {number(float(np.median(reference)), unit)}, the median of these references, for every image would "
        f"have a mean absolute error of {number(typical, unit)}."
    )
    points = {"reference": reference.tolist(), "prediction": sample.value.tolist()}
    return run(Task.REGRESSION, (name,), value_metrics(unit), sample, notes=notes, points=points)


class ValueSample:
    """References and predictions of a test, and every resampled number."""

    def __init__(self, table: pd.DataFrame, resampling: Resampling) -> None:
        self.resampling, self.table = resampling, table
        self.reference = pd.to_numeric(table["label"], errors="coerce").to_numpy(float)
        undefined = int((~np.isfinite(self.reference)).sum())
        if undefined:
            raise InputError(
                f"{undefined} of {len(table)} labels are not numbers.",
                "a number for every image.",
                "Test on a study that was loaded with task='regression'.",
            )
        self.value = table["value"].to_numpy(float)
        bootstrap = resampling.bootstrap(table["patient"], content=np.column_stack([self.reference, self.value]))
        self.images, self.patients = len(table), len(bootstrap.names)
        # Large numbers lose digits when they are squared; a common shift changes no difference and no R².
        shifted = self.reference - self.reference.mean()
        error = self.value - self.reference
        per_image = np.column_stack([np.ones(self.images), np.abs(error), error**2, error, shifted, shifted**2])
        sums = np.zeros((self.patients, per_image.shape[1]))
        np.add.at(sums, bootstrap.index, per_image)
        self._values = _statistics(np.ones((1, self.patients)) @ sums)[0]
        self._drawn = bootstrap.run(lambda weights: _statistics(weights @ sums))

    def statistic(self, k: int, note: str = "") -> Estimate:
        """The number in column ``k`` of `_statistics`."""
        defined = np.isfinite(self._values[k]) and np.isfinite(self._drawn[:, k]).any()
        reason = not_computable("it is not defined for this test set")
        if not defined:
            interval = reason
        elif k in (MAE, RMSE):
            interval = positive_mean_interval(float(self._values[k]), self._drawn[:, k], self.patients)
        else:
            interval = mean_interval(self._drawn[:, k], self.patients)
        return Estimate(self._values[k], interval, self.patients, self.images, note)

    def icc(self) -> Estimate:
        """ICC(2,1): absolute agreement of prediction and reference."""
        both = pd.DataFrame({"reference": self.reference, "prediction": self.value})
        row = agreement(both, self.table["patient"], numeric=True, seed=self.resampling.seed).table.iloc[0]
        computable = np.isfinite(row["low"])
        made = (
            "patient-level bootstrap"
            if computable
            else "interval not computable: too few patients, or they do not vary"
        )
        interval = Interval(row["low"], row["high"], made)
        note = "absolute agreement of prediction and reference"
        return Estimate(row["value"], interval, self.patients, self.images, note)


def _statistics(sums: np.ndarray) -> np.ndarray:
    """MAE, RMSE, R², bias and both limits from weighted sums ``(resamples, 6)``."""
    n, absolute, squared, error, reference, square = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = error / n
        spread = np.sqrt(np.maximum(squared - n * bias**2, 0.0) / (n - 1))
        explained = 1 - squared / (square - reference**2 / n)
    explained[~np.isfinite(explained)] = np.nan
    reach = 1.96 * spread
    return np.column_stack([absolute / n, np.sqrt(squared / n), explained, bias, bias - reach, bias + reach])


def value_metrics(unit: str) -> tuple[Metric[ValueSample], ...]:
    """The metrics of a value in this unit."""
    rmse = "root of the mean squared error: large errors count more"
    explained = "fraction of the variance explained; 0 is no better than the mean, below 0 worse"
    upper = "bias plus 1.96 standard deviations: 95% of the differences, if normal"
    return (
        Metric("mean absolute error", lambda sample: sample.statistic(0), unit),
        Metric("RMSE", lambda sample: sample.statistic(1, rmse), unit),
        Metric("R²", lambda sample: sample.statistic(2, explained)),
        Metric("ICC(2,1)", ValueSample.icc),
        Metric("bias", lambda sample: sample.statistic(3, "mean of prediction less reference"), unit),
        Metric(
            "lower limit of agreement", lambda sample: sample.statistic(4, "bias less 1.96 standard deviations"), unit
        ),
        Metric("upper limit of agreement", lambda sample: sample.statistic(5, upper), unit),
    )
