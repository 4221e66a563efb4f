"""The first visible sheet of an .xlsx workbook as text. It runs no formula and no macro, and reads no other format."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import iterparse
from zipfile import ZipFile

import pandas as pd

from easydl.errors import InputError
from easydl.studies.names import composed
from easydl.studies.row_errors import many

MOST_BYTES = 400 * 1024**2
"""Most bytes a workbook may unpack to: a million rows of ten columns are about 300 MB."""
MOST_ROWS, MOST_CELLS = 1_048_576, 20_000_000


def read_workbook(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the first visible sheet with every cell as the text that Excel shows.

    Dates become ISO 8601; integers have no decimal point; a number shown as 007 by its format stays 007; merged
    cells all hold the one value; hidden rows are read like the others. Everything assumed is noted.

    Returns:
        The cells, header included, with the sheet's row numbers as index, and the notes.

    Raises:
        InputError: Macros, formulas without a stored result, or larger than the limits.
    """
    from openpyxl import load_workbook

    with ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise _too_large(path, f"unpacks to {size / 1024**2:,.0f} MB", f"at most {MOST_BYTES / 1024**2:,.0f} MB.")
        if any(name.lower().endswith("vbaproject.bin") for name in archive.namelist()):
            raise InputError(
                f"{path.name} carries macros.",
                "an .xlsx workbook without macros, or a CSV file.",
                "In Excel choose Save as, Excel workbook (.xlsx) or CSV UTF-8.",
            )
    book = load_workbook(path, read_only=True, data_only=True, keep_links=False)
    try:
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not visible:
            raise InputError(f"{path.name} has no visible sheet.", "a sheet with the table.", "Unhide the sheet.")
        sheet: Any = visible[0]
        facts = _facts(sheet)
        if facts["formulas without result"]:
            raise InputError(
                f"{path.name} holds {many(facts['formulas without result'], 'formula')} whose results are not stored.",
                "cells with values.",
                "Open the workbook in Excel and save it, or copy the cells and paste them as values.",
            )
        rows: list[list[str]] = []
        cells = errors = 0
        sheet.reset_dimensions()  # the declared ones may lie
        for row in sheet.iter_rows():
            cells += len(row)
            if len(rows) >= MOST_ROWS or cells > MOST_CELLS:
                raise _too_large(
                    path,
                    "holds more rows or cells than a table of images can",
                    f"at most {MOST_ROWS:,} rows and {MOST_CELLS:,} cells.",
                )
            errors += sum(cell.data_type == "e" for cell in row)
            rows.append([composed(_text(cell)) for cell in row])
    finally:
        book.close()
    area = sum((min(bottom, len(rows)) - top + 1) * (right - left + 1) for top, left, bottom, right in facts["merged"])
    if area > MOST_CELLS:
        raise _too_large(path, "merges more cells than a table of images has", f"at most {MOST_CELLS:,} merged cells.")
    for top, left, bottom, right in facts["merged"]:
        if top <= len(rows) and left <= len(rows[top - 1]):
            value = rows[top - 1][left - 1]
            for row in rows[top - 1 : bottom]:
                row += [""] * (right - len(row))
                row[left - 1 : right] = [value] * (right - left + 1)
    width = max((len(row) for row in rows), default=0)
    if width * len(rows) > MOST_CELLS:
        raise _too_large(path, f"is {len(rows):,} rows by {width:,} columns", f"at most {MOST_CELLS:,} cells.")
    frame = pd.DataFrame([row + [""] * (width - len(row)) for row in rows], dtype=str)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    notes = {
        f"the first visible of {len(book.sheetnames)} sheets, {sheet.title!r}, was read": len(book.sheetnames) > 1,
        f"{many(facts['hidden'], 'hidden row')} read like the others": facts["hidden"],
        f"{many(len(facts['merged']), 'merged cell')} taken apart, each part with the one value": facts["merged"],
        f"{many(facts['formulas'], 'cell')} with formulas: their stored results were read": facts["formulas"],
        f"{many(errors, 'cell')} with an Excel error (such as #N/A) read as empty": errors,
    }
    return frame, [f"{path.name}: {sentence}" for sentence, true in notes.items() if true]


def _facts(sheet: Any) -> dict[str, Any]:
    """Hidden rows, merged ranges and formulas, which openpyxl's read-only mode does not give.

    Its ordinary mode makes a cell for every cell of a merged range before anybody can look at the size.
    """
    from openpyxl.utils import range_boundaries

    counts: Counter[str] = Counter()
    merged = []
    with sheet._get_source() as source:  # the sheet's XML, a stream
        for _, element in iterparse(source):
            tag = element.tag.rsplit("}", 1)[-1]
            if tag == "c":
                parts = {child.tag.rsplit("}", 1)[-1]: child for child in element}
                if "f" in parts:
                    stored = "v" in parts and parts["v"].text is not None
                    counts["formulas" if stored or element.get("t") == "str" else "formulas without result"] += 1
                element.clear()
            elif tag == "row":
                counts["hidden"] += element.get("hidden") in ("1", "true")
                element.clear()
            elif tag == "mergeCell":
                left, top, right, bottom = range_boundaries(element.get("ref") or "A1")
                merged.append((top or 1, left or 1, bottom or MOST_ROWS, right or 1))
    return {**{name: counts[name] for name in ("formulas", "formulas without result", "hidden")}, "merged": merged}


def _text(cell: Any) -> str:
    value = cell.value
    if value is None or cell.data_type == "e":
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int) and value >= 0:
        shown = cell.number_format or ""
        return str(value).zfill(len(shown)) if shown and set(shown) == {"0"} else str(value)
    return str(value)


def _too_large(path: Path, what: str, expected: str) -> InputError:
    return InputError(f"{path.name} {what}.", expected, "Check that it is the table of images; save it as CSV.")
