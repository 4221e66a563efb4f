"""The metrics of a classifier: AUC, sensitivity, specificity, accuracy, predictive values. It runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import Interval, logit_interval, mean_of_intervals, not_computable
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import FEW_IN_A_CLASS, ClassSample, class_rows, roc_curves
from easydl.networks.decision import Threshold
from easydl.tasks import Task

AT_THE_DECISION = (
    "Sensitivity, specificity and accuracy are at the model's own decision ({}). Predictive values and accuracy hold "
    "only at the prevalence of each class in this test set."
)


def classification_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    thresholds: Mapping[str, Threshold] | None = None,
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
        thresholds: With two classes the threshold of the positive one, which ``prediction`` was decided by.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the AUC (the mean over one-versus-rest AUCs with three or more classes).
        Sensitivity, specificity and accuracy are at the model's own decision, in ``prediction``.

    Raises:
        InputError: A column is missing, no row has a label, a label is not among the classes, or a
            probability is not a number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["no"] * 3 + ["yes"] * 3,
        ...     "prediction": ["no", "no", "yes", "yes", "yes", "no"],
        ...     "p(no)": [0.9, 0.8, 0.4, 0.2, 0.1, 0.7], "p(yes)": [0.1, 0.2, 0.6, 0.8, 0.9, 0.3]})
        >>> classification_metrics(frame, ["no", "yes"])
        Not shown to be better than chance: AUC 0.89 (95% CI 0.12-1.00), 6 patients (chance is 0.5).
        AUC 0.89 (95% CI 0.12-1.00), 6 patients

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    names = [str(name) for name in classes]
    resampling = Resampling(patients_known, seed, resamples)
    table, notes = class_rows(frame, names, patients_known)
    sample = ClassSample(table, names, resampling)
    if sample.absent:
        notes.append(f"No test image has the label {', '.join(sample.absent)}: nothing can be said about it.")
    notes += size_notes(dict(zip(names, sample.patients_of, strict=True)), resampling.unit_of_n)
    binary = len(names) == 2
    threshold = (thresholds or {}).get(names[1]) if binary else None
    sample.threshold = threshold.text if threshold else ""
    by_threshold = f"{names[1]} from a probability of {threshold.number} on" if threshold else "the most probable class"
    return run(
        Task.CLASSIFICATION,
        names,
        BINARY
        if binary
        else [*OVERALL, *(metric for c, name in enumerate(names) for metric in one_versus_rest(c, name))],
        sample,
        notes=[*notes, AT_THE_DECISION.format(by_threshold)],
        per_class=sample.per_class,
        positive=names[1] if binary else None,
        confusion=sample.confusion.tolist(),
        curves=roc_curves(sample),
    )


def accuracy(sample: ClassSample) -> Estimate:
    """The fraction of images whose class is predicted."""
    present = [c for c, patients in enumerate(sample.patients_of) if patients]
    return sample.ratio(sample.cells(), np.eye(len(sample.names), dtype=bool), present)


def balanced_accuracy(sample: ClassSample) -> Estimate:
    """The mean recall over the classes that the test holds."""
    present = [c for c, images in enumerate(sample.images_of) if images]
    n, images = sample.patients, sample.images
    if len(present) < 2:
        return Estimate(np.nan, not_computable("the test set holds one class only"), n, images)
    recalls = [sample.recall(c) for c in present]
    parts = [recall.interval for recall in recalls]
    values = np.array([recall.value for recall in recalls])
    value = float(values.mean())
    if not all(part.computable for part in parts):
        return Estimate(value, not_computable(FEW_IN_A_CLASS), n, images)
    if np.isin(values, (0.0, 1.0)).any():
        return Estimate(value, mean_of_intervals(value, values, parts), n, images)
    totals = sample.resampled_confusion[:, present].sum(axis=2)
    hits = sample.resampled_confusion[:, present, present]
    resampled = np.divide(hits, totals, out=np.full_like(totals, np.nan), where=totals > 0).mean(axis=1)
    return Estimate(value, logit_interval(value, resampled, n), n, images)


def predictive_value(sample: ClassSample, c: int) -> Estimate:
    """The fraction of the images predicted as a class that have it, at the prevalence of the test set."""
    estimate = sample.ratio(sample.cells(predicted=[c]), sample.cells([c], [c]), [0, 1])
    empty = f"; no image was called {sample.names[c]}" if not estimate.images else ""
    prevalence = 100 * sample.images_of[1] / sample.images
    return estimate.noted(f"at a prevalence of {prevalence:.0f}% {sample.names[1]} among these images{empty}")


def mean_auc(sample: ClassSample) -> Estimate:
    """The mean AUC of one class versus the rest."""
    aucs = [sample.auc(c) for c in sample.ranked]
    note = f"mean of one class versus the rest over {len(aucs)} classes"
    if len(aucs) < 2:
        reason = not_computable("the test set holds one class only")
        return Estimate(np.nan, reason, sample.patients, sample.images, note)
    value = float(np.mean([auc.value for auc in aucs]))
    interval = _mean_auc_interval(value, sample, [auc.interval for auc in aucs])
    return Estimate(value, interval, sample.patients, sample.images, note)


def _mean_auc_interval(value: float, sample: ClassSample, parts: list[Interval]) -> Interval:
    if not all(part.computable for part in parts):
        return not_computable(FEW_IN_A_CLASS)
    resampled = np.mean([sample.resampled_auc[c] for c in sample.ranked], axis=0)
    interval = logit_interval(value, resampled, sample.patients)
    return interval if interval.computable else averaged(parts, "mean of the classes' Newcombe intervals on patients")


def averaged(parts: list[Interval], note: str) -> Interval:
    """The mean of the limits: numbers that share their patients have errors that add up rather than cancel."""
    low, high = (float(np.mean([getattr(part, side) for part in parts])) for side in ("low", "high"))
    return Interval(low, high, note)


def _recognised(sample: ClassSample, c: int) -> Estimate:
    return sample.recall(c).noted(
        "; ".join(filter(None, [f"fraction of {sample.names[c]} recognised", sample.threshold]))
    )


def _specificity(sample: ClassSample, c: int) -> Estimate:
    others = [k for k in range(len(sample.names)) if k != c]
    spared = sample.ratio(sample.cells(others), sample.cells(others, others), [])
    return spared.noted(f"fraction of the others not called {sample.names[c]}")


BINARY: tuple[Metric[ClassSample], ...] = (
    Metric("AUC", lambda sample: sample.auc(1).noted(f"positive class: {sample.names[1]}")),
    Metric("sensitivity", partial(_recognised, c=1)),
    Metric("specificity", partial(_recognised, c=0)),
    Metric("accuracy", accuracy),
    Metric("balanced accuracy", balanced_accuracy),
    Metric("PPV", partial(predictive_value, c=1)),
    Metric("NPV", partial(predictive_value, c=0)),
)
OVERALL: tuple[Metric[ClassSample], ...] = (
    Metric("AUC, mean over classes", mean_auc),
    Metric("accuracy", accuracy),
    Metric("balanced accuracy", balanced_accuracy),
)


def one_versus_rest(c: int, name: str) -> tuple[Metric[ClassSample], ...]:
    """The metrics of one of several classes."""
    return (
        Metric(f"AUC, {name}", lambda sample: sample.auc(c).noted(f"{name} versus the rest")),
        Metric(f"sensitivity, {name}", lambda sample: sample.recall(c)),
        Metric(f"specificity, {name}", partial(_specificity, c=c)),
    )
