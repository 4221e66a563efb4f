"""The metrics of several labels at once: AUC, average precision, sensitivity and specificity of each. It runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.classification import Prevalence, averaged, called_rightly, of_probabilities, prevalences
from easydl.evaluation.decided import f1
from easydl.evaluation.influence import standard_error
from easydl.evaluation.intervals import blended, logit_limits, newcombe_variance, not_computable
from easydl.evaluation.metric import Estimate, Metric, Resampling, run, size_notes
from easydl.evaluation.results import Metrics
from easydl.evaluation.sample import ClassSample, roc_curves, rows_to_test
from easydl.networks.decision import Decision, Threshold
from easydl.studies.labels import JOIN
from easydl.tasks import Task

ABSENT, PRESENT = "absent", "present"


def multilabel_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    thresholds: Mapping[str, Threshold] | None = None,
    prevalence: Prevalence = None,
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
        prevalence: How common labels are where the model is to be used, by name; PPV and NPV are then given for it.
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
    common = prevalences(prevalence, names, names[0] if len(names) == 1 else None)
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
        [*OVERALL, *(metric for k, name in enumerate(names) for metric in one_label(k, name, common))],
        sample,
        notes=notes,
        per_class={label.name: label.per_class[PRESENT] for label in sample.labels},
        curves={label.name: roc_curves(label, band=False)[PRESENT] for label in sample.labels if label.ranked},
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
        content = table[[f"p({name})" for name in names]].assign(
            **{f"has {each.name}": each.reference for each in self.labels}
        )
        self.bootstrap = resampling.bootstrap(table["patient"], content=content)
        self.images, self.patients = len(table), len(self.bootstrap.names)

    def mean(self, *, precision: bool = False) -> Estimate:
        """The mean AUC, or average precision, over the labels that are both absent and present."""
        ranked = [label for label in self.labels if label.ranked]
        note = f"over {len(ranked)} label{'s' if len(ranked) != 1 else ''}"
        if not ranked:
            reason = not_computable("no label is both absent and present")
            return Estimate(np.nan, reason, self.patients, self.images, note)
        each = [label.average_precision(1) if precision else label.auc(1) for label in ranked]
        value, parts = float(np.mean([one.value for one in each])), [one.interval for one in each]
        # The labels of an image come from one patient: what they add to the error of the mean is added up first.
        moved = np.mean([label.influence(1, precision=precision) for label in ranked], axis=0)
        error = float(standard_error(moved, self.bootstrap.index, self.bootstrap.strata)[0])
        if error > 1e-12 and 0 < value < 1:
            sides = [label.sides(1) for label in ranked]
            modelled = [
                value * (1 - value) / max(1, side[0]) if precision else newcombe_variance(value, *side)
                for side in sides
            ]
            interval = logit_limits(value, blended(error, float(np.mean(modelled)) / len(ranked)), self.patients)
        elif all(part.computable for part in parts):
            interval = averaged(parts, "mean of the labels' intervals")
        else:
            interval = not_computable("fewer than 2 patients with or without a label")
        return Estimate(value, interval, self.patients, self.images, note)


OVERALL: tuple[Metric[LabelsSample], ...] = (
    Metric("AUC, mean over labels", LabelsSample.mean),
    Metric("average precision, mean over labels", partial(LabelsSample.mean, precision=True)),
)


def one_label(k: int, name: str, common: Mapping[str, float]) -> tuple[Metric[LabelsSample], ...]:
    """The metrics of one label."""
    stated = common.get(name)

    def of(metric: Metric[ClassSample]) -> Metric[LabelsSample]:
        return Metric(metric.name, lambda sample: metric.measure(sample.labels[k]), metric.unit, metric.more)

    predictive = partial(called_rightly, c=1, prevalence=stated, positive=1)
    return (
        Metric(f"AUC, {name}", lambda sample: _auc(sample.labels[k])),
        Metric(f"average precision, {name}", lambda sample: sample.labels[k].average_precision(1)),
        Metric(f"sensitivity, {name}", lambda sample: sample.labels[k].recall(1).noted(sample.labels[k].threshold)),
        Metric(f"specificity, {name}", lambda sample: sample.labels[k].recall(0).noted(sample.labels[k].threshold)),
        *(
            of(metric)
            for metric in (
                Metric(f"PPV, {name}", partial(predictive, called=True), more=True),
                Metric(f"NPV, {name}", partial(predictive, called=False), more=True),
                Metric(f"F1, {name}", partial(f1, c=1), more=True),
                *of_probabilities(f", {name}", intercept=True),
            )
        ),
    )


def _auc(label: LabelSample) -> Estimate:
    patients = f"{label.patients_of[1]} {label.resampling.unit_of_n}"
    return label.auc(1).noted(f"in {100 * label.prevalence:.0f}% of the images ({patients})")
