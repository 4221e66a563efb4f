"""The Metrics of a test: the object and the content of metrics.json at once. It computes no number and draws nothing."""

from __future__ import annotations

import html
import json
import math
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.panels import Panel, group_panels, panels_of
from easydl.fileio import write_text
from easydl.tasks import Task

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _defined(value: Any) -> Any:
    """None for NaN, as JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


WARNING = "#b3261e"
"""The colour of a warning."""
Number = Annotated[float | None, BeforeValidator(_defined)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, frozen=True)


class Row(_Part):
    """One line of the table; ``value``, ``low`` and ``high`` are None where undefined."""

    name: str
    value: Number
    low: Number
    high: Number
    n: Count
    unit_of_n: str
    note: str = ""
    images: Count = 0
    unit: str = ""
    more: bool = False


class GroupRow(Row):
    """A number of one group of a column; without a group the largest gap of the column, with its ``p``."""

    by: str
    group: str
    p: Number = None


class CaseRow(_Part):
    """One case and class of a segmentation, or one reconstructed image; further columns are kept."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[str | int | float | None, BeforeValidator(_defined)]] = Field(init=False)

    image: str
    patient: str
    structure: str = Field(default="", alias="class")
    dice: Number = None


class LookRecord(_Part):
    """How often the test part had been looked at when it was tested, and where that is written down.

    Attributes:
        number: Looks at the part on this computer, this one included; 1 for an untouched part.
        first: The date of the first.
        entry: The seal of the line in the ledger of this computer, by which it is found there.
        model: Fingerprint of the model with its options.
    """

    number: Count
    first: str
    entry: str
    model: str


class Metrics(BaseModel):
    """What a model does on a test set. Every number carries n and a 95% interval.

    Attributes:
        task: ``classification``, ``multilabel``, ``ordinal``, ``regression``, ``multitask``, ``segmentation`` or
            ``reconstruction``.
        classes: Class names in the model's order.
        table: DataFrame with one row per number: name, value, low, high, n, unit_of_n, note, images, unit, and ``more``,
            true for numbers to be read after the first ones. The first row is the headline.
        warnings: What makes the numbers worth nothing, or less than they look, as sentences; shown before the first
            number. Empty when nothing of the kind was found.
        summary: Sentences on what was asked for, printed below the headline: PPV and NPV at a stated prevalence, the largest
            gap of each group, the threshold that was chosen. They stand in the table or the notes, too.
        notes: What must be read with the numbers.
        patients_known: False when every image had to count as its own patient.
        seen: Images among those tested that the model was trained or validated on: counted only with a reason in writing.
        look: How often the test part has been looked at, and the line of the ledger that has it; None where it could not
            be counted. From the second look on every interval is wider (Bonferroni over the looks).
        images: Images tested.
        patients: Patients tested (images when patients are unknown).
        per_class: For each class, ``{"images": int, "patients": int}``.
        positive: The positive class of a two-class test.
        confusion: DataFrame of images counted by reference (rows) and prediction (columns), or None.
        curves: For each class the ROC curve: ``fpr``, ``tpr``, and a 95% band ``low``, ``high`` over ``grid``.
        cases: Segmentation: DataFrame with one row per case and class. Reconstruction: one row per image.
        groups: DataFrame with the numbers of each group that was asked for with ``by``: the columns of ``table``, ``by`` and
            ``group``; and for each column a row without a group, the largest gap, with its ``p``. None if nothing was.
        points: Regression: ``reference`` and ``prediction`` of every image.
        heads: Several tasks: the Metrics of each head, by name.
        seed: Seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Example:
        >>> row = {"name": "AUC", "value": 0.91, "low": 0.84, "high": 0.96, "n": 71, "unit_of_n": "patients"}
        >>> Metrics(task="classification", classes=("no", "yes"), table=[row])
        AUC 0.91 (95% CI 0.84-0.96), 71 patients
    """

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    task: Task
    classes: tuple[str, ...] = Field(min_length=1)
    positive: str | None = None
    patients_known: bool = True
    images: Count = 0
    patients: Count = 0
    per_class: dict[str, dict[str, Count]] = {}
    rows: list[Row] = Field(alias="table")
    warnings: list[str] = []
    summary: list[str] = []
    notes: list[str] = []
    seen: Count = 0
    look: LookRecord | None = None
    counts: list[list[Count]] | None = Field(default=None, alias="confusion")
    curves: dict[str, dict[str, list[float]]] = {}
    case_rows: list[CaseRow] | None = Field(default=None, alias="cases")
    group_rows: list[GroupRow] = Field(default=[], alias="groups")
    points: dict[str, list[float]] = {}
    heads: dict[str, Metrics] = {}
    seed: int = 0
    resamples: Count = 2000

    @field_validator("rows", "case_rows", mode="before")
    @classmethod
    def _of_a_frame(cls, rows: Any) -> Any:
        return rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows

    @model_validator(mode="after")
    def _consistent(self) -> Metrics:
        if self.points and len({len(self.points.get(side, ())) for side in ("reference", "prediction")}) > 1:
            raise ValueError("the points differ in length")
        if self.task.has_masks and any({"structure", "dice"} - row.model_fields_set for row in self.case_rows or ()):
            raise ValueError("a case lacks its class or its Dice")
        for curve in self.curves.values():
            lengths = {name: len(curve.get(name, ())) for name in ("fpr", "tpr", "grid", "low", "high")}
            if lengths["fpr"] != lengths["tpr"] or not lengths["grid"] == lengths["low"] == lengths["high"]:
                raise ValueError("the lists of a curve differ in length")
        size = len(self.classes)
        if self.counts is not None and [len(row) for row in self.counts] != [size] * size:
            raise ValueError("the confusion matrix does not fit the classes")
        return self

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per number, the headline first."""
        frame = pd.DataFrame([row.model_dump() for row in self.rows], columns=list(Row.model_fields))
        return frame.astype({"value": float, "low": float, "high": float})

    @cached_property
    def confusion(self) -> pd.DataFrame | None:
        """Images counted by reference (rows) and prediction (columns), or None."""
        if self.counts is None:
            return None
        index, columns = pd.Index(self.classes, name="reference"), pd.Index(self.classes, name="predicted")
        return pd.DataFrame(np.asarray(self.counts, dtype=int), index=index, columns=columns)

    @cached_property
    def cases(self) -> pd.DataFrame | None:
        """One row per case (and class), or None."""
        if self.case_rows is None:
            return None
        rows = [row.model_dump(by_alias=True, exclude_unset=True) for row in self.case_rows]
        return pd.DataFrame(rows).replace({None: np.nan}).infer_objects()

    @cached_property
    def groups(self) -> pd.DataFrame | None:
        """One row per group and number, and one for each column's largest gap; or None."""
        if not self.group_rows:
            return None
        columns = ["by", "group", *Row.model_fields, "p"]
        frame = pd.DataFrame([row.model_dump() for row in self.group_rows], columns=columns)
        return frame.astype({"value": float, "low": float, "high": float, "p": float})

    @property
    def headline(self) -> str:
        """The first number in one line, with its interval and n; with several tasks, that of each."""
        if self.heads:
            return "; ".join(f"{name}: {head.headline}" for name, head in self.heads.items())
        return self.sentence(0)

    def sentence(self, row: int) -> str:
        """One row of the table as a sentence.

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
        return "\n".join([*self.warnings, self.headline, *self.summary])

    __str__ = __repr__

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{name}</th>" for name in ("", "value", "95% CI", "n", "note"))

        def table(rows: list[dict[Any, Any]]) -> str:
            return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_line, rows))}</tbody></table>"

        rows = self.table.to_dict("records")
        later = [row for row in rows if row["more"]]
        more = f"<details><summary>{len(later)} more numbers</summary>{table(later)}</details>" if later else ""
        if self.groups is not None:
            named = self.groups.assign(name=named_groups(self.groups))
            more += f"<p>By group</p>{table(named.to_dict('records'))}"
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        first = "".join(f"<p style='color:{WARNING}'><b>{html.escape(one)}</b></p>" for one in self.warnings)
        return (
            f"{first}<p><strong>{html.escape(self.headline)}</strong></p>{table([row for row in rows if not row['more']])}"
            f"{more}<ul>{notes}</ul><p><small>{html.escape(RESEARCH_USE)}</small></p>"
        )

    @property
    def panels(self) -> list[Panel]:
        """The test's plots as data, the main one first; with several tasks those of each head in turn."""
        of_heads = [panel for head in self.heads.values() for panel in head.panels]
        return [*(of_heads or panels_of(self)), *group_panels(self)]

    def show(self, ax: Axes | None = None) -> Figure:
        """Draw the test: the ROC curve beside the confusion matrix, one Dice dot per case, or what fits the task.

        Args:
            ax: Draw only the first plot (of the first head), on these matplotlib axes.

        Returns:
            The matplotlib Figure.
        """
        from easydl.evaluation.plots import draw

        parts = {name: head.panels for name, head in self.heads.items()} or {"": panels_of(self)}
        groups = group_panels(self)
        return draw(parts | ({"Groups": groups} if groups else {}), ax)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values: the content of ``metrics.json``. Undefined numbers are null.

        Returns:
            A dictionary that ``from_dict`` reads back.
        """
        content = self.model_dump(mode="json", by_alias=True, exclude={"points", "heads", "case_rows"})
        cases = self.case_rows
        content["cases"] = (
            None if cases is None else [row.model_dump(by_alias=True, exclude_unset=True) for row in cases]
        )
        for name, given in (("groups", self.group_rows), ("summary", self.summary)):
            if not given:
                content.pop(name)
        if self.points:
            content["points"] = self.points
        if self.heads:
            content["heads"] = {name: head.to_dict() for name, head in self.heads.items()}
        return {"research_use": RESEARCH_USE, **content}

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
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(
                f"This is not the content of a metrics.json: {'.'.join(map(str, first['loc']))} {first['msg']}.",
                "A dictionary as easydl writes it, with task, classes and a table of numbers.",
                "Test the model again with easydl.evaluate(model, test).save(path).",
            ) from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write ``metrics.json``, all or nothing. It may be passed on: images and patients in it are numbered.

        Args:
            path: The file, or a folder in which ``metrics.json`` is written.

        Returns:
            The path of the file.
        """
        target = Path(path)
        target = target / "metrics.json" if target.is_dir() else target
        content = self.to_dict()
        for what in ("image", "patient"):
            _number(content["cases"] or [], what, known=what == "image" or self.patients_known)
        return write_text(target, json.dumps(content, indent=1, allow_nan=False))


def named_groups(groups: pd.DataFrame) -> pd.Series:
    """What each row of ``Metrics.groups`` is, as in "scanner A: AUC" and "scanner: largest gap in AUC"."""
    return (groups["by"] + " " + groups["group"]).str.strip() + ": " + groups["name"]


def _line(row: Mapping[Any, Any]) -> str:
    """A row of the table in HTML."""
    return (
        f"<tr><td style='text-align:left'>{html.escape(str(row['name']))}</td>"
        f"<td>{html.escape(number(row['value'], row['unit']))}</td>"
        f"<td>{html.escape(interval_text(row))}</td>"
        f"<td>{row['n']} {html.escape(str(row['unit_of_n']))}</td>"
        f"<td style='text-align:left'>{html.escape(str(row['note']))}</td></tr>"
    )


def _number(cases: list[dict[str, Any]], what: str, *, known: bool) -> None:
    """Call images or patients by numbers, in the order of the rows, where they are not called so already."""
    if all(re.fullmatch(rf"({what} \d+)?", str(case.get(what, ""))) for case in cases):
        return
    names = {name: f"{what} {number}" for number, name in enumerate(dict.fromkeys(case[what] for case in cases), 1)}
    for case in cases:
        case[what] = names[case[what]] if known else ""
