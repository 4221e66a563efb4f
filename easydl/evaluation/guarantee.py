"""Thresholds that keep a promise about patients not seen yet, with exact binomial limits. It opens no model."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import beta


def needed(target: float, confidence: float) -> int:
    """The fewest patients with which a rate can be promised at all: if none of them is missed.

    Example:
        >>> needed(0.95, 0.9)
        45
    """
    return math.ceil(math.log(1 - confidence) / math.log(target) - 1e-9)


def misses_allowed(n: int, target: float, confidence: float) -> int | None:
    """How many of ``n`` patients a threshold may miss and still promise the rate; None where even none is too many.

    The lower limit of Clopper and Pearson for ``n - misses`` of ``n`` has to reach ``target``. Thresholds are tested one
    after the other from the safest on, so that no correction for their number is needed (fixed sequence testing); for
    continuous scores this is Wilks' tolerance limit, which is exact.

    Example:
        >>> [misses_allowed(n, 0.95, 0.9) for n in (40, 45, 77, 100)]
        [None, 0, 1, 1]

    References:
        Clopper CJ, Pearson ES. Biometrika 1934;26:404-413. Wilks SS. Ann Math Stat 1941;12:91-96. Angelopoulos AN et
        al. Learn then test, arXiv:2110.01052.
    """
    misses = np.arange(n)
    reached = beta.ppf(1 - confidence, n - misses, misses + 1) >= target
    return int(np.flatnonzero(reached)[-1]) if reached.any() else None


def least_for_sensitivity(lowest: np.ndarray, every: np.ndarray, misses: int) -> float:
    """The largest threshold that misses no more than so many patients.

    Args:
        lowest: For every patient with the class the lowest score among the images that show it.
        every: The scores of all images, among which the threshold is put in the middle of a gap.
        misses: As `misses_allowed`.
    """
    kept = np.sort(lowest)[misses]
    below = every[every < kept]
    return _off_a_half((kept + (below.max() if below.size else 0.0)) / 2, -1)


def most_for_specificity(highest: np.ndarray, every: np.ndarray, misses: int) -> float:
    """The smallest threshold that calls no more than so many patients falsely; ``highest`` as ``lowest`` above."""
    spared = np.sort(highest)[-1 - misses]
    above = every[every > spared]
    return _off_a_half((spared + (above.min() if above.size else 1.0)) / 2, 1)


def _off_a_half(value: float, side: int) -> float:
    # At a half itself the first class is chosen, at every other threshold the second.
    value = float(np.clip(value, 1e-6, 1 - 1e-6))
    return float(np.nextafter(value, side)) if value == 0.5 else value
