"""The temperature that makes probabilities mean what they say, fitted on the validation part. It changes no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn.model_selection import GroupKFold

from easydl.evaluation.bootstrap import PatientBootstrap
from easydl.evaluation.intervals import Interval, mean_interval
from easydl.evaluation.probabilities import ProbabilitySums, calibration_error_interval

LEAST_PATIENTS = 30
"""Fewer do not settle even one number: the fitted temperature is off by a third and more."""
FOLDS, RANGE, RESAMPLES = 5, (0.05, 20.0), 500
TINY = 1e-7
Limits = tuple[float, float, float]
"""A number, and the ends of its 95% interval by patient."""


@dataclass(frozen=True)
class Calibration:
    """What a temperature does to the probabilities of validation images.

    Attributes:
        temperature: By which the logits are divided; 1 leaves them.
        n: Validation patients (or images).
        unit_of_n: What ``n`` counts.
        log_loss: (value, low, high) before and after; after is cross-fitted: each patient by a temperature that was fitted
            without him.
        ece: The same of the expected calibration error.
        reason: Why the temperature stays 1; empty where it does not.
    """

    temperature: float = 1.0
    n: int = 0
    unit_of_n: str = "patients"
    log_loss: tuple[Limits, Limits] | None = None
    ece: tuple[Limits, Limits] | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """What was done, and both numbers."""
        if self.log_loss is None or self.ece is None:
            return f"Probabilities are not calibrated: {self.reason}."
        numbers = (
            f"Log-loss {_shown(self.log_loss)}, calibration error (ECE) {_shown(self.ece)}; "
            f"{self.n} validation {self.unit_of_n}, cross-fitted on these same images, so the test part has the last word."
        )
        if self.reason:
            return f"Probabilities are not calibrated: {self.reason}. {numbers}"
        return f"Probabilities were calibrated: the logits are divided by {self.temperature:.2f}. {numbers}"

    def facts(self) -> dict[str, Any]:
        """For the record of a training."""
        return {
            "temperature": self.temperature, "n": self.n, "unit_of_n": self.unit_of_n, "log_loss": self.log_loss,
            "ece": self.ece, "text": self.text,
        }  # fmt: skip


def calibration(
    outputs: Sequence[np.ndarray],
    targets: np.ndarray,
    patients: Sequence[str] | None,
    *,
    exclusive: bool = True,
    seed: int = 0,
) -> Calibration:
    """Fit a temperature, and say by cross-fitting whether it helps; where it does not it stays 1.

    Args:
        outputs: The probabilities of a model ``(images, classes)``; of an ensemble those of every member, whose logits
            are all divided by the same temperature before they are averaged.
        targets: One-hot, or 0 and 1 for labels, ``(images, classes)``.
        patients: Of each image; None when they are not known.
        exclusive: Whether the classes exclude each other (softmax) or not (sigmoid).
        seed: Of the intervals.

    References:
        Guo C et al. On calibration of modern neural networks. ICML 2017, arXiv:1706.04599.
    """
    unit = "images" if patients is None else "patients"
    groups = np.arange(len(targets)) if patients is None else np.unique(list(patients), return_inverse=True)[1]
    n = len(np.unique(groups))
    if n < LEAST_PATIENTS:
        return Calibration(1.0, n, unit, reason=f"there are {n} validation {unit}, {LEAST_PATIENTS} are needed")
    varied = targets.any(axis=0) & ~targets.all(axis=0)
    if not varied.any():
        return Calibration(1.0, n, unit, reason="the validation part holds one class only")
    temperature = fitted(outputs, targets, exclusive=exclusive)
    before, after = np.mean(outputs, axis=0), np.empty_like(targets, float)
    for learn, check in GroupKFold(FOLDS).split(targets, groups=groups):
        own = fitted([one[learn] for one in outputs], targets[learn], exclusive=exclusive)
        after[check] = tempered([one[check] for one in outputs], own, exclusive=exclusive)
    (loss, error), (new_loss, new_error) = (_measured(one, targets, groups, exclusive, seed) for one in (before, after))
    reason = "" if new_loss[0] < loss[0] else "a temperature would not lower the log-loss"
    return Calibration(1.0 if reason else temperature, n, unit, (loss, new_loss), (error, new_error), reason)


def fitted(outputs: Sequence[np.ndarray], targets: np.ndarray, *, exclusive: bool = True) -> float:
    """The temperature with the lowest log-loss; below 1 only as far as it also has it with Platt's targets.

    Where few images are all answered right, probabilities of 0 and 1 have the lowest log-loss, and the first case that is
    not like them refutes them. Platt adds two cases to each class, one of which is answered wrongly.

    References:
        Platt J. Probabilistic outputs for support vector machines. Advances in Large Margin Classifiers 1999 (targets of
        section 2.2).
    """
    best = _lowest(outputs, targets, exclusive)
    return best if best >= 1 else min(1.0, max(best, _lowest(outputs, platt_targets(targets, exclusive), exclusive)))


def platt_targets(targets: np.ndarray, exclusive: bool = True) -> np.ndarray:
    """Targets as probabilities, each as far from 0 and 1 as its number of images asks for."""
    with_it, without = targets.sum(axis=0), (1 - targets).sum(axis=0)
    if not exclusive:
        return np.asarray(np.where(targets > 0.5, (with_it + 1) / (with_it + 2), 1 / (without + 2)))
    right = (targets * (with_it + 1) / (with_it + 2)).sum(axis=1, keepdims=True)
    return np.asarray(np.where(targets > 0.5, right, (1 - right) / (targets.shape[1] - 1)))


def _lowest(outputs: Sequence[np.ndarray], targets: np.ndarray, exclusive: bool) -> float:
    def loss(log_temperature: float) -> float:
        made = tempered(outputs, float(np.exp(log_temperature)), exclusive=exclusive)
        return log_loss(made, targets, exclusive=exclusive)

    return float(np.exp(minimize_scalar(loss, bounds=np.log(RANGE), method="bounded").x))


def tempered(outputs: Sequence[np.ndarray], temperature: float, *, exclusive: bool = True) -> np.ndarray:
    """The probabilities that divided logits give, averaged over members."""
    if exclusive:
        # Logarithms of probabilities are the logits but for a constant, which softmax does not see.
        parts = [softmax(np.log(np.clip(one.astype(float), 1e-30, 1)) / temperature, axis=1) for one in outputs]
    else:
        parts = [expit(logit(np.clip(one.astype(float), TINY, 1 - TINY)) / temperature) for one in outputs]
    return np.asarray(np.mean(parts, axis=0))


def log_loss(probabilities: np.ndarray, targets: np.ndarray, *, exclusive: bool = True) -> float:
    """The mean over the images, of several labels also over these."""
    kept = np.clip(probabilities, TINY, 1 - TINY)
    if exclusive:
        return float(-(targets * np.log(kept)).sum(axis=1).mean())
    return float(-(targets * np.log(kept) + (1 - targets) * np.log(1 - kept)).mean())


def _measured(
    probabilities: np.ndarray, targets: np.ndarray, groups: np.ndarray, exclusive: bool, seed: int
) -> tuple[Limits, Limits]:
    """Log-loss and calibration error as `evaluate` gives them; every one of several labels is a question of two classes."""
    if not exclusive:
        groups = np.repeat(groups, targets.shape[1])
        probabilities, targets = (np.column_stack([1 - one.ravel(), one.ravel()]) for one in (probabilities, targets))
    terms = ProbabilitySums(probabilities, targets.argmax(axis=1))
    bootstrap = PatientBootstrap(groups, content=terms.columns, resamples=RESAMPLES, seed=seed)
    sums = np.zeros((len(bootstrap.names), terms.columns.shape[1]))
    np.add.at(sums, bootstrap.index, terms.columns)

    def both(rows: np.ndarray) -> np.ndarray:
        return np.column_stack([terms.log_loss(rows), terms.calibration_error(rows)])

    loss, error = both(sums.sum(axis=0)[None])[0].tolist()
    drawn = bootstrap.run(lambda weights: both(weights @ sums))
    return (
        _limits(loss, mean_interval(drawn[:, 0], len(sums))),
        _limits(error, calibration_error_interval(error, drawn[:, 1], len(sums))),
    )


def _limits(value: float, interval: Interval) -> Limits:
    return (value, interval.low, interval.high) if interval.computable else (value, value, value)


def _shown(pair: tuple[Limits, Limits]) -> str:
    before, after = (f"{value:.3f} (95% CI {low:.3f}-{high:.3f})" for value, low, high in pair)
    return f"{before} before and {after} after"
