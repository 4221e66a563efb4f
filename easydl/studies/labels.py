"""Label cells become classes, several labels per image, or values. What could be read in two ways is asked back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import pandas as pd

from easydl.errors import InputError
from easydl.studies.row_errors import many, problems

MISSING = {"na", "n/a", "n.a.", "#n/a", "nan", "none", "null", "nil", "-", "--", "?", "."}
"""Cells that people write for "no label", and that can be the name of a class all the same."""
YES, NO = (
    {"1", "1.0", "yes", "y", "true", "positive", "present"},
    {"0", "0.0", "no", "n", "false", "negative", "absent"},
)
_ABSENCE = re.compile(r"(no|not|without|absent|negative|normal|healthy|control|unremarkable)\b", re.IGNORECASE)
MOST_NUMBERS = 20
"""From more different numbers than these on, a label column is taken for a measurement until somebody says otherwise."""
JOIN = "; "
"""Between the labels of one image (multilabel) in the study's column ``label``."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
# Cyrillic and Greek letters that look like Latin ones, after case folding.
_LOOK_ALIKE = str.maketrans("асеорхуіѕјһкмтвнԁԛӏαορντικυχεηβγ", "aceopxyisjhkmtbhdqlaopvtikuxehby")


def says_absence(name: str) -> bool:
    """Whether a class says by its name that nothing is there.

    Example:
        >>> [says_absence(name) for name in ("no nodule", "normal", "0", "benign", "nodule")]
        [True, True, True, False, False]
    """
    words = re.sub(r"[_\W]+", " ", name).strip()
    return name.strip().lower() in NO or _ABSENCE.match(words) is not None


def classification(
    cells: pd.Series, notes: list[str], *, classes: Sequence[str] | None, merge: bool, asked: bool
) -> tuple[pd.Series, list[str]]:
    """The class of every row that has one (rows without a label are left out), and the classes in order.

    Args:
        cells: The label of every row, as text; its index is the row's number in the table.
        notes: What is assumed is added here.
        classes: The classes in the order the user gave, or None.
        merge: Whether labels that look alike are one class.
        asked: Whether the user named the task, so that nothing is asked back.

    Raises:
        InputError: A label is empty, or not one of ``classes``; labels look alike; or the cells could be something else
            than classes: words for "missing", several labels, a measurement.
    """
    _refuse_empty(cells)
    given = [str(name) for name in classes] if classes is not None else None
    cells = unify(cells, notes, merge=merge)
    cells = exclude_missing(cells, notes, given)
    counts = cells.value_counts()
    if given is not None:
        strange = cells[~cells.isin(given)]
        if len(strange):
            bad = [f"row {row}: {cell!r} is not one of the classes" for row, cell in strange.items()]
            raise problems(
                bad,
                len(cells),
                f"one of {', '.join(map(repr, given[:20]))} in every row.",
                "Correct the cells, or add the class to classes=.",
            )
        names = given
    else:
        if not asked:
            _ask_several(counts)
            _ask_measurement(counts)
        names = in_order(counts.index)
        _note_typos(counts, notes)
    return cells, names


def multilabel_columns(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.Series, list[str]]:
    """For every row its labels joined by ``"; "``, from one column of 0 and 1 (or no and yes) for each; and all labels.

    Raises:
        InputError: A cell is neither, or a column's name cannot name a label.
    """
    bad: list[tuple[Any, str]] = []
    held = pd.DataFrame(index=frame.index)
    for column in columns:
        cells = frame[column].str.strip().str.casefold()
        held[column] = cells.isin(YES)
        bad += [
            (row, f"row {row}: {column!r} is {cell!r}") for row, cell in frame[column][~cells.isin(YES | NO)].items()
        ]
    if bad:
        raise problems(
            [problem for _, problem in sorted(bad)],
            len(frame),
            "0 or 1 (no or yes) in every label column of every row.",
            "Fill the cells. Where a label is not known leave the row out with exclude= (--exclude), or load the columns as "
            "tasks with heads= (--heads), where a cell may be blank.",
        )
    return _joined(held), list(columns)


def multilabel_cells(
    cells: pd.Series, separator: str, notes: list[str], *, classes: Sequence[str] | None, merge: bool
) -> tuple[pd.Series, list[str]]:
    """For every row its labels joined by ``"; "``, from cells such as ``"effusion;nodule"``; and all labels in order.

    Raises:
        InputError: Labels look alike, are words for "missing", or not among ``classes``.
    """
    parts = cells.str.split(separator, regex=False).explode().str.strip()
    parts = unify(parts[parts != ""], notes, merge=merge)
    known = set(map(str, classes or ()))
    strange = [
        f"row {row}: {part!r} is {'not one of the classes' if known else 'not a label'}"
        for row, part in parts.items()
        if (known and part not in known) or (part.casefold() in MISSING and part not in known)
    ]
    if strange:
        raise problems(
            strange,
            len(cells),
            "labels, or an empty cell for none.",
            "Correct the cells, or list all labels, these included, in classes=.",
        )
    names = list(map(str, classes)) if classes is not None else in_order(sorted(set(parts)))
    empty = len(cells) - parts.index.nunique()
    if empty:
        notes.append(f"{many(empty, 'image')} with an empty label: none of the labels")
    held = pd.DataFrame(False, index=cells.index, columns=names)
    for name in names:
        held.loc[parts.index[parts == name].unique(), name] = True
    return _joined(held), names


def numbers(cells: pd.Series, notes: list[str], *, name: str = "label") -> pd.Series:
    """A measurement per image as float64, from text with a decimal point or a decimal comma (which is noted).

    Raises:
        InputError: A cell is not a finite number, or commas could be decimal commas or thousands.
    """
    text = cells.str.strip()
    commas = text.str.fullmatch(_COMMA.pattern)
    if commas.any() and not text.str.contains(".", regex=False).any():
        if text[commas].str.fullmatch(_THOUSANDS.pattern).all():
            raise InputError(
                f"The column {name!r} holds numbers such as {text[commas].iloc[0]!r}, which can be read in two ways.",
                "a decimal point, and no separator of thousands.",
                "Write 1.234 for a little more than one, 1234 for a little more than a thousand.",
            )
        notes.append(f"{name}: the comma was read as a decimal comma ({text[commas].iloc[0]})")
        text = text.str.replace(",", ".", regex=False)
    bad = text[~text.str.fullmatch(_NUMBER.pattern)]
    if len(bad):
        raise problems(
            [f"row {row}: {cells[row]!r} in {name!r} is not a number" for row in bad.index],
            len(cells),
            "a number in every row.",
            "Correct these cells, or leave these rows out with exclude= (--exclude).",
        )
    return text.astype(float)


def unify(cells: pd.Series, notes: list[str], *, merge: bool) -> pd.Series:
    """Labels without outer spaces; those that look alike are refused, or merged when asked.

    Alike are spellings that differ only by case, spaces, invisible characters, or letters of another alphabet.

    Raises:
        InputError: Labels look alike and ``merge`` is False.
    """
    counts = cells.value_counts()
    groups: dict[str, list[str]] = {}
    for spelling in sorted(counts.index, key=lambda one: (-counts[one], one)):
        groups.setdefault(_looks(spelling), []).append(spelling)
    alike = [spellings for spellings in groups.values() if len(spellings) > 1]
    if alike and not merge:
        spellings = alike[0]
        foreign = len({_folded(one) for one in spellings}) > 1
        raise InputError(
            f"Labels differ only by {'letters that look alike' if foreign else 'spaces or case'}: "
            + "; ".join(f"{_visible(one) if foreign else repr(one)} ({counts[one]} rows)" for one in spellings[:5])
            + ".",
            "one spelling for each class.",
            "Correct the table, or pass merge_labels=True (--merge-labels) to treat them as one.",
        )
    names = {
        spelling: re.sub(r"\s+", " ", spellings[0]).strip() for spellings in groups.values() for spelling in spellings
    }
    for spellings in alike:
        notes.append(f"labels {', '.join(map(repr, spellings))} were treated as {names[spellings[0]]!r}")
    return cells.map(names)


def exclude_missing(cells: pd.Series, notes: list[str], classes: Sequence[str] | None) -> pd.Series:
    """Rows whose label is a word for "missing" are asked about, or excluded when the classes are given.

    Raises:
        InputError: There is such a word and ``classes`` does not say whether it is a class.
    """
    missing = cells[cells.str.casefold().isin(MISSING)]
    if classes is None and len(missing):
        counts = missing.value_counts()
        listing = ", ".join(f"{name!r} ({count} rows)" for name, count in counts.head(5).items())
        raise InputError(
            f"The label {listing} may be a class, or may say that there is no label.",
            "to know which.",
            "Pass classes= the list of the classes: with this word in it, it is a class; without it, its rows are "
            "excluded and counted.",
        )
    excluded = missing.index[~missing.isin(list(classes or ()))]
    if len(excluded):
        notes.append(
            f"{many(len(excluded), 'image')} without a label ({', '.join(sorted(set(missing[excluded])))}) excluded"
        )
    return cells.drop(excluded)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, with a decimal point or a decimal comma."""
    return bool(_NUMBER.fullmatch(cell) or _COMMA.fullmatch(cell))


def refuse_unordered(names: Sequence[str]) -> None:
    """Refuse ordinal classes whose order nobody gave: only numbers have one.

    Raises:
        InputError: They are not all numbers.
    """
    if not all(_NUMBER.fullmatch(name) for name in names):
        raise InputError(
            f"The order of the classes {', '.join(map(repr, names[:5]))} is not known.",
            "the classes from the lowest to the highest, or classes that are numbers.",
            "Pass classes= the list in its order (--classes for each of them).",
        )


def in_order(names: Sequence[str] | pd.Index) -> list[str]:
    """Class names in the order they are stored: as numbers when all are numbers (2 before 10), else by alphabet."""
    text = sorted(map(str, names))
    return sorted(text, key=float) if text and all(_NUMBER.fullmatch(name) for name in text) else text


def _joined(held: pd.DataFrame) -> pd.Series:
    strange = [str(name) for name in held.columns if JOIN.strip() in str(name) or not str(name).strip()]
    if strange:
        raise InputError(
            f"A label is called {strange[0]!r}.",
            "names without a semicolon.",
            "Rename it, or set label_separator=';' (--label-separator).",
        )
    names = list(map(str, held.columns))
    text = [JOIN.join([name for name, on in zip(names, row, strict=True) if on]) for row in held.to_numpy(bool)]
    return pd.Series(text, index=held.index, dtype=str)


def _refuse_empty(cells: pd.Series) -> None:
    empty = cells.index[cells.str.strip() == ""]
    if len(empty):
        raise problems(
            [f"row {row}: the label is empty" for row in empty],
            len(cells),
            "a label in every row.",
            "Fill the labels, or leave these rows out with exclude= (--exclude).",
        )


def _ask_several(counts: pd.Series) -> None:
    """A cell such as ``"a;b"`` is two labels, or one class: only the user knows."""
    names = set(counts.index)
    for separator in (";", "|", ","):
        joined = [name for name in counts.index if separator in name]
        apart = [{part.strip() for part in name.split(separator)} for name in joined]
        # A comma also stands within names ("adenoma, tubular"): only parts that are labels themselves count.
        if joined and (separator != "," or any(parts <= names for parts in apart)):
            raise InputError(
                f"{int(counts[joined].sum())} labels hold {separator!r}, such as {joined[0]!r}: several labels in one "
                "image, or one class?",
                "to know which.",
                f"Pass label_separator={separator!r} (--label-separator) for several labels, or task='classification' "
                "(--task classification) for one class.",
            )


def _ask_measurement(counts: pd.Series) -> None:
    if len(counts) > MOST_NUMBERS and all(is_number(name) for name in counts.index):
        raise InputError(
            f"The labels are {len(counts)} different numbers: is this a measurement?",
            f"classes, or at most {MOST_NUMBERS} different numbers as classes.",
            "Pass task='regression' (--task regression) for a measurement, or task='classification' (--task "
            "classification) if every number is a class.",
        )


def _note_typos(counts: pd.Series, notes: list[str]) -> None:
    """Rare labels that are nearly another one stay apart, but are named."""
    if len(counts) > 50:
        return
    for rare in counts.index[::-1]:
        for common in counts.index:
            few = counts[rare] <= max(2, 0.02 * counts[common]) and counts[rare] < counts[common]
            same_digits = re.sub(r"\D", "", rare) == re.sub(r"\D", "", common)
            long = min(len(rare), len(common)) >= 5
            if few and same_digits and long and SequenceMatcher(None, _looks(rare), _looks(common)).ratio() >= 0.83:
                notes.append(
                    f"the labels {rare!r} ({counts[rare]} rows) and {common!r} ({counts[common]} rows) are nearly the "
                    "same and were kept apart: if it is a slip, correct the table"
                )
                break


def _folded(text: str) -> str:
    """Without differences of case and space."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def _looks(text: str) -> str:
    """What people see: without case, spaces, invisible characters, and with look-alike letters made Latin."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return _folded(text).translate(_LOOK_ALIKE)


def _visible(text: str) -> str:
    """A label with every unusual character written as its code."""
    return ascii(text)
