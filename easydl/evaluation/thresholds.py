"""From which probability on a class or label is called present, chosen on the validation part. It tests nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from easydl.errors import InputError
from easydl.evaluation.guarantee import least_for_sensitivity, misses_allowed, most_for_specificity, needed
from easydl.evaluation.results import Metrics
from easydl.evaluation.tables import table_metrics
from easydl.networks.decision import EVEN, Decision, Threshold
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

LEAST_PATIENTS = 10
"""With a class and without it: fewer place a threshold by the luck of single patients."""


@dataclass(frozen=True)
class Aim:
    """What a threshold is chosen for; without any of the first three the largest sensitivity plus specificity.

    Attributes:
        sensitivity: To be guaranteed.
        specificity: To be guaranteed.
        cost: How many false alarms a missed image is worth.
        confidence: Of the guarantee.
    """

    sensitivity: float | None = None
    specificity: float | None = None
    cost: float | None = None
    confidence: float = 0.9

    @property
    def given(self) -> dict[str, float]:
        """Those of the first three that are set."""
        named = {"sensitivity": self.sensitivity, "specificity": self.specificity, "cost": self.cost}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def rate(self) -> tuple[str, float] | None:
        """The rate to be guaranteed."""
        return next(((name, value) for name, value in self.given.items() if name != "cost"), None)

    def check(self, decided: bool, task: str = "") -> Aim:
        """The same, if it can be aimed at.

        Raises:
            InputError: Several aims, a value out of its range, or answers that no threshold decides.
        """
        if len(self.given) > 1:
            raise InputError(
                f"{' and '.join(self.given)} were given together.",
                "one of them: a threshold is one number.",
                "Leave all but one out.",
            )
        wrong = {
            name: value
            for name, value in {**self.given, "confidence": self.confidence}.items()
            if not (0 < value < (np.inf if name == "cost" else 1))
        }
        if wrong or self.confidence < 0.5:
            name, value = next(iter(wrong.items()), ("confidence", self.confidence))
            above = (
                "0.5 or more, and below 1" if name == "confidence" else "above 0" + " and below 1" * (name != "cost")
            )
            raise InputError(
                f"{name} is {value}.", f"a number {above}.", f"Use {name}={10 if name == 'cost' else 0.95}."
            )
        if self.given and not decided:
            raise InputError(
                f"{next(iter(self.given))} was given for a model whose answers no threshold decides ({task}).",
                "two classes, or several labels.",
                "Leave it out.",
            )
        return self


BEST = Aim()


def youden(score: np.ndarray, positive: np.ndarray) -> float:
    """The threshold with the largest sensitivity plus specificity; of several that are as good, the one nearest to 0.5.

    It lies in the middle between two scores, so that it does not hang on a single image.

    Example:
        >>> youden(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, False, True, True]))
        0.25

    References:
        Youden WJ. Index for rating diagnostic tests. Cancer 1950;3:32-35.
    """
    false, true, lowest = roc_curve(positive, score, drop_intermediate=False)
    # The first point calls nothing; below the last there is no score.
    below = np.append(lowest[2:], 0.0)
    between = (lowest[1:] + below) / 2
    gain = (true - false)[1:]
    best = between[gain >= gain.max() - 1e-12]
    return float(best[np.abs(best - EVEN).argmin()])


def cheapest(score: np.ndarray, positive: np.ndarray, cost: float) -> float:
    """The threshold at which ``cost`` times the missed images plus the false alarms is lowest, as `youden` between scores.

    Example:
        >>> cheapest(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]), 10)
        0.15000000000000002
    """
    order = np.unique(np.concatenate([[0.0], score, [1.0]]))
    between = (order[1:] + order[:-1]) / 2
    called = score[None, :] >= between[:, None]
    total = cost * (~called & positive).sum(axis=1) + (called & ~positive).sum(axis=1)
    best = between[total <= total.min() + 1e-12]
    return float(best[np.abs(best - EVEN).argmin()])


def chosen(predictions: Predictions, *, aim: Aim = BEST, seed: int = 0) -> dict[str, Threshold]:
    """The threshold of the positive class or of every label, from the predictions of the validation part.

    It stays 0.5, with the reason, where fewer than `LEAST_PATIENTS` patients have the class or do not have it, or where
    the model is not shown to be better than chance. What is guaranteed needs neither, but patients enough for it; with
    fewer it is chosen as without an aim, and the reason says how many are needed. Names are as in
    `ModelMetadata.thresholds`.
    """
    task = Task(predictions.task)
    if task.is_multiple:
        return {
            f"{head}: {name}": threshold
            for head in predictions.heads
            for name, threshold in chosen(predictions.head(head), aim=aim, seed=seed).items()
        }
    names = Decision(task, predictions.classes).decided_by_threshold
    if not names:
        return {}
    frame = predictions.frame
    if task.exclusive:
        frame = frame[frame["label"].astype(str).str.strip() != ""]
    metrics = table_metrics(predictions, seed=seed, resamples=500)
    return {name: _of_class(name, frame, predictions, metrics, aim) for name in names}


def _of_class(name: str, frame: pd.DataFrame, predictions: Predictions, metrics: Metrics, aim: Aim) -> Threshold:
    exclusive = Task(predictions.task).exclusive
    positive = np.array(
        [name in ([cell] if exclusive else cell.split(JOIN)) for cell in frame["label"].astype(str)], bool
    )
    units = frame["patient"] if predictions.patients_known else pd.Series(range(len(frame)), index=frame.index)
    unit = "patients" if predictions.patients_known else "images"
    score = frame[f"p({name})"].to_numpy(float)
    promised = _promised(name, score, positive, units, unit, aim)
    if promised is not None and promised.n:
        return promised
    not_reached = promised.reason if promised is not None else ""
    with_it, without = units[positive].nunique(), units[~positive].nunique()
    if min(with_it, without) < LEAST_PATIENTS:
        counted = (
            f"{with_it} validation {unit} with {name} and {without} without it; {LEAST_PATIENTS} of each are needed"
        )
        return Threshold(unit_of_n=unit, reason=_joined(not_reached, f"not chosen: {counted}"))
    row = metrics.table.set_index("name").loc["AUC" if exclusive else f"AUC, {name}"]
    if not row["low"] > EVEN:
        useless = "not chosen: on the validation part the AUC is not shown to be above 0.5"
        return Threshold(unit_of_n=unit, reason=_joined(not_reached, useless))
    if aim.cost is not None:
        value = cheapest(score, positive, aim.cost)
        rule = f"at the lowest cost, a missed image counting as {aim.cost:g} false alarms"
    else:
        value, rule = youden(score, positive), "by Youden's index"
    value = float(np.clip(value, 1e-6, 1 - 1e-6))
    return Threshold(value=value, n=units.nunique(), unit_of_n=unit, rule=rule, reason=not_reached)


def _promised(
    name: str, score: np.ndarray, positive: np.ndarray, units: pd.Series, unit: str, aim: Aim
) -> Threshold | None:
    """The threshold that guarantees a rate, or one without patients that says why there is none; None without a rate.

    A patient counts as found where all of his images with the class are called, and as spared where none of the others
    is: the promise is about patients, and images of one patient are no further evidence.
    """
    if aim.rate is None:
        return None
    rate, target = aim.rate
    finding = rate == "sensitivity"
    of_class = positive if finding else ~positive
    by_patient = pd.Series(score[of_class]).groupby(units.to_numpy()[of_class])
    worst = (by_patient.min() if finding else by_patient.max()).to_numpy(float)
    said = f"a {rate} of at least {target:g} with {100 * aim.confidence:g}% confidence"
    misses = misses_allowed(len(worst), target, aim.confidence) if len(worst) else None
    if misses is None:
        whose = f"{unit} {'with' if finding else 'without'} {name}"
        few = f"{said} is not reachable with these {len(worst)} {whose}, {needed(target, aim.confidence)} are needed"
        return Threshold(unit_of_n=unit, reason=few)
    place = least_for_sensitivity if finding else most_for_specificity
    value = place(worst, score, misses)
    return Threshold(value=value, n=units.nunique(), unit_of_n=unit, rule=f"for {said}")


def _joined(*reasons: str) -> str:
    return "; ".join(filter(None, reasons))
