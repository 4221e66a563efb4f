"""Dates of any usual way of writing become numbers that grow with time. What can be read in two ways is refused."""

from __future__ import annotations

import pandas as pd

from easydl.errors import InputError
from easydl.studies.row_errors import problems

DATES = ("%Y-%m-%d", "%Y-%m", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d", "%d.%m.%Y", "%B %d, %Y", "%d %B %Y", "%d-%b-%Y")
TWO_WAYS = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))


def moments(cells: pd.Series, notes: list[str], column: str) -> pd.Series:
    """Dates, years or plain numbers (days since something) as float64 with the same index.

    Raises:
        InputError: Cells are empty or not dates of one kind, or day and month cannot be distinguished.
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
                "dates such as 2024-03-15.",
                "Write year, month and day in this order.",
            )
        for form, first in ((day_first, "day"), (month_first, "month")):
            if _fits(known, form).all():
                notes.append(f"the dates in {column!r} were read with the {first} first")
                return _dates(text, form)
    best = max((_fits(known, form) for form in DATES), key=lambda fits: int(fits.sum()))
    strange = set(known[~best])
    bad = [f"row {row + 2}: {cell!r}" for row, cell in enumerate(text) if cell in strange]
    raise problems(
        bad,
        len(cells),
        f"a date such as 2024-03-15 (or a number) in {column!r} in every row, all written alike.",
        "Correct these cells, or take these rows out.",
    )


def _fits(cells: pd.Series, form: str) -> pd.Series:
    return pd.to_datetime(cells, format=form, errors="coerce").notna()


def _dates(cells: pd.Series, form: str) -> pd.Series:
    return (pd.to_datetime(cells, format=form) - pd.Timestamp(1900, 1, 1)) / pd.Timedelta(days=1)
