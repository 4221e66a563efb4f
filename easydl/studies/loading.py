"""`easydl.load`: from whatever the user has to a checked Study. Reading pixels is left to the Study."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from easydl.errors import EasyDLError, InputError
from easydl.studies import folders, tables
from easydl.studies.splits import check_split
from easydl.studies.study import Study

LEAST_IMAGES = 1


def load(
    source: str | Path | pd.DataFrame,
    *,
    image: str | Sequence[str] | None = None,
    label: str | None = None,
    mask: str | None = None,
    patient: str | None = "auto",
    split: str | None = None,
    merge_labels: bool = False,
    override: str | None = None,
) -> Study:
    """Load a study from a table, a folder of class folders, a folder of DICOM, or a DataFrame.

    Args:
        source: A CSV or Excel file or a DataFrame with one row per image; a folder with one sub-folder per class
            (also below ``train``, ``val`` and ``test`` folders); or a folder of DICOM files (one row per series).
        image: The column with the image paths; several columns become channels. Found by name when not given.
            Paths are taken relative to the table.
        label: The column with the class. Found by name when not given.
        mask: The column with the mask paths; makes this a segmentation study.
        patient: The column with the patient. ``"auto"`` looks for one, then in the DICOM headers. None says that
            every image is a patient of its own: this goes on the record of every report.
        split: A column with a ready-made split (train, val, test). It is refused when a patient is in two parts.
        merge_labels: Treat labels that differ only by spaces or case as one (on the record).
        override: A reason, in writing, for using a split that leaks. It is repeated in every report.

    Returns:
        A `Study`.

    Raises:
        InputError: Something is missing, unreadable, doubled with another label, or of one class only. All bad
            rows are counted and the first five named.
        LeakageError: The given split puts a patient in two parts and no ``override`` was given.

    Example:
        >>> import pandas as pd, easydl
        >>> easydl.load(pd.DataFrame({"image": [], "label": []}))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        easydl.errors.InputError: The table holds 0 images.
    """
    notes: list[str] = []
    root = Path.cwd()
    is_table = True
    if isinstance(source, pd.DataFrame):
        frame, name = source.reset_index(drop=True).astype(str).fillna(""), "The table"
    else:
        path = Path(source).expanduser()
        name = path.name or str(path)
        if path.is_dir():
            root, is_table = path.resolve(), False
            frame, notes = _from_folder(root)
        elif path.suffix.lower() in (*tables.TABLE_SUFFIXES, ".xls", ".xlsm", ".xlsb"):
            frame, notes = tables.read_table(path)
            root = path.resolve().parent
        else:
            raise InputError(
                f"{source} is neither a folder nor a table{'' if path.exists() else ', and does not exist'}.",
                "a folder of images, or a CSV or Excel file that lists them.",
                "Correct the path.",
            )
    wanted: list[str | None] = [image] if isinstance(image, str) else list(image) if image else [None]
    columns = [tables.pick(frame, "image", one, required=True) for one in wanted]
    mask_column = tables.pick(frame, "mask", mask)
    label_column = None if mask else tables.pick(frame, "label", label)
    patient_column = tables.pick(frame, "patient", None if patient == "auto" else patient) if patient else None
    if len(frame) < LEAST_IMAGES:
        raise InputError(f"{name} holds {len(frame)} images.", "at least one.", "Check the table or the folder.")

    table = pd.DataFrame(index=frame.index)
    image_columns = ["image"] if len(columns) == 1 else [f"image_{one}" for one in columns]
    for new, old in zip(image_columns, columns, strict=True):
        table[new] = _resolve(root, frame[old], notes)
    if mask_column:
        table["mask"] = _resolve(root, frame[mask_column], notes)
    if label_column:
        table["label"] = frame[label_column].astype(str)
    if patient_column:
        table["patient"] = frame[patient_column].astype(str).str.strip()
    if label_column is None and mask_column is None:
        notes.append("no labels: the study can be looked at and predicted, not trained on")
    used = {*columns, mask_column, label_column, patient_column}
    for column in frame.columns:
        if column not in used and str(column) not in table.columns and str(column) != "patient":
            table["given_split" if str(column) == "split" else str(column)] = frame[column].astype(str)

    table = _with_facts(table, image_columns, notes)
    task = "segmentation" if mask or (mask_column and not label_column) else "classification"
    if label_column:
        table = _checked_labels(table, merge_labels, notes, fatal=task == "classification")
    known = _patients(table, patient, is_table, notes)
    _duplicates(table, image_columns, task, notes)
    study = Study(
        frame=table, task=task, image_columns=image_columns, patients_known=known, notes=notes, name=name,
    )  # fmt: skip
    if task == "classification" and label_column and len(study.classes) < 2:
        raise InputError(
            f"All {len(study)} images have the label {study.classes[0]!r}.",
            "at least two classes.",
            "Add the images of the other class, or choose another label column.",
        )
    if split is not None:
        column = "given_split" if split == "split" else split
        if column not in table.columns:
            tables.pick(frame, "label", split)
        check_split(study, column, override)
    elif "given_split" in table.columns:
        study.notes.append(
            "A split comes with the data and is not used; split='split' uses it if no patient is in two parts."
        )
    return study


def _from_folder(root: Path) -> tuple[pd.DataFrame, list[str]]:
    found = folders.class_folders(root)
    if len(found) > 1:
        frame, notes = folders.frame_from_classes(root, found)
        if len(frame):
            return frame, notes
    listing = [p for p in sorted(root.iterdir()) if p.suffix.lower() in tables.TABLE_SUFFIXES and p.suffix != ".txt"]
    if len(found) == 1 and not any(folders.is_dicom(path) for _, _, path in next(iter(found.values()))):
        only = next(iter(found))
        hint = f" The folder also holds {listing[0].name}: load that table instead." if listing else ""
        raise InputError(
            f"{root.name} holds images in one class folder only, {only!r}.",
            "one folder for each of at least two classes.",
            f"Add a folder for the other class.{hint}",
        )
    return folders.frame_from_dicom(root)


def _resolve(root: Path, cells: pd.Series, notes: list[str]) -> list[str]:
    """Paths relative to the table; a bare name that is not there is looked for in the folders below it."""
    paths = []
    below: dict[str, list[Path]] | None = None
    moved = 0
    for cell in cells.str.strip():
        if not cell:
            paths.append("")
            continue
        path = Path(cell).expanduser()
        path = path if path.is_absolute() else root / path
        if len(Path(cell).parts) == 1 and not path.exists() and "#" not in cell:
            if below is None:
                below = {}
                for file in folders.image_files(root):
                    below.setdefault(file.name, []).append(file)
            if len(below.get(cell, [])) == 1:
                path, moved = below[cell][0], moved + 1
        paths.append(str(path))
    if moved:
        notes.append(f"{moved} files were found by their name in a folder below the table's")
    return paths


def _with_facts(table: pd.DataFrame, image_columns: list[str], notes: list[str]) -> pd.DataFrame:
    """Open every file's header once; collect what is missing or unreadable; add what the headers tell."""
    bad: list[str] = []
    facts: list[dict[str, str]] = []
    columns = [*image_columns, *(["mask"] if "mask" in table.columns else [])]
    for number, row in enumerate(table[columns].to_dict("records"), 2):
        first: dict[str, str] = {}
        for column, address in row.items():
            if not address:
                if column != "mask":
                    bad.append(f"row {number}: no file is named")
                continue
            try:
                found = folders.file_facts(address)
            except EasyDLError as problem:
                bad.append(f"row {number}: {problem.found.rstrip('.')}")
                continue
            if column == image_columns[0]:
                first = found
        facts.append(first)
    if bad:
        raise tables.problems(
            bad,
            len(table),
            "a readable image in every row.",
            "Correct the paths, or take these rows out of the table.",
        )
    extra = pd.DataFrame(facts, index=table.index).fillna("").astype(str)
    for column in extra.columns:
        if column == "patient":
            if "patient" not in table.columns and (extra[column] != "").all():
                table["patient"] = extra[column]
                notes.append("patients were taken from the DICOM headers and given pseudonyms")
        elif column not in table.columns and (extra[column] != "").any():
            table[column] = extra[column]
    return table


def _checked_labels(table: pd.DataFrame, merge: bool, notes: list[str], *, fatal: bool) -> pd.DataFrame:
    empty = [f"row {number}: the label is empty" for number, cell in enumerate(table["label"], 2) if not cell.strip()]
    if empty and fatal:
        raise tables.problems(empty, len(table), "a label in every row.", "Fill the labels, or take these rows out.")
    groups: dict[str, list[str]] = {}
    counts = table["label"].value_counts()
    for spelling in counts.index:
        groups.setdefault(re.sub(r"\s+", " ", spelling).strip().casefold(), []).append(spelling)
    alike = {key: spellings for key, spellings in groups.items() if len(spellings) > 1}
    if alike and not merge and fatal:
        spellings = next(iter(alike.values()))
        raise InputError(
            "Labels differ only by spaces or case: "
            + "; ".join(f"{spelling!r} ({counts[spelling]} rows)" for spelling in spellings[:5])
            + ".",
            "one spelling for each class.",
            "Correct the table, or pass merge_labels=True (--merge-labels) to treat them as one.",
        )
    for spellings in alike.values():
        keep = spellings[0].strip()
        table["label"] = table["label"].replace(dict.fromkeys(spellings, keep))
        notes.append(f"labels {', '.join(map(repr, spellings))} were treated as {keep!r}")
    table["label"] = table["label"].str.strip()
    return table


def _patients(table: pd.DataFrame, patient: str | None, is_table: bool, notes: list[str]) -> bool:
    if "patient" in table.columns:
        empty = [f"row {n}: the patient is empty" for n, cell in enumerate(table["patient"], 2) if not cell]
        if empty:
            raise tables.problems(
                empty,
                len(table),
                "a patient in every row.",
                "Fill the column, or pass patient=None (--no-patients).",
            )
        return True
    if patient == "auto" and is_table:
        raise InputError(
            "The table does not say which patient each image is of.",
            f"a column called {' or '.join(tables.NAMES['patient'][:3])}: images of one patient must stay together.",
            "Add it, pass patient= the name of the column, or, if every image is of another patient, "
            "patient=None (--no-patients).",
        )
    table["patient"] = [f"image {number}" for number in range(1, len(table) + 1)]
    notes.append(
        "Patients are not known: each image counts as a patient of its own, so leakage between training and test "
        "cannot be excluded."
    )
    return False


def _duplicates(table: pd.DataFrame, image_columns: list[str], task: str, notes: list[str]) -> None:
    doubled = table.duplicated(subset=image_columns, keep=False)
    if not doubled.any():
        return
    target = "mask" if task == "segmentation" else "label"
    if target in table.columns:
        conflict = table[doubled].groupby(image_columns)[target].nunique()
        if (conflict > 1).any():
            raise InputError(
                f"{int((conflict > 1).sum())} images are listed twice with different {target}s.",
                f"one {target} for each image.",
                "Decide which is right and take the other row out.",
            )
    before = len(table)
    table.drop_duplicates(subset=image_columns, inplace=True)
    table.reset_index(drop=True, inplace=True)
    notes.append(f"{before - len(table)} rows were listed twice and are counted once")
