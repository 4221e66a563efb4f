"""Patients drawn with replacement, and what a number is in every resample. It makes no interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from easydl.errors import InputError

MINIMUM_PATIENTS = 2
MINIMUM_RESAMPLES = 100
CELLS_AT_ONCE = 2_000_000
"""Resamples times images held in memory together: 16 MB of float64."""


class PatientBootstrap:
    """Resamples patients with replacement, class by class, the same way for the same images and seed.

    A patient whose images all carry one label is drawn among the patients of that label; patients with
    several labels, and the only patient of a label, are drawn among themselves.

    Args:
        patients: One patient per image, any order: the order of the rows does not change the result.
        labels: One integer class per image, or None to draw from all patients alike.
        content: What is measured of each image, float ``(images, columns)``: patients are then ordered by it, so that
            pseudonyms in the place of names change no limit. Without it they are ordered by name.
        resamples: Number of resamples, at least 100.
        seed: Seed of the random numbers.

    Attributes:
        names: The distinct patients, in the order in which they are drawn.
        index: For each image the position of its patient in ``names``.

    Example:
        >>> bootstrap = PatientBootstrap(["a", "a", "b", "c"], [0, 0, 1, 1], resamples=100)
        >>> bootstrap.run(lambda weights: weights.sum(axis=1, keepdims=True)).shape
        (100, 1)

    References:
        Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 2007;69:369-390.
    """

    def __init__(
        self,
        patients: object,
        labels: object = None,
        *,
        content: object = None,
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        self.names, self.index = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        if content is not None:
            columns = [np.asarray(content, float).reshape(len(self.index), -1)]
            if labels is not None:
                columns.insert(0, np.asarray(labels, float)[:, None])
            order = _order_by_content(self.index, np.column_stack(columns))
            self.names, self.index = self.names[order], np.argsort(order)[self.index]
        if resamples < MINIMUM_RESAMPLES:
            raise InputError(
                f"resamples={resamples}.",
                f"At least {MINIMUM_RESAMPLES}; 2000 is the default.",
                "Leave out `resamples`, or give a larger number.",
            )
        self.resamples, self.seed = resamples, seed
        self.strata = self._strata(np.zeros(len(self.index), int) if labels is None else np.asarray(labels))

    def _strata(self, labels: np.ndarray) -> list[np.ndarray]:
        first = np.full(len(self.names), np.iinfo(int).max)
        last = np.full(len(self.names), -1)
        np.minimum.at(first, self.index, labels)
        np.maximum.at(last, self.index, labels)
        of_patient = np.where(first == last, first, -1)
        strata: list[np.ndarray] = []
        leftover = [np.flatnonzero(of_patient == -1)]
        for label in np.unique(of_patient[of_patient >= 0]):
            members = np.flatnonzero(of_patient == label)
            (strata if len(members) >= MINIMUM_PATIENTS else leftover).append(members)
        rest = np.sort(np.concatenate(leftover))
        if len(rest) == 1 and strata:  # a stratum of one never varies: it joins the largest
            largest = max(range(len(strata)), key=lambda i: len(strata[i]))
            strata[largest] = np.sort(np.append(strata[largest], rest))
        elif len(rest):
            strata.append(rest)
        return strata

    def run(self, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Every resample's value of a statistic.

        Args:
            statistic: Takes weights, float64 of shape (some resamples, patients), in the order of ``names``:
                how often each patient was drawn. Returns (some resamples, numbers).

        Returns:
            float64, shape (resamples, numbers). NaN where a statistic is undefined in a resample.
        """
        # A stream for each stratum: what is drawn does not depend on how many resamples fit into memory together.
        streams = [np.random.default_rng(one) for one in np.random.SeedSequence(self.seed).spawn(len(self.strata))]
        step = max(1, CELLS_AT_ONCE // max(1, len(self.index)))
        parts = []
        for start in range(0, self.resamples, step):
            count = min(step, self.resamples - start)
            weights = np.zeros((count, len(self.names)))
            for rng, members in zip(streams, self.strata, strict=True):
                k = len(members)
                drawn = rng.integers(0, k, size=(count, k)) + k * np.arange(count)[:, None]
                weights[:, members] = np.bincount(drawn.ravel(), minlength=count * k).reshape(count, k)
            parts.append(statistic(weights))
        return np.concatenate(parts)


def _order_by_content(index: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The patients' positions sorted by the content of their images, whatever the order of those."""
    kind = pd.DataFrame(content).groupby(list(range(content.shape[1])), dropna=False).ngroup().to_numpy()
    by_patient = np.lexsort((kind, index))
    images = np.split(kind[by_patient], np.cumsum(np.bincount(index))[:-1])
    return np.array(sorted(range(len(images)), key=lambda patient: images[patient].tolist()), int)


def auc_statistic(scores: np.ndarray, positive: np.ndarray, index: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from patients' weights to the AUC, by the rank statistic, ties counting half.

    Args:
        scores: One score per image; higher means positive.
        positive: Boolean per image.
        index: For each image the position of its patient (``PatientBootstrap.index``).

    Returns:
        Function from weights (resamples, patients) to AUC (resamples,); NaN where a resample holds one class
        only.

    Example:
        >>> positive = np.array([False, False, True, True])
        >>> auc = auc_statistic(np.array([0.1, 0.4, 0.35, 0.8]), positive, np.arange(4))
        >>> float(auc(np.ones((1, 4)))[0])
        0.75

    References:
        Mann HB, Whitney DR. Ann Math Stat 1947;18:50-60.
    """
    order = np.argsort(scores, kind="stable")
    columns, is_positive = index[order], positive[order].astype(float)
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) > 0))
    tied = len(starts) < len(scores)

    def statistic(weights: np.ndarray) -> np.ndarray:
        per_image = weights[:, columns]
        positives = per_image * is_positive
        negatives = per_image - positives
        if tied:
            positives = np.add.reduceat(positives, starts, axis=1)
            negatives = np.add.reduceat(negatives, starts, axis=1)
        below = np.cumsum(negatives, axis=1)
        wins = np.einsum("rg,rg->r", positives, below - 0.5 * negatives)
        pairs = positives.sum(axis=1) * below[:, -1]
        return np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0)

    return statistic
