"""Several tasks on one image: the column of each head becomes classes or values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from easydl.errors import InputError
from easydl.studies import labels, tables
from easydl.studies.labels import MISSING, MOST_NUMBERS
from easydl.studies.row_errors import many

RESERVED = ("image", "mask", "patient", "split")


def read_heads(
    frame: pd.DataFrame, wanted: Sequence[str] | Mapping[str, Sequence[str] | int], notes: list[str], *, merge: bool
) -> tuple[dict[str, list[str] | int], pd.DataFrame]:
    """The heads and, for every row that has a label for one of them, the labels as text (blank where there is none).

    ``wanted`` names the columns, or gives for each its classes in order, or 1 for a value.

    Raises:
        InputError: No such column, a label that is not one of the classes or not a number, or one label only.
    """
    given = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted)
    if not given or (not isinstance(wanted, Mapping) and len(given) < len(wanted)):
        raise InputError(
            f"heads={list(wanted)!r}.",
            "the columns of one or more heads, each once.",
            "Name the columns (--heads for each of them).",
        )
    heads: dict[str, list[str] | int] = {}
    labelled = pd.DataFrame(index=frame.index)
    for column, spec in given.items():
        name = str(tables.pick(frame, "heads", str(column)))
        if name in RESERVED:
            raise InputError(
                f"A head is called {name!r}.",
                f"another name than {', '.join(RESERVED)}.",
                "Rename the column in the table.",
            )
        cells = frame[name].str.strip()
        missing = cells.str.casefold().isin(MISSING) & ~cells.isin(spec if isinstance(spec, (list, tuple)) else [])
        known = cells[(cells != "") & ~missing]
        if len(known) < len(cells):
            notes.append(
                f"{name}: {many(len(cells) - len(known), 'image')} without a label; they count for the other heads"
            )
        read, heads[name] = _read(known, name, spec, notes, merge=merge)
        if read.nunique() < 2:
            raise InputError(
                f"All images labelled for {name!r} have the same label.",
                "at least two different labels.",
                "Leave the head out, or add images.",
            )
        labelled[name] = read.reindex(frame.index, fill_value="")
    unlabelled = (labelled == "").all(axis=1)
    if unlabelled.any():
        notes.append(f"{many(int(unlabelled.sum()), 'image')} without a label for any head excluded")
    return heads, labelled[~unlabelled]


def _read(
    cells: pd.Series, name: str, spec: Sequence[str] | int | None, notes: list[str], *, merge: bool
) -> tuple[pd.Series, list[str] | int]:
    if spec is None:
        different = cells.unique()
        measured = len(different) > MOST_NUMBERS and all(labels.is_number(cell) for cell in different)
        if measured:
            notes.append(f"{name}: {len(different)} different numbers, taken for a measurement")
        spec = 1 if measured else None
    if spec == 1:
        return labels.numbers(cells, notes, name=name).map(repr), 1
    if spec is not None and (isinstance(spec, (str, int)) or len(spec) < 2):
        raise InputError(
            f"heads names {spec!r} for {name!r}.",
            "a list of two or more classes, or 1 for a value.",
            "Correct heads=, or give the names of the columns only.",
        )
    read, names = labels.classification(cells, notes, classes=spec, merge=merge, asked=True)
    return read, names
