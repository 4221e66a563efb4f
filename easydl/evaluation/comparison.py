"""A model beside another model, or beside readers, on the same images. It runs no model."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.paired import Difference, paired_difference
from easydl.evaluation.panels import Panel
from easydl.evaluation.results import Metrics
from easydl.evaluation.tables import table_metrics
from easydl.prediction.results import Predictions
from easydl.studies.agreement import agreement
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEASURES: dict[Task, tuple[str, ...]] = {
    Task.CLASSIFICATION: ("auc", "accuracy", "balanced_accuracy", "log_loss"),
    Task.ORDINAL: ("kappa", "accuracy"),
    Task.REGRESSION: ("mae",),
    Task.MULTILABEL: ("auc", "average_precision"),
}
CASES = {"dice": "dice", "iou": "mean", "hd95": "mean", "assd": "mean"}
"""Columns of the cases of masks, and how each is compared."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Numbers of two models on the same images. Shows itself as a table in a notebook.

    Attributes:
        table: One row per number: measure, first, second, difference (first less second), low, high, p, n, images, note.
    """

    table: pd.DataFrame

    def __repr__(self) -> str:
        lines = (repr(Difference(*row)) for row in self.table.itertuples(index=False))
        return "\n".join(["First less second, on the same images", *lines, RESEARCH_USE])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(index=False, border=0, float_format="{:.3f}".format)
        return f"<p>First less second, on the same images</p>{shown}<p><small>{html.escape(RESEARCH_USE)}</small></p>"


def compare_predictions(
    first: Predictions | Metrics, second: Predictions | Metrics, *, seed: int = 0, resamples: int = 2000
) -> Comparison:
    """Compare two models on the same images: every difference with its 95% interval and p.

    Args:
        first: The Predictions of one model; for masks or reconstructed images the Metrics of its test.
        second: The same of the other model, for the same images.
        seed: Seed of bootstrap and permutations.
        resamples: Number of both.

    Returns:
        The Comparison: AUC by DeLong's test, accuracy by McNemar's, everything else by a paired bootstrap with an
        exchange of the models within patients (`paired_difference`). Labels are compared one by one.

    Raises:
        InputError: The two are not of one task, or not of the same images.

    Example:
        >>> frame = pd.DataFrame({"image": list("abcd"), "patient": list("abcd"), "label": ["no", "no", "yes", "yes"],
        ...     "prediction": ["no", "yes", "yes", "yes"], "p(no)": [.9, .4, .3, .2], "p(yes)": [.1, .6, .7, .8]})
        >>> one = Predictions(frame, ("no", "yes"))
        >>> compare_predictions(one, one, resamples=100).table["difference"].tolist()
        [0.0, 0.0, 0.0, 0.0]
    """
    options: dict[str, Any] = {"seed": seed, "resamples": resamples}
    if isinstance(first, Metrics) and isinstance(second, Metrics):
        return _of_cases(first, second, **options)
    if not (isinstance(first, Predictions) and isinstance(second, Predictions)):
        raise InputError(
            f"{type(first).__name__} and {type(second).__name__}.",
            "the Predictions of two models, or for masks the Metrics of two tests.",
            "Use easydl.predict(model, test) for both models.",
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
    people = a["patient"] if first.patients_known else pd.Series(range(len(a)))
    classes = [str(name) for name in first.classes]
    rows: list[Difference] = []
    for measure in MEASURES[task]:
        if task is Task.MULTILABEL:
            for name in classes:
                truth = np.array([name in str(cell).split(JOIN) for cell in a["label"]])
                one, other = (each[f"p({name})"].to_numpy(float) for each in (a, b))
                row = paired_difference(truth, one, other, people, measure=measure, **options)
                rows.append(Difference(**{**row.__dict__, "measure": f"{measure}, {name}"}))
            continue
        truth, pair_of = _arrays(task, measure, classes, a, b)
        rows.append(paired_difference(truth, *pair_of, people, measure=measure, **options))
    return Comparison(pd.DataFrame([row.__dict__ for row in rows]))


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


def _same_images(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the rows of the first."""
    keys = [column for column in ("image", "patient") if column in first.columns and column in second.columns]
    one, other = (pd.MultiIndex.from_frame(each[keys].astype(str)) for each in (first, second))
    if not keys or len(first) != len(second) or one.has_duplicates or set(one) != set(other):
        raise InputError(
            f"Predictions of {len(first)} and of {len(second)} images that are not the same, or that come twice.",
            "the same images, each once.",
            "Predict the same test set with both models.",
        )
    return first.reset_index(drop=True), second.iloc[other.get_indexer(one)].reset_index(drop=True)


def _of_cases(first: Metrics, second: Metrics, **options: Any) -> Comparison:
    """Masks, or reconstructed images, case by case."""
    if first.cases is None or second.cases is None or first.task != second.task:
        raise InputError(
            f"Metrics of {first.task} and of {second.task} without single cases.",
            "the Metrics of two tests of masks or reconstructed images.",
            "Compare the Predictions of both models instead.",
        )
    keys = [column for column in ("image", "class") if column in first.cases.columns]
    both = first.cases.merge(second.cases, on=keys, suffixes=("", " of the second"), validate="one_to_one")
    if len(both) != len(first.cases) or len(both) != len(second.cases):
        raise InputError(
            f"Tests of {first.images} and of {second.images} images that are not the same.",
            "the same images and classes.",
            "Test both models on the same study.",
        )
    masks = first.task is Task.SEGMENTATION
    measures = CASES if masks else {name: "mean" for name in ("PSNR", "SSIM") if name in both}
    people = both["patient"] if first.patients_known else both["image"]
    rows = []
    for column, measure in measures.items():
        one, other = (both[name].to_numpy(float) for name in (column, f"{column} of the second"))
        row = paired_difference(None, one, other, people, measure=measure, **options)
        rows.append(Difference(**{**row.__dict__, "measure": column}))
    return Comparison(pd.DataFrame([row.__dict__ for row in rows]))


@dataclass(frozen=True, eq=False)
class Readers:
    """A model of two classes beside readers. Shows itself as a table in a notebook.

    Attributes:
        table: One row per reader, and the last for the model: reader, sensitivity and specificity with limits
            (``sensitivity low`` ...), kappa with the reference, and the difference in accuracy to the model with p.
        agreement: Kappa of the readers among each other and with the model (`easydl.studies.agreement`).
        curve: The model's ROC curve.
    """

    table: pd.DataFrame
    agreement: pd.DataFrame
    curve: dict[str, list[float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.table.to_string(index=False, float_format="{:.2f}".format)

    def _repr_html_(self) -> str:
        tables = [
            each.to_html(index=False, border=0, float_format="{:.2f}".format) for each in (self.table, self.agreement)
        ]
        return f"{''.join(tables)}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the ROC curve of the model with a cross for each reader: the 95% intervals of both numbers."""
        from easydl.evaluation.plots import draw

        points = self.table.to_dict("records")
        n = self.table["n"].max()
        return draw(
            {"": [Panel("readers", f"Model and readers, {n} patients", {"curve": self.curve, "points": points})]}, ax
        )


def compare_readers(
    predictions: Predictions,
    readers: Mapping[str, Sequence[Any]] | pd.DataFrame,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Readers:
    """Put a model of two classes beside readers of the same images.

    Args:
        predictions: Of the model, with the reference in ``label``.
        readers: For each reader the class of every image, in the order of the predictions: a dict, or columns of the
            study's table (``test.frame[["ann", "bob"]]``). Images that a reader left blank do not count for them.
        seed: Seed of bootstrap and permutations.
        resamples: Number of both.

    Returns:
        The Readers: sensitivity and specificity of each with intervals by patient, kappa with the reference, and the
        difference in accuracy to the model on the images that the reader read (McNemar, or by patient).

    Raises:
        InputError: There are more than two classes, or a reader's column does not fit.

    References:
        Obuchowski NA. Multireader, multimodality ROC curve studies. Acad Radiol 1995;2:S22-S29.
    """
    frame, classes = predictions.frame, tuple(map(str, predictions.classes))
    if predictions.task != "classification" or len(classes) != 2:
        raise InputError(
            f"Predictions of {predictions.task} with {len(classes)} classes.",
            "a model of two classes.",
            "Compare readers with a model of two classes, or use agreement for their kappa.",
        )
    columns = pd.DataFrame({str(name): list(values) for name, values in dict(readers).items()})
    strange = sorted(
        {str(one) for one in columns.to_numpy().ravel() if str(one).strip() and pd.notna(one)} - set(classes)
    )
    if len(columns) != len(frame) or strange or columns.empty:
        raise InputError(
            f"{len(columns)} rows of readers for {len(frame)} predictions; readings {', '.join(strange) or 'of the classes'}.",
            f"one of {' and '.join(classes)} for each image, or nothing.",
            "Give the readers' columns of the same test set.",
        )
    columns = columns.astype(object).where(columns.notna(), "").astype(str).apply(lambda one: one.str.strip())
    table = frame.reset_index(drop=True)
    people = table["patient"].astype(str) if predictions.patients_known else pd.Series(table.index.astype(str))
    label = table["label"].astype(str)
    rows = []
    options: dict[str, Any] = {"seed": seed, "resamples": resamples}
    for name in [*columns, "model"]:
        called = table["prediction"].astype(str) if name == "model" else columns[name]
        read = (called != "") & (label != "") & table["label"].notna()
        one = table[read].assign(prediction=called[read])
        metrics = table_metrics(Predictions(one, classes, predictions.patients_known), **options)
        own = metrics.table.set_index("name")
        both = pd.DataFrame({"reference": label[read], name: called[read]})
        kappa = agreement(both, people[read], seed=seed).table.iloc[0]
        row: dict[str, Any] = {"reader": name}
        for what in ("sensitivity", "specificity"):
            row |= {
                what: own.loc[what, "value"],
                f"{what} low": own.loc[what, "low"],
                f"{what} high": own.loc[what, "high"],
            }
        row |= {"kappa": kappa["value"], "kappa low": kappa["low"], "kappa high": kappa["high"]}
        row |= {"n": metrics.patients, "images": metrics.images}
        if name != "model":
            pair = (table.loc[read, "prediction"].astype(str).to_numpy(str), called[read].to_numpy(str))
            given = label[read].to_numpy(str)
            change = paired_difference(given, *pair, people[read].to_numpy(str), measure="accuracy", **options)
            row |= {"model less reader": change.difference, "low": change.low, "high": change.high, "p": change.p}
        rows.append(row)
        curve = metrics.curves.get(classes[1], {})
    together = agreement(columns.assign(model=table["prediction"].astype(str)), people, seed=seed).table
    return Readers(pd.DataFrame(rows), together, curve)
