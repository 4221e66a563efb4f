"""The files that a table names: where they are, what their headers tell, which are listed twice. It decodes no pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import pandas as pd

from easydl.errors import EasyDLError, InputError
from easydl.images.limits import is_ignored, is_nifti, is_raster
from easydl.images.series import NAMED
from easydl.secret import computer_secret
from easydl.studies import folders
from easydl.studies.names import Disk, composed
from easydl.studies.row_errors import many, problems

MOST_LISTED = 200_000
"""Files looked at, at most, to find those that no row names."""

SAID_TWICE = {
    "laterality": ("laterality", "side", "image_laterality"),
    "view": ("view", "view_position", "viewposition", "projection"),
}
"""What DICOM headers say too, and the columns in which tables say it."""


def resolve(base: Path, cells: pd.Series, notes: list[str], *, inside: Path | None) -> pd.Series:
    """Normalised absolute paths for the cells of a table (``folder#key`` for a DICOM series, blank for none).

    Relative ones are relative to ``base``; all have to lie in ``inside``, if there is one. A bare file name that is not
    there is looked for in the folders below (on the record); a Windows path is read on other systems too. Names are
    compared in one Unicode form.

    Raises:
        InputError: Paths lead outside ``inside``, or a bare file name is there several times.
    """
    cells = cells.str.strip()
    known: dict[str, str] = {"": ""}
    below: dict[str, list[Path]] | None = None
    outside, found_below, linked = set(), 0, 0
    several: dict[str, list[Path]] = {}
    disk = Disk()
    real_inside = _real(str(inside)) if inside else ""
    real_folders: dict[str, bool] = {}
    for cell in cells.unique():
        if not cell:
            continue
        text = cell
        if os.sep == "/" and "\\" in cell and not os.path.lexists(base / cell):
            text = cell.replace("\\", "/")
        path = os.path.normpath(base / os.path.expanduser(text))
        drive = os.sep == "/" and PureWindowsPath(text).drive
        if inside and (drive or not _within(path, str(inside))):
            outside.add(cell)
            continue
        path = disk.spelled(path)
        if twins := disk.twins(path):
            several[cell] = [Path(twin) for twin in twins]
        if "/" not in text and os.sep not in text and "#" not in text and not os.path.exists(path):
            if below is None:
                below = {}
                for file in folders.image_files(base):
                    below.setdefault(composed(file.name), []).append(file)
            there = below.get(composed(text), [])
            if len(there) == 1:
                path, found_below = str(there[0]), found_below + 1
            elif there:
                several[cell] = there
        if inside:
            folder = os.path.dirname(path)
            if folder not in real_folders:
                real_folders[folder] = _within(_real(folder), real_inside)
            linked += not real_folders[folder] or (os.path.islink(path) and not _within(_real(path), real_inside))
        known[cell] = path
    if outside:
        rows = cells.index[cells.isin(outside)]
        raise problems(
            [f"row {row}: {cells[row]!r} lies outside the folder" for row in rows],
            len(cells),
            f"paths within {Path(str(inside)).name or inside}, the table's folder or the one given as root=.",
            "Correct the paths or, if they are right, pass root= (--root) the folder that holds all images.",
        )
    if several:
        rows = cells.index[cells.isin(several)]
        where = {
            cell: " and ".join(str(path.relative_to(base)) for path in paths[:2]) for cell, paths in several.items()
        }
        raise problems(
            [
                f"row {row}: {cells[row]!r} is there {len(several[cells[row]])} times, as {where[cells[row]]}"
                for row in rows
            ],
            len(cells),
            "paths that name one file each.",
            "Write the folder in front of these file names; rename one of two that look the same (two Unicode forms).",
        )
    if found_below:
        notes.append(f"{many(found_below, 'file')} found by name in a folder below the table's")
    if linked:
        notes.append(f"{many(linked, 'file')} linked to places outside the table's folder")
    return cells.map(known)


def with_facts(
    table: pd.DataFrame,
    image_columns: list[str],
    mask_columns: list[str],
    notes: list[str],
    *,
    left_out: set[str] | None,
    patients: bool,
) -> tuple[pd.DataFrame, pd.Series]:
    """Open every file's header once, and add ``width``, ``height``, ``file_type`` and, for DICOM, the safe fields.

    Args:
        table: With full paths.
        image_columns: Its columns of images.
        mask_columns: Its columns of masks; several hold one structure each.
        notes: What is found is added here.
        left_out: Look for files beside the images that no row names, except these; None does not look.
        patients: Whether to take patients from DICOM headers, if the table has none and every header names one.

    Returns:
        The table, and for every row which examination its image is of, as far as its header tells ("" where not).

    Raises:
        InputError: Rows without a file, or files that are missing or unreadable. All are in its ``problems``.
    """
    columns = [*image_columns, *mask_columns]
    addresses = [address for address in pd.unique(table[columns].to_numpy().ravel()) if address]
    facts: dict[str, dict[str, str]] = {}
    wrong: dict[str, str] = {}
    advice: set[str] = set()
    disk = Disk()
    for address in addresses:
        try:
            facts[address] = folders.file_facts(address)
        except EasyDLError as problem:
            there = os.path.lexists(address) or os.path.isfile(address.rpartition("#")[0])
            wrong[address] = problem.found.rstrip(".") if there else disk.why_missing(address)
            advice.add(problem.do if there else "Correct the paths, or leave these rows out with exclude= (--exclude).")
    bad: list[tuple[Any, str]] = []
    for column in columns:
        empty = table[column] == ""
        if column in image_columns:
            bad += [(row, "no file is named") for row in table.index[empty]]
        else:  # the structures of a row are all segmented, or none is: a missing file is not an empty mask
            bad += [
                (row, f"no file is named for the structure {column.removeprefix('mask_')!r}, only for others")
                for row in table.index[empty & (table[mask_columns] != "").any(axis=1)]
            ]
        if wrong:
            failed = table.loc[table[column].isin(set(wrong)), column]
            bad += [(row, wrong[address]) for row, address in failed.items()]
    listing = _unlisted([*addresses, *left_out]) if left_out is not None else []
    more = ""
    if listing:
        shown = ", ".join(Path(path).name for path in listing[:5])
        more = f"{many(len(listing), 'image file')} beside the listed ones in no row of the table ({shown}"
        more += f", and {len(listing) - 5} more)" if len(listing) > 5 else ")"
    if bad:
        bad.sort(key=lambda one: one[0])
        raise problems(
            [f"row {row}: {problem}" for row, problem in bad],
            len(table),
            "a readable image in every row.",
            advice.pop()
            if len(advice) == 1
            else "Correct the paths, or leave these rows out with exclude= (--exclude).",
            f" {more}." if more else "",
        )
    if more:
        notes.append(more)
    incomplete = [
        f"{Path(address).name}: {facts[address].pop('unused')}" for address in facts if "unused" in facts[address]
    ]
    notes += incomplete[:NAMED]
    if len(incomplete) > NAMED:
        notes.append(f"and {len(incomplete) - NAMED} more volumes of which slices may be missing")
    per_file = pd.DataFrame([facts[address] for address in addresses], index=addresses).fillna("").astype(str)
    extra = per_file.loc[table[image_columns[0]]].set_axis(table.index)
    notes += _contradictions(table, extra)
    for column in extra.columns:
        if column not in ("patient", "examination", *table.columns) and (extra[column] != "").any():
            table[column] = extra[column]
    if patients and "patient" not in table.columns and extra["file_type"].str.startswith("DICOM").any():
        _patients_of_headers(table, extra.get("patient", pd.Series("", index=table.index)), notes)
    return table, extra.get("examination", pd.Series("", index=table.index))


def _patients_of_headers(table: pd.DataFrame, cells: pd.Series, notes: list[str]) -> None:
    """Take the patients' pseudonyms over, unless they cannot tell one patient from another."""
    unnamed = int((cells == "").sum())
    if unnamed:
        notes.append(
            f"{unnamed} of {len(cells)} images have no PatientID in their headers, or a word such as ANONYMOUS: the "
            "headers do not tell the patients"
        )
    elif len(cells) > 1 and cells.nunique() == 1:
        notes.append(
            f"all {len(cells)} images have one and the same PatientID in their headers: it was not taken for a patient"
        )
    else:
        table["patient"] = cells
        notes.append("patients were taken from the DICOM headers and given pseudonyms")
        notes += [computer_secret().note] if computer_secret().note else []


def _contradictions(table: pd.DataFrame, extra: pd.DataFrame) -> list[str]:
    """Rows in which the table names another side or view than the header of the image (a label on the wrong film)."""
    found = []
    for fact, names in SAID_TWICE.items():
        column = next((str(name) for name in table.columns if str(name).strip().lower() in names), None)
        if column is None or fact not in extra.columns:
            continue
        said = table[column].astype(str).str.strip().str.upper()
        header = extra[fact].str.strip().str.upper()
        if fact == "laterality":
            said, header = said.str[:1], header.str[:1]
        both = (said != "") & (header != "")
        if fact == "laterality":
            both &= said.isin(["L", "R"]) & header.isin(["L", "R"])
        rows = table.index[both & (said != header)]
        if len(rows):
            found.append(
                f"{len(rows)} of {int(both.sum())} images: column {column!r} contradicts the {fact} in the header, "
                f"the first in row {rows[0]}"
            )
    return found


def once(table: pd.DataFrame, image_columns: list[str], targets: Sequence[str], notes: list[str]) -> pd.DataFrame:
    """Images listed twice are counted once.

    Raises:
        InputError: The same image is listed with different labels, masks or patients.
    """
    doubled = table.duplicated(subset=image_columns, keep=False)
    if not doubled.any():
        return table
    for target in targets:
        if target in table.columns:
            conflicts = int((table[doubled].groupby(image_columns)[target].nunique() > 1).sum())
            if conflicts:
                raise InputError(
                    f"{conflicts} images are listed twice with different {target}s.",
                    f"one {target} for each image.",
                    "Decide which is right and take the other row out.",
                )
    kept = table.drop_duplicates(subset=image_columns)
    notes.append(f"{many(len(table) - len(kept), 'row')} listed twice, counted once")
    return kept


def _real(path: str) -> str:
    """The path with links followed; as it is when it cannot be a path."""
    return path if "\0" in path else os.path.realpath(path)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _unlisted(addresses: list[str]) -> list[str]:
    """Image files, by their names, that lie beside listed ones and are in no row."""
    listed = set(map(composed, addresses))
    found: list[str] = []
    looked = 0
    for folder in sorted({os.path.dirname(address) for address in addresses if "#" not in address}):
        if not os.path.isdir(folder):
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                looked += 1
                if looked > MOST_LISTED:
                    return sorted(found)
                name = entry.name
                image = is_raster(name) or is_nifti(name) or name.lower().endswith(".dcm")
                if image and not is_ignored(name) and composed(entry.path) not in listed and not entry.is_dir():
                    found.append(entry.path)
    return sorted(found)
