"""The inverse power law of a learning curve: fitted, and refused where the points do not support it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

DRAWS = 1000
LEVELS = (2.5, 97.5)
FEWEST = 4
"""Sizes: three would fit any law."""
RATES = np.geomspace(0.05, 2.0, 200)
"""A rate of 0.05 hardly saturates, one of 2 has at once."""
CHANCE = 0.5
"""Percentile of the resampled rise that has to be above zero."""
MISFIT = 0.001


class Law(NamedTuple):
    """``limit - loss * (n / unit) ** -rate``: the measure with n patients; with infinitely many it is ``limit``."""

    limit: float
    loss: float
    rate: float
    unit: float

    def at(self, patients: float | np.ndarray) -> float | np.ndarray:
        """The measure with so many patients."""
        return self.limit - self.loss * (np.asarray(patients, float) / self.unit) ** -self.rate


@dataclass(frozen=True)
class Fit:
    """A fitted law and the laws of resampled curves, or why there is none.

    Attributes:
        law: The law; None where it was refused.
        draws: Laws of resampled curves.
        refusal: Why there is none; empty where there is one.
    """

    law: Law | None
    draws: tuple[Law, ...] = ()
    refusal: str = ""

    def band(self, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The 95% band of the law at some numbers of patients."""
        values = np.stack([np.asarray(law.at(patients)) for law in self.draws])
        low, high = np.percentile(values, LEVELS, axis=0)
        return low, high


def fit_law(sizes: np.ndarray, values: np.ndarray, shared: float, ceiling: float, seed: int = 0) -> Fit:
    """Fit an inverse power law to the repeats of a learning curve.

    Args:
        sizes: Patients trained on, ascending.
        values: float ``(repeats, sizes)``, higher being better.
        shared: What repeats have in common, as a fraction of a repeat's variance: patients tested over patients trained
            on, for repeats that draw anew from the same patients (Nadeau and Bengio).
        ceiling: The best value there can be, such as 1 for an AUC.
        seed: Of the resampling.

    Returns:
        A `Fit`; refused with fewer than four sizes, where no rise is shown, and where the points do not lie on such a law.

    References:
        Figueroa RL et al. Predicting sample size required for classification performance. BMC Med Inform Decis Mak
        2012;12:8. Nadeau C, Bengio Y. Mach Learn 2003;52:239-281.
    """
    repeats = len(values)
    if len(sizes) < FEWEST or repeats < 2:
        return Fit(None, refusal=f"{len(sizes)} sizes are too few: it takes {FEWEST}")
    mean = values.mean(axis=0)
    alone = np.maximum(values.std(axis=0, ddof=1) / np.sqrt(repeats), 1e-4)
    # Patients are the same in all repeats: the mean varies more than independent repeats would say.
    wider = np.sqrt(1 + repeats * shared)
    drawn = values[np.random.default_rng(seed).integers(0, repeats, (DRAWS, repeats))].mean(axis=1)
    # First and last size are tested on the same patients: in their difference that part cancels.
    if np.percentile(drawn[:, -1] - drawn[:, 0], CHANCE) <= 0:
        return Fit(None, refusal="no rise with more patients is shown, so none can be extrapolated")
    law = _fitted(sizes, mean[None], alone, ceiling)[0]
    misfit = float((((mean - law.at(sizes)) / alone) ** 2).sum())
    if chi2.sf(misfit, len(sizes) - 3) < MISFIT:
        return Fit(None, refusal="the points do not lie on an inverse power law")
    drawn = mean + (drawn - mean) * wider * np.sqrt(repeats / (repeats - 1))
    return Fit(law, tuple(_fitted(sizes, drawn, alone, ceiling)))


def _fitted(sizes: np.ndarray, values: np.ndarray, errors: np.ndarray, ceiling: float) -> list[Law]:
    """The best law of every curve ``(curves, sizes)``, all at once.

    With the rate fixed the law is a line in ``(n / unit) ** -rate``, whose weighted least squares are a formula; so every
    rate of a fine grid is tried, which cannot end in a wrong minimum as steps from a guess can.
    """
    unit = float(sizes[-1])
    weights = errors**-2 / (errors**-2).sum()
    bases = (sizes / unit) ** -RATES[:, None]
    middle = bases @ weights
    centred = bases - middle[:, None]
    mean = values @ weights
    slope = -((values - mean[:, None]) * weights) @ centred.T / (centred**2 @ weights)
    limit = mean[:, None] + np.maximum(slope, 0) * middle
    # No law promises more than the best there is: then the limit is that, and the slope alone is left.
    over = limit > ceiling
    through = ((ceiling - values) * weights) @ bases.T / (bases**2 @ weights)
    loss = np.maximum(np.where(over, through, slope), 0)
    limit = np.where(over, ceiling, limit)
    missed = values[:, None, :] - (limit[..., None] - loss[..., None] * bases)
    best = ((missed**2) @ weights).argmin(axis=1)
    return [Law(float(limit[k, r]), float(loss[k, r]), float(RATES[r]), unit) for k, r in enumerate(best)]
