"""Several questions about one image: their columns become classes or numbers, and labels become what a model puts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies import labels, tables
from easydl.studies.labels import JOIN, MISSING, MOST_NUMBERS

RESERVED = ("image", "mask", "patient", "split")


def read_heads(
    frame: pd.DataFrame, wanted: Sequence[str] | Mapping[str, Sequence[str] | int], notes: list[str], *, merge: bool
) -> tuple[dict[str, list[str] | int], pd.DataFrame]:
    """The questions and, for every row, their answers.

    Args:
        frame: The table, as text.
        wanted: The columns; or a dict from column to its classes in order, or to 1 for a number.
        notes: What is assumed is added here.
        merge: Whether labels that look alike are one class.

    Returns:
        Each question with its classes in order, or 1; and the answers as text, blank where a row has none. Rows that
        answer no question are left out.

    Raises:
        InputError: No such column, an answer that is none of the classes or no number, or one answer only.
    """
    given = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted)
    if not given or (not isinstance(wanted, Mapping) and len(given) < len(wanted)):
        raise InputError(
            f"heads={list(wanted)!r}.", "the columns of one or more questions, each once.",
            "Name the columns (--heads for each of them).",
        )  # fmt: skip
    questions: dict[str, list[str] | int] = {}
    answers = pd.DataFrame(index=frame.index)
    for asked, spec in given.items():
        name = str(tables.pick(frame, "heads", str(asked)))
        if name in RESERVED:
            raise InputError(
                f"The question is called {name!r}.", f"another name than {', '.join(RESERVED)}.",
                "Rename the column in the table.",
            )  # fmt: skip
        cells = frame[name].str.strip()
        words = cells.str.casefold().isin(MISSING) & ~cells.isin(spec if isinstance(spec, (list, tuple)) else [])
        known = cells[(cells != "") & ~words]
        if len(known) < len(cells):
            notes.append(
                f"{name}: {tables.many(len(cells) - len(known), 'image')} without an answer; they count for the other "
                "questions"
            )
        read, questions[name] = _read(known, name, spec, notes, merge=merge)
        if read.nunique() < 2:
            raise InputError(
                f"All images that answer {name!r} have the same answer.", "at least two different answers.",
                "Leave the question out, or add images.",
            )  # fmt: skip
        answers[name] = read.reindex(frame.index, fill_value="")
    silent = (answers == "").all(axis=1)
    if silent.any():
        notes.append(f"{tables.many(int(silent.sum()), 'image')} without an answer to any question set aside")
    return questions, answers[~silent]


def targets_of(cells: pd.Series, task: str, names: Sequence[str]) -> np.ndarray:
    """Labels as what a model is to put out.

    Args:
        cells: One label per image, as text; blank is no answer (zeros), or none of the findings.
        task: ``classification``, ``ordinal``, ``multilabel`` or ``regression``.
        names: The classes or findings in order.

    Returns:
        float32 ``(images, classes)``; ``(images, 1)`` for numbers.
    """
    if task == "regression":
        return pd.to_numeric(cells.replace("", "0")).to_numpy(np.float32)[:, None]
    if task == "multilabel":
        held = [set(cell.split(JOIN)) for cell in cells]
        return np.array([[name in row for name in names] for row in held], np.float32).reshape(-1, len(names))
    position = {name: number for number, name in enumerate(names)}
    # One row more, of zeros, for images without an answer.
    return np.eye(len(names) + 1, len(names), dtype=np.float32)[[position[c] if c else len(names) for c in cells]]


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
            f"heads names {spec!r} for {name!r}.", "a list of two or more classes, or 1 for a number.",
            "Correct heads=, or give the names of the columns only.",
        )  # fmt: skip
    read, names = labels.classification(cells, notes, classes=spec, merge=merge, asked=True)
    return read, names
