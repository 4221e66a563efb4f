"""`easydl.load`: from whatever the user has to a checked Study. Reading pixels is left to the Study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import InputError
from easydl.options import LoadOptions, documented
from easydl.studies import files, folders, labels, pairing, tables
from easydl.studies import raters as several
from easydl.studies.agreement import Agreement, agreement
from easydl.studies.mask_labels import MaskLabels
from easydl.studies.multitask import read_heads
from easydl.studies.splits import check_split
from easydl.studies.study import TASKS, Study

LEAST_IMAGES = 1


@documented(LoadOptions)
def load(
    source: str | Path | pd.DataFrame,
    *,
    image: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    mask: str | None = None,
    patient: str | None = "auto",
    split: str | None = None,
    task: str = "auto",
    classes: Sequence[str] | None = None,
    label_separator: str | None = None,
    raters: Sequence[str] | None = None,
    heads: Sequence[str] | Mapping[str, Sequence[str] | int] | None = None,
    root: str | Path | None = None,
    merge_labels: bool = False,
    resample_masks: bool = False,
    collapse_instances: bool = False,
    mask_labels: MaskLabels | None = None,
    override: str | None = None,
) -> Study:
    """Load a study from a table, a folder of class folders, images with masks, a folder of DICOM, or a DataFrame.

    Args:
        source: A CSV or Excel file or a DataFrame with one row per image; a folder with one sub-folder per class
            (also below ``train``, ``val`` and ``test`` folders); a folder with the folders ``images`` and ``masks``
            (or ``imagesTr`` and ``labelsTr``, ...), paired by file name; or a folder of DICOM files (one row per series).
        {options}

    Returns:
        A `Study`.

    Raises:
        InputError: Something is missing, unreadable, doubled with another label, ambiguous, or of one class only. All
            bad rows are counted and the first five named; the error's ``problems`` holds all of them.
        LeakageError: The given split puts a patient in two parts and no ``override`` was given.

    Example:
        >>> import pandas as pd, easydl
        >>> easydl.load(pd.DataFrame({"image": [], "label": []}))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        easydl.errors.InputError: The table holds 0 images.
    """
    frame, name, base, inside, notes = _open(source, root)
    wanted: list[str | None] = [image] if isinstance(image, str) else list(image) if image else [None]
    columns = [tables.pick(frame, "image", one, required=True) for one in wanted]
    label_columns = [tables.pick(frame, "label", one) for one in ([label] if isinstance(label, str) else label or [])]
    rater_columns = [str(tables.pick(frame, "raters", one)) for one in raters or []]
    mask_column = tables.pick(frame, "mask", mask)
    found_label = None if mask or raters or label_columns or heads is not None else tables.pick(frame, "label", None)
    label_columns = label_columns or ([found_label] if found_label else [])
    asked = task != "auto"
    task = _task(task, label_columns, label_separator, mask, mask_column, rater_columns, heads)
    if task == "segmentation":
        label_columns = []
    patient_column = tables.pick(frame, "patient", None if patient == "auto" else patient) if patient else None
    if len(frame) < LEAST_IMAGES:
        raise InputError(f"{name} holds {len(frame)} images.", "at least one.", "Check the table or the folder.")

    table = pd.DataFrame(index=frame.index)
    image_columns = ["image"] if len(columns) == 1 else [f"image_{one}" for one in columns]
    for new, old in zip(image_columns, columns, strict=True):
        table[new] = files.resolve(base, frame[old], notes, inside=inside)
    if mask_column:
        table["mask"] = files.resolve(base, frame[mask_column], notes, inside=inside)
    if label_columns or rater_columns:
        table["label"] = ""  # here in the order of columns; filled below
    if patient_column:
        table["patient"] = frame[patient_column].str.strip()
    used = {*columns, mask_column, *label_columns, patient_column}
    for column in frame.columns:
        if column not in used and (column not in table.columns or column == "label") and column != "patient":
            taken = column == "split" or (column == "label" and "label" in table.columns)
            table[f"given_{column}" if taken else column] = frame[column]

    is_table = isinstance(source, pd.DataFrame) or not Path(os.path.expanduser(source)).is_dir()
    table = files.with_facts(table, image_columns, notes, unlisted=inside is not None)
    known = _patients(table, patient, is_table, notes)
    names: list[str] | None = None
    agreed: Agreement | None = None
    if rater_columns:
        numeric = task == "regression"
        read = several.readings(frame, rater_columns, notes, numeric=numeric, classes=classes, merge=merge_labels)
        agreed = agreement(read, table["patient"], numeric=numeric)
        notes.append(f"the raters agree: {agreed.sentence(0)}")
        rater_columns = [f"given_{one}" if one in ("split", "label") else one for one in rater_columns]
        table[rater_columns] = read.astype(object).where(read.notna(), "").map(str)
        if not label_columns:
            voted = several.consensus(read, notes, numeric=numeric)
            frame, label_columns = frame.loc[voted.index].assign(label=voted), ["label"]
    if label_columns:
        cells, names = _labels(frame, label_columns, task, classes, label_separator, merge_labels, notes, asked=asked)
        table = table.loc[cells.index].assign(label=cells)
    questions: dict[str, list[str] | int] = {}
    if heads is not None:
        questions, answers = read_heads(frame, heads, notes, merge=merge_labels)
        table = table.loc[answers.index].assign(**{str(name): answers[name] for name in answers})
    elif not (label_columns or mask_column):
        notes.append("no labels: the study can be looked at and predicted, not trained on")
    target = ["mask"] if task == "segmentation" else list(questions) or ["label"]
    table = files.once(table, image_columns, [*target, *(["patient"] if known else [])], notes)
    study = Study(
        frame=table.reset_index(drop=True), task=task, image_columns=image_columns, patients_known=known, notes=notes,
        name=name, class_names=names, heads=questions, raters=rater_columns, agreement=agreed,
        resample_masks=resample_masks, collapse_instances=collapse_instances, mask_labels=mask_labels,
        mask_column=mask_column or "mask",
    )  # fmt: skip
    _enough(study)
    if split is not None:
        column = "given_split" if split == "split" else split
        if column not in table.columns:
            tables.pick(frame, "split", split)
        check_split(study, column, override)
    elif "given_split" in table.columns:
        study.notes.append(
            "A split comes with the data and is not used; split='split' uses it if no patient is in two parts."
        )
    return study


def _open(
    source: str | Path | pd.DataFrame, root: str | Path | None
) -> tuple[pd.DataFrame, str, Path, Path | None, list[str]]:
    """The rows, what to call them, what paths are relative to, what they have to lie in, and notes."""
    given = None if root is None else Path(os.path.expanduser(root)).resolve()
    if given is not None and not given.is_dir():
        raise InputError(f"root={str(root)!r} is no folder.", "the folder that holds the images.", "Correct root=.")
    if isinstance(source, pd.DataFrame):
        return tables.as_text(source), "The table", given or Path.cwd(), given, []
    path = Path(os.path.expanduser(source))
    name = path.name or str(path)
    if path.is_dir():
        frame, notes = _from_folder(path.resolve())
        return tables.as_text(frame), name, path.resolve(), None, notes
    if path.suffix.lower() in (*tables.TABLE_SUFFIXES, *tables.OLD_WORKBOOKS):
        frame, notes = tables.read_table(path)
        base = given or path.resolve().parent
        return frame, name, base, base, notes
    raise InputError(
        f"{source} is neither a folder nor a table{'' if path.exists() else ', and does not exist'}.",
        "a folder of images, or a CSV or Excel file that lists them.",
        "Correct the path.",
    )


def _from_folder(root: Path) -> tuple[pd.DataFrame, list[str]]:
    pairs = pairing.frame_from_pairs(root)
    if pairs is not None:
        return pairs
    found, notes = folders.class_folders(root)
    masks = pairing.masks_beside([path for entries in found.values() for _, _, path in entries])
    if masks:
        notes.append(
            f"{folders.some(list(masks), 'file')} in the class folders set aside: masks of the images beside them"
        )
        found = {name: [entry for entry in entries if entry[2] not in masks] for name, entries in found.items()}
    if folders.one_patient_each(root, found):
        frame, more = folders.frame_from_dicom(root)
        return frame, [*more, "every sub-folder holds one patient: they were not taken for classes"]
    if len(found) > 1:
        frame, more = folders.frame_from_classes(root, found)
        if len(frame):
            return frame, [*notes, *more]
    listing = tables.tables_in(root)
    if len(found) == 1 and not any(folders.is_dicom(path) for _, _, path in next(iter(found.values()))):
        only = next(iter(found))
        hint = f" The folder also holds {listing[0].name}: load that table instead." if listing else ""
        raise InputError(
            f"{root.name} holds images in one class folder only, {only!r}.",
            "one folder for each of at least two classes.",
            f"Add a folder for the other class.{hint}",
        )
    return folders.frame_from_dicom(root)


def _task(
    task: str, label_columns: list[str | None], separator: str | None, mask: str | None, mask_column: str | None,
    raters: list[str], heads: Any,
) -> str:  # fmt: skip
    """What is to be learnt, and whether the columns can tell it."""
    if heads is not None or task == "multitask":
        if heads is None or label_columns or separator or mask or raters or task not in ("auto", "multitask"):
            raise InputError(
                f"task={task!r} with heads={heads!r} and other labels cannot be answered together.",
                "heads= alone, for several questions about one image, and for nothing else.",
                "Name all the questions in heads= (--heads), and leave label=, mask= and raters= out.",
            )
        return "multitask"
    several_findings = len(label_columns) > 1 or separator is not None
    if task == "auto" and several_findings:
        task = "multilabel"
    elif task == "auto":
        task = "segmentation" if mask or (mask_column and not label_columns and not raters) else "classification"
    if task not in TASKS:
        raise InputError(
            f"task={task!r}.", f"one of {', '.join(map(repr, ('auto', *TASKS)))}.", "Correct task= (--task)."
        )
    elif several_findings != (task == "multilabel"):
        raise InputError(
            f"task={task!r} does not go with {len(label_columns)} label columns and label_separator={separator!r}.",
            "several label columns, or a separator of findings within a cell, for 'multilabel' and for nothing else.",
            "Correct task= (--task), label= (--label) or label_separator= (--label-separator).",
        )
    if task == "segmentation" and not mask_column:
        raise InputError(
            "task='segmentation' needs masks.", "a column with masks.", "Pass mask= (--mask) the name of the column."
        )
    if task in ("segmentation", "multilabel") and raters:
        raise InputError(
            f"raters= does not go with the task {task!r}.", "one class or number per reader and image.",
            "Load each finding as a study of its own, or leave raters= (--raters) out.",
        )  # fmt: skip
    return task


def _labels(
    frame: pd.DataFrame, columns: list[str | None], task: str, classes: Sequence[str] | None, separator: str | None,
    merge: bool, notes: list[str], *, asked: bool,
) -> tuple[pd.Series, list[str]]:  # fmt: skip
    if task == "multilabel":
        if len(columns) > 1:
            return labels.multilabel_columns(frame, [str(one) for one in columns])
        return labels.multilabel_cells(frame[columns[0]], str(separator), notes, classes=classes, merge=merge)
    if task == "regression":
        return labels.numbers(frame[columns[0]], notes, name=str(columns[0])).map(repr), [str(columns[0])]
    cells, names = labels.classification(frame[columns[0]], notes, classes=classes, merge=merge, asked=asked)
    if task == "ordinal" and classes is None:
        labels.refuse_unordered(names)
    return cells, names


def _patients(table: pd.DataFrame, patient: str | None, is_table: bool, notes: list[str]) -> bool:
    if "patient" in table.columns:
        empty = [f"row {row}: the patient is empty" for row in table.index[table["patient"] == ""]]
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


def _enough(study: Study) -> None:
    """At least two classes, findings or values: from one alone nothing can be learnt."""
    if "label" not in study.frame.columns or study.task in ("segmentation", "multitask"):
        return
    if study.task == "multilabel":
        flat = [
            name for name, share in zip(study.classes, study.targets().mean(axis=0), strict=True) if share in (0, 1)
        ]
        if flat or not study.classes:
            raise InputError(
                f"The finding {flat[0]!r} is in none or in all of the {len(study)} images."
                if flat
                else "No image has any finding.",
                "images with and without every finding.",
                "Leave the finding out, or add images.",
            )
        return
    if not study.classes:
        return
    found = study.frame["label"].unique()
    if len(found) < 2:
        raise InputError(
            f"All {len(study)} images have the label {found[0]!r}.",
            "different numbers." if study.task == "regression" else "at least two classes.",
            "Add the images of the other class, or choose another label column.",
        )
    missing = [name for name in study.classes if name not in found] if study.task != "regression" else []
    if missing:
        raise InputError(
            f"No image is of the class {missing[0]!r} in classes=.",
            "images of every class.",
            "Correct classes=, or add the images.",
        )
