"""Average precision: how pure the top of the ranking is, resampled by patient. It says nothing of sensitivity at 0.5."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def average_precision_statistic(
    scores: np.ndarray, positive: np.ndarray, index: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from patients' weights to the average precision, images of one score counted together.

    As `auc_statistic`; NaN where a resample holds no positive image.

    Example:
        >>> positive = np.array([False, False, True, True])
        >>> precision = average_precision_statistic(np.array([0.1, 0.4, 0.35, 0.8]), positive, np.arange(4))
        >>> round(float(precision(np.ones((1, 4)))[0]), 3)
        0.833

    References:
        Saito T, Rehmsmeier M. PLoS One 2015;10:e0118432.
    """
    order = np.argsort(-scores, kind="stable")
    columns, is_positive = index[order], positive[order].astype(float)
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))

    def statistic(weights: np.ndarray) -> np.ndarray:
        per_image = weights[:, columns]
        called = np.cumsum(per_image, axis=1)[:, ends]
        right = np.cumsum(per_image * is_positive, axis=1)[:, ends]
        precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
        gained = np.diff(right, axis=1, prepend=0.0)
        total = right[:, -1]
        return np.divide((gained * precision).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)

    return statistic
