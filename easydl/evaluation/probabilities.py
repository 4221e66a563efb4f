"""Whether probabilities mean what they say: Brier score, log loss, calibration error, slope and intercept.

Sums over images for the bootstrap, and the regression of the classes on the probabilities. It knows no table.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, logit, softmax
from scipy.stats import t

from easydl.evaluation.influence import standard_error
from easydl.evaluation.intervals import Interval, mean_interval, not_computable
from easydl.evaluation.level import level

LEAST_FOR_CALIBRATION = 50
"""Patients below which calibration cannot be tested."""
BINS, CLIP, STEPS = 10, 1e-7, 30


class ProbabilitySums:
    """Terms of every image whose sums give Brier score, log loss and expected calibration error.

    Args:
        scores: Probabilities ``(images, classes)``, 0 to 1; of two classes the second is the positive one.
        reference: The position of the true class of each image.

    Attributes:
        columns: float64 ``(images, 2 + 2 * bins)``: Brier score, log loss, then for each bin of probabilities that many
            images share the number of images and the excess of the probability over the outcome. The first column is
            preceded by ones: ``(images, 3 + 2 * bins)`` altogether.
    """

    def __init__(self, scores: np.ndarray, reference: np.ndarray) -> None:
        rows = np.arange(len(reference))
        truth = np.eye(scores.shape[1])[reference]
        halved = 2 if scores.shape[1] == 2 else 1  # 0 to 1 for two classes, 0 to 2 for more, as usual
        brier = ((scores - truth) ** 2).sum(axis=1) / halved
        loss = -np.log(np.clip(scores[rows, reference], CLIP, 1))
        if scores.shape[1] == 2:
            said, came = scores[:, 1], truth[:, 1]
        else:
            said, called = scores.max(axis=1), scores.argmax(axis=1)
            came = (called == reference).astype(float)
        edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)[1:-1]))
        inside = np.eye(len(edges) + 1)[np.searchsorted(edges, said, side="left")]
        self.columns = np.column_stack([np.ones(len(rows)), brier, loss, inside, inside * (said - came)[:, None]])

    def brier(self, sums: np.ndarray) -> np.ndarray:
        """From sums ``(resamples, columns)`` the mean Brier score."""
        return np.asarray(sums[:, 1] / sums[:, 0])

    def log_loss(self, sums: np.ndarray) -> np.ndarray:
        """The mean log loss."""
        return np.asarray(sums[:, 2] / sums[:, 0])

    def calibration_error(self, sums: np.ndarray) -> np.ndarray:
        """The expected calibration error: the mean over images of the distance in their bin, 0 to 1."""
        bins = (sums.shape[1] - 3) // 2
        return np.asarray(np.abs(sums[:, 3 + bins :]).sum(axis=1) / sums[:, 0])


def calibration_error_interval(value: float, resampled: np.ndarray, patients: int) -> Interval:
    """The interval of an expected calibration error.

    Noise in the bins makes the error of a sample too large, and that of a resample too large once more: the percentiles are
    therefore reflected at the value (the basic bootstrap), and cut at 0.

    References:
        Davison AC, Hinkley DV. Bootstrap Methods and their Application. Cambridge 1997, section 5.2.1.
    """
    plain = mean_interval(resampled, patients)
    if not plain.computable:
        return plain
    low, high = max(0.0, 2 * value - plain.high), max(0.0, 2 * value - plain.low)
    return Interval(min(low, value), max(high, value), "patient-level bootstrap, reflected")


def calibration_line(
    scores: np.ndarray, reference: np.ndarray, index: np.ndarray, strata: Sequence[np.ndarray]
) -> dict[str, tuple[float, Interval]]:
    """Calibration slope and intercept with intervals; for more than two classes the slope alone.

    The slope is 1 where probabilities are as extreme as they should be, below 1 where they are too extreme. The intercept
    (calibration in the large, at a slope of 1) is 0 where they are right on average, above 0 where they are too low.

    Args:
        scores: Probabilities ``(images, classes)``.
        reference: The position of the true class of each image.
        index: For each image the position of its patient.
        strata: Not needed for the variance of a regression; the number of patients is taken from it.

    Returns:
        ``slope`` and, for two classes, ``intercept``: value and interval, whose errors are clustered by patient.

    References:
        Cox DR. Biometrika 1958;45:562-565. Van Calster B et al. Calibration: the Achilles heel of predictive analytics.
        BMC Med 2019;17:230. Liang KY, Zeger SL. Biometrika 1986;73:13-22 (clustered errors).
    """
    patients = sum(map(len, strata))
    everyone = [np.arange(patients)]
    clipped = np.clip(scores, CLIP, 1 - CLIP)

    def limits(value: float, error: float) -> tuple[float, Interval]:
        reach = float(t.ppf((1 + level()) / 2, max(1, patients - 2))) * error
        return value, Interval(value - reach, value + reach, "errors clustered by patient")

    try:
        if scores.shape[1] > 2:
            logs = np.log(clipped)
            factor, influence = _slope_of_many(logs, reference)
            return {"slope": limits(factor, float(standard_error(influence, index, everyone)[0]))}
        positive, score = (reference == 1).astype(float), logit(clipped[:, 1])
        line, influence = _logistic(np.column_stack([score, np.ones(len(score))]), positive, np.zeros(len(score)))
        found = {"slope": limits(float(line[0]), float(standard_error(influence[:, 0], index, everyone)[0]))}
        intercept, influence = _logistic(np.ones((len(score), 1)), positive, score)
        found["intercept"] = limits(float(intercept[0]), float(standard_error(influence[:, 0], index, everyone)[0]))
        return found
    except np.linalg.LinAlgError:
        reason = not_computable("the probabilities separate the classes, or do not vary")
        return dict.fromkeys(("slope", "intercept") if scores.shape[1] == 2 else ("slope",), (np.nan, reason))


def _logistic(design: np.ndarray, outcome: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a logistic regression by Newton's method, and the influence of every image on them.

    Raises:
        numpy.linalg.LinAlgError: There is no finite maximum.
    """
    beta = np.zeros(design.shape[1])
    for _ in range(STEPS):
        fitted = expit(design @ beta + offset)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if np.linalg.cond(curvature) > 1e12:
            raise np.linalg.LinAlgError
        step = np.linalg.solve(curvature, design.T @ (outcome - fitted))
        beta = beta + np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-9:
            return beta, (design * (outcome - fitted)[:, None]) @ np.linalg.inv(curvature)
    raise np.linalg.LinAlgError


def _slope_of_many(logs: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """The factor of the logarithms that fits best (1 over the temperature), and the influence of every image on it."""
    rows, factor = np.arange(len(reference)), 1.0
    for _ in range(STEPS):
        fitted = softmax(factor * logs, axis=1)
        mean = (fitted * logs).sum(axis=1)
        gradient = logs[rows, reference] - mean
        curvature = float(((fitted * logs**2).sum(axis=1) - mean**2).sum())
        if curvature < 1e-9:
            raise np.linalg.LinAlgError
        step = float(gradient.sum()) / curvature
        factor += float(np.clip(step, -5, 5))
        if abs(step) < 1e-9:
            return factor, gradient / curvature
    raise np.linalg.LinAlgError
