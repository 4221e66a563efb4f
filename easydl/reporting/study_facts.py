"""What a run knows of its study: where it comes from, who is in it, how it was divided. Facts for `easydl.reporting.facts`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from easydl.reporting import text
from easydl.reporting.record import PARTS, RunRecord

_CENTRES = ("hospital", "site", "centre", "center", "institution")
_ACQUIRED = ("modality", "scanner", "view", "body_part", "kvp", "field_strength", "sequence")
_MOST_VALUES = 8


def source(record: RunRecord) -> str:
    """What the data are called and how many."""
    counted = cases_of(record)
    name = f"The study “{record.given_name}”" if record.given_name else "One study"
    return f"{name}: {counted}." if counted else ""


def cases_of(record: RunRecord, part: str = "") -> str:
    """Images and patients of a part, or of all."""
    parts = [record.split.get(key) for key in ([part] if part else PARTS)]
    known = [one for one in parts if isinstance(one, dict) and text.count(one.get("images")) is not None]
    if not known:
        return ""
    images = text.many(sum(one["images"] for one in known), "image")
    patients = [text.count(one.get("patients")) for one in known]
    if record.patients_known is False or None in patients:
        return f"{images} (patients unknown)"
    return f"{images} of {text.many(sum(one or 0 for one in patients), 'patient')}"


def counts(record: RunRecord) -> str:
    """Images, patients and classes of every part."""
    said = []
    for key, label in PARTS.items():
        if counted := cases_of(record, key):
            classes = record.split[key].get("per_class") or {}
            held = [
                f"{name} {one['images']}" + (f" ({one['patients']} patients)" if record.patients_known else "")
                for name, one in classes.items()
            ]
            said.append(f"{label.capitalize()}: {counted}" + (f"; {', '.join(held)}" if held else ""))
    return ". ".join(said) + "." if said else ""


def n_test(record: RunRecord) -> str:
    """The size of the test part."""
    counted = cases_of(record, "test")
    return f"The test part holds {counted}." if counted else ""


def _notes(record: RunRecord, wanted: str) -> list[str]:
    notes = record.split.get("notes")
    return (
        [one for one in record.names.clean(map(str, notes)) if re.search(wanted, one)]
        if isinstance(notes, list)
        else []
    )


def excluded(record: RunRecord) -> str:
    """What was left out while reading."""
    if not record.split:
        return ""
    found = _notes(record, r"excluded|left out|refused|skipped")
    rows = text.count(record.split.get("rows"))
    if found:
        return " ".join(found)
    return f"No row of the study was left out while reading{f' ({rows:,} rows)' if rows else ''}."


def missing(record: RunRecord) -> str:
    """What becomes of missing values."""
    if not record.split:
        return ""
    covariates = record.config.get("covariates")
    named = listed(covariates) if isinstance(covariates, list) and covariates else ""
    inputs = (
        f"The network takes {named} besides the image; where one is missing, an input of its own says so."
        if named
        else "The network takes the image only."
    )
    return " ".join([inputs, *_notes(record, r"no label|without a label|missing|empty")])


def acquisition(record: RunRecord) -> str:
    """Scanners, views and sizes, from headers and table."""
    said = []
    for column in (name for name in record.table.columns if name.lower() in _ACQUIRED):
        counted = record.table[column].value_counts()
        counted = counted[counted.index != ""]
        if len(counted):
            more = f" and {len(counted) - _MOST_VALUES} more" if len(counted) > _MOST_VALUES else ""
            values = ", ".join(f"{value} {count}" for value, count in counted.head(_MOST_VALUES).items())
            said.append(f"{column}: {values}{more} (images)")
    if {"width", "height"} <= set(record.table.columns):
        sides = record.table[["width", "height"]].apply(pd.to_numeric, errors="coerce").dropna()
        if len(sides):
            width, height = ([int(sides[name].min()), int(sides[name].max())] for name in ("width", "height"))
            said.append(f"size: {width[0]}-{width[1]} x {height[0]}-{height[1]} pixels, n = {len(sides)} images")
    return f"From the headers and the table: {'; '.join(said)}." if said else ""


def dates(record: RunRecord) -> str:
    """First and last date of the images."""
    columns = [name for name in record.table.columns if name.lower() in ("date", "study_date", "year")]
    for column in columns:
        dates = pd.to_datetime(record.table[column], errors="coerce", format="mixed").dropna()
        if len(dates):
            return f"Images of {dates.min():%Y-%m} to {dates.max():%Y-%m} (n = {len(dates)} images with a date)."
    return ""


def centres(record: RunRecord) -> str:
    """How many hospitals the table names."""
    for column in (name for name in record.table.columns if name.lower() in _CENTRES):
        values = record.table[column][record.table[column] != ""]
        return f"{text.many(values.nunique(), 'different value')} in the column {column}, n = {len(values)} images."
    return ""


def demographics(record: RunRecord) -> str:
    """Age and sex by part: of patients, where these are known."""
    table = record.table
    if "split" not in table.columns:
        return ""
    columns = {name.lower(): name for name in table.columns}
    said = []
    for key, label in PARTS.items():
        part = table[table["split"] == key]
        unit = "images"
        if record.patients_known and "patient" in part.columns:
            part, unit = part.drop_duplicates("patient"), "patients"
        about = []
        age = next((columns[name] for name in ("age_years", "age") if name in columns), None)
        if age is not None:
            years = pd.to_numeric(part[age].str.rstrip("+"), errors="coerce").dropna()
            if len(years):
                spread = f"{years.min():g}-{years.max():g}"
                about.append(f"age median {np.median(years):g} years (range {spread}, n = {len(years)} {unit})")
        if "sex" in columns:
            counted = part[columns["sex"]].replace("", "unknown").value_counts()
            about.append(
                f"sex {', '.join(f'{name} {count}' for name, count in counted.items())} (n = {len(part)} {unit})"
            )
        if about:
            said.append(f"{label.capitalize()}: {'; '.join(about)}")
    return ". ".join(said) + "." if said else ""


def labels(record: RunRecord) -> str:
    """Where the reference comes from."""
    column = record.config.get("label") or record.config.get("mask")
    classes = record.split.get("classes")
    if not isinstance(classes, list) or not classes:
        return ""
    where = f"the column {listed([column] if isinstance(column, str) else column)}" if column else "the study itself"
    return f"The reference is {where}: {listed(classes)}."


def division(record: RunRecord) -> str:
    """How the parts were drawn."""
    sizes, seed, given = (record.split.get(key) for key in ("sizes", "seed", "given"))
    if given:
        return f"The study came with its own parts (column {given})."
    if not isinstance(sizes, list) or len(sizes) != 3:
        return ""
    shares = " / ".join(f"{100 * float(one):g}%" for one in sizes)
    return f"Drawn at random, stratified by class: {shares} for training, validation and test, seed {seed}."


def disjoint(record: RunRecord) -> str:
    """At which level the parts are disjoint."""
    level = {True: "Parts are disjoint by patient. ", False: "", None: ""}[record.patients_known]
    return f"{level}{text.separation(record)}" if record.split else ""


def flow(record: RunRecord) -> str:
    """From the rows read to the parts."""
    rows, counted = text.count(record.split.get("rows")), cases_of(record)
    if not counted:
        return ""
    parts = ", ".join(f"{label} {cases_of(record, key)}" for key, label in PARTS.items() if cases_of(record, key))
    return f"{f'{rows:,} rows read; ' if rows else ''}{counted} used: {parts}."


def imbalance(record: RunRecord) -> str:
    """How common the classes are in training, and what was done about it."""
    classes = record.split.get("train", {}).get("per_class") if isinstance(record.split.get("train"), dict) else None
    if not classes:
        return ""
    weight, plan = record.config.get("class_weight", "auto"), record.training.get("plan")
    # What "auto" came to is said by the plan, where classes differ enough in number.
    said = [line for line in plan if " count more" in line] if isinstance(plan, list) and weight == "auto" else []
    held = ", ".join(f"{name} {one['images']}" for name, one in classes.items())
    weights = said[0] if said else "Classes are not weighted." if weight in (None, "auto") else f"Weights: {weight}."
    return f"Training images: {held}. {weights}"


def traps(record: RunRecord) -> str:
    """What the audit found."""
    if not record.issues:
        return ""
    counted = pd.Series([str(one.get("severity")) for one in record.issues]).value_counts()
    said = ", ".join(
        f"{name} {counted[name]}" for name in ("BLOCK", "WARN", "UNTESTED", "NOTE", "OK") if name in counted
    )
    worst = [str(one.get("sentence")) for one in record.issues if one.get("severity") in ("BLOCK", "WARN")]
    return " ".join([f"The audit for traps: {said}.", *record.names.clean(worst)])


def listed(values: Iterable[Any] | None) -> str:
    """Names with commas."""
    return ", ".join(str(one) for one in values or ())
