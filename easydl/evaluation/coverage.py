"""What sets of classes and intervals held of a test: how often the truth, and how large they were. It makes none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import beta

from easydl.evaluation.formatting import number
from easydl.evaluation.level import level
from easydl.prediction.conformal import covered, labelled
from easydl.prediction.results import Predictions
from easydl.tasks import Task


def coverage_note(predictions: Predictions) -> str:
    """A sentence with the coverage of the sets, its interval by patient and their size; empty where there are none.

    A patient with several images counts as covered by the fraction of them that is, so that the interval is that of as
    many patients (Clopper and Pearson).
    """
    if (found := covered(predictions)) is None or not len(found[0]):
        return ""
    inside, sizes = found
    frame, task = predictions.frame[labelled(predictions, predictions.frame)], Task(predictions.task)
    units = frame["patient"].astype(str).to_numpy() if predictions.patients_known else np.arange(len(frame))
    rates = pd.Series(inside).groupby(units).mean()
    n, hits = len(rates), float(rates.sum())
    tail = (1 - level()) / 2
    low = beta.ppf(tail, hits, n - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(1 - tail, hits + 1, n - hits) if hits < n else 1.0
    unit = "patients" if predictions.patients_known else "images"
    what, size = "sets", f"{100 * (sizes == 1).mean():.0f}% of them held one class only"
    if task.is_value:
        what, size = "intervals from low to high", f"they are {number(float(sizes.mean()))} wide on average"
    elif not task.exclusive:
        what, size = "sets", f"{100 * (sizes == 1).mean():.0f}% of them held no uncertain label"
    return f"The {what} had a coverage of {hits / n:.2f} (95% CI {low:.2f}-{high:.2f}), {n} {unit}; {size}."
