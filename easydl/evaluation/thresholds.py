"""From which probability on a class or label is called present, chosen on the validation part. It tests nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from easydl.evaluation.results import Metrics
from easydl.evaluation.tables import table_metrics
from easydl.networks.decision import EVEN, Decision, Threshold
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

LEAST_PATIENTS = 10
"""With a class and without it: fewer place a threshold by the luck of single patients."""


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


def chosen(predictions: Predictions, *, seed: int = 0) -> dict[str, Threshold]:
    """The threshold of the positive class or of every label, from the predictions of the validation part.

    It stays 0.5, with the reason, where fewer than `LEAST_PATIENTS` patients have the class or do not have it, or where
    the model is not shown to be better than chance. Names are as in `ModelMetadata.thresholds`.
    """
    task = Task(predictions.task)
    if task.is_multiple:
        return {
            f"{head}: {name}": threshold
            for head in predictions.heads
            for name, threshold in chosen(predictions.head(head), seed=seed).items()
        }
    names = Decision(task, predictions.classes).decided_by_threshold
    if not names:
        return {}
    frame = predictions.frame
    if task.exclusive:
        frame = frame[frame["label"].astype(str).str.strip() != ""]
    metrics = table_metrics(predictions, seed=seed, resamples=500)
    return {name: _of_class(name, frame, predictions, metrics) for name in names}


def _of_class(name: str, frame: pd.DataFrame, predictions: Predictions, metrics: Metrics) -> Threshold:
    exclusive = Task(predictions.task).exclusive
    positive = np.array(
        [name in ([cell] if exclusive else cell.split(JOIN)) for cell in frame["label"].astype(str)], bool
    )
    units = frame["patient"] if predictions.patients_known else pd.Series(range(len(frame)), index=frame.index)
    unit = "patients" if predictions.patients_known else "images"
    with_it, without = units[positive].nunique(), units[~positive].nunique()
    if min(with_it, without) < LEAST_PATIENTS:
        counted = (
            f"{with_it} validation {unit} with {name} and {without} without it; {LEAST_PATIENTS} of each are needed"
        )
        return Threshold(unit_of_n=unit, reason=f"not chosen: {counted}")
    row = metrics.table.set_index("name").loc["AUC" if exclusive else f"AUC, {name}"]
    if not row["low"] > EVEN:
        return Threshold(
            unit_of_n=unit, reason="not chosen: on the validation part the AUC is not shown to be above 0.5"
        )
    score = frame[f"p({name})"].to_numpy(float)
    value = float(np.clip(youden(score, positive), 1e-6, 1 - 1e-6))
    return Threshold(value=value, n=units.nunique(), unit_of_n=unit)
