"""How a Study shows itself: a sentence, a table for the notebook, a figure. It changes nothing."""

from __future__ import annotations

import html as escaping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import RESEARCH_USE
from easydl.figures import new_figure, panel, sign
from easydl.studies.labels import JOIN

if TYPE_CHECKING:
    from easydl.studies.study import Study


def summary(study: Study) -> pd.DataFrame:
    """Images and patients per class (rows) and part of the split (columns)."""
    frame = study.frame
    if study.task == "multitask":
        parts = [summary(study.head(name)) for name in study.heads]
        labelled_parts = [
            part.assign(label=f"{name}: " + part["label"]) for name, part in zip(study.heads, parts, strict=True)
        ]
        return pd.concat(labelled_parts, ignore_index=True)
    if study.task == "multilabel":  # an image with two findings stands in two rows
        frame = frame.assign(label=frame["label"].replace("", "none of them").str.split(JOIN, regex=False)).explode(
            "label"
        )
    labelled = "label" in frame.columns and study.task in ("classification", "ordinal", "multilabel")
    rows = frame.assign(
        label=frame["label"] if labelled else "all",
        split=frame["split"] if "split" in frame.columns else "all",
        patient=frame["patient"] if "patient" in frame.columns else "",
    )
    table = rows.groupby(["label", "split"]).agg(images=("patient", "size"), patients=("patient", "nunique"))
    return table.reset_index()


def counts(study: Study) -> pd.DataFrame:
    """Images and patients of each class, grade or finding, over all parts: ``label``, ``images``, ``patients``.

    For several questions the class has its question before it. Numbers are left out.
    """
    numbers = {f"{name}: all" for name, asked in study.heads.items() if asked == 1}
    if not study.heads and (study.task in ("regression", "segmentation") or "label" not in study.frame.columns):
        numbers = {"all"}
    table = summary(study).groupby("label", as_index=False, sort=False)[["images", "patients"]].sum()
    return table[~table["label"].isin(numbers)]


def sentence(study: Study) -> str:
    """One line: how many images of how many patients, and of what."""
    patients = f"{study.n_patients} patients" if study.patients_known else "patients not known"
    if study.task == "multitask":
        said = "; ".join(f"{name} ({labels(study.head(name)).removeprefix(f'{name} ')})" for name in study.heads)
    else:
        said = labels(study)
    return f"<Study {study.name}: {len(study)} images, {patients}{'; ' if said else ''}{said}>"


def labels(study: Study) -> str:
    """What the labels are, in words: counts of classes, the range of numbers; empty without labels."""
    if study.task == "segmentation":
        return "with masks"
    if "label" not in study.frame.columns:
        return ""
    if study.task == "regression":
        values = study.targets()
        return f"{study._names()[0]} {values.min():g} to {values.max():g}, median {np.median(values):g}"
    counts = zip(study._names(), study.targets().sum(axis=0), strict=True)
    return ", ".join(f"{name} {int(n)}" for name, n in counts if n or study.task == "multilabel")


def ranges(study: Study) -> dict[str, dict[str, float]]:
    """Lowest, median and highest of every number that is measured, by name; empty for other tasks."""
    if study.heads:
        parts = [ranges(study.head(name)) for name, asked in study.heads.items() if asked == 1]
        return {name: found for part in parts for name, found in part.items()}
    if study.task != "regression" or "label" not in study.frame.columns or not len(study):
        return {}
    values = study.targets()
    found = {"lowest": values.min(), "median": np.median(values), "highest": values.max()}
    return {study._names()[0]: {word: float(f"{value:.6g}") for word, value in found.items()}}


def html(study: Study) -> str:
    """The table a notebook shows, every text from the data escaped."""
    table = summary(study)
    notes = "".join(f"<li>{escaping.escape(note)}</li>" for note in [*study.notes, *study.overrides])
    return (
        f"<p><b>{escaping.escape(sentence(study)[1:-1])}</b></p>"
        + table.to_html(index=False, escape=True, border=0)
        + (study.agreement._repr_html_() if study.agreement is not None else "")
        + (f"<ul>{notes}</ul>" if notes else "")
        + f"<p><small>{RESEARCH_USE}</small></p>"
    )


def figure(study: Study, n: int) -> Any:
    """``n`` images spread over the classes, with class and patient above each."""
    frame = study.frame.reset_index(drop=True)
    if study.task in ("classification", "ordinal") and "label" in frame.columns:
        turn = frame.groupby("label").cumcount()
        rows = turn.sort_values(kind="stable").index[:n].tolist()
    else:
        rows = list(range(min(n, len(frame))))
    columns = min(len(rows), 6 if n > 9 else 3)
    lines = -(-len(rows) // columns)
    drawn = new_figure(2.6 * columns, 2.8 * lines + 0.3)
    axes = np.atleast_1d(drawn.subplots(lines, columns)).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, row in zip(axes, rows, strict=False):
        scan = study.scan(row)
        masked = study.task == "segmentation" and str(frame["mask"].iloc[row])
        index = scan.shape[0] // 2 if scan.dimension == 3 else None
        panel(axis, scan, study.reference(row) if masked else None, index=index)
        told = list(study.heads) or [name for name in ("label",) if name in frame.columns]
        label = ", ".join(str(frame[name].iloc[row]) for name in told)
        axis.set_title(
            f"{label}\n{frame['patient'].iloc[row] if 'patient' in frame.columns else ''}", fontsize=8, parse_math=False
        )
    sign(drawn)
    return drawn
