"""How much each patient moves a number: standard errors of rank statistics without resampling. It knows no tables.

The influence of an image is the derivative of the number by the image's weight; summed over the images of a patient,
and squared over patients, it gives the variance that a bootstrap by patient converges to (the infinitesimal jackknife).
For the AUC of patients with one image each it is DeLong's variance, with several images Obuchowski's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata


def auc_influence(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """What each image adds to the AUC's error, float64 ``(images,)``; its sum is zero.

    Args:
        scores: One score per image; higher means positive.
        positive: Boolean per image; both classes are there.

    Example:
        >>> auc_influence(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).round(3).tolist()
        [0.125, -0.125, -0.125, 0.125]

    References:
        DeLong ER, DeLong DM, Clarke-Pearson DL. Biometrics 1988;44:837-845; Sun X, Xu W. IEEE Signal Process Lett
        2014;21:1389-1393 (midranks).
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    overall = rankdata(scores)
    placed = np.empty(len(scores))
    # The fraction of the other class that an image is ranked rightly against.
    placed[positive] = (overall[positive] - rankdata(scores[positive])) / negatives
    placed[~positive] = 1 - (overall[~positive] - rankdata(scores[~positive])) / positives
    return (placed - placed[positive].mean()) / np.where(positive, positives, negatives)


def average_precision_influence(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """What each image adds to the average precision's error, float64 ``(images,)``; its sum is zero.

    Args:
        scores: One score per image; higher means positive.
        positive: Boolean per image; at least one is true.

    Example:
        >>> average_precision_influence(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).sum().round(9)
        np.float64(0.0)

    References:
        Efron B. The Jackknife, the Bootstrap and Other Resampling Plans. SIAM 1982, chapter 6 (infinitesimal jackknife).
    """
    order = np.argsort(-scores, kind="stable")
    is_positive = positive[order].astype(float)
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    group = np.searchsorted(ends, np.arange(len(order)))
    called = ends + 1.0
    right = np.cumsum(is_positive)[ends]
    gained = np.diff(right, prepend=0.0)
    total, precision = right[-1], right / called
    value = float((gained * precision).sum() / total)
    # An image counts among those called at its own score and at every lower one.
    by_hit = np.cumsum((gained / called)[::-1])[::-1]
    by_call = np.cumsum((gained * precision / called)[::-1])[::-1]
    influence = np.empty(len(scores))
    influence[order] = (is_positive * (precision[group] - value + by_hit[group]) - by_call[group]) / total
    return influence


def standard_error(influence: np.ndarray, index: np.ndarray, strata: Sequence[np.ndarray]) -> np.ndarray:
    """The standard error of numbers from the influence of every image, patients being drawn within their strata.

    Args:
        influence: Per image, ``(images,)`` or ``(images, numbers)``.
        index: For each image the position of its patient (``PatientBootstrap.index``).
        strata: Positions of the patients of each class (``PatientBootstrap.strata``), together all patients.

    Returns:
        float64, one per number.

    References:
        Obuchowski NA. Nonparametric analysis of clustered ROC curve data. Biometrics 1997;53:567-578.
    """
    columns = influence.reshape(len(influence), -1)
    by_patient = np.zeros((sum(map(len, strata)), columns.shape[1]))
    np.add.at(by_patient, index, columns)
    variance = np.zeros(columns.shape[1])
    for members in strata:
        n = len(members)
        if n > 1:
            variance += n * by_patient[members].var(axis=0, ddof=1)
    return np.sqrt(variance)
