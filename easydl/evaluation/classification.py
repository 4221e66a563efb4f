"""The metrics of a classifier: AUC, sensitivity, specificity, accuracy, predictive values. It runs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.decided import f1, matthews, mean_f1, predictive_value
from easydl.evaluation.intervals import (
    MINIMUM_PATIENTS,
    Interval,
    blended,
    logit_interval,
    logit_limits,
    mean_interval,
    mean_of_intervals,
    newcombe_variance,
    not_computable,
)
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.probabilities import LEAST_FOR_CALIBRATION, calibration_error_interval
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import FEW_IN_A_CLASS, ClassSample, class_rows, roc_curves
from easydl.networks.decision import Threshold
from easydl.tasks import Task

Prevalence = float | Mapping[str, float] | None
AT_THE_DECISION = (
    "Sensitivity, specificity and accuracy are at the model's own decision ({}). Average precision, accuracy, F1 and MCC "
    "hold only at the prevalence of each class in this test set."
)
AT_THIS_PREVALENCE = " So do PPV and NPV, unless the prevalence where the model is to be used is stated."


def classification_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    thresholds: Mapping[str, Threshold] | None = None,
    prevalence: Prevalence = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a classifier: AUC, sensitivity, specificity, predictive values, and what belongs to them, with intervals.

    Args:
        frame: One row per image with the columns ``label``, ``prediction`` (class names), ``patient`` and
            ``p(<class>)`` for every class (0 to 1). Rows without a label are left out and counted.
        classes: Class names in the order of the model's outputs. With two classes the second is the positive
            one.
        patients_known: False when nobody knows which images belong to one patient; every image then counts as
            its own patient and the result says so.
        thresholds: With two classes the threshold of the positive one, which ``prediction`` was decided by.
        prevalence: How common the positive class is where the model is to be used, above 0 and below 1 (of several classes
            by name): PPV and NPV are then given for it. Not given, for its fraction of this test set.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the AUC (the mean over one-versus-rest AUCs with three or more classes). Sensitivity,
        specificity, predictive values, accuracy, F1 and MCC are at the model's own decision, in ``prediction``; average
        precision, Brier score, log loss and calibration judge the probabilities. Calibration needs 50 patients.

    Raises:
        InputError: A column is missing, no row has a label, a label is not among the classes, a probability is not a
            number, or a prevalence is not between 0 and 1.

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
    common = prevalences(prevalence, names, names[1] if binary else None)
    threshold = (thresholds or {}).get(names[1]) if binary else None
    sample.threshold = threshold.text if threshold else ""
    by_threshold = f"{names[1]} from a probability of {threshold.number} on" if threshold else "the most probable class"
    return run(
        Task.CLASSIFICATION,
        names,
        two_classes(names[1], common)
        if binary
        else [*OVERALL, *(metric for c, name in enumerate(names) for metric in one_versus_rest(c, name, common))],
        sample,
        notes=[*notes, AT_THE_DECISION.format(by_threshold) + ("" if common else AT_THIS_PREVALENCE)],
        per_class=sample.per_class,
        positive=names[1] if binary else None,
        confusion=sample.confusion.tolist(),
        curves=roc_curves(sample, band=binary),
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


def called_rightly(sample: ClassSample, c: int, *, called: bool, prevalence: float | None, positive: int) -> Estimate:
    """PPV (``called``) or NPV of a class: at a stated prevalence, or as counted, which is at that of the test set."""
    if prevalence is not None:
        return predictive_value(sample, c, prevalence, positive=called)
    others = [k for k in range(len(sample.names)) if k != c]
    columns = [c] if called else others
    estimate = sample.ratio(sample.cells(predicted=columns), sample.cells(columns, columns), [])
    if min(sample.sides(c)) < MINIMUM_PATIENTS:
        estimate = estimate._replace(interval=not_computable(FEW_IN_A_CLASS))
    what = (
        sample.names[c] if called else sample.names[others[0]] if len(others) == 1 else f"other than {sample.names[c]}"
    )
    empty = f"; no image was called {what}" if not estimate.images else ""
    percent = 100 * sample.images_of[positive] / sample.images
    return estimate.noted(f"at a prevalence of {percent:.0f}% {sample.names[positive]} among these images{empty}")


def mean_auc(sample: ClassSample) -> Estimate:
    """The mean AUC of one class versus the rest."""
    aucs = [sample.auc(c) for c in sample.ranked]
    note = f"mean of one class versus the rest over {len(aucs)} classes"
    if len(aucs) < 2:
        reason = not_computable("the test set holds one class only")
        return Estimate(np.nan, reason, sample.patients, sample.images, note)
    value = float(np.mean([auc.value for auc in aucs]))
    interval = mean_of_ranks(sample, value, [auc.interval for auc in aucs])
    return Estimate(value, interval, sample.patients, sample.images, note)


def mean_of_ranks(sample: ClassSample, value: float, parts: list[Interval], *, precision: bool = False) -> Interval:
    """The interval of a mean over classes from each patient's influence on it."""
    if not all(part.computable for part in parts):
        return not_computable(FEW_IN_A_CLASS)
    error = sample.error(np.mean([sample.influence(c, precision=precision) for c in sample.ranked], axis=0))
    if error < 1e-12 or value in (0.0, 1.0):
        return averaged(parts, "mean of the classes' intervals on patients")
    if precision:
        modelled = [value * (1 - value) / max(1, sample.sides(c)[0]) for c in sample.ranked]
    else:
        modelled = [newcombe_variance(value, *sample.sides(c)) for c in sample.ranked]
    return logit_limits(value, blended(error, float(np.mean(modelled)) / len(modelled)), sample.patients)


def mean_precision(sample: ClassSample) -> Estimate:
    """The mean average precision of one class versus the rest."""
    each = [sample.average_precision(c) for c in sample.ranked]
    note = "mean of one class versus the rest"
    if len(each) < 2:
        reason = not_computable("the test set holds one class only")
        return Estimate(np.nan, reason, sample.patients, sample.images, note)
    value = float(np.mean([one.value for one in each]))
    interval = mean_of_ranks(sample, value, [one.interval for one in each], precision=True)
    return Estimate(value, interval, sample.patients, sample.images, note)


def averaged(parts: list[Interval], note: str) -> Interval:
    """The mean of the limits: numbers that share their patients have errors that add up rather than cancel."""
    low, high = (float(np.mean([getattr(part, side) for part in parts])) for side in ("low", "high"))
    return Interval(low, high, note)


def _recognised(sample: ClassSample, c: int) -> Estimate:
    return sample.recall(c).noted(
        "; ".join(filter(None, [f"fraction of {sample.names[c]} recognised", sample.threshold]))
    )


def _specificity(sample: ClassSample, c: int) -> Estimate:
    return sample.spared(c).noted(f"fraction of the others not called {sample.names[c]}")


def _probability(sample: ClassSample, what: str) -> Estimate:
    """Brier score or log loss."""
    statistic: Callable[[np.ndarray], np.ndarray] = getattr(sample.probability, what)
    value = float(statistic(sample.probability.columns.sum(axis=0)[None])[0])
    interval = mean_interval(statistic(sample.resampled_probability), sample.patients)
    return Estimate(value, interval, sample.patients, sample.images)


def _untestable(sample: ClassSample) -> Estimate | None:
    """What stands in place of calibration where there are too few patients, or one class only."""
    if sample.patients >= LEAST_FOR_CALIBRATION and sample.ranked:
        return None
    reason = (
        f"{LEAST_FOR_CALIBRATION} {sample.resampling.unit_of_n} are needed, {sample.patients} are there"
        if sample.ranked
        else "the test set holds one class only"
    )
    return Estimate(np.nan, Interval(np.nan, np.nan), sample.patients, sample.images, f"not testable: {reason}")


def _calibration_error(sample: ClassSample) -> Estimate:
    untestable = _untestable(sample)
    if untestable:
        return untestable
    statistic = sample.probability.calibration_error
    value = float(statistic(sample.probability.columns.sum(axis=0)[None])[0])
    interval = calibration_error_interval(value, statistic(sample.resampled_probability), sample.patients)
    note = "expected calibration error over bins of equally many images; chance alone makes it larger than 0"
    return Estimate(value, interval, sample.patients, sample.images, note)


def _calibration(sample: ClassSample, what: str) -> Estimate:
    untestable = _untestable(sample)
    if untestable:
        return untestable
    value, interval = sample.calibration_line[what]
    notes = {
        "slope": "1 is right; below 1 the probabilities are too extreme",
        "intercept": "0 is right; above 0 the probabilities are too low on average",
    }
    note, ideal = notes[what], {"slope": 1.0, "intercept": 0.0}[what]
    if interval.computable and not interval.low <= ideal <= interval.high:
        note = f"not calibrated: {note}"
    return Estimate(value, interval, sample.patients, sample.images, note)


def of_probabilities(ending: str = "", *, intercept: bool) -> tuple[Metric[ClassSample], ...]:
    """The metrics of the probabilities themselves."""
    metrics = (
        Metric[ClassSample](f"Brier score{ending}", partial(_probability, what="brier"), more=True),
        Metric[ClassSample](f"log loss{ending}", partial(_probability, what="log_loss"), more=True),
        Metric[ClassSample](f"ECE{ending}", _calibration_error, more=True),
        Metric[ClassSample](f"calibration slope{ending}", partial(_calibration, what="slope"), more=True),
    )
    if not intercept:
        return metrics
    return *metrics, Metric(f"calibration intercept{ending}", partial(_calibration, what="intercept"), more=True)


def two_classes(positive: str, common: Mapping[str, float]) -> tuple[Metric[ClassSample], ...]:
    """The metrics of two classes; those that a clinician asks for first, then the others."""
    stated = common.get(positive)
    return (
        Metric("AUC", lambda sample: sample.auc(1).noted(f"positive class: {sample.names[1]}")),
        Metric("sensitivity", partial(_recognised, c=1)),
        Metric("specificity", partial(_recognised, c=0)),
        Metric("PPV", partial(called_rightly, c=1, called=True, prevalence=stated, positive=1)),
        Metric("NPV", partial(called_rightly, c=1, called=False, prevalence=stated, positive=1)),
        Metric("accuracy", accuracy),
        Metric("balanced accuracy", balanced_accuracy),
        Metric("average precision", lambda sample: sample.average_precision(1), more=True),
        Metric("F1", partial(f1, c=1), more=True),
        Metric("MCC", matthews, more=True),
        *of_probabilities(intercept=True),
    )


OVERALL: tuple[Metric[ClassSample], ...] = (
    Metric("AUC, mean over classes", mean_auc),
    Metric("accuracy", accuracy),
    Metric("balanced accuracy", balanced_accuracy),
    Metric("average precision, mean over classes", mean_precision, more=True),
    Metric("F1, mean over classes", mean_f1, more=True),
    Metric("MCC", matthews, more=True),
    *of_probabilities(intercept=False),
)


def one_versus_rest(c: int, name: str, common: Mapping[str, float]) -> tuple[Metric[ClassSample], ...]:
    """The metrics of one of several classes."""
    stated = common.get(name)
    return (
        Metric(f"AUC, {name}", lambda sample: sample.auc(c).noted(f"{name} versus the rest")),
        Metric(f"sensitivity, {name}", lambda sample: sample.recall(c)),
        Metric(f"specificity, {name}", partial(_specificity, c=c)),
        Metric(f"average precision, {name}", lambda sample: sample.average_precision(c), more=True),
        Metric(f"PPV, {name}", partial(called_rightly, c=c, called=True, prevalence=stated, positive=c), more=True),
        Metric(f"NPV, {name}", partial(called_rightly, c=c, called=False, prevalence=stated, positive=c), more=True),
        Metric(f"F1, {name}", partial(f1, c=c), more=True),
    )


def prevalences(given: Prevalence, names: Sequence[str], positive: str | None) -> dict[str, float]:
    """The stated prevalence of each class by name; a number alone is that of the positive class."""
    if given is None:
        return {}
    by_name = {positive: given} if isinstance(given, float | int) and positive else given
    if not isinstance(by_name, Mapping):
        raise InputError(
            f"prevalence={given!r} for {len(names)} classes.",
            "one prevalence for each class by its name, above 0 and below 1.",
            f"Write for example prevalence={{{names[-1]!r}: 0.05}}.",
        )
    for name, value in by_name.items():
        if name not in names or not 0 < value < 1:
            raise InputError(
                f"The prevalence of {name!r} is {value!r}.",
                f"one of {', '.join(names)}, above 0 and below 1.",
                "Write 5% as 0.05.",
            )
    return {str(name): float(value) for name, value in by_name.items()}
