"""CSV, Excel and DataFrame tables become the study's frame, as text and checked. It opens no image."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from easydl.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx")
NAMES = {
    "image": ("image", "images", "file", "filename", "file_name", "path", "filepath", "image_path", "dicom"),
    "label": ("label", "class", "diagnosis", "target"),
    "mask": ("mask", "masks", "segmentation", "seg", "mask_path"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid"),
}
"""The column names easydl recognises without being told, in the order it looks for them."""


def read_table(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a table with every cell as text: "001" stays "001", and "NA" can be a class.

    Args:
        path: ``.csv``, ``.tsv``, ``.txt`` (any usual encoding and separator) or ``.xlsx`` (its first sheet).

    Returns:
        The table and what was assumed, in words.

    Raises:
        InputError: Missing, empty, unreadable, with a column named twice, or an old or macro workbook.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The table {path} does not exist.", "a CSV or Excel file.", "Correct the path.")
    if path.suffix.lower() in (".xls", ".xlsm", ".xlsb"):
        raise InputError(
            f"{path.name} is an old or macro-carrying workbook.", "an .xlsx or .csv file.",
            "In Excel choose Save as, Excel workbook (.xlsx) or CSV UTF-8.",
        )  # fmt: skip
    notes: list[str] = []
    try:
        if path.suffix.lower() == ".xlsx":
            with pd.ExcelFile(path, engine="openpyxl") as book:
                sheet = str(book.sheet_names[0])
                raw = pd.read_excel(book, sheet, header=None, dtype=str, keep_default_na=False, na_filter=False)
                if len(book.sheet_names) > 1:
                    notes.append(f"{path.name}: the first of {len(book.sheet_names)} sheets, {sheet!r}, was read")
        else:
            text, encoding = _decode(path.read_bytes())
            separator = _separator(text)
            if encoding != "utf-8-sig":
                notes.append(f"{path.name}: read as {encoding}")
            raw = pd.read_csv(
                StringIO(text),
                sep=separator,
                header=None,
                dtype=str,
                keep_default_na=False,
                skip_blank_lines=True,
            )
    except (ValueError, KeyError, OSError, pd.errors.ParserError) as problem:
        raise InputError(
            f"{path.name} cannot be read as a table: {str(problem).splitlines()[0]}",
            "one header row, then one row per image, each with the same number of columns.",
            "Open it in a spreadsheet program and save it as CSV UTF-8.",
        ) from problem
    if len(raw) < 2:
        raise InputError(f"{path.name} has no rows below its header.", "one row per image.", "Fill the table.")
    header = [str(cell).strip() for cell in raw.iloc[0]]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(
            f"{path.name} names the column {twice[0]!r} twice.",
            "each column name once.",
            "Rename one of them.",
        )
    frame = raw.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index(name or f"column_{number}" for number, name in enumerate(header, 1))
    return frame, notes


def pick(frame: pd.DataFrame, role: str, wanted: str | None, *, required: bool = False) -> str | None:
    """The column that plays a role (image, label, mask, patient): the one asked for, or a recognised name.

    Raises:
        InputError: The named column is not there, or a required role has none.
    """
    by_name = {str(name).strip().lower(): str(name) for name in frame.columns}
    if wanted is not None:
        if wanted in frame.columns:
            return wanted
        if wanted.lower() in by_name:
            return by_name[wanted.lower()]
        raise InputError(
            f"The table has no column {wanted!r}.",
            f"one of its columns: {', '.join(map(str, frame.columns[:20]))}.",
            f"Pass {role}= the name of the column that holds the {role}.",
        )
    for name in NAMES[role]:
        if name in by_name:
            return by_name[name]
    if required:
        raise InputError(
            f"No column of the table is recognised as the {role}.",
            f"a column called {' or '.join(NAMES[role][:3])}; found {', '.join(map(str, frame.columns[:20]))}.",
            f"Rename the column, or pass {role}= its name.",
        )
    return None


def problems(found: Sequence[str], total: int, expected: str, do: str) -> InputError:
    """One error for all bad rows of a table: five are shown, with the count."""
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return InputError(f"{len(found)} of {total} rows cannot be used: {shown}.", expected, do)


def _decode(raw: bytes) -> tuple[str, str]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16"), "UTF-16"
    try:
        return raw.decode("utf-8-sig"), "utf-8-sig"
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace"), "Windows-1252 (western European)"


def _separator(text: str) -> str:
    first = text.split("\n", 1)[0]
    try:
        return csv.Sniffer().sniff(first, delimiters=",;\t|").delimiter
    except csv.Error:
        return ","
