"""The numbers of a model that looks for several findings, each with n and a 95% interval. It runs no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from easydl.errors import InputError
from easydl.evaluation.average_precision import average_precision_statistic
from easydl.evaluation.intervals import (
    MINIMUM_PATIENTS,
    Interval,
    PatientBootstrap,
    auc_statistic,
    logit_interval,
    not_computable,
)
from easydl.evaluation.results import Metrics, metric_row, size_notes, width_notes
from easydl.evaluation.sample import Sample, curves, rows_to_test
from easydl.studies.labels import JOIN

ABSENT, PRESENT = "absent", "present"


@dataclass(frozen=True)
class Finding:
    """One finding of a test: its images as a two-class sample, and its average precision.

    Attributes:
        name: Of the finding.
        sample: Absent or present in every image.
        precision: Average precision; NaN when no image has the finding.
        precision_interval: Its 95% interval.
    """

    name: str
    sample: Sample
    precision: float
    precision_interval: Interval


def multilabel_metrics(
    frame: pd.DataFrame,
    classes: Sequence[str],
    *,
    patients_known: bool = True,
    seed: int = 0,
    resamples: int = 2000,
) -> Metrics:
    """Test a model that looks for several findings: AUC, average precision, sensitivity and specificity of each.

    Args:
        frame: One row per image with the columns ``label`` (its findings joined by ``"; "``, empty for none),
            ``patient`` and ``p(<finding>)`` for every finding (0 to 1). Rows without a label (NaN) are left out and
            counted.
        classes: The findings in the order of the model's outputs.
        patients_known: As for `classification_metrics`.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples, at least 100.

    Returns:
        Metrics whose first row is the mean AUC over the findings. Sensitivity and specificity are at a probability of
        0.5. Findings that few patients have are named in the notes.

    Raises:
        InputError: A column is missing, no row has a label, a label is none of the findings, or a probability is not a
            number.

    Example:
        >>> frame = pd.DataFrame({"patient": list("abcdef"), "label": ["nodule", "", "nodule; effusion", "", "effusion", ""],
        ...     "p(nodule)": [0.9, 0.2, 0.7, 0.3, 0.4, 0.1], "p(effusion)": [0.1, 0.2, 0.8, 0.3, 0.6, 0.7]})
        >>> multilabel_metrics(frame, ["nodule", "effusion"])
        AUC, mean over findings 0.94 (95% CI ...), 6 patients

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    names = [str(name) for name in classes]
    columns = [f"p({name})" for name in names]
    table, notes = rows_to_test(frame, names, [], columns, patients_known, least=1, blank=True)
    held = [set(cell.split(JOIN)) - {""} for cell in table["label"]]
    strange = sorted(set().union(*held) - set(names))
    if strange:
        raise InputError(
            f"The column label holds {', '.join(repr(name) for name in strange[:5])}.",
            f"findings of the model: {', '.join(names)}, or nothing.",
            "Correct the labels, or test with the model that was trained on them.",
        )
    findings = []
    for name in names:
        present = np.array([name in row for row in held])
        findings.append(_finding(table, name, present, patients_known, seed, resamples))
    absent = [one.name for one in findings if not one.sample.patients_of[1]]
    always = [one.name for one in findings if not one.sample.patients_of[0]]
    for which, words in ((absent, "No test image has"), (always, "Every test image has")):
        if which:
            notes.append(f"{words} the finding {', '.join(which)}: nothing can be said about it.")
    unit = findings[0].sample.unit_of_n
    with_it = {f"{one.name}": one.sample.patients_of[1] for one in findings}
    notes += [note.replace("(", "with the finding (", 1) for note in size_notes(with_it, unit)]
    notes.append(
        "Sensitivity and specificity are at a probability of 0.5. Average precision depends on how common a finding is: "
        "guessing gives its share among these images, which the note says."
    )
    rows = [*_mean_rows(table, findings, seed, resamples), *(row for one in findings for row in _rows(one, len(names)))]
    notes += width_notes(rows[0])
    roc = {one.name: curves(one.sample)[PRESENT] for one in findings if one.sample.ranked}
    return Metrics(
        task="multilabel", classes=tuple(names), table=pd.DataFrame(rows), notes=notes, patients_known=patients_known,
        images=len(table), patients=table["patient"].nunique(),
        per_class={
            one.name: {"images": int(one.sample.images_of[1]), "patients": one.sample.patients_of[1]} for one in findings
        },
        curves=roc, seed=seed, resamples=resamples,
    )  # fmt: skip


def _finding(
    table: pd.DataFrame, name: str, present: np.ndarray, patients_known: bool, seed: int, resamples: int
) -> Finding:
    score = table[f"p({name})"].to_numpy(float)
    words = np.array([ABSENT, PRESENT])
    two = pd.DataFrame(
        {
            "patient": table["patient"], "label": words[present.astype(int)],
            "prediction": words[(score >= 0.5).astype(int)], f"p({ABSENT})": 1 - score, f"p({PRESENT})": score,
        }
    )  # fmt: skip
    sample = Sample(two, [ABSENT, PRESENT], patients_known, seed, resamples)
    if not sample.ranked:
        return Finding(name, sample, np.nan, not_computable("the finding is in none or in all of the images"))
    value = float(average_precision_score(present, score))
    if min(sample.patients_of) < MINIMUM_PATIENTS:
        return Finding(
            name, sample, value, not_computable(f"fewer than {MINIMUM_PATIENTS} patients with or without it")
        )
    statistic = average_precision_statistic(score, present, sample.bootstrap.index)
    drawn = sample.bootstrap.run(lambda weights: statistic(weights)[:, None])[:, 0]
    return Finding(name, sample, value, logit_interval(value, drawn, len(sample.bootstrap.names)))


def _rows(one: Finding, findings: int) -> list[dict[str, Any]]:
    sample = one.sample
    share = sample.images_of[1] / len(sample.reference)
    everyone = len(sample.reference)
    result = (one.precision, one.precision_interval, len(sample.bootstrap.names), everyone)
    sensitivity = sample.ratio(sample.cells([1]), sample.cells([1], [1]), [1])
    specificity = sample.ratio(sample.cells([0]), sample.cells([0], [0]), [0])
    at = f"in {100 * share:.0f}% of the images ({sample.patients_of[1]} {sample.unit_of_n})"
    return [
        sample.row(f"AUC, {one.name}", (*sample.auc(1), everyone), at),
        sample.row(f"average precision, {one.name}", result, f"guessing gives {share:.2f}"),
        sample.row(f"sensitivity, {one.name}", sensitivity, "at 0.5"),
        sample.row(f"specificity, {one.name}", specificity, "at 0.5"),
    ]


def _mean_rows(table: pd.DataFrame, findings: list[Finding], seed: int, resamples: int) -> list[dict[str, Any]]:
    """The means over findings; patients are drawn for all findings together, because they share them."""
    ranked = [one for one in findings if one.sample.ranked]
    bootstrap = PatientBootstrap(table["patient"], resamples=resamples, seed=seed)
    unit, n = findings[0].sample.unit_of_n, len(bootstrap.names)
    note = f"over {len(ranked)} finding{'s' if len(ranked) != 1 else ''}"
    made = {
        "AUC": (auc_statistic, [one.sample.auc(1)[0] for one in ranked], [one.sample.auc(1)[1] for one in ranked]),
        "average precision": (
            average_precision_statistic, [one.precision for one in ranked], [one.precision_interval for one in ranked],
        ),
    }  # fmt: skip
    rows = []
    for name, (make, values, parts) in made.items():
        if not values:
            value, interval = np.nan, not_computable("no finding is both absent and present")
        else:
            each = [make(one.sample.scores[:, 1], one.sample.reference == 1, bootstrap.index) for one in ranked]
            value = float(np.mean(values))
            interval = logit_interval(value, bootstrap.run(partial(_mean, each))[:, 0], n)
            if not interval.computable and all(part.computable for part in parts):
                # As for classes: the findings share their patients, so the limits are averaged.
                low, high = (float(np.mean([getattr(part, side) for part in parts])) for side in ("low", "high"))
                interval = Interval(low, high, "mean of the findings' intervals")
        rows.append(metric_row(f"{name}, mean over findings", value, interval, n, unit, images=len(table), note=note))
    return rows


def _mean(statistics: list[Callable[[np.ndarray], np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """The mean of statistics in every resample ``(resamples, 1)``; NaN where one of them is undefined."""
    return np.mean([one(weights) for one in statistics], axis=0)[:, None]
