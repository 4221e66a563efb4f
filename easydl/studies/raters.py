"""Several raters' labels become one: the majority for classes, the mean for values. It measures no agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies import labels
from easydl.studies.row_errors import many


def ratings(
    frame: pd.DataFrame,
    columns: Sequence[str],
    notes: list[str],
    *,
    numeric: bool,
    classes: Sequence[str] | None,
    merge: bool,
) -> pd.DataFrame:
    """One column per rater, cleaned in the same way for all: text, blank where not rated; or float64, NaN.

    A word for "missing" that is not among the classes counts as not rated.

    Raises:
        InputError: Fewer than two raters, a rater named twice, or cells that cannot be read.
    """
    columns = list(columns)
    if len(columns) < 2 or len(set(columns)) < len(columns):
        raise InputError(
            f"raters={columns!r}.",
            "the columns of at least two raters, each once.",
            "Name the columns; a single rater's column is the label.",
        )
    # All cells below each other, so that one spelling and one comma hold for every rater.
    stacked = frame[columns].melt(ignore_index=False)
    rows, raters, cells = stacked.index, stacked["variable"], stacked["value"].str.strip()
    cells.index = pd.RangeIndex(len(cells))
    read = cells[cells != ""]
    if numeric:
        read = labels.numbers(read.set_axis(rows[read.index]), notes, name="raters").set_axis(read.index)
    else:
        read = labels.exclude_missing(labels.unify(read, notes, merge=merge), [], classes)
        strange = sorted(set(read) - set(map(str, classes))) if classes is not None else []
        if strange:
            raise InputError(
                f"A rater wrote {strange[0]!r}, which is not one of the classes.",
                f"one of {', '.join(map(str, classes or ()))}.",
                "Correct the cells, or add it to classes=.",
            )
    full = read.reindex(cells.index) if numeric else read.reindex(cells.index, fill_value="")
    wide = {rater: full[(raters == rater).to_numpy()].to_numpy() for rater in columns}
    return pd.DataFrame(wide, index=frame.index)


def consensus(rated: pd.DataFrame, notes: list[str], *, numeric: bool) -> pd.Series:
    """One label per image that has one, as text: the mean of the values, or the class most raters chose."""
    names = ", ".join(map(str, rated.columns))
    if numeric:
        mean = rated.mean(axis=1)
        unrated = int(mean.isna().sum())
        notes.append(f"the label is the mean of the raters {names}")
        labels_ = mean.dropna().map(repr)
    else:
        votes = [_majority(row) for row in rated.to_numpy(str)]
        unrated = sum(vote is None for vote in votes)
        tied = sum(vote == "" for vote in votes)
        notes.append(f"the label is what most of the raters {names} chose")
        if tied:
            notes.append(f"{many(tied, 'image')} excluded: the raters are evenly divided")
        labels_ = pd.Series(votes, index=rated.index, dtype=object)[np.array([bool(vote) for vote in votes], bool)]
    if unrated:
        notes.append(f"{many(unrated, 'image')} excluded: rated by nobody")
    if not len(labels_):
        raise InputError(
            f"There is no image on which most of the raters {names} agree.",
            "a label for some images at least.",
            "Check the raters' columns.",
        )
    return labels_.astype(str)


def _majority(row: np.ndarray) -> str | None:
    """The most frequent class; blank when two are equally frequent, None when nobody has rated the image."""
    first = Counter(vote for vote in row if vote).most_common(2)
    if not first:
        return None
    return "" if len(first) == 2 and first[0][1] == first[1][1] else str(first[0][0])
