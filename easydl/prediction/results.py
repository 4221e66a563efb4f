"""Predictions as a table, and single cases with their reference, as the evaluation takes them. It computes neither."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE, unknown_name
from easydl.fileio import csv_text, write_text
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.networks.metadata import Head

_SHOWN = 50


@dataclass(eq=False)
class Predictions:
    """One row per image: the predicted class and the probability of every class.

    Attributes:
        frame: Columns ``image``, ``patient``, ``label`` (when known), ``prediction``, ``confidence`` (0 to 1) and one
            ``p(<class>)`` per class (0 to 1). For multilabel the labels of 0.5 and more are joined by ``"; "``; for
            ordinal the prediction is the median of the distribution; for regression there is one column ``value``
            instead. For several tasks all but image and patient begin with the head's name, as in ``cancer: p(yes)``.
        classes: Class names in order; for several tasks the names of the heads.
        patients_known: False when every image counted as a patient.
        name: What the predictions are of.
        task: ``classification``, ``multilabel``, ``ordinal``, ``regression`` or ``multitask``.
        heads: For several tasks, what each head predicts, by name.
        notes: What was assumed, as text.
    """

    frame: pd.DataFrame
    classes: tuple[str, ...]
    patients_known: bool = True
    name: str = ""
    task: str = "classification"
    heads: dict[str, Head] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def head(self, name: str) -> Predictions:
        """The predictions of one of several heads, with the columns of a single task.

        Args:
            name: The head.

        Returns:
            Its Predictions.

        Raises:
            InputError: There is no such head.
        """
        if name not in self.heads:
            expected = "one of {}." if self.heads else "a model of several tasks."
            raise unknown_name(
                f"The predictions have no head {name!r}.", name, self.heads, do="Correct the name.", expected=expected
            )
        start = f"{name}: "
        own = {column: column.removeprefix(start) for column in self.frame.columns if column.startswith(start)}
        prefixes = tuple(f"{head}: " for head in self.heads)
        columns = [column for column in self.frame.columns if column in own or not column.startswith(prefixes)]
        head = self.heads[name]
        frame = self.frame[columns].rename(columns=own)
        return Predictions(frame, head.classes, self.patients_known, self.name, head.task, notes=self.notes)

    def __repr__(self) -> str:
        return f"<Predictions of {len(self.frame)} images. {RESEARCH_USE}>"

    def _repr_html_(self) -> str:
        table = self.frame.head(_SHOWN).to_html(index=False, escape=True, border=0, float_format="{:.3f}".format)
        more = f"<p>{len(self.frame) - _SHOWN} more rows</p>" if len(self.frame) > _SHOWN else ""
        more += "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"{table}{more}<p><small>{html.escape(RESEARCH_USE)}</small></p>"

    def save(self, path: str | Path) -> Path:
        """Write the table as CSV (UTF-8); its first line is the research-use sentence as a comment.

        Cells that a spreadsheet would run as a formula are preceded by an apostrophe (CWE-1236).

        Args:
            path: The file; one that is there is replaced as a whole.

        Returns:
            The path written.
        """
        return write_text(path, f"# {RESEARCH_USE}\n{csv_text(self.frame)}")


@dataclass(eq=False)
class Case:
    """One segmented scan with its reference, as the metrics take it.

    Attributes:
        image: Address of the scan.
        patient: Its patient.
        predicted: int32 class indices on the source grid.
        reference: The same for the reference mask.
        spacing_mm: Spacing in the order of the axes, or None.
        classes: Class names, background first.
    """

    image: str
    patient: str
    predicted: np.ndarray
    reference: np.ndarray
    spacing_mm: tuple[float, ...] | None
    classes: tuple[str, ...]


@dataclass(eq=False)
class ReconstructedCase:
    """One scan of a study, clean, corrupted, and as the network reconstructed it; all on its grid, within its window."""

    image: str
    patient: str
    clean: np.ndarray
    corrupted: np.ndarray
    reconstructed: np.ndarray


def output_columns(outputs: np.ndarray, task: str, classes: Sequence[str]) -> dict[str, Any]:
    """A model's outputs as the columns of a table: ``value``; or ``prediction``, ``confidence`` and one per class.

    ``outputs`` are float32 ``(images, classes)`` probabilities, or ``(images, 1)`` values.
    """
    if Task(task).is_value:
        return {"value": outputs[:, 0]}
    names = np.asarray(classes, dtype=object)
    columns: dict[str, Any] = {}
    if Task(task).exclusive:
        chosen = median_class(outputs) if Task(task).ordered else outputs.argmax(axis=1)
        columns["prediction"] = names[chosen]
        columns["confidence"] = np.take_along_axis(outputs, chosen[:, None], axis=1)[:, 0]
    else:
        columns["prediction"] = [JOIN.join(names[row]) for row in outputs >= 0.5]
        columns["confidence"] = np.maximum(outputs, 1 - outputs).min(axis=1)
    return columns | {f"p({name})": outputs[:, k] for k, name in enumerate(classes)}


def median_class(probabilities: np.ndarray) -> np.ndarray:
    """The median of each distribution over ordered classes, which has the least expected absolute error.

    ``probabilities`` are ``(images, classes)``, each row summing to 1. The result is the first class at which half of
    the probability is reached, int ``(images,)``.
    """
    # With room for rounding: 0.1 + 0.4 may be a little less than a half.
    return (np.cumsum(probabilities, axis=1) < 0.5 - 1e-6).sum(axis=1)
