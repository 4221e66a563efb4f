"""How a study shows itself: counts, a sentence, a table for the notebook, a figure. It reads no files."""

from __future__ import annotations

import html as escaping
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE
from easydl.figures import new_figure, panel, sign
from easydl.images import Scan
from easydl.studies.labels import JOIN
from easydl.studies.schema import LabelSchema

if TYPE_CHECKING:
    from easydl.studies.study import Study


class Panel(NamedTuple):
    """One image of a figure, with its mask (or None) and what stands above it."""

    scan: Scan
    mask: np.ndarray | None
    title: str


def table(frame: pd.DataFrame, schema: LabelSchema) -> pd.DataFrame:
    """Images and patients per class (rows) and part of the split (columns)."""
    if schema.heads:
        heads = [table(schema.head_rows(frame, name), schema.head(name)) for name in schema.heads]
        named = [part.assign(label=f"{name}: " + part["label"]) for name, part in zip(schema.heads, heads, strict=True)]
        return pd.concat(named, ignore_index=True)
    classes = schema.labelled(frame) and schema.task.has_classes
    if classes and not schema.task.exclusive:  # an image with two labels stands in two rows
        cells = frame["label"].replace("", "none of them").str.split(JOIN, regex=False)
        frame = frame.assign(label=cells).explode("label")
    rows = frame.assign(
        label=frame["label"] if classes else "all",
        split=frame["split"] if "split" in frame.columns else "all",
        patient=frame["patient"] if "patient" in frame.columns else "",
    )
    counted = rows.groupby(["label", "split"]).agg(images=("patient", "size"), patients=("patient", "nunique"))
    return counted.reset_index()


def counts(frame: pd.DataFrame, schema: LabelSchema) -> pd.DataFrame:
    """Images and patients of each class or label, over all parts: ``label``, ``images``, ``patients``.

    With several heads the class has its head before it. Values are left out.
    """
    values = {f"{name}: all" for name in schema.heads if schema.head(name).task.is_value}
    if not schema.heads and not (schema.labelled(frame) and schema.task.has_classes):
        values = {"all"}
    counted = table(frame, schema).groupby("label", as_index=False, sort=False)[["images", "patients"]].sum()
    return counted[~counted["label"].isin(values)]


def ranges(frame: pd.DataFrame, schema: LabelSchema) -> dict[str, dict[str, float]]:
    """Lowest, median and highest of every value that is measured, by name; empty for other tasks."""
    if schema.heads:
        heads = [ranges(schema.head_rows(frame, name), schema.head(name)) for name in schema.heads]
        return {name: extent for head in heads for name, extent in head.items()}
    if not schema.task.is_value or "label" not in frame.columns or not len(frame):
        return {}
    values = schema.targets(frame)
    extent = {"lowest": values.min(), "median": np.median(values), "highest": values.max()}
    return {schema.classes[0]: {name: float(f"{value:.6g}") for name, value in extent.items()}}


def labels(frame: pd.DataFrame, schema: LabelSchema) -> str:
    """The labels as text: counts of classes, the range of values; empty without labels."""
    if schema.task.has_masks:
        return "with masks"
    if schema.heads:
        heads = {name: labels(schema.head_rows(frame, name), schema.head(name)) for name in schema.heads}
        return "; ".join(f"{name} ({text.removeprefix(f'{name} ')})" for name, text in heads.items())
    if "label" not in frame.columns:
        return ""
    targets = schema.targets(frame)
    if schema.task.is_value:
        return f"{schema.classes[0]} {targets.min():g} to {targets.max():g}, median {np.median(targets):g}"
    held = zip(schema.classes, targets.sum(axis=0), strict=True)
    return ", ".join(f"{name} {int(count)}" for name, count in held if count or not schema.task.exclusive)


def html(frame: pd.DataFrame, schema: LabelSchema, sentence: str, agreement: str, notes: Sequence[str]) -> str:
    """The table a notebook shows, every text from the data escaped; ``agreement`` is HTML already."""
    items = "".join(f"<li>{escaping.escape(note)}</li>" for note in notes)
    return (
        f"<p><b>{escaping.escape(sentence)}</b></p>"
        + table(frame, schema).to_html(index=False, escape=True, border=0)
        + agreement
        + (f"<ul>{items}</ul>" if items else "")
        + f"<p><small>{RESEARCH_USE}</small></p>"
    )


def examples(frame: pd.DataFrame, schema: LabelSchema, n: int) -> list[int]:
    """``n`` rows spread over the classes."""
    if schema.heads or not schema.task.exclusive or not schema.labelled(frame):
        return list(range(min(n, len(frame))))
    turn = frame["label"].reset_index(drop=True).groupby(frame["label"].to_numpy()).cumcount()
    return turn.sort_values(kind="stable").index[:n].tolist()


def title(row: pd.Series, schema: LabelSchema) -> str:
    """What stands above an image: its labels and its patient."""
    columns = list(schema.heads) or ["label"]
    return f"{', '.join(str(row[name]) for name in columns if name in row)}\n{row.get('patient', '')}"


def gallery(study: Study, n: int) -> Any:
    """A figure with some images of every class (for volumes the middle slice), and their masks."""
    panels = []
    for row in examples(study.frame, study.schema, n):
        scan = study.scan(row)
        mask = study.reference(row, scan=scan) if study.task.has_masks and study.has_mask(row) else None
        panels.append(Panel(scan, mask, title(study.frame.iloc[row], study.schema)))
    return figure(panels, min(len(panels), 6 if n > 9 else 3))


def figure(panels: Sequence[Panel], columns: int) -> Any:
    """Images with their mask's contour, in rows of so many."""
    lines = -(-len(panels) // columns)
    drawn = new_figure(2.6 * columns, 2.8 * lines + 0.3)
    axes = np.atleast_1d(drawn.subplots(lines, columns)).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, (scan, mask, text) in zip(axes, panels, strict=False):
        shown = scan.in_its_plane()
        # Of a volume the slice with the largest mask, else the middle one.
        panel(axis, shown, None if mask is None else scan.as_in(shown, mask))
        axis.set_title(text, fontsize=9, parse_math=False)
    sign(drawn)
    return drawn
