"""What sets of classes held of a test: how often the right one, and how many classes. It makes no set."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import beta

from easydl.prediction.conformal import covered
from easydl.prediction.results import Predictions


def coverage_note(predictions: Predictions) -> str:
    """A sentence with the coverage of the sets, its interval by patient and their size; empty where there are none.

    A patient with several images counts as covered by the fraction of them that is, so that the interval is that of as
    many patients (Clopper and Pearson).
    """
    if (found := covered(predictions)) is None or not len(found[0]):
        return ""
    inside, sizes = found
    frame = predictions.frame[predictions.frame["label"].astype(str).str.strip() != ""]
    units = frame["patient"].astype(str).to_numpy() if predictions.patients_known else np.arange(len(frame))
    rates = pd.Series(inside.astype(float)).groupby(units).mean()
    n, hits = len(rates), float(rates.sum())
    low = beta.ppf(0.025, hits, n - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    unit = "patients" if predictions.patients_known else "images"
    return (
        f"The sets had a coverage of {hits / n:.2f} (95% CI {low:.2f}-{high:.2f}), {n} {unit}; "
        f"{100 * (sizes == 1).mean():.0f}% of them held one class only."
    )
