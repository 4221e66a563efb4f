"""The Metrics object: numbers and their intervals, shown and saved. It computes no metric itself."""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.intervals import Interval
from easydl.evaluation.stored import Stored
from easydl.fileio import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ("name", "value", "low", "high", "n", "unit_of_n", "note", "images", "unit")
FEW_PATIENTS, SOME_PATIENTS, WIDE = 10, 30, 0.10


def metric_row(
    name: str,
    value: float,
    interval: Interval,
    n: int,
    unit_of_n: str,
    *,
    images: int,
    unit: str = "",
    note: str = "",
) -> dict[str, Any]:
    """One row of ``Metrics.table``.

    Args:
        name: What the number is.
        value: The number; NaN when undefined.
        interval: Its 95% interval.
        n: How many patients stand behind it (images when patients are unknown).
        unit_of_n: "patients" or "images".
        images: How many images stand behind it.
        unit: "mm", "mL", "mm²", ... or empty for a share between 0 and 1.
        note: What a reader must know about it.

    Returns:
        The row as a dictionary with the keys of ``COLUMNS``.
    """
    # An interval resamples patients; where none is known every image stands for one, and the words must say so.
    reached = interval.note if unit_of_n == "patients" else interval.note.replace("patient", "image")
    words = "; ".join(part for part in (note, reached) if part)
    values = (name, float(value), interval.low, interval.high, int(n), unit_of_n, words, int(images), unit)
    return dict(zip(COLUMNS, values, strict=True))


def size_notes(patients_per_class: Mapping[str, int], unit_of_n: str) -> list[str]:
    """What to say when there are few test patients.

    Args:
        patients_per_class: Test patients of every class.
        unit_of_n: "patients" or "images".

    Returns:
        No sentence, or one: fewer than 10 is too few to mean much, fewer than 30 asks for caution.
    """
    few = [f"{name} {n}" for name, n in patients_per_class.items() if n < FEW_PATIENTS]
    some = [f"{name} {n}" for name, n in patients_per_class.items() if n < SOME_PATIENTS]
    if few:
        return [f"Too few to mean much: fewer than {FEW_PATIENTS} test {unit_of_n} ({', '.join(few)})."]
    if some:
        return [f"Read with caution: fewer than {SOME_PATIENTS} test {unit_of_n} ({', '.join(some)})."]
    return []


def width_notes(headline: Mapping[str, Any]) -> list[str]:
    """What to say when the headline's interval is wide.

    Args:
        headline: The first row of the table.

    Returns:
        One sentence when half the interval of a share is above 0.10, otherwise none.
    """
    if headline["unit"] or not (headline["high"] - headline["low"]) / 2 > WIDE:
        return []
    return [
        f"The interval of the {headline['name']} is wider than ±{WIDE:.2f}: a larger test set, or "
        "cross-validation by patient, is needed before drawing conclusions."
    ]


def number(value: float | None, unit: str = "") -> str:
    """A number as people read it: two decimals for a share, never rounded up to a perfect one.

    Args:
        value: The number; None and NaN are "n/a".
        unit: Its unit; empty for a share between 0 and 1.

    Returns:
        The text, with the unit.

    Example:
        >>> number(0.8512), number(0.998), number(12.34, "mm"), number(float("nan"))
        ('0.85', '0.998', '12.3 mm', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return "n/a"
    if unit:
        if 0 < abs(value) < 0.01:
            return f"{value:.2g} {unit}"
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
        return f"{value:.{decimals}f} {unit}"
    text = f"{value:.{_decimals(value)}f}"
    return {"1.000": ">0.999", "0.000": "<0.001"}.get(text, text)


def _decimals(share: float) -> int:
    """Two, or three where two would show an imperfect share as 0.00 or 1.00."""
    return 3 if f"{share:.2f}" in ("1.00", "0.00") and share not in (0.0, 1.0) else 2


@dataclass(frozen=True, eq=False, repr=False)
class Metrics:
    """What a model does on a test set. Every number carries n and a 95% interval.

    Attributes:
        task: ``classification``, ``multilabel``, ``ordinal``, ``regression``, ``heads``, ``segmentation`` or
            ``reconstruction``.
        classes: Class names in the model's order.
        table: One row per number: name, value, low, high, n, unit_of_n, note, images, unit. The first row is
            the headline.
        notes: What must be read with the numbers.
        patients_known: False when every image had to count as its own patient.
        images: Images tested.
        patients: Patients tested (images when patients are unknown).
        per_class: For each class, ``{"images": int, "patients": int}``.
        positive: The positive class of a two-class test.
        confusion: Images counted by reference (rows) and prediction (columns), or None.
        curves: For each class the ROC curve: ``fpr``, ``tpr``, and a 95% band ``low``, ``high`` over
            ``grid``.
        cases: Segmentation: one row per case and class.
        points: Regression: ``reference`` and ``prediction`` of every image.
        heads: Several questions: the Metrics of each, by name.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Example:
        >>> table = pd.DataFrame([metric_row("AUC", 0.91, Interval(0.84, 0.96), 71, "patients", images=90)])
        >>> Metrics(task="classification", classes=("no", "yes"), table=table)
        AUC 0.91 (95% CI 0.84-0.96), 71 patients
    """

    task: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    patients_known: bool = True
    images: int = 0
    patients: int = 0
    per_class: dict[str, dict[str, int]] = field(default_factory=dict)
    positive: str | None = None
    confusion: pd.DataFrame | None = None
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cases: pd.DataFrame | None = None
    points: dict[str, list[float]] = field(default_factory=dict)
    heads: dict[str, Metrics] = field(default_factory=dict)
    seed: int = 0
    resamples: int = 2000

    @property
    def headline(self) -> str:
        """The first number in one line, with its interval and n; with several questions, that of each."""
        if self.heads:
            return "; ".join(f"{name}: {one.headline}" for name, one in self.heads.items())
        return self.sentence(0)

    def sentence(self, row: int) -> str:
        """One row of the table in words.

        Args:
            row: Position in ``table``.

        Returns:
            For example "sensitivity 0.88 (95% CI 0.71-0.96), 31 patients".
        """
        if self.table.empty:
            return "no numbers"
        cells = self.table.iloc[row]
        return (
            f"{cells['name']} {number(cells['value'], cells['unit'])} (95% CI {interval_text(cells)}), "
            f"{cells['n']} {cells['unit_of_n'] if cells['n'] != 1 else str(cells['unit_of_n']).rstrip('s')}"
        )

    def __repr__(self) -> str:
        return self.headline

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in ("", "value", "95% CI", "n", "note"))
        rows = "".join(
            f"<tr><td style='text-align:left'>{html.escape(str(row['name']))}</td>"
            f"<td>{html.escape(number(row['value'], row['unit']))}</td>"
            f"<td>{html.escape(interval_text(row))}</td>"
            f"<td>{row['n']} {html.escape(str(row['unit_of_n']))}</td>"
            f"<td style='text-align:left'>{html.escape(str(row['note']))}</td></tr>"
            for row in self.table.to_dict("records")
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return (
            f"<p><strong>{html.escape(self.headline)}</strong></p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table><ul>{notes}</ul><p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    def plot(self, ax: Axes | None = None) -> Figure:
        """Draw the test: the ROC curve beside the confusion matrix, or one Dice dot per case.

        Args:
            ax: Draw only the first picture, on these matplotlib axes.

        Returns:
            The matplotlib Figure.
        """
        from easydl.evaluation.plots import draw

        return draw(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values: the content of ``metrics.json``. Undefined numbers are null.

        Returns:
            A dictionary that ``from_dict`` reads back.
        """
        confusion = self.confusion
        return {
            "research_use": RESEARCH_USE,
            "task": self.task,
            "classes": list(self.classes),
            "positive": self.positive,
            "patients_known": self.patients_known,
            "images": self.images,
            "patients": self.patients,
            "per_class": self.per_class,
            "table": _records(self.table),
            "notes": list(self.notes),
            "confusion": None if confusion is None else confusion.to_numpy(int).tolist(),
            "curves": self.curves,
            "cases": None if self.cases is None else _records(self.cases),
            **({"points": self.points} if self.points else {}),
            **({"heads": {name: one.to_dict() for name, one in self.heads.items()}} if self.heads else {}),
            "seed": self.seed,
            "resamples": self.resamples,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Metrics:
        """Read back what ``to_dict`` wrote.

        Args:
            content: The content of a ``metrics.json``.

        Returns:
            The Metrics.

        Raises:
            InputError: The content is not that of a ``metrics.json``.
        """
        try:
            stored = Stored.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"This is not the content of a metrics.json: {'.'.join(map(str, first['loc']))} {first['msg']}.",
                "A dictionary as easydl writes it, with task, classes and a table of numbers.",
                "Test the model again with easydl.evaluate(model, test).save(path).",
            ) from error
        return cls._of(stored)

    @classmethod
    def _of(cls, stored: Stored) -> Metrics:
        table = pd.DataFrame([row.model_dump() for row in stored.table], columns=list(COLUMNS))
        table[["value", "low", "high"]] = table[["value", "low", "high"]].astype(float)
        cases = stored.cases
        return cls(
            task=stored.task,
            classes=tuple(stored.classes),
            table=table,
            notes=stored.notes,
            patients_known=stored.patients_known,
            images=stored.images,
            patients=stored.patients,
            per_class=stored.per_class,
            positive=stored.positive,
            confusion=None if stored.confusion is None else confusion_frame(stored.confusion, stored.classes),
            curves={name: curve.model_dump() for name, curve in stored.curves.items()},
            cases=None
            if cases is None
            else pd.DataFrame([case.model_dump(by_alias=True, exclude_unset=True) for case in cases]),
            points=stored.points,
            heads={name: cls._of(one) for name, one in stored.heads.items()},
            seed=stored.seed,
            resamples=stored.resamples,
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``metrics.json``, all or nothing.

        Args:
            path: The file, or a folder in which ``metrics.json`` is written.

        Returns:
            The path of the file.
        """
        target = Path(path)
        target = target / "metrics.json" if target.is_dir() else target
        return write_text(target, json.dumps(self.to_dict(), indent=1, allow_nan=False))


def confusion_frame(counts: Any, classes: Sequence[str]) -> pd.DataFrame:
    """A confusion matrix with its names.

    Args:
        counts: Square matrix of integers, reference by prediction.
        classes: Class names in order.

    Returns:
        DataFrame with the index "reference" and the columns "predicted".
    """
    index, columns = pd.Index(classes, name="reference"), pd.Index(classes, name="predicted")
    return pd.DataFrame(np.asarray(counts, dtype=int), index=index, columns=columns)


def interval_text(row: Mapping[Any, Any] | pd.Series) -> str:
    """The interval of one row of ``Metrics.table``: "0.84-0.96", or "not computable".

    Args:
        row: A row with value, low, high and unit.

    Returns:
        The text, with the unit where there is one.
    """
    if not (math.isfinite(row["low"]) and math.isfinite(row["high"])):
        return "not computable"
    if row["unit"]:
        low, high = (number(row[side], row["unit"]) for side in ("low", "high"))
        return f"{low.removesuffix(' ' + row['unit'])} to {high}"
    decimals = max(_decimals(row[name]) for name in ("value", "low"))
    low, high = (f"{row[side]:.{decimals}f}" for side in ("low", "high"))
    between = " to " if low.startswith("-") else "-"
    return f"{'>0.999' if low == '1.000' else low}{between}{high}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if isinstance(cell, float) and not math.isfinite(cell) else cell for name, cell in row.items()}
        for row in frame.astype(object).to_dict("records")
    ]
