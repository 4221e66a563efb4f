"""Which patient every row of a study is of. Two spellings of one are one, and a word for "not known" is none."""

from __future__ import annotations

import pandas as pd

from easydl.errors import InputError
from easydl.images.patients import is_scientific, names_nobody
from easydl.studies.cohort import one_spelling
from easydl.studies.row_errors import many, problems
from easydl.studies.tables import NAMES


def with_patients(
    table: pd.DataFrame, examinations: pd.Series, notes: list[str], *, asked: bool, required: bool
) -> tuple[bool, int]:
    """Fill the column ``patient`` of a study's table, each patient written in one way.

    Where patients are not known every image becomes one, or every examination when the headers tell it, on the record.

    Args:
        table: With the column, or without.
        examinations: For every row which examination its image is of, "" where that is not known.
        notes: What is assumed is added here.
        asked: False when the user said that every image is of another patient.
        required: Whether the column has to be there.

    Returns:
        Whether patients are known, and how many of them were written in several ways.

    Raises:
        InputError: The column is missing, or holds cells that name no patient.
    """
    if "patient" in table.columns:
        table["patient"], respelled = _identifiers(table["patient"], notes)
        return True, respelled
    if required:
        raise InputError(
            "The table does not say which patient each image is of.",
            f"a column called {' or '.join(NAMES['patient'][:3])}: images of one patient must stay together.",
            "Add it, pass patient= the name of the column, or, if every image is of another patient, "
            "patient=None (--no-patients).",
        )
    table["patient"] = [f"image {number}" for number in range(1, len(table) + 1)]
    what = "image"
    if asked and (examinations != "").any():
        first = table["patient"].groupby(examinations).transform("first")
        table["patient"] = first.str.replace("image", "study").where(examinations != "", table["patient"])
        what = "examination (study)"
    notes.append(
        f"Patients are not known: each {what} counts as one patient, so leakage between training and test cannot be "
        "excluded."
    )
    return False, 0


def _identifiers(cells: pd.Series, notes: list[str]) -> tuple[pd.Series, int]:
    """The patients of a table, each written in one way.

    Raises:
        InputError: Cells that are empty, name nobody, or lost digits in a spreadsheet. Their text is not repeated.
    """
    why = {cell: "is empty" if not cell else "is a word for not known" for cell in cells.unique() if names_nobody(cell)}
    lost = {
        cell: "is a number that a spreadsheet has shortened (1.2E+15)" for cell in cells.unique() if is_scientific(cell)
    }
    if why or lost:
        wrong = cells[cells.isin({*why, *lost})].map({**why, **lost})
        raise problems(
            [f"row {row}: the patient {reason}" for row, reason in wrong.items()],
            len(cells),
            "a patient in every row, with all digits of its number.",
            "Format the column as text where the numbers come from, and export the table again."
            if lost
            else "Fill the column, or pass patient=None (--no-patients).",
        )
    cells, respelled = one_spelling(cells)
    if respelled:
        notes.append(
            f"{many(respelled, 'patient')} written in several ways (they differ by case, spaces, punctuation, leading zeros "
            "or a final .0): each counts as one"
        )
    if len(cells) > 1 and cells.nunique() == 1:
        notes.append(
            f"all {len(cells)} images are of one patient: if the column does not tell patients, patient=None "
            "(--no-patients) says so"
        )
    return cells, respelled
