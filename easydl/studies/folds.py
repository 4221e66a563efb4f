"""Folds, sites left out, and splits by time: other ways to hold patients back. None of them shares a patient."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies import splits
from easydl.studies.tables import many, problems

if TYPE_CHECKING:
    from easydl.studies.study import Study

    Parts = tuple[Study, Study, Study]

VALIDATION = 0.2
"""Share of the patients of the other sites that is held back for validation when a site is left out."""
DATES = ("%Y-%m-%d", "%Y-%m", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y", "%B %d, %Y", "%d %B %Y", "%d-%b-%Y")
TWO_WAYS = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))


def k_folds(study: Study, k: int, seed: int) -> list[Parts]:
    """See `Study.folds`."""
    if not isinstance(k, int) or k < 3:
        raise InputError(
            f"k={k!r}.", "a whole number from 3: one fold is tested on, one validates, the others train.", "Use k=5."
        )
    group = splits.groups(study)
    stratum = splits.strata(study, group, k, 1)  # one patient of a class in each fold: all folds together are tested
    names = [f"fold {one + 1}" for one in range(k)]

    def draw(key: str) -> pd.Series:
        members = [one for name in sorted(stratum.unique())
                   for one in splits.shuffled(stratum.index[stratum == name], f"{key}|{name}")]  # fmt: skip
        return group.map({str(member): names[place % k] for place, member in enumerate(members)})

    fold = splits.drawn(study, names, draw, f"{seed}|folds")
    found = []
    for one in range(k):
        part = fold.map({names[one]: "test", names[(one + 1) % k]: "val"}).fillna("train")
        found.append(_parts(study, part, f"Split by patient, fold {one + 1} of {k}, seed {seed}", seed))
    return found


def leave_site_out(study: Study, column: str, seed: int) -> list[Parts]:
    """See `Study.folds`."""
    site = _column(study, column).str.strip()
    empty = [f"row {row + 2}: the site is empty" for row in np.flatnonzero(site == "")]
    if empty:
        raise problems(
            empty, len(study), f"a site in {column!r} in every row.", "Fill the cells, or take these rows out."
        )
    names = sorted(site.unique())
    if len(names) < 2:
        raise InputError(f"All images are of one site in {column!r}.", "at least two sites.", "Use study.folds(5).")
    group = splits.groups(study)
    found = []
    for name in names:
        here = site == name
        patients_here = set(group[here])
        elsewhere = ~here & group.isin(patients_here)
        rest = study.rows(study.frame.index[~here & ~elsewhere], name=study.name)
        remaining = group[~here & ~elsewhere].reset_index(drop=True)
        try:
            # Two parts come of the rest, training and validation; the test set is the site itself.
            stratum = splits.strata(rest, remaining, 2, splits.least(study))
        except InputError as problem:
            raise InputError(
                f"Without the site {name!r}: {problem.found[0].lower()}{problem.found[1:]}",
                problem.expected,
                "Merge small sites, or use study.folds(5), which does not hold out sites.",
            ) from problem
        part = splits.drawn(
            rest, ("train", "val"), partial(_held_back, stratum, remaining, splits.least(study)), f"{seed}|{name}"
        )
        whole = pd.Series("", index=study.frame.index)
        whole[~here & ~elsewhere] = part.to_numpy()
        whole[here] = "test"
        words = f"Split by site, tested on {name!r} of {column!r}, seed {seed}"
        if elsewhere.any():
            words += f" ({many(int(elsewhere.sum()), 'image')} of its patients at other sites in no part)"
        if study.task != "segmentation" and splits.balanced(study)[0] != "regression":
            held = splits.held_classes(study)
            without = sorted(set(held) - set(held[here]))
            words += f" (the site has no image of {', '.join(without)})" if without else ""
        found.append(_parts(study, whole, words, seed))
    return found


def by_time(study: Study, column: str, sizes: tuple[float, float, float]) -> None:
    """Fill the column ``split`` by time: see `Study.split`."""
    splits.check_sizes(sizes)
    when = moments(_column(study, column), study.notes, column)
    group = splits.groups(study)
    last = when.groupby(group).max()
    moments_sorted = np.sort(last.unique())
    if len(moments_sorted) < len(splits.PARTS):
        raise InputError(
            f"The patients' last images in {column!r} have {len(moments_sorted)} different times.",
            "at least three, so that training, validation and test can follow each other.",
            "Use a finer date, or study.split(seed=0).",
        )
    # Patients of one day stay together; the cuts are those nearest to the sizes asked for.
    upto = np.searchsorted(np.sort(last.to_numpy()), moments_sorted, side="right")
    first = int(np.argmin(np.abs(upto[:-2] - sizes[0] * len(last))))
    second = first + 1 + int(np.argmin(np.abs(upto[first + 1 : -1] - (sizes[0] + sizes[1]) * len(last))))
    place = np.searchsorted(moments_sorted, last.to_numpy())
    part = pd.Series(np.where(place <= first, "train", np.where(place <= second, "val", "test")), index=last.index)
    if splits.least(study) > 1 and len(splits.balanced(study)[1]):
        whole, held = group.map(part), splits.held_classes(study)
        table = (
            study.frame.loc[held.index]
            .groupby([held, whole.loc[held.index]])["patient"]
            .nunique()
            .unstack(fill_value=0)
        )
        table = table.reindex(columns=list(splits.PARTS), fill_value=0)
        few = [f"{name!r} {count} in {splits.WORDS[str(word)]}" for name, row in table.iterrows()
               for word, count in row.items() if count < splits.LEAST]  # fmt: skip
        if few:
            raise InputError(
                f"Split by time, there are too few patients of a class: {', '.join(few[:5])}.",
                f"at least {splits.LEAST} patients of every class in every part.",
                "Choose other sizes=, or use study.split(seed=0), which is stratified.",
            )
    begins = [study.frame.loc[when.index[when == moments_sorted[place + 1]][0], column] for place in (first, second)]
    splits.take_over(
        study, group.map(part), f"Split by time ({column!r}; patients by their last image, validation from {begins[0]}, "
        f"test from {begins[1]})",
    )  # fmt: skip
    study.seed = None


def moments(cells: pd.Series, notes: list[str], column: str) -> pd.Series:
    """Dates, years or plain numbers (days since something) as floats that grow with time.

    Args:
        cells: Text.
        notes: The way a date was read is added here when there is another.
        column: For messages.

    Returns:
        float64 with the same index.

    Raises:
        InputError: Cells are empty or no dates of one kind, or day and month cannot be told apart.
    """
    text = cells.str.strip()
    known = pd.Series(text.unique())
    if known.str.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])").all():
        return _dates(text, "%Y%m%d")
    if known.str.fullmatch(r"[+-]?\d+([.]\d+)?").all():
        return text.astype(float)
    for form in DATES:
        if _fits(known, form).all():
            return _dates(text, form)
    for day_first, month_first in TWO_WAYS:
        if _fits(known, day_first).all() and _fits(known, month_first).all():
            raise InputError(
                f"The dates in {column!r}, such as {known.iloc[0]!r}, can be read with the day or the month first.",
                "dates such as 2024-03-15.", "Write year, month and day in this order.",
            )  # fmt: skip
        for form, words in ((day_first, "day"), (month_first, "month")):
            if _fits(known, form).all():
                notes.append(f"the dates in {column!r} were read with the {words} first")
                return _dates(text, form)
    shares = {form: _fits(known, form) for form in DATES}
    best = shares[max(shares, key=lambda form: int(shares[form].sum()))]
    strange = set(known[~best])
    bad = [f"row {row + 2}: {cell!r}" for row, cell in enumerate(text) if cell in strange]
    raise problems(
        bad, len(cells), f"a date such as 2024-03-15 (or a number) in {column!r} in every row, all written alike.",
        "Correct these cells, or take these rows out.",
    )  # fmt: skip


def _fits(cells: pd.Series, form: str) -> pd.Series:
    return pd.to_datetime(cells, format=form, errors="coerce").notna()


def _dates(cells: pd.Series, form: str) -> pd.Series:
    return (pd.to_datetime(cells, format=form) - pd.Timestamp(1900, 1, 1)) / pd.Timedelta(days=1)


def _column(study: Study, column: str) -> pd.Series:
    if column not in study.frame.columns:
        listing = ", ".join(map(str, study.frame.columns[:20]))
        raise InputError(
            f"The study has no column {column!r}.", f"one of its columns: {listing}.", "Correct the name of the column."
        )
    return study.frame[column]


def _held_back(stratum: pd.Series, group: pd.Series, each: int, key: str) -> pd.Series:
    """Validation and training of the sites that are not tested on."""
    part = pd.Series("train", index=stratum.index)
    for name in sorted(stratum.unique()):
        members = splits.shuffled(stratum.index[stratum == name], f"{key}|{name}")
        part[members[: min(max(each, round(VALIDATION * len(members))), len(members) - each)]] = "val"
    return group.map(part)


def _parts(study: Study, part: pd.Series, how: str, seed: int) -> Parts:
    frame = study.frame.assign(split=part.to_numpy())
    splits.assert_disjoint(frame)
    note = f"{how}: {splits.sizes_in_words(frame, study.patients_known)}"
    whole = replace(study, frame=frame, seed=seed, notes=[*study.notes, note])
    return whole.part("train"), whole.part("val"), whole.part("test")
