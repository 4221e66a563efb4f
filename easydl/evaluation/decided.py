"""Numbers of a decision about two sides: predictive values at a prevalence, F1, MCC. It draws no resample itself."""

from __future__ import annotations

import numpy as np

from easydl.evaluation.intervals import Interval, logit_interval, not_computable, wilson
from easydl.evaluation.metric import Estimate
from easydl.evaluation.sample import ClassSample

PREVALENCE = "at a stated prevalence of {}"


def ratio_limits(first: Estimate, second: Estimate) -> tuple[float, float]:
    """The 95% limits of the ratio of two proportions of different patients from their own limits (MOVER-R).

    References:
        Newcombe RG. MOVER-R confidence intervals for ratios and products of two independently estimated quantities.
        Stat Methods Med Res 2016;25:1774-1778.
    """
    p, q = first.value, second.value
    l1, u1 = first.interval.low, first.interval.high
    l2, u2 = second.interval.low, second.interval.high

    def limit(one: float, other: float, sign: int) -> float:
        square = max(0.0, (p * q) ** 2 - one * other * (2 * p - one) * (2 * q - other))
        below = other * (2 * q - other)
        return (p * q + sign * np.sqrt(square)) / below if abs(below) > 1e-15 else np.inf

    return float(max(0.0, limit(l1, u2, -1))), float(limit(u1, l2, 1))


def predictive_value(sample: ClassSample, c: int, prevalence: float, *, positive: bool) -> Estimate:
    """PPV (or NPV) of class ``c`` against the rest at a stated prevalence, from sensitivity and specificity.

    References:
        Mercaldo ND, Lau KF, Zhou XH. Confidence intervals for predictive values with an emphasis to case-control
        studies. Stat Med 2007;26:2170-2183.
    """
    sensitivity, specificity = sample.recall(c), sample.spared(c)
    parts = [sensitivity, specificity]
    note = PREVALENCE.format(f"{100 * prevalence:.3g}% {sample.names[c]}")
    n, images = sample.patients, sample.images
    hit, alarm = sensitivity.value, 1 - specificity.value
    odds = prevalence / (1 - prevalence)
    top, bottom = (hit * odds, alarm) if positive else (specificity.value, (1 - hit) * odds)
    value = float(top / (top + bottom)) if top + bottom > 0 else np.nan
    if not np.isfinite(value):
        reason = not_computable("no image was called so" if all(np.isfinite([hit, alarm])) else "one class only")
        return Estimate(np.nan, reason, n, images, note)
    if not all(part.interval.computable for part in parts):
        return Estimate(value, not_computable("sensitivity or specificity has no interval"), n, images, note)
    if positive:
        likelihood = ratio_limits(sensitivity, _complement(specificity))
        limits = [1.0 if np.isinf(one) else odds * one / (1 + odds * one) for one in likelihood]
    else:
        likelihood = ratio_limits(_complement(sensitivity), specificity)
        limits = [0.0 if np.isinf(one) else 1 / (1 + odds * one) for one in reversed(likelihood)]
    made = "from the intervals of sensitivity and specificity (MOVER-R)"
    return Estimate(value, Interval(float(limits[0]), float(limits[1]), made), n, images, note)


def _complement(estimate: Estimate) -> Estimate:
    interval = estimate.interval
    return estimate._replace(value=1 - estimate.value, interval=Interval(1 - interval.high, 1 - interval.low))


def f1(sample: ClassSample, c: int) -> Estimate:
    """The F1 score of one class: the harmonic mean of sensitivity and PPV, which is the Dice of the decisions."""
    counts = sample.confusion[None].astype(float)
    value = float(_f1(counts, c)[0])
    among = (sample.reference == c) | (sample.predicted == c)
    units = len(np.unique(sample.bootstrap.index[among]))
    if not np.isfinite(value):
        return Estimate(np.nan, not_computable("the class is neither there nor called"), 0, 0)
    return Estimate(value, _bounded(sample, value, _f1(sample.resampled_confusion, c), units), units, int(among.sum()))


def mean_f1(sample: ClassSample) -> Estimate:
    """The mean F1 over the classes that the test holds."""
    present = [c for c, images in enumerate(sample.images_of) if images]
    value = float(np.mean([_f1(sample.confusion[None].astype(float), c)[0] for c in present]))
    drawn = np.mean([_f1(sample.resampled_confusion, c) for c in present], axis=0)
    interval = _bounded(sample, value, drawn, min(sample.patients_of[c] for c in present))
    return Estimate(value, interval, sample.patients, sample.images, "mean over classes")


def matthews(sample: ClassSample) -> Estimate:
    """Matthews' correlation coefficient of decisions and reference, -1 to 1; 0 is guessing, however rare a class is.

    References:
        Gorodkin J. Comput Biol Chem 2004;28:367-374 (several classes).
    """
    n, images = sample.patients, sample.images
    value = float(_matthews(sample.confusion[None].astype(float))[0])
    if not np.isfinite(value):
        return Estimate(np.nan, not_computable("one class, or one answer for every image"), n, images)
    fewest = min(patients for patients in sample.patients_of if patients)
    half = _bounded(sample, (value + 1) / 2, (_matthews(sample.resampled_confusion) + 1) / 2, fewest)
    interval = Interval(2 * half.low - 1, 2 * half.high - 1, half.note) if half.computable else half
    return Estimate(value, interval, n, images, "-1 to 1; guessing gives 0")


def _bounded(sample: ClassSample, value: float, drawn: np.ndarray, fewest: int) -> Interval:
    """Of a number between 0 and 1: the bootstrap on the logit scale, at the ends Wilson's interval on patients."""
    if any(0 < patients < 2 for patients in sample.patients_of) or fewest < 2:
        return not_computable("fewer than 2 patients in a class")
    interval = logit_interval(value, drawn, sample.patients)
    if interval.computable:
        return interval
    at_end = wilson(value, fewest)
    return Interval(at_end.low, at_end.high, "Wilson interval on patients")


def _f1(counts: np.ndarray, c: int) -> np.ndarray:
    hits = counts[:, c, c]
    both = counts[:, c, :].sum(axis=1) + counts[:, :, c].sum(axis=1)
    return np.asarray(np.divide(2 * hits, both, out=np.full(len(counts), np.nan), where=both > 0))


def _matthews(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(axis=(1, 2))
    right = np.trace(counts, axis1=1, axis2=2)
    there, called = counts.sum(axis=2), counts.sum(axis=1)
    shared = right * total - (there * called).sum(axis=1)
    scale = np.sqrt((total**2 - (there**2).sum(axis=1)) * (total**2 - (called**2).sum(axis=1)))
    return np.asarray(np.divide(shared, scale, out=np.full(len(counts), np.nan), where=scale > 0))
