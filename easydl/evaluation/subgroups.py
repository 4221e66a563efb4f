"""The headline of a test group by group: by scanner, sex, age band, site, view; and the largest gap. It reads no image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import unknown_name
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.results import GroupRow, Metrics

LEAST_PATIENTS = 10
"""Patients of a group below which nothing is said about it."""
BANDS, MOST_DISTINCT, MOST_GROUPS, PERMUTATIONS = 3, 10, 12, 1000
NOT_GIVEN, OTHER = "(not given)", "(other)"
BESIDE = ("sensitivity", "specificity")
"""Numbers that each group has beside the headline."""
Measured = Callable[[np.ndarray], list[dict[str, Any]]]
Headline = Callable[[np.ndarray], float]


def columns_of(frame: pd.DataFrame, by: str | Sequence[str]) -> dict[str, pd.Series]:
    """The columns that ``by`` names, in its order.

    Raises:
        InputError: There is no such column.
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in frame.columns:
            raise unknown_name(
                f"There is no column {name!r} to group by.", name, frame.columns, do="Name a column of the test set."
            )
    return {name: frame[name] for name in names}


def grouped(values: pd.Series, patients: pd.Series) -> tuple[pd.Series, str]:
    """The group of every image, as an ordered category, and a sentence, or none, on how they were made.

    Numbers of many values are cut into three bands with about as many patients each. The smallest of more than 12 groups
    are put together.

    Example:
        >>> ages = pd.Series([30, 41, 52, 55, 63, 64, 66, 70, 71, 78, 80, 84], name="age")
        >>> grouped(ages, pd.Series(range(12)))[0].unique().tolist()
        ['up to 59', 'above 59 to 70', 'above 70']
    """
    name = str(values.name)
    figures = pd.to_numeric(values, errors="coerce")
    empty = values.isna() | (values.astype(str).str.strip() == "")
    if figures[~empty].notna().all() and figures.nunique() > MOST_DISTINCT:
        of_patient = figures.groupby(patients.to_numpy()).mean()
        edges = np.unique(np.quantile(of_patient.dropna(), np.linspace(0, 1, BANDS + 1)[1:-1]).round(6))
        edges = np.unique(np.floor(edges) if (figures.dropna() % 1 == 0).all() else edges)
        texts = [f"{edge:g}" for edge in edges]
        names = [f"up to {texts[0]}"]
        names += [f"above {low} to {high}" for low, high in pairwise(texts)]
        names += [f"above {texts[-1]}"]
        bands = np.array(names, object)[np.searchsorted(edges, figures.fillna(edges[0]), side="left")]
        cut = f"{name} was cut into {len(names)} bands with about as many patients each: {', '.join(names)}."
        return _ordered(pd.Series(np.where(empty, NOT_GIVEN, bands), index=values.index), names), cut
    texts_of = values.astype(str).str.strip().mask(empty, NOT_GIVEN)
    sizes = patients.groupby(texts_of.to_numpy()).nunique().sort_values(ascending=False, kind="stable")
    if len(sizes) <= MOST_GROUPS:
        return _ordered(texts_of, sorted(texts_of.unique())), ""
    kept = sizes.index[: MOST_GROUPS - 1]
    said = f"{name} has {len(sizes)} groups: the {MOST_GROUPS - 1} largest are shown, the rest is put together."
    return _ordered(texts_of.where(texts_of.isin(kept), OTHER), sorted(kept)), said


def _ordered(groups: pd.Series, names: Sequence[str]) -> pd.Series:
    """The groups with their order, those that are not known last."""
    present = set(groups)
    order = [name for name in names if name in present and name not in (OTHER, NOT_GIVEN)]
    return groups.astype(pd.CategoricalDtype([*order, *(one for one in (OTHER, NOT_GIVEN) if one in present)]))


def subgroups(
    metrics: Metrics,
    columns: Mapping[str, pd.Series],
    patients: pd.Series,
    measured: Measured,
    headline: Headline,
    *,
    seed: int = 0,
) -> Metrics:
    """The same Metrics with a table of groups, and a sentence on the largest gap of each column.

    Args:
        metrics: Of all images.
        columns: What the images are grouped by, one value per image.
        patients: The patient of each image.
        measured: Takes a boolean mask over the images and returns the lines of their table, the headline first.
        headline: The same, for the value of the headline alone.
        seed: Seed of the permutations.

    Returns:
        The Metrics with ``groups``. The gap is the difference of the best and the worst group that can be tested; its
        interval is combined from theirs, and p says how often groups made by chance differ as much.
    """
    rows: list[GroupRow] = []
    notes, summary = [], []
    for name, values in columns.items():
        groups, said = grouped(values, patients)
        own, gap = _of_column(name, groups, patients, measured, headline, metrics, seed)
        rows += own
        notes += [one for one in (said, gap) if one]
        summary.append(gap)
    changes = {"group_rows": rows, "notes": [*metrics.notes, *notes], "summary": [*metrics.summary, *summary]}
    return metrics.model_copy(update=changes)


def _of_column(
    name: str,
    groups: pd.Series,
    patients: pd.Series,
    measured: Measured,
    headline: Headline,
    metrics: Metrics,
    seed: int,
) -> tuple[list[GroupRow], str]:
    rows, first, untested = [], [], []
    unit = metrics.rows[0].unit_of_n
    for group in groups.cat.categories:
        inside = (groups == group).to_numpy()
        n = patients[inside].nunique()
        if n < LEAST_PATIENTS:
            reason = f"not testable: {n} {unit}, {LEAST_PATIENTS} are needed"
            bare = {"name": metrics.rows[0].name, "value": None, "low": None, "high": None, "n": n, "unit_of_n": unit}
            rows.append(GroupRow(by=name, group=group, **bare, images=int(inside.sum()), note=reason))
            untested.append(f"{group} ({n})")
            continue
        lines = measured(inside)
        own = [GroupRow(by=name, group=group, **line) for line in lines]
        rows += own
        if own[0].low is not None:
            first.append(own[0])
        else:
            untested.append(f"{group} ({n})")
    few = f"with so few {unit}: {', '.join(untested)}" if untested else ""
    if len(first) < 2:
        which = f"; there are {', '.join(untested)}" if untested else ""
        return rows, f"By {name} no gap can be tested: it takes two groups with {LEAST_PATIENTS} {unit} or more{which}."
    said = f"Not testable {few}." if few else ""
    gap = _gap(name, first, groups, patients, headline, seed)
    rows.append(gap)
    return rows, " ".join(filter(None, [_sentence(gap, metrics), said]))


def _gap(
    name: str, first: list[GroupRow], groups: pd.Series, patients: pd.Series, headline: Headline, seed: int
) -> GroupRow:
    low, high = min(first, key=lambda row: row.value or 0.0), max(first, key=lambda row: row.value or 0.0)
    assert low.value is not None and high.value is not None
    assert low.low is not None and low.high is not None and high.low is not None and high.high is not None
    gap = high.value - low.value
    # Two groups of different patients: the distances to their limits add up as errors do (MOVER, Zou and Donner 2008).
    least = gap - float(np.hypot(high.value - high.low, low.high - low.value))
    most = gap + float(np.hypot(high.high - high.value, low.value - low.low))
    p = _by_chance(gap, [row.group for row in first], groups, patients, headline, seed)
    return GroupRow(
        by=name,
        group="",
        name=f"largest gap in {high.name}",
        value=gap,
        low=least,
        high=most,
        n=int(patients[groups.isin([row.group for row in first]).to_numpy()].nunique()),
        unit_of_n=high.unit_of_n,
        images=sum(row.images for row in first),
        unit=high.unit,
        note=f"{high.group} less {low.group}; p = {p:.3f} by permutation of the groups over patients",
        p=p,
    )


def _by_chance(
    gap: float, tested: list[str], groups: pd.Series, patients: pd.Series, headline: Headline, seed: int
) -> float:
    """How often groups that are dealt out at random have a gap as large, patients staying whole.

    Patients with images in several groups have them exchanged among their own images; the others exchange their group
    with each other.
    """
    inside = groups.isin(tested).to_numpy()
    rows = np.flatnonzero(inside)
    codes = pd.Categorical(groups.to_numpy()[rows], categories=tested).codes.astype(int)
    people = pd.factorize(patients.to_numpy()[rows])[0]
    first = np.full(people.max() + 1, -1)
    first[people[::-1]] = codes[::-1]
    several = np.zeros(len(first), bool)
    several[people[codes != first[people]]] = True
    whole = np.flatnonzero(~several)
    rng = np.random.default_rng(seed)
    as_large, made = 0, 0
    for _ in range(PERMUTATIONS):
        dealt = first.copy()
        dealt[whole] = rng.permutation(first[whole])
        of_image = np.where(several[people], codes, dealt[people])
        if several.any():
            order = np.lexsort((rng.random(len(rows)), people))
            straight = np.lexsort((np.arange(len(rows)), people))
            own = several[people[straight]]
            of_image[straight[own]] = codes[order[own]]
        values = []
        for code in range(len(tested)):
            mask = np.zeros(len(groups), bool)
            mask[rows[of_image == code]] = True
            values.append(headline(mask) if mask.any() else np.nan)
        if np.isfinite(values).sum() > 1:
            made += 1
            as_large += np.nanmax(values) - np.nanmin(values) >= gap - 1e-12
    return (1 + as_large) / (1 + made)


def _sentence(gap: GroupRow, metrics: Metrics) -> str:
    best, worst = gap.note.split("; ")[0].split(" less ")
    row = gap.model_dump()
    shown = f"{number(gap.value, gap.unit)} (95% CI {interval_text(row)})"
    chance = "chance alone rarely makes such a gap" if (gap.p or 0) < 0.05 else "chance alone often makes such a gap"
    return (
        f"By {gap.by}: {metrics.rows[0].name} is highest in {best} and lowest in {worst}, a gap of {shown}, p = "
        f"{gap.p:.3f}: {chance}."
    )
