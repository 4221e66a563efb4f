"""The numbers of a model that grades: weighted kappa, error in grades, accuracy, each with n and a 95% interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import MINIMUM_PATIENTS, Interval, mean_interval, not_computable
from easydl.evaluation.results import Metrics, confusion_frame, size_notes, width_notes
from easydl.evaluation.sample import Sample, labelled_rows


def ordinal_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a model that grades: quadratic-weighted kappa, mean absolute error in grades, accuracy, within one grade.

    Args:
        frame: As for `classification_metrics`; ``prediction`` is the grade the model gave.
        classes: The grades from the lowest to the highest.
        patients_known: As for `classification_metrics`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the quadratic-weighted kappa, with the confusion matrix.

    Raises:
        InputError: As for `classification_metrics`.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["1", "1", "2", "2", "3", "3"],
        ...     "prediction": ["1", "2", "2", "2", "3", "2"], "p(1)": 0.2, "p(2)": 0.6, "p(3)": 0.2})
        >>> ordinal_metrics(frame, ["1", "2", "3"]).table["value"].round(2).tolist()
        [0.67, 0.33, 0.67, 1.0]

    References:
        Cohen J. Psychol Bull 1968;70:213-220.
    """
    names = [str(name) for name in classes]
    table, notes = labelled_rows(frame, names, patients_known)
    sample = Sample(table, names, patients_known, seed, resamples)
    absent = [name for k, name in enumerate(names) if not sample.patients_of[k]]
    if absent:
        notes.append(f"No test image has the grade {', '.join(absent)}: nothing can be said about it.")
    notes += size_notes({name: sample.patients_of[k] for k, name in enumerate(names)}, sample.unit_of_n)
    notes.append(
        "The prediction is the median of the model's distribution over the grades, which has the least expected error in "
        "grades. Kappa, errors and accuracy hold only at the share of each grade in this test set."
    )
    n, everyone = len(sample.bootstrap.names), len(table)
    grades = np.arange(len(names))
    apart = np.abs(grades[:, None] - grades[None, :])
    kappa = float(weighted_kappa(sample.confusion[None].astype(float))[0])
    error = float((sample.confusion * apart).sum() / everyone)
    counts = sample.resampled_confusion
    drawn = (counts * apart).sum(axis=(1, 2)) / counts.sum(axis=(1, 2))
    present = [c for c, patients in enumerate(sample.patients_of) if patients]
    few = any(sample.patients_of[c] < MINIMUM_PATIENTS for c in present)
    reason = not_computable(f"fewer than {MINIMUM_PATIENTS} patients in a class")
    exact = sample.ratio(sample.cells(), apart == 0, present)
    near = sample.ratio(sample.cells(), apart <= 1, present)
    rows = [
        sample.row(
            "quadratic-weighted kappa", (kappa, reason if few else _kappa_interval(counts, kappa, n), n, everyone),
            "agreement beyond chance; a miss by two grades counts four times a miss by one",
        ),
        {
            **sample.row("mean absolute error", (error, reason if few else mean_interval(drawn, n), n, everyone)),
            "unit": "grades",
        },
        sample.row("accuracy", exact, "the very grade"),
        sample.row("accuracy within one grade", near),
    ]  # fmt: skip
    notes += width_notes(rows[0])
    return Metrics(
        task="ordinal", classes=tuple(names), table=pd.DataFrame(rows), notes=notes, patients_known=patients_known,
        images=everyone, patients=n,
        per_class={
            name: {"images": int(sample.images_of[k]), "patients": sample.patients_of[k]} for k, name in enumerate(names)
        },
        confusion=confusion_frame(sample.confusion, names), seed=seed, resamples=resamples,
    )  # fmt: skip


def weighted_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights.

    Args:
        counts: ``(matrices, grades, grades)``: images by reference and prediction.

    Returns:
        ``(matrices,)``, from -1 to 1; NaN where all images have one grade, given and predicted.
    """
    grades = np.arange(counts.shape[1])
    weight = (grades[:, None] - grades[None, :]) ** 2.0
    total = counts.sum(axis=(1, 2))
    expected = counts.sum(axis=2)[:, :, None] * counts.sum(axis=1)[:, None, :] / total[:, None, None]
    by_chance = (weight * expected).sum(axis=(1, 2))
    missed = (weight * counts).sum(axis=(1, 2))
    return 1 - np.divide(missed, by_chance, out=np.full(len(counts), np.nan), where=by_chance > 0)


def _kappa_interval(counts: np.ndarray, kappa: float, patients: int) -> Interval:
    drawn = weighted_kappa(counts)
    if not np.isfinite(kappa) or not np.isfinite(drawn).any():
        return not_computable("all images have one grade")
    return mean_interval(drawn, patients)
