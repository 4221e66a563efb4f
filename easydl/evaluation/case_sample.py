"""Numbers of every case of a test, whose means are resampled by patient. It measures no case."""

from __future__ import annotations

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import (
    Interval,
    bounded_mean_interval,
    mean_interval,
    not_computable,
    positive_mean_interval,
    proportion_interval,
)
from easydl.evaluation.level import level
from easydl.evaluation.metric import Estimate, Resampling

UNIT = "unit of n"
"""The column with the patient, or with the image where patients are unknown."""


class CaseSample:
    """Rows of cases with the columns ``image``, ``patient``, ``case`` and ``class``; several classes make several rows."""

    def __init__(self, frame: pd.DataFrame, resampling: Resampling) -> None:
        units = frame["patient" if resampling.patients_known else "image"].astype(str)
        self.frame, self.resampling = frame.assign(**{UNIT: units}), resampling
        self.classes = list(dict.fromkeys(frame["class"]))
        self.bootstrap = resampling.bootstrap(units, content=frame.drop(columns="case").select_dtypes("number"))
        self.images, self.patients = int(frame["case"].nunique()), len(self.bootstrap.names)

    def mean(
        self, rows: pd.DataFrame, column: str, note: str = "", *, bounded: bool = False, positive: bool = False
    ) -> Estimate:
        """The mean of a column over some rows where it is defined; with several classes the mean of their means.

        ``bounded`` where the numbers lie between 0 and 1, ``positive`` where they are distances.
        """
        rows = rows[rows[column].notna()]
        n, images = rows[UNIT].nunique(), rows["case"].nunique()
        if not n:
            return Estimate(np.nan, not_computable("no case to measure"), 0, 0, note)
        index = pd.Index(self.bootstrap.names).get_indexer(rows[UNIT].to_numpy(str))
        values, parts = rows[column].to_numpy(float), []
        for name in self.classes:
            inside = (rows["class"] == name).to_numpy()
            parts.append(np.bincount(index[inside], values[inside], self.patients))
            parts.append(np.bincount(index[inside], minlength=self.patients))
        sums = np.stack(parts, axis=1).astype(float)
        measured = np.flatnonzero(sums[:, 1::2].any(axis=0))

        def statistic(weights: np.ndarray) -> np.ndarray:
            drawn = weights @ sums
            counts = drawn[:, 1::2]
            means = np.divide(drawn[:, ::2], counts, out=np.full_like(counts, np.nan), where=counts > 0)
            return means[:, measured].mean(axis=1, keepdims=True)

        totals = sums.sum(axis=0)
        value = float((totals[::2][measured] / totals[1::2][measured]).mean())
        if bounded:
            parted = sums[:, ::2][:, measured], sums[:, 1::2][:, measured]
            interval = bounded_mean_interval(*parted, seed=self.resampling.seed, resamples=self.resampling.resamples)
        elif positive:
            interval = positive_mean_interval(value, self.bootstrap.run(statistic)[:, 0], n)
        else:
            interval = mean_interval(self.bootstrap.run(statistic)[:, 0], n)
        return Estimate(value, interval, n, images, note)

    def pooled(self, rows: pd.DataFrame, hits: str, among: str, note: str = "") -> Estimate:
        """A fraction of all lesions or objects: the sum of one column over that of another."""
        rows = rows[rows[among] > 0]
        n, images = rows[UNIT].nunique(), rows["case"].nunique()
        if not n:
            return Estimate(np.nan, not_computable("nothing to find"), 0, 0, note)
        index = pd.Index(self.bootstrap.names).get_indexer(rows[UNIT].to_numpy(str))
        sums = np.stack([np.bincount(index, rows[one].to_numpy(float), self.patients) for one in (hits, among)], axis=1)
        value = float(sums[:, 0].sum() / sums[:, 1].sum())

        def fraction(weights: np.ndarray) -> np.ndarray:
            drawn = weights @ sums
            return np.divide(drawn[:, :1], drawn[:, 1:], out=np.full((len(drawn), 1), np.nan), where=drawn[:, 1:] > 0)

        resampled = self.bootstrap.run(fraction)[:, 0]
        return Estimate(value, proportion_interval(value, resampled, sums[sums[:, 1] > 0, 1]), n, images, note)

    def rate(self, rows: pd.DataFrame, column: str, note: str = "") -> Estimate:
        """A mean count per case; where nothing at all was counted, with Poisson's upper limit for as many patients.

        References:
            Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.
        """
        estimate = self.mean(rows, column, note)
        if estimate.value != 0 or not estimate.interval.computable:
            return estimate
        high = float(-np.log((1 - level()) / 2)) / estimate.patients
        return estimate._replace(interval=Interval(0.0, high, "Poisson limit on patients"))
