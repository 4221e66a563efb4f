"""The numbers of a model that measures: error, bias, limits of agreement, each with n and a 95% interval."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.intervals import Interval, PatientBootstrap, mean_interval, not_computable
from easydl.evaluation.results import Metrics, metric_row, number, size_notes
from easydl.evaluation.sample import rows_to_test
from easydl.studies.agreement import agreement

UNITS = {
    "years": "years", "months": "months", "weeks": "weeks", "days": "days", "hours": "hours", "min": "min", "mm": "mm",
    "cm": "cm", "mm2": "mm²", "cm2": "cm²", "mm3": "mm³", "cm3": "cm³", "ml": "mL", "l": "L", "hu": "HU", "g": "g",
    "kg": "kg", "percent": "%", "pct": "%", "mmhg": "mmHg", "points": "points",
}  # fmt: skip
"""Units that the end of a column's name says, as in ``age_years`` and ``volume_ml``."""


def regression_metrics(
    frame: pd.DataFrame,
    name: str,
    *,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a model that measures a number: mean absolute error, RMSE, R², ICC, bias and limits of agreement.

    Args:
        frame: One row per image with the columns ``label`` (the reference number, as text or number), ``value`` (the
            model's) and ``patient``. Rows without a label are left out and counted.
        name: What is measured; its end may say the unit, as in ``age_years``.
        patients_known: As for `classification_metrics`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the mean absolute error. Differences are prediction less reference. Every interval
        is a patient-level bootstrap.

    Raises:
        InputError: A column is missing, no row has a label, or a label or value is not a number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcd"), "label": [61, 45, 70, 52], "value": [60.0, 48.0, 66.0, 52.0]})
        >>> regression_metrics(frame, "age_years").table["value"].round(2).tolist()[:3]
        [2.0, 2.55, 0.93]

    References:
        Bland JM, Altman DG. Lancet 1986;327:307-310; Shrout PE, Fleiss JL. Psychol Bull 1979;86:420-428.
    """
    table, notes = rows_to_test(frame, [name], [], ["value"], patients_known, least=1)
    reference = pd.to_numeric(table["label"], errors="coerce").to_numpy(float)
    if not np.isfinite(reference).all():
        raise InputError(
            f"{int((~np.isfinite(reference)).sum())} of {len(table)} labels are no numbers.", "a number for every image.",
            "Test on a study that was loaded with task='regression'.",
        )  # fmt: skip
    value = table["value"].to_numpy(float)
    bootstrap = PatientBootstrap(table["patient"], resamples=resamples, seed=seed)
    n, images, unit_of_n = len(bootstrap.names), len(table), "patients" if patients_known else "images"
    # Large numbers lose digits when they are squared; a common shift changes no difference and no R².
    shifted = reference - reference.mean()
    error = value - reference
    per_image = np.column_stack([np.ones(images), np.abs(error), error**2, error, shifted, shifted**2])
    sums = np.zeros((n, per_image.shape[1]))
    np.add.at(sums, bootstrap.index, per_image)
    values = _statistics(np.ones((1, n)) @ sums)[0]
    drawn = bootstrap.run(lambda weights: _statistics(weights @ sums))
    unit = unit_of(name)
    icc = agreement(
        pd.DataFrame({"reference": reference, "prediction": value}), table["patient"], numeric=True, seed=seed
    )
    both = icc.table.iloc[0]
    whole = np.isfinite(both["low"])
    reached = "patient-level bootstrap" if whole else "interval not computable: too few patients, or they do not vary"

    def row(k: int, label: str, note: str, scale: str) -> dict[str, object]:
        if np.isfinite(values[k]) and np.isfinite(drawn[:, k]).any():
            interval = mean_interval(drawn[:, k], n)
        else:
            interval = not_computable("it is not defined for this test set")
        return metric_row(label, values[k], interval, n, unit_of_n, images=images, unit=scale, note=note)

    rows = [
        row(0, "mean absolute error", "", unit),
        row(1, "RMSE", "root of the mean squared error: large errors count more", unit),
        row(2, "R²", "share of the variance explained; 0 is no better than the mean, below 0 worse", ""),
        metric_row(
            "ICC(2,1)", both["value"], Interval(both["low"], both["high"], reached), n, unit_of_n, images=images,
            note="absolute agreement of prediction and reference",
        ),
        row(3, "bias", "mean of prediction less reference", unit),
        row(4, "lower limit of agreement", "bias less 1.96 standard deviations", unit),
        row(5, "upper limit of agreement", "bias plus 1.96 standard deviations: 95% of the differences, if normal", unit),
    ]  # fmt: skip
    typical = float(np.abs(reference - np.median(reference)).mean())
    notes += size_notes({"all": n}, unit_of_n)
    notes.append(
        f"Answering {number(float(np.median(reference)), unit)}, the median of these references, for every image would have "
        f"a mean absolute error of {number(typical, unit)}."
    )
    return Metrics(
        task="regression", classes=(name,), table=pd.DataFrame(rows), notes=notes, patients_known=patients_known,
        images=images, patients=n, points={"reference": reference.tolist(), "prediction": value.tolist()}, seed=seed,
        resamples=resamples,
    )  # fmt: skip


def unit_of(name: str) -> str:
    """The unit that the end of a name says, or words that take its place.

    Args:
        name: What is measured.

    Example:
        >>> unit_of("age_years"), unit_of("Volume (mL)"), unit_of("score")
        ('years', 'mL', 'units of score')
    """
    last = re.split(r"[^A-Za-z0-9]+", name.strip().rstrip(")]"))[-1].lower()
    return UNITS[last] if last in UNITS and last != name.lower() else f"units of {name}"


def _statistics(sums: np.ndarray) -> np.ndarray:
    """MAE, RMSE, R², bias and both limits from weighted sums ``(resamples, 6)``."""
    n, absolute, squared, error, reference, square = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        bias = error / n
        spread = np.sqrt(np.maximum(squared - n * bias**2, 0.0) / (n - 1))
        explained = 1 - squared / (square - reference**2 / n)
    explained[~np.isfinite(explained)] = np.nan
    reach = 1.96 * spread
    return np.column_stack([absolute / n, np.sqrt(squared / n), explained, bias, bias - reach, bias + reach])
