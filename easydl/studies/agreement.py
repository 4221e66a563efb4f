"""How well several raters agree about the same images: kappa for classes, ICC for numbers, by patient.

Every statistic is a function of sums over images, so a resample of patients is a product of weights and sums. It
decides nothing about labels.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

RESAMPLES = 1000
LEAST_PATIENTS = 10
_CELLS_AT_ONCE = 2_000_000

Statistic = Callable[[np.ndarray], np.ndarray]
"""From weighted sums ``(resamples, numbers)`` to values ``(resamples,)``."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well the raters of a study agree. Shows itself as a table in a notebook.

    Attributes:
        table: One row per number: ``statistic``, ``raters``, ``value``, ``low`` and ``high`` (its 95% interval; NaN
            when not computable), ``images`` and ``patients`` (those that all these raters have rated).
    """

    table: pd.DataFrame

    def __repr__(self) -> str:
        return self.sentence(0)

    def sentence(self, row: int) -> str:
        """One row of the table as text."""
        one = self.table.iloc[row]
        value = f"{one['value']:.2f}" if np.isfinite(one["value"]) else "not computable"
        interval = f"{one['low']:.2f} to {one['high']:.2f}" if np.isfinite(one["low"]) else "not computable"
        return (
            f"{one['statistic']} {value} (95% CI {interval}), {one['raters']}, "
            f"{one['images']} images of {one['patients']} patients"
        )

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(self.sentence(row))}</li>" for row in range(len(self.table)))
        return f"<p>Agreement of the raters</p><ul>{lines}</ul>"


def agreement(ratings: pd.DataFrame, patient: pd.Series, *, numeric: bool = False, seed: int = 0) -> Agreement:
    """Measure the agreement of two or more raters.

    Args:
        ratings: One column per rater, one row per image: class names (blank where not rated), or floats (NaN).
        patient: The patient of every row; the bootstrap draws patients, so that images of one stay together.
        numeric: Whether the ratings are values.
        seed: Of the bootstrap.

    Returns:
        For classes Cohen's kappa (two raters), or Fleiss' kappa and Cohen's for each pair; for numbers ICC(2,1)
        (absolute agreement) and ICC(3,1) (consistency). Only images that all these raters have rated are used.

    Example:
        >>> ratings = pd.DataFrame({"a": ["x", "x", "y", "y"], "b": ["x", "y", "y", "y"]})
        >>> float(agreement(ratings, pd.Series(["1", "2", "3", "4"])).table["value"].iloc[0])
        0.5

    References:
        Cohen 1960, Educ Psychol Meas 20:37; Fleiss 1971, Psychol Bull 76:378; Shrout & Fleiss 1979, Psychol Bull 86:420.
    """
    names = [str(name) for name in ratings.columns]
    rows = []

    def add(statistic: str, who: str, columns: list[str], make: Callable) -> None:
        chosen = ratings[columns]
        whole = chosen.notna().all(axis=1) if numeric else (chosen != "").all(axis=1)
        sums, function = make(chosen[whole])
        value, low, high = _interval(sums, function, patient[whole].to_numpy(str), seed)
        rows.append((statistic, who, value, low, high, int(whole.sum()), int(patient[whole].nunique())))

    everyone = f"{len(names)} raters"
    if numeric:
        add("ICC(2,1)", everyone, names, _icc_absolute)
        add("ICC(3,1)", everyone, names, _icc_consistency)
    else:
        if len(names) > 2:
            add("Fleiss' kappa", everyone, names, _fleiss)
        for one, other in combinations(names, 2):
            add("Cohen's kappa", f"{one} and {other}", [one, other], _cohen)
    columns = ["statistic", "raters", "value", "low", "high", "images", "patients"]
    return Agreement(pd.DataFrame(rows, columns=columns))


def _interval(sums: np.ndarray, function: Statistic, patient: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The value, and the 2.5 and 97.5 percentiles over resamples of patients."""
    names, index = np.unique(patient, return_inverse=True)
    by_patient = np.zeros((len(names), sums.shape[1]))
    np.add.at(by_patient, index, sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(function(by_patient.sum(axis=0, keepdims=True))[0]) if len(names) else np.nan
        if len(names) < LEAST_PATIENTS or not np.isfinite(value):
            return value, np.nan, np.nan
        rng = np.random.default_rng(seed)
        step = max(1, _CELLS_AT_ONCE // len(names))
        parts = []
        for start in range(0, RESAMPLES, step):
            count = min(step, RESAMPLES - start)
            weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
            parts.append(function(weights @ by_patient))
    drawn = np.concatenate(parts)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 0.9 * RESAMPLES or np.ptp(drawn) < 1e-12:  # full agreement never varies: that is no certainty
        return value, np.nan, np.nan
    low, high = np.percentile(drawn, (2.5, 97.5))
    return value, float(low), float(high)


def _codes(ratings: pd.DataFrame) -> tuple[np.ndarray, int]:
    values = np.unique(ratings.to_numpy(str))
    return np.searchsorted(values, ratings.to_numpy(str)), len(values)


def _cohen(ratings: pd.DataFrame) -> tuple[np.ndarray, Statistic]:
    codes, k = _codes(ratings)
    tables = np.eye(k * k)[codes[:, 0] * k + codes[:, 1]] if len(codes) else np.zeros((0, 1))

    def kappa(sums: np.ndarray) -> np.ndarray:
        table = sums.reshape(-1, k, k) / sums.sum(axis=1)[:, None, None]
        expected = (table.sum(axis=2) * table.sum(axis=1)).sum(axis=1)
        return (np.trace(table, axis1=1, axis2=2) - expected) / (1 - expected)

    return tables, kappa


def _fleiss(ratings: pd.DataFrame) -> tuple[np.ndarray, Statistic]:
    codes, k = _codes(ratings)
    raters = codes.shape[1]
    counts = np.stack([(codes == one).sum(axis=1) for one in range(k)], axis=1) if k else np.zeros((0, 1))
    observed = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    sums = np.column_stack([observed, np.ones(len(counts)), counts])

    def kappa(total: np.ndarray) -> np.ndarray:
        images = total[:, 1]
        expected = ((total[:, 2:] / (images * raters)[:, None]) ** 2).sum(axis=1)
        return (total[:, 0] / images - expected) / (1 - expected)

    return sums, kappa


def _icc(ratings: pd.DataFrame, *, absolute: bool) -> tuple[np.ndarray, Statistic]:
    x = ratings.to_numpy(float)
    x = x - x.mean() if x.size else x  # sums of squares of large numbers lose digits
    k = x.shape[1]
    sums = np.column_stack([np.ones(len(x)), (x**2).sum(axis=1), x.mean(axis=1) ** 2, x])

    def icc(total: np.ndarray) -> np.ndarray:
        n, squares, means, raters = total[:, 0], total[:, 1], total[:, 2], total[:, 3:]
        correction = raters.sum(axis=1) ** 2 / (n * k)
        between = k * means - correction
        judges = (raters**2).sum(axis=1) / n - correction
        bms, jms = between / (n - 1), judges / (k - 1)
        ems = (squares - correction - between - judges) / ((n - 1) * (k - 1))
        return (bms - ems) / (bms + (k - 1) * ems + (k * (jms - ems) / n if absolute else 0))

    return sums, icc


def _icc_absolute(ratings: pd.DataFrame) -> tuple[np.ndarray, Statistic]:
    return _icc(ratings, absolute=True)


def _icc_consistency(ratings: pd.DataFrame) -> tuple[np.ndarray, Statistic]:
    return _icc(ratings, absolute=False)
