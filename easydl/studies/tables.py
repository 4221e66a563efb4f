"""CSV, Excel and DataFrame tables become the study's frame, as text and checked. It opens no image."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from io import StringIO
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from easydl.errors import EasyDLError, InputError, unknown_name
from easydl.images.file_errors import refuse_special
from easydl.studies.names import composed
from easydl.studies.row_errors import many

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx")
OLD_WORKBOOKS = (".xls", ".xlsm", ".xlsb")
NAMES = {
    "image": ("image", "images", "file", "filename", "file_name", "path", "filepath", "image_path", "dicom"),
    "label": ("label", "class", "diagnosis", "target"),
    "mask": ("mask", "masks", "segmentation", "seg", "mask_path"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "subjectid"),
}
"""The column names easydl recognises by itself, in the order it looks for them."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""How tables and folders name the parts of a split."""

MOST_BYTES = 1024**3
"""Largest text table that is read: a million rows are about 100 MB."""
MOST_COLUMNS = 20_000
"""A table of radiomics has 2,000; pandas takes seconds for ten thousand, and minutes for a million."""
SNIFFED_ROWS, SNIFFED_CHARACTERS = 50, 100_000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def read_table(path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a table with every cell as text: "001" stays "001", and "NA" can be a class.

    Args:
        path: ``.csv``, ``.tsv``, ``.txt`` (any usual encoding and separator) or ``.xlsx`` (its first visible sheet).

    Returns:
        The table, whose index is the row's number in the file (the header is row 1), and what was assumed.

    Raises:
        InputError: Missing, empty, unreadable, with a column named twice, or an old or macro workbook.
    """
    path = Path(path)
    refuse_special(path)
    if not path.is_file():
        raise InputError(f"The table {path} does not exist.", "a CSV or Excel file.", "Correct the path.")
    if path.suffix.lower() in OLD_WORKBOOKS:
        raise InputError(
            f"{path.name} is an old or macro-carrying workbook.", "an .xlsx or .csv file.",
            "In Excel choose Save as, Excel workbook (.xlsx) or CSV UTF-8.",
        )  # fmt: skip
    try:
        if path.suffix.lower() == ".xlsx":
            from easydl.studies.workbook import read_workbook

            raw, notes = read_workbook(path)
        else:
            raw, notes = _read_text(path)
    except EasyDLError:
        raise
    except (ValueError, KeyError, OSError, SyntaxError, BadZipFile, pd.errors.ParserError, MemoryError) as problem:
        why = (str(problem).strip().splitlines() or [type(problem).__name__])[0].rstrip(".")
        raise InputError(
            f"{path.name} cannot be read as a table: {why}.",
            "one header row, then one row per image, each with the same number of columns.",
            "Open it in a spreadsheet program and save it as CSV UTF-8.",
        ) from problem
    empty = (raw == "").all(axis=1)
    blank = int(empty.iloc[:-1].sum()) if len(raw) and empty.iloc[-1] else int(empty.sum())
    raw = raw[~empty]
    if len(raw) < 2:
        raise InputError(f"{path.name} has no rows below its header.", "one row per image.", "Fill the table.")
    if blank:
        notes.append(f"{path.name}: {many(blank, 'empty row')} skipped")
    header = [str(cell).strip() for cell in raw.iloc[0]]
    twice = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if twice:
        raise InputError(
            f"{path.name} names the column {twice[0]!r} twice.",
            "each column name once.",
            "Rename one of them.",
        )
    frame = raw.iloc[1:]
    frame.columns = pd.Index([name or f"column_{number}" for number, name in enumerate(header, 1)])
    return frame, notes


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame of anything as text: blanks for what is missing, integers without a decimal point.

    The index becomes what the row's number would be in a spreadsheet: the first row is row 2.
    """

    def column(cells: pd.Series) -> pd.Series:
        known = cells.dropna()
        if pd.api.types.is_float_dtype(cells) and len(known) and (known % 1 == 0).all() and known.abs().max() < 2**53:
            cells = cells.astype("Int64")  # a number column with a blank becomes 1.0, 2.0, ... in pandas
        return cells.astype(object).where(cells.notna(), "").map(lambda value: composed(str(value)))

    names = [composed(str(name)) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"The table names the column {twice!r} twice.", "each column name once.", "Rename one of them."
        )
    cells = {name: column(frame.iloc[:, place]) for place, name in enumerate(names)}
    text = pd.DataFrame(cells, index=frame.index, dtype=object).astype(str)
    text.index = pd.RangeIndex(2, len(text) + 2)
    return text


def unknown_column(frame: pd.DataFrame, wanted: str, do: str) -> InputError:
    """The error for a column that a table does not have; it lists the first columns and the one that was meant."""
    listed = f"one of its columns: {', '.join(map(str, frame.columns[:20]))}."
    return unknown_name(
        f"The table has no column {wanted!r}.", wanted, frame.columns, do=do, expected=listed.replace("{}", "")
    )


def pick(frame: pd.DataFrame, role: str, wanted: str | None, *, required: bool = False) -> str | None:
    """The column that plays a role (image, label, mask, patient): the one asked for, or a recognised name.

    Raises:
        InputError: The named column is not there, or a required role has none.
    """
    by_name = {str(name).strip().lower(): str(name) for name in frame.columns}
    if wanted is not None:
        wanted = composed(wanted)
        if wanted in frame.columns:
            return wanted
        if wanted.strip().lower() in by_name:
            return by_name[wanted.strip().lower()]
        raise unknown_column(frame, wanted, f"Pass {role}= (--{role}) the name of the column that holds the {role}.")
    for name in NAMES[role]:
        if name in by_name:
            return by_name[name]
    if required:
        raise InputError(
            f"No column of the table is recognised as the {role}.",
            f"a column called {' or '.join(NAMES[role][:3])}; found {', '.join(map(str, frame.columns[:20]))}.",
            f"Rename the column, or pass {role}= (--{role}) its name.",
        )
    return None


def tables_in(folder: Path) -> list[Path]:
    """The tables that lie at the top of a folder, by their endings; a text file may be anything."""
    return [one for one in sorted(folder.iterdir()) if one.suffix.lower() in set(TABLE_SUFFIXES) - {".txt"}]


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column of a study's frame.

    Raises:
        InputError: There is no such column.
    """
    if name not in frame.columns:
        raise unknown_column(frame, name, "Correct the name of the column.")
    return frame[name]


def _read_text(path: Path) -> tuple[pd.DataFrame, list[str]]:
    if path.stat().st_size > MOST_BYTES:
        raise InputError(
            f"{path.name} is {path.stat().st_size / 1024**3:.1f} GB large.", f"at most {MOST_BYTES / 1024**3:g} GB.",
            "Check that it is the table; split it if it is.",
        )  # fmt: skip
    notes = []
    text, encoding = _decode(path.read_bytes(), path.name)
    text = composed(text)
    if encoding != "UTF-8":
        notes.append(f"{path.name}: read as {encoding}")
    separator = _separator(text)
    if text[:4].lower() == "sep=" and text[5:6] in ("\r", "\n"):  # what Excel writes to itself
        separator, text = text[4], text[5:].lstrip("\r\n")
    if separator != ",":
        notes.append(f"{path.name}: columns separated by {SEPARATORS.get(separator, repr(separator))}")
    columns = text[: min(at for at in (text.find("\n"), text.find("\r"), len(text)) if at >= 0)].count(separator) + 1
    if columns > MOST_COLUMNS:
        raise InputError(
            f"{path.name} has {columns:,} columns.", f"at most {MOST_COLUMNS:,}.",
            "Keep the columns of image, label and patient, and those that are to be looked at.",
        )  # fmt: skip
    raw = pd.read_csv(
        StringIO(text), sep=separator, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False,
    )  # fmt: skip
    raw = raw.fillna("")  # a row that is shorter than the header
    raw.index = pd.RangeIndex(1, len(raw) + 1)
    return raw, notes


def _decode(raw: bytes, name: str) -> tuple[str, str]:
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return raw.decode("utf-32"), "UTF-32"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16"), "UTF-16"
    if b"\0" in raw:
        head = raw[:2000]
        # Latin letters in UTF-16 have a zero in every second byte, and nowhere else.
        for encoding, zeros, letters in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
            if zeros.count(0) > 0.9 * len(zeros) and not letters.count(0):
                return raw.decode(encoding), "UTF-16 (without its mark)"
        raise InputError(
            f"{name} is not a text file: it holds zero bytes{', as a workbook does' if raw.startswith(b'PK') else ''}.",
            "a CSV file.",
            "Give a workbook its ending .xlsx; anything else export again as CSV UTF-8.",
        )
    try:
        return raw.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("cp1252"), "Windows-1252 (western European)"
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "ISO 8859-1 (western European)"


def _separator(text: str) -> str:
    """The separator that cuts the most of the first rows into as many columns as the header has."""
    best, best_score = ",", (0.0, 1)
    head = text[:SNIFFED_CHARACTERS]
    for separator in SEPARATORS:
        try:
            rows = [row for row in islice(csv.reader(StringIO(head), delimiter=separator), SNIFFED_ROWS) if row]
        except csv.Error:
            continue
        if len(text) > len(head) and 1 < len(rows) < SNIFFED_ROWS:
            rows.pop()  # cut short by the sample
        width = len(rows[0]) if rows else 1
        score = (sum(len(row) == width for row in rows) / max(1, len(rows)), width)
        if width > 1 and score > best_score:
            best, best_score = separator, score
    return best
