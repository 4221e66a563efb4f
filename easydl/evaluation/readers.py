"""A model of two classes beside readers of the same images. It runs no model."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.paired import paired_difference
from easydl.evaluation.panels import Panel
from easydl.evaluation.tables import table_metrics
from easydl.prediction.results import Predictions
from easydl.studies.agreement import agreement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        return f"{self.table.to_string(index=False, float_format='{:.2f}'.format)}\n{RESEARCH_USE}"

    def _repr_html_(self) -> str:
        tables = [
            each.to_html(index=False, border=0, float_format="{:.2f}".format) for each in (self.table, self.agreement)
        ]
        return f"{''.join(tables)}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def show(self, ax: Axes | None = None) -> Figure:
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
