"""A split in which columns no longer predict the class: patients that are too many are in no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies import splits
from easydl.studies.cohort import LEAST, Cohort
from easydl.studies.row_errors import many

MOST_VALUES = 20
SHOWN = 6
"""Values whose patients are counted in an error."""
JOIN = ", "


def by_class(rows: Cohort, columns: Sequence[pd.Series], sizes: Sequence[float], seed: int) -> splits.Assignment:
    """A split that is stratified by class and, if columns are given, balanced by them together."""
    return balanced(rows, columns, sizes, seed) if columns else splits.by_seed(rows, sizes, seed)


def balanced(rows: Cohort, columns: Sequence[pd.Series], sizes: Sequence[float], seed: int) -> splits.Assignment:
    """As `splits.by_seed`, on patients among whom every class has the values of columns in equal proportions.

    Several columns are balanced together: each combination of their values is one value. Of each as many patients of each
    class are kept as its rarest class allows, drawn by the seed, so that classes of unequal size keep their ratio where they
    can.

    Raises:
        InputError: The study has no classes, a column has too many values, or too few patients of a class are left.
    """
    splits.check_sizes(sizes)
    column = " and ".join(repr(str(cells.name)) for cells in columns)
    if len(rows.classes) < 2 or rows.each < LEAST:
        raise InputError(
            f"balance={column} was given for a study that has not one class for each image.",
            "a study of classes: columns are balanced between them.",
            "Leave it out, or use group= or time=.",
        )
    value = np.array([JOIN.join(each) for each in zip(*(_values(cells) for cells in columns), strict=True)])
    group_value = _of_group(rows, value)
    held = rows.group_has()
    single = held.sum(axis=1) == 1
    kept = ~single  # a patient with images of several classes is balanced in itself
    strata = {(k, one): np.flatnonzero(single & held[:, k] & (group_value == one)) for k in range(len(rows.classes)) for one in np.unique(group_value)}  # fmt: skip
    totals = [int((single & held[:, k]).sum()) for k in range(len(rows.classes))]
    for one in np.unique(group_value):
        counts = [len(strata[k, one]) for k in range(len(totals))]
        # The largest fraction of its class that all classes can give.
        fraction = min(count / max(1, total) for count, total in zip(counts, totals, strict=True))
        for k, total in enumerate(totals):
            keep = min(counts[k], round(fraction * total))
            kept[splits.shuffled(strata[k, one], f"{seed}|balance|{one}|{rows.classes[k]}")[:keep]] = True
    chosen = kept[rows.group]
    _refuse_few(rows, column, held & kept[:, None], strata)
    rest = rows.rows(chosen)
    names = {one: place for place, one in enumerate(np.unique(group_value))}
    stratum = _of_group(rest, value[chosen])
    by = splits.by_seed(rest, sizes, seed, within=np.array([names[one] for one in stratum]))
    part = np.full(len(rows), "", "<U5")
    part[chosen] = by.part
    out = len(np.unique(rows.patient[~chosen]))
    what = (
        f"{many(out, 'patient')} ({many(int((~chosen).sum()), 'image')})" if rows.patients_known else many(out, "image")
    )
    note = f"{by.note}; {column} {'is' if len(columns) == 1 else 'together are'} alike in the classes: {what} that were too many are in no part"
    return replace(by, part=part, note=note)


def _refuse_few(rows: Cohort, column: str, kept: np.ndarray, strata: dict[tuple[int, str], np.ndarray]) -> None:
    """Refuse to balance what leaves too few patients of a class; ``kept`` is bool ``(groups, classes)``."""
    needed, left = LEAST * len(splits.PARTS), kept.sum(axis=0)
    if (left >= needed).all():
        return
    names = dict.fromkeys(one for _, one in strata)
    counts = [
        f"{one or 'empty'}: {', '.join(f'{name} {len(strata[k, one])}' for k, name in enumerate(rows.classes))}"
        for one in names
    ]
    more = f"; and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    least = int(left.argmin())
    raise InputError(
        f"{column} cannot be balanced: {many(int(left[least]), 'patient' if rows.patients_known else 'image')} of "
        f"{str(rows.classes[least])!r} would be left ({'; '.join(counts[:SHOWN])}{more}).",
        f"values that occur in every class, so that {needed} of each class are left.",
        "Balance fewer columns, join rare values in a column of their own, or collect patients in whom class and column are "
        "mixed: a value of one class only cannot be distinguished from the class by any computation.",
    )


def check_options(*, group: str | None, balance: object, time: str | None, column: str | None, stays: bool) -> None:
    """Refuse options that a ready-made split, or one by time, has no room for.

    Args:
        group: As of `Study.split`.
        balance: The same.
        time: The same.
        column: The same.
        stays: Whether the study is split already, and stays so.
    """
    other = f"column={column!r}" if column is not None else "a study that is split" if stays and time is None else ""
    for name, given in (("group", group), ("balance", balance)):
        against = other or (f"time={time!r}" if time is not None and name == "balance" else "")
        if given is not None and against:
            raise InputError(
                f"{name}={given!r} was given with {against}.",
                "one of the two: that split stays as it is.",
                f"Leave {name}= out, or the other; a seed= makes a new split of a study that easydl has split.",
            )


def _values(cells: pd.Series) -> np.ndarray:
    """A category for each row; numbers of many values become thirds."""
    column = str(cells.name)
    text = cells.astype(str).str.strip().replace("", "empty")
    if text.nunique() <= MOST_VALUES:
        return text.to_numpy(str)
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(float)
    if np.isfinite(numbers).mean() < 0.5:
        raise InputError(
            f"The column {column!r} has {text.nunique()} values.",
            f"at most {MOST_VALUES} categories, or numbers.",
            "Join rare categories in a column of their own.",
        )
    thirds = np.nanquantile(numbers, [1 / 3, 2 / 3])
    named = np.array(["lowest third", "middle third", "highest third"])[np.searchsorted(thirds, np.nan_to_num(numbers))]
    return np.where(np.isfinite(numbers), named, "empty")


def _of_group(rows: Cohort, value: np.ndarray) -> np.ndarray:
    """The value of every group: that of most of its rows, the first by alphabet of equal ones."""
    names, code = np.unique(value, return_inverse=True)
    counts = np.zeros((len(rows.names), len(names)), int)
    np.add.at(counts, (rows.group, code), 1)
    return names[counts.argmax(axis=1)]
