"""Two models on the same images, number by number: the engine of `easydl.compare`. It runs no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t

from easydl.errors import InputError
from easydl.evaluation.case_sample import CaseSample
from easydl.evaluation.intervals import MINIMUM_PATIENTS, auc_statistic
from easydl.evaluation.level import level
from easydl.evaluation.metric import Resampling
from easydl.evaluation.paired import Difference, paired_difference
from easydl.evaluation.results import Metrics
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

MEASURES: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("auc", "accuracy", "balanced_accuracy", "log_loss"),
    Task.ORDINAL: ("kappa", "accuracy"),
    Task.REGRESSION: ("mae",),
    Task.MULTILABEL: ("auc", "average_precision"),
}
"""What is compared of each task: first the number that it is judged by."""
CASES = {"dice": "", "iou": "", "hd95": "hd95_unit", "assd": "hd95_unit"}
"""Columns of the cases of masks, and the columns with their units."""
TITLES = {"auc": "AUC", "dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "kappa": "quadratic-weighted kappa",
          "mae": "mean absolute error"}  # fmt: skip
"""As the tables of a test call them; others are called by their own name."""


def paired_differences(
    first: Predictions | Metrics, second: Predictions | Metrics, *, seed: int = 0, resamples: int = 2000
) -> Iterator[Difference]:
    """Every difference of two models on the same images, with its 95% interval and p; each is computed when it is asked for.

    Args:
        first: The Predictions of one model; for masks or reconstructed images the Metrics of its test.
        second: The same of the other model, for the same images.
        seed: Seed of bootstrap and permutations.
        resamples: Number of both.

    Yields:
        The Difference of the number that the task is judged by, then of others: AUC by DeLong's test, accuracy by
        McNemar's, everything else by a paired bootstrap with an exchange of the models within patients
        (`paired_difference`). Of several labels or structures first the mean over them, then each.

    Raises:
        InputError: The two are not of one task, or not of the same images.

    Example:
        >>> frame = pd.DataFrame({"image": list("abcd"), "patient": list("abcd"), "label": ["no", "no", "yes", "yes"],
        ...     "prediction": ["no", "yes", "yes", "yes"], "p(no)": [.9, .4, .3, .2], "p(yes)": [.1, .6, .7, .8]})
        >>> one = Predictions(frame, ("no", "yes"))
        >>> [(row.measure, row.difference) for row in paired_differences(one, one, resamples=100)][:2]
        [('AUC', 0.0), ('accuracy', 0.0)]
    """
    known = getattr(first, "patients_known", True)
    for row in _differences(first, second, seed=seed, resamples=resamples):
        yield row if known else row.by_image()


def _differences(first: Any, second: Any, **options: Any) -> Iterator[Difference]:
    if isinstance(first, Metrics) and isinstance(second, Metrics):
        yield from _of_cases(first, second, **options)
        return
    if not (isinstance(first, Predictions) and isinstance(second, Predictions)):
        raise InputError(
            f"{type(first).__name__} and {type(second).__name__}.",
            "the Predictions of two models, or for masks the Metrics of two tests.",
            "Use easydl.compare(test, [model_a, model_b]).",
        )
    task = Task(first.task)
    if task.is_multiple or second.task != first.task or tuple(first.classes) != tuple(second.classes):
        raise InputError(
            f"Predictions of {first.task} ({', '.join(first.classes)}) and {second.task} ({', '.join(second.classes)}).",
            "one task with the same classes in the same order.",
            "Compare one head at a time with predictions.head(name), and models of one study.",
        )
    a, b = _same_images(first.frame, second.frame)
    labelled = a["label"].notna() & ((a["label"].astype(str).str.strip() != "") | (task is Task.MULTILABEL))
    a, b = a[labelled], b[labelled]
    patients = _patients(a, first.patients_known)
    classes = [str(name) for name in first.classes]
    if task is Task.MULTILABEL:
        yield from _of_labels(a, b, classes, patients, **options)
        return
    for measure in MEASURES[task]:
        truth, pair = _arrays(task, measure, classes, a, b)
        yield _titled(paired_difference(truth, *pair, patients, measure=measure, **options), measure)


def _titled(row: Difference, measure: str, of: str = "", unit: str = "") -> Difference:
    title = TITLES.get(measure, measure.replace("_", " "))
    return replace(row, measure=f"{title}{f' ({unit})' if unit else ''}{f', {of}' if of else ''}")


def _arrays(
    task: Task, measure: str, classes: list[str], a: pd.DataFrame, b: pd.DataFrame
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The reference and what both models say, as `paired_difference` takes them for a measure."""
    if task is Task.REGRESSION:
        return a["label"].to_numpy(float), (a["value"].to_numpy(float), b["value"].to_numpy(float))
    code = {name: k for k, name in enumerate(classes)}
    truth = a["label"].astype(str).map(code).to_numpy(int)
    if measure in ("auc", "log_loss"):
        columns = [f"p({name})" for name in classes]
        return truth, (a[columns].to_numpy(float), b[columns].to_numpy(float))
    called = [each["prediction"].astype(str).map(code).to_numpy(int) for each in (a, b)]
    return truth, (called[0], called[1])


def _patients(frame: pd.DataFrame, known: bool) -> np.ndarray:
    """The patient of each row; a row without one is its own."""
    rows = np.array([f"(image {row})" for row in range(len(frame))])
    if not known:
        return rows
    said = frame["patient"].astype(str).str.strip().to_numpy()
    return np.where(said == "", rows, said)


def _same_images(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the rows of the first."""
    keys = [column for column in ("image", "patient") if column in first.columns and column in second.columns]
    one, other = (pd.MultiIndex.from_frame(each[keys].astype(str)) for each in (first, second))
    if keys and one.equals(other):
        return first.reset_index(drop=True), second.reset_index(drop=True)
    if not keys or len(first) != len(second) or one.has_duplicates or set(one) != set(other):
        raise InputError(
            f"Predictions of {len(first)} and of {len(second)} images that are not the same, or that come twice.",
            "the same images, each once.",
            "Predict the same test set with both models.",
        )
    return first.reset_index(drop=True), second.iloc[other.get_indexer(one)].reset_index(drop=True)


def _of_labels(
    a: pd.DataFrame, b: pd.DataFrame, names: list[str], patients: np.ndarray, **options: Any
) -> Iterator[Difference]:
    truth = {name: np.array([name in str(cell).split(JOIN) for cell in a["label"]]) for name in names}
    yield _mean_of_labels(a, b, truth, patients, **options)
    for measure in MEASURES[Task.MULTILABEL]:
        for name in names:
            one, other = (each[f"p({name})"].to_numpy(float) for each in (a, b))
            row = paired_difference(truth[name], one, other, patients, measure=measure, **options)
            yield _titled(row, measure, name)


def _mean_of_labels(
    a: pd.DataFrame, b: pd.DataFrame, truth: dict[str, np.ndarray], patients: np.ndarray, *, seed: int, resamples: int
) -> Difference:
    """Of the mean AUC over labels: patients are drawn for all labels and both models together."""
    columns = [f"p({name})" for name in truth]
    content = np.column_stack([frame[columns].to_numpy(float) for frame in (a, b)])
    bootstrap = Resampling(True, seed, resamples).bootstrap(patients, content=content)
    known = [name for name, present in truth.items() if 0 < present.sum() < len(present)]
    pairs = [
        [auc_statistic(frame[f"p({name})"].to_numpy(float), truth[name], bootstrap.index) for name in known]
        for frame in (a, b)
    ]
    n, images, title = len(bootstrap.names), len(a), "AUC, mean over labels"
    nan = float("nan")
    if not known:
        return Difference(title, nan, nan, nan, nan, nan, nan, n, images, "interval not computable: one class only")

    def means(weights: np.ndarray) -> np.ndarray:
        return np.stack([np.mean([one(weights) for one in side], axis=0) for side in pairs], axis=1)

    one, other = (float(value) for value in means(np.ones((1, n)))[0])
    drawn = bootstrap.run(means)
    drawn = drawn[:, 0] - drawn[:, 1]
    drawn = drawn[np.isfinite(drawn)]
    if n < MINIMUM_PATIENTS or not len(drawn):
        reason = f"interval not computable: {n} patients"
        return Difference(title, one, other, one - other, nan, nan, nan, n, images, reason)
    half = float(t.ppf((1 + level()) / 2, n - 1) * drawn.std())
    p = float(2 * t.sf(abs(one - other) / drawn.std(), n - 1)) if drawn.std() > 0 else nan
    note = "paired bootstrap by patient"
    return Difference(title, one, other, one - other, one - other - half, one - other + half, p, n, images, note)


def _of_cases(first: Metrics, second: Metrics, **options: Any) -> Iterator[Difference]:
    """Masks, or reconstructed images, case by case; cases of which a model has no number are left out."""
    if first.cases is None or second.cases is None or first.task != second.task:
        raise InputError(
            f"Metrics of {first.task} and of {second.task} without single cases.",
            "the Metrics of two tests of masks or reconstructed images.",
            "Compare the Predictions of both models instead.",
        )
    keys = [column for column in ("image", "class") if column in first.cases.columns]
    twice = first.cases.duplicated(keys).any() or second.cases.duplicated(keys).any()
    both = None if twice else first.cases.merge(second.cases, on=keys, suffixes=("", " of the second"))
    if both is None or len(both) != len(first.cases) or len(both) != len(second.cases):
        raise InputError(
            f"Tests of {first.images} and of {second.images} images that are not the same, or that come twice.",
            "the same images and classes, each once.",
            "Test both models on the same study.",
        )
    masks = first.task is Task.SEGMENTATION
    measures = CASES if masks else {name: "" for name in ("PSNR", "SSIM") if name in both}
    structures = list(dict.fromkeys(both["class"])) if masks else [""]
    if len(structures) > 1:
        yield _mean_of_structures(both, first.patients_known, **options)
    for column, unit_of in measures.items():
        for structure in structures:
            rows = both[both["class"] == structure] if masks else both
            for unit, part in rows.groupby(unit_of) if unit_of else [("", rows)]:
                one, other = (part[name].to_numpy(float) for name in (column, f"{column} of the second"))
                if not (np.isfinite(one) & np.isfinite(other)).any():
                    continue
                people = part["patient"] if first.patients_known else part["image"]
                row = paired_difference(None, one, other, people, measure="mean", **options)
                yield _titled(row, column, structure if len(structures) > 1 else "", str(unit))


def _mean_of_structures(both: pd.DataFrame, patients_known: bool, *, seed: int, resamples: int) -> Difference:
    """Of the mean Dice over structures, each of which counts the same, as in the first line of a test."""
    known = both["dice"].notna() & both["dice of the second"].notna()
    rows = both[known].assign(
        case=lambda rows: rows["image"], difference=lambda rows: rows.dice - rows["dice of the second"]
    )
    sample = CaseSample(rows, Resampling(patients_known, seed, resamples))
    one, other, change = (sample.mean(sample.frame, name) for name in ("dice", "dice of the second", "difference"))
    limits = change.interval
    note = "paired bootstrap by patient"
    return Difference(
        "Dice, mean over classes", one.value, other.value, change.value, limits.low, limits.high, float("nan"),
        change.patients, change.images, note,
    )  # fmt: skip
