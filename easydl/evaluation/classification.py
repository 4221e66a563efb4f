"""The numbers of a classifier from its predictions, each with n and a 95% interval. It runs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import (
    MINIMUM_PATIENTS,
    Interval,
    logit_interval,
    mean_of_intervals,
    not_computable,
)
from easydl.evaluation.results import Metrics, confusion_frame, size_notes, width_notes
from easydl.evaluation.sample import Sample, curves, labelled_rows


def classification_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a classifier: AUC, sensitivity, specificity, accuracy, predictive values, with intervals.

    Args:
        frame: One row per image with the columns ``label``, ``prediction`` (class names), ``patient`` and
            ``p(<class>)`` for every class (0 to 1). Rows without a label are left out and counted.
        classes: Class names in the order of the model's outputs. With two classes the second is the positive
            one.
        patients_known: False when nobody knows which images belong to one patient; every image then counts as
            its own patient and the result says so.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the AUC (the mean over one-versus-rest AUCs with three or more classes).
        Sensitivity, specificity and accuracy are at the model's own decision: the class with the highest
        probability.

    Raises:
        InputError: A column is missing, no row has a label, a label is not among the classes, or a
            probability is not a number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["no"] * 3 + ["yes"] * 3,
        ...     "prediction": ["no", "no", "yes", "yes", "yes", "no"],
        ...     "p(no)": [0.9, 0.8, 0.4, 0.2, 0.1, 0.7], "p(yes)": [0.1, 0.2, 0.6, 0.8, 0.9, 0.3]})
        >>> classification_metrics(frame, ["no", "yes"])
        AUC 0.89 (95% CI 0.12-1.00), 6 patients

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    names = [str(name) for name in classes]
    table, notes = labelled_rows(frame, names, patients_known)
    sample = Sample(table, names, patients_known, seed, resamples)
    absent = [name for k, name in enumerate(names) if not sample.patients_of[k]]
    if absent:
        notes.append(f"No test image has the label {', '.join(absent)}: nothing can be said about it.")
    notes += size_notes({name: sample.patients_of[k] for k, name in enumerate(names)}, sample.unit_of_n)
    notes.append(
        "Sensitivity, specificity and accuracy are at the model's own decision (the class with the highest "
        "probability). Predictive values and accuracy hold only at the share of each class in this test set."
    )
    rows = _binary_rows(sample) if len(names) == 2 else _multiclass_rows(sample)
    notes += width_notes(rows[0])
    return Metrics(
        task="classification",
        classes=tuple(names),
        table=pd.DataFrame(rows),
        notes=notes,
        patients_known=patients_known,
        images=len(table),
        patients=len(sample.bootstrap.names),
        per_class={
            name: {"images": int(sample.images_of[k]), "patients": sample.patients_of[k]}
            for k, name in enumerate(names)
        },
        positive=names[1] if len(names) == 2 else None,
        confusion=confusion_frame(sample.confusion, names),
        curves=curves(sample),
        seed=seed,
        resamples=resamples,
    )


def _binary_rows(sample: Sample) -> list[dict[str, Any]]:
    negative, positive = sample.names
    value, interval, n = sample.auc(1)
    prevalence = sample.images_of[1] / len(sample.reference)
    at = f"at a share of {100 * prevalence:.0f}% {positive} among these images"
    rows = [
        sample.row("AUC", (value, interval, n, len(sample.reference)), f"positive class: {positive}"),
        sample.row("sensitivity", _recall(sample, 1), f"share of {positive} recognised"),
        sample.row("specificity", _recall(sample, 0), f"share of {negative} recognised"),
        sample.row("accuracy", _accuracy(sample)),
        sample.row("balanced accuracy", _balanced(sample)),
    ]
    for name, c in (("PPV", 1), ("NPV", 0)):
        result = sample.ratio(sample.cells(predicted=[c]), sample.cells([c], [c]), [0, 1])
        empty = f"; no image was called {sample.names[c]}" if not result[3] else ""
        rows.append(sample.row(name, result, at + empty))
    return rows


def _multiclass_rows(sample: Sample) -> list[dict[str, Any]]:
    everyone = len(sample.reference)
    aucs = {c: sample.auc(c) for c in sample.ranked}
    values = np.array([value for value, _, _ in aucs.values()])
    if len(aucs) < 2:
        macro, interval = np.nan, not_computable("the test set holds one class only")
    else:
        macro = float(values.mean())
        interval = _macro_interval(macro, sample, [part for _, part, _ in aucs.values()])
    note = f"mean of one class versus the rest over {len(aucs)} classes"
    rows = [
        sample.row("AUC, mean over classes", (macro, interval, len(sample.bootstrap.names), everyone), note),
        sample.row("accuracy", _accuracy(sample)),
        sample.row("balanced accuracy", _balanced(sample)),
    ]
    for c, name in enumerate(sample.names):
        others = [k for k in range(len(sample.names)) if k != c]
        value, interval, n = sample.auc(c)
        spared = sample.ratio(sample.cells(others), sample.cells(others, others), [])
        rows += [
            sample.row(f"AUC, {name}", (value, interval, n, everyone), f"{name} versus the rest"),
            sample.row(f"sensitivity, {name}", _recall(sample, c)),
            sample.row(f"specificity, {name}", spared, f"share of the others not called {name}"),
        ]
    return rows


def _macro_interval(macro: float, sample: Sample, parts: list[Interval]) -> Interval:
    if not all(part.computable for part in parts):
        return not_computable(f"fewer than {MINIMUM_PATIENTS} patients in a class")
    resampled = np.mean([sample.resampled_auc[c] for c in sample.ranked], axis=0)
    interval = logit_interval(macro, resampled, len(sample.bootstrap.names))
    if interval.computable:
        return interval
    # the AUCs share their patients, so their errors add up rather than cancel: average the limits
    low, high = (float(np.mean([getattr(part, side) for part in parts])) for side in ("low", "high"))
    return Interval(low, high, "mean of the classes' Newcombe intervals on patients")


def _recall(sample: Sample, c: int) -> tuple[float, Interval, int, int]:
    return sample.ratio(sample.cells([c]), sample.cells([c], [c]), [c])


def _accuracy(sample: Sample) -> tuple[float, Interval, int, int]:
    present = [c for c, patients in enumerate(sample.patients_of) if patients]
    return sample.ratio(sample.cells(), np.eye(len(sample.names), dtype=bool), present)


def _balanced(sample: Sample) -> tuple[float, Interval, int, int]:
    present = [c for c, images in enumerate(sample.images_of) if images]
    n, images = len(sample.bootstrap.names), len(sample.reference)
    if len(present) < 2:
        return np.nan, not_computable("the test set holds one class only"), n, images
    recalls = [_recall(sample, c) for c in present]
    parts = [interval for _, interval, _, _ in recalls]
    shares = np.array([share for share, _, _, _ in recalls])
    value = float(shares.mean())
    if not all(part.computable for part in parts):
        return value, not_computable(f"fewer than {MINIMUM_PATIENTS} patients in a class"), n, images
    if np.isin(shares, (0.0, 1.0)).any():
        return value, mean_of_intervals(value, shares, parts), n, images
    drawn = sample.resampled_confusion[:, present]
    totals = drawn.sum(axis=2)
    hits = sample.resampled_confusion[:, present, present]
    resampled = np.divide(hits, totals, out=np.full_like(totals, np.nan), where=totals > 0).mean(axis=1)
    return value, logit_interval(value, resampled, n), n, images
