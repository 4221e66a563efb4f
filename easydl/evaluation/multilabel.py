"""The metrics of several labels at once: AUC, average precision, sensitivity and specificity of each. It runs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from easydl.errors import InputError
from easydl.evaluation.average_precision import average_precision_statistic
from easydl.evaluation.classification import averaged
from easydl.evaluation.intervals import MINIMUM_PATIENTS, auc_statistic, logit_interval, not_computable
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import ClassSample, roc_curves, rows_to_test
from easydl.networks.decision import Decision, Threshold
from easydl.studies.labels import JOIN
from easydl.tasks import Task

ABSENT, PRESENT = "absent", "present"
Statistic = Callable[[np.ndarray], np.ndarray]


def multilabel_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    thresholds: Mapping[str, Threshold] | None = None,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a multilabel model: AUC, average precision, sensitivity and specificity of each label.

    Args:
        frame: One row per image with the columns ``label`` (its labels joined by ``"; "``, empty for none),
            ``patient`` and ``p(<label>)`` for every label (0 to 1). Rows without a label (NaN) are left out and
            counted.
        classes: The labels in the order of the model's outputs.
        patients_known: As for `classification_metrics`.
        thresholds: From which probability on each label is present; 0.5 where not given.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the mean AUC over the labels. Sensitivity and specificity are at the label's threshold.
        Labels that few patients have are named in the notes.

    Raises:
        InputError: A column is missing, no row has a label, a label is not one of the model's, or a probability is not a
            number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["nodule", "", "nodule; effusion", "", "effusion", ""],
        ...     "p(nodule)": [0.9, 0.2, 0.7, 0.3, 0.4, 0.1], "p(effusion)": [0.1, 0.2, 0.8, 0.3, 0.6, 0.7]})
        >>> multilabel_metrics(frame, ["nodule", "effusion"])
        Not shown to be better than chance: AUC, mean over labels 0.94 (95% CI ...), 6 patients (chance is 0.5).
        ...

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    names = [str(name) for name in classes]
    table, notes = rows_to_test(frame, [f"p({name})" for name in names], patients_known, empty_is_label=True)
    decision = Decision(Task.MULTILABEL, tuple(names), thresholds or {})
    sample = LabelsSample(table, decision, Resampling(patients_known, seed, resamples))
    never = [label.name for label in sample.labels if not label.patients_of[1]]
    always = [label.name for label in sample.labels if not label.patients_of[0]]
    for which, text in ((never, "No test image has"), (always, "Every test image has")):
        if which:
            notes.append(f"{text} the label {', '.join(which)}: nothing can be said about it.")
    patients = {label.name: label.patients_of[1] for label in sample.labels}
    sizes = size_notes(patients, sample.resampling.unit_of_n)
    notes += [note.replace("(", "with the label (", 1) for note in sizes]
    notes.append(
        "Sensitivity and specificity are at each label's threshold. Average precision depends on how common a label is: "
        "guessing gives its prevalence among these images, which the note says."
    )
    return run(
        Task.MULTILABEL,
        names,
        [*OVERALL, *(metric for k, name in enumerate(names) for metric in one_label(k, name))],
        sample,
        notes=notes,
        per_class={label.name: label.per_class[PRESENT] for label in sample.labels},
        curves={label.name: roc_curves(label)[PRESENT] for label in sample.labels if label.ranked},
    )


class LabelSample(ClassSample):
    """One label of a test: absent or present in every image."""

    def __init__(self, table: pd.DataFrame, name: str, threshold: Threshold, resampling: Resampling) -> None:
        self.name, self.threshold = name, threshold.text
        present = np.array([name in cell.split(JOIN) for cell in table["label"]])
        score = table[f"p({name})"].to_numpy(float)
        words = np.array([ABSENT, PRESENT])
        columns = {"label": words[present.astype(int)], "prediction": words[(score >= threshold.value).astype(int)]}
        scores = {f"p({ABSENT})": 1 - score, f"p({PRESENT})": score}
        super().__init__(table[["patient"]].assign(**columns, **scores), [ABSENT, PRESENT], resampling)

    @property
    def prevalence(self) -> float:
        """The fraction of images with the label."""
        return self.images_of[1] / self.images

    @cached_property
    def precision(self) -> Estimate:
        """The average precision."""
        n, images, note = self.patients, self.images, f"guessing gives {self.prevalence:.2f}"
        if not self.ranked:
            return Estimate(np.nan, not_computable("the label is in none or in all of the images"), n, images, note)
        positive, score = self.reference == 1, self.scores[:, 1]
        value = float(average_precision_score(positive, score))
        if min(self.patients_of) < MINIMUM_PATIENTS:
            reason = not_computable(f"fewer than {MINIMUM_PATIENTS} patients with or without it")
            return Estimate(value, reason, n, images, note)
        statistic = average_precision_statistic(score, positive, self.bootstrap.index)
        drawn = self.bootstrap.run(lambda weights: statistic(weights)[:, None])[:, 0]
        return Estimate(value, logit_interval(value, drawn, n), n, images, note)


class LabelsSample:
    """All labels of a test; patients are drawn for all of them together, because they share them."""

    def __init__(self, table: pd.DataFrame, decision: Decision, resampling: Resampling) -> None:
        names = decision.classes
        strange = sorted(set().union(*(cell.split(JOIN) for cell in table["label"])) - {*names, ""})
        if strange:
            raise InputError(
                f"The column label holds {', '.join(repr(name) for name in strange[:5])}.",
                f"labels of the model: {', '.join(names)}, or nothing.",
                "Correct the labels, or test with the model that was trained on them.",
            )
        self.resampling = resampling
        thresholds = [decision.thresholds.get(name, Threshold()) for name in names]
        self.labels = [LabelSample(table, *each, resampling) for each in zip(names, thresholds, strict=True)]
        self.bootstrap = resampling.bootstrap(table["patient"])
        self.images, self.patients = len(table), len(self.bootstrap.names)

    def mean(self, statistic_of: Callable[..., Statistic], measure: Callable[[LabelSample], Estimate]) -> Estimate:
        """The mean of a number over the labels that are both absent and present."""
        ranked = [label for label in self.labels if label.ranked]
        note = f"over {len(ranked)} label{'s' if len(ranked) != 1 else ''}"
        if not ranked:
            reason = not_computable("no label is both absent and present")
            return Estimate(np.nan, reason, self.patients, self.images, note)
        estimates = [measure(label) for label in ranked]
        statistics = [statistic_of(label.scores[:, 1], label.reference == 1, self.bootstrap.index) for label in ranked]
        value = float(np.mean([estimate.value for estimate in estimates]))
        drawn = self.bootstrap.run(partial(_mean, statistics))[:, 0]
        interval, parts = logit_interval(value, drawn, self.patients), [estimate.interval for estimate in estimates]
        if not interval.computable and all(part.computable for part in parts):
            interval = averaged(parts, "mean of the labels' intervals")
        return Estimate(value, interval, self.patients, self.images, note)


def _mean(statistics: list[Statistic], weights: np.ndarray) -> np.ndarray:
    """The mean of statistics in every resample ``(resamples, 1)``; NaN where one of them is undefined."""
    return np.mean([statistic(weights) for statistic in statistics], axis=0)[:, None]


OVERALL: tuple[Metric[LabelsSample], ...] = (
    Metric("AUC, mean over labels", lambda sample: sample.mean(auc_statistic, lambda label: label.auc(1))),
    Metric(
        "average precision, mean over labels",
        lambda sample: sample.mean(average_precision_statistic, lambda label: label.precision),
    ),
)


def one_label(k: int, name: str) -> tuple[Metric[LabelsSample], ...]:
    """The metrics of one label."""
    return (
        Metric(f"AUC, {name}", lambda sample: _auc(sample.labels[k])),
        Metric(f"average precision, {name}", lambda sample: sample.labels[k].precision),
        Metric(f"sensitivity, {name}", lambda sample: sample.labels[k].recall(1).noted(sample.labels[k].threshold)),
        Metric(f"specificity, {name}", lambda sample: sample.labels[k].recall(0).noted(sample.labels[k].threshold)),
    )


def _auc(label: LabelSample) -> Estimate:
    patients = f"{label.patients_of[1]} {label.resampling.unit_of_n}"
    return label.auc(1).noted(f"in {100 * label.prevalence:.0f}% of the images ({patients})")
