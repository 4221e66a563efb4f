"""Several raters' labels become one: the majority for classes, the mean for numbers. It measures no agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies import labels
from easydl.studies.tables import many


def readings(
    frame: pd.DataFrame, columns: Sequence[str], notes: list[str], *, numeric: bool, classes: Sequence[str] | None,
    merge: bool,
) -> pd.DataFrame:  # fmt: skip
    """What every reader said of every image, cleaned in the same way for all.

    Args:
        frame: The table, as text.
        columns: The raters' columns.
        notes: What is assumed is added here.
        numeric: Whether the readings are numbers.
        classes: The classes given by the user; a word for "missing" that is not among them counts as not read.
        merge: Whether labels that look alike are one class.

    Returns:
        One column per reader: text, blank where not read; or float64, NaN where not read.

    Raises:
        InputError: Fewer than two raters, a reader named twice, or cells that cannot be read.
    """
    columns = list(columns)
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise InputError(
            f"raters={columns!r}.", "the columns of at least two raters, each once.",
            "Name the columns; a single reader's column is the label.",
        )  # fmt: skip
    # All cells below each other, so that one spelling, one comma and one question hold for every reader.
    stacked = frame[columns].melt(ignore_index=False)
    rows, raters, cells = stacked.index, stacked["variable"], stacked["value"].str.strip()
    cells.index = pd.RangeIndex(len(cells))
    read = cells[cells != ""]
    if numeric:
        read = labels.numbers(read.set_axis(rows[read.index]), notes, name="raters").set_axis(read.index)
    else:
        read = labels.set_missing_aside(labels.unify(read, notes, merge=merge), [], classes)
        strange = sorted(set(read) - set(map(str, classes))) if classes is not None else []
        if strange:
            raise InputError(
                f"A reader wrote {strange[0]!r}, which is none of the classes.",
                f"one of {', '.join(map(str, classes or ()))}.", "Correct the cells, or add it to classes=.",
            )  # fmt: skip
    full = read.reindex(cells.index) if numeric else read.reindex(cells.index, fill_value="")
    wide = {reader: full[(raters == reader).to_numpy()].to_numpy() for reader in columns}
    return pd.DataFrame(wide, index=frame.index)


def consensus(read: pd.DataFrame, notes: list[str], *, numeric: bool) -> pd.Series:
    """One label per image: the mean of the numbers, or the class most raters chose.

    Args:
        read: From `readings`.
        notes: The rule, and what was set aside, is added here.
        numeric: Whether the readings are numbers.

    Returns:
        The label as text, for the images that have one.
    """
    names = ", ".join(map(str, read.columns))
    if numeric:
        mean = read.mean(axis=1)
        unread = int(mean.isna().sum())
        notes.append(f"the label is the mean of the raters {names}")
        found = mean.dropna().map(repr)
    else:
        votes = [_majority(row) for row in read.to_numpy(str)]
        unread = sum(vote is None for vote in votes)
        tied = sum(vote == "" for vote in votes)
        notes.append(f"the label is what most of the raters {names} chose")
        if tied:
            notes.append(f"{many(tied, 'image')} set aside: the raters are evenly divided")
        found = pd.Series(votes, index=read.index, dtype=object)[np.array([bool(vote) for vote in votes], bool)]
    if unread:
        notes.append(f"{many(unread, 'image')} set aside: read by nobody")
    if not len(found):
        raise InputError(
            f"There is no image on which most of the raters {names} agree.", "a label for some images at least.",
            "Check the raters' columns.",
        )  # fmt: skip
    return found.astype(str)


def _majority(row: np.ndarray) -> str | None:
    """The most frequent class; blank when two are equally frequent, None when nobody has read the image."""
    first = Counter(vote for vote in row if vote).most_common(2)
    if not first:
        return None
    return "" if len(first) == 2 and first[0][1] == first[1][1] else str(first[0][0])
