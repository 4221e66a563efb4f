"""`easydl.load`: from whatever the user has to a checked Study. Reading pixels is left to the Study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from easydl.errors import InputError
from easydl.images.values import UNKNOWN_UNITS
from easydl.option_model import documented
from easydl.options import LoadOptions
from easydl.studies import files, folders, pairing, tables
from easydl.studies import labels as labels_
from easydl.studies import raters as raters_
from easydl.studies.agreement import Agreement, agreement
from easydl.studies.columns import Columns, choose_columns
from easydl.studies.exclusion import without
from easydl.studies.mask_labels import MaskLabels
from easydl.studies.multitask import read_heads
from easydl.studies.nnunet import frame_from_nnunet
from easydl.studies.patients import with_patients
from easydl.studies.pixel_facts import ImageFiles, declared_units
from easydl.studies.references import PREFIX
from easydl.studies.study import Study
from easydl.studies.subject_names import are_persons
from easydl.studies.subject_trees import Tree, frame_from_bids, frame_from_subjects, with_subjects
from easydl.studies.summary import spread
from easydl.tasks import Task


@documented(LoadOptions)
def load(
    source: str | Path | pd.DataFrame,
    *,
    image: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    mask: str | Sequence[str] | None = None,
    patient: str | None = "auto",
    split: str | None = None,
    task: str = "auto",
    classes: Sequence[str] | None = None,
    label_separator: str | None = None,
    raters: Sequence[str] | None = None,
    heads: Sequence[str] | Mapping[str, Sequence[str] | int] | None = None,
    root: str | Path | None = None,
    units: str = "auto",
    exclude: Sequence[str | int] | None = None,
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
            (or ``imagesTr`` and ``labelsTr``, ...), paired by file name; a BIDS folder, or one with a folder of volumes
            for each patient; or a folder of DICOM files (one row per series).
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
    # The arguments as they are: what is wrong with them is said in the words of the table, not of a validator.
    options = LoadOptions.model_construct(**{name: value for name, value in locals().items() if name != "source"})
    opened = _open(source, options)
    options = options.model_copy(update=opened.columns)
    columns = choose_columns(opened.frame, options)
    if opened.frame.empty:
        raise InputError(f"{opened.name} holds 0 images.", "at least one.", "Check the table or the folder.")
    kept, left_out = without(opened.frame, columns.images, opened.base, exclude or (), opened.notes)
    opened = replace(opened, frame=kept)
    table, image_columns = _with_paths(opened, columns)
    table, examinations = files.with_facts(
        table,
        image_columns,
        _mask_columns(columns),
        opened.notes,
        left_out=left_out if opened.inside else None,
        patients=patient is not None,
    )
    patients_known, respelled = with_patients(
        table, examinations, opened.notes, asked=patient is not None, required=patient == "auto" and opened.is_table
    )
    labels = _read_labels(opened, columns, options, table["patient"])
    table = table.loc[labels.cells.index].assign(**{str(name): labels.cells[name] for name in labels.cells})
    target = _mask_columns(columns) if columns.task.has_masks else list(labels.heads) or ["label"]
    table = files.once(table, image_columns, [*target, *(["patient"] if patients_known else [])], opened.notes)
    study = Study(
        frame=table.reset_index(drop=True),
        task=columns.task,
        image_columns=image_columns,
        patients_known=patients_known,
        respelled=respelled,
        notes=opened.notes,
        name=opened.name,
        class_names=labels.class_names,
        heads=labels.heads,
        raters=labels.raters,
        agreement=labels.agreement,
        resample_masks=resample_masks,
        collapse_instances=collapse_instances,
        files=ImageFiles(declared_units(table, image_columns, units)),
        mask_labels=mask_labels if mask_labels is not None or len(columns.masks) > 1 else opened.mask_labels,
        mask_column=columns.masks[0] if len(columns.masks) == 1 else "mask",
        mask_columns=_mask_columns(columns) or ["mask"],
    )
    _enough(study)
    if split is not None:
        if ("given_split" if split == "split" else split) not in table.columns:
            tables.pick(opened.frame, "split", split)
        return study.with_split(split, override)
    if "given_split" in table.columns:
        study.notes.append(
            "A split comes with the data and is not used; split='split' uses it if no patient is in two parts."
        )
    return study


@dataclass(frozen=True)
class _Source:
    """What was opened: rows as text, what to call them, what paths are relative to and have to lie in, and notes.

    Of a tree of patients also the columns with its images and masks (as options), and the names of its mask values, if
    they came with it.
    """

    frame: pd.DataFrame
    name: str
    base: Path
    inside: Path | None
    is_table: bool
    notes: list[str]
    columns: dict[str, list[str]] = field(default_factory=dict)
    mask_labels: MaskLabels | None = None


@dataclass(frozen=True)
class _Labels:
    """What was read from the label columns: cells of the rows that are kept, and what they mean."""

    cells: pd.DataFrame
    class_names: list[str] | None
    heads: dict[str, list[str] | int]
    raters: list[str]
    agreement: Agreement | None


def _open(source: str | Path | pd.DataFrame, options: LoadOptions) -> _Source:
    root = options.root
    given = None if root is None else Path(os.path.expanduser(root)).resolve()
    if given is not None and not given.is_dir():
        raise InputError(f"root={str(root)!r} is not a folder.", "the folder that holds the images.", "Correct root=.")
    if isinstance(source, pd.DataFrame):
        return _Source(tables.as_text(source), "The table", given or Path.cwd(), given, True, [])
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        tree = _from_folder(path.resolve(), options)
        name, text = path.name or str(path), tables.as_text(tree.frame)
        found = {"image": tree.images, "mask": tree.masks}
        roles = {role: columns for role, columns in found.items() if columns}
        return _Source(text, name, path.resolve(), None, False, tree.notes, roles, tree.mask_labels)
    if path.suffix.lower() in (*tables.TABLE_SUFFIXES, *tables.OLD_WORKBOOKS):
        frame, notes = tables.read_table(path)
        base = given or path.resolve().parent
        return _Source(frame, path.name, base, base, True, notes)
    raise InputError(
        f"{source} is neither a folder nor a table{'' if path.exists() else ', and does not exist'}.",
        "a folder of images, or a CSV or Excel file that lists them.",
        "Correct the path.",
    )


def _from_folder(root: Path, options: LoadOptions) -> Tree:
    named = [[one] if isinstance(one, str) else list(one or []) for one in (options.image, options.mask)]
    tree = frame_from_nnunet(root, named[0]) or frame_from_bids(root, *named)
    if tree is not None:
        return tree
    pairs = pairing.frame_from_pairs(root)
    if pairs is not None:
        return Tree(*with_subjects(*pairs))
    return frame_from_subjects(root, *named) or Tree(*with_subjects(*_from_class_folders(root)))


def _from_class_folders(root: Path) -> tuple[pd.DataFrame, list[str]]:
    found, notes = folders.class_folders(root)
    masks = pairing.masks_beside([path for entries in found.values() for _, _, path in entries])
    if masks:
        notes.append(
            f"{folders.some(list(masks), 'file')} in the class folders excluded: masks of the images beside them"
        )
        found = {name: [entry for entry in entries if entry[2] not in masks] for name, entries in found.items()}
    if folders.one_patient_each(root, found):
        frame, more = folders.frame_from_dicom(root)
        return frame, [*more, "every sub-folder holds one patient: they were not taken for classes"]
    if are_persons(list(found)) and not any(folders.is_dicom(path) for _, _, path in next(iter(found.values()))):
        rows = [(str(path), name, split) for name, held in found.items() for _, split, path in held]
        frame = pd.DataFrame(rows, columns=["image", "patient", "given_split"], dtype=str)
        return frame.loc[:, (frame != "").any()], [
            *notes,
            "every sub-folder is of one patient, by its name: none is a class",
        ]
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


def _with_paths(opened: _Source, columns: Columns) -> tuple[pd.DataFrame, list[str]]:
    """The table under easydl's own column names, with full paths, and its image columns."""
    frame, notes = opened.frame, opened.notes
    image_columns = ["image"] if len(columns.images) == 1 else [f"image_{name}" for name in columns.images]
    renamed = [
        *zip(image_columns, columns.images, strict=True),
        *zip(_mask_columns(columns), columns.masks, strict=True),
    ]
    table = {new: files.resolve(opened.base, frame[old], notes, inside=opened.inside) for new, old in renamed}
    if columns.labels or columns.raters:
        table["label"] = pd.Series("", frame.index)  # here in the order of columns; filled when the labels are read
    if columns.patient:
        table["patient"] = frame[columns.patient].str.strip()
    used = {*columns.images, *columns.masks, *columns.labels, columns.patient, "patient"}
    for column in frame.columns:
        if column not in used and (column not in table or column == "label"):
            taken = column == "split" or (column == "label" and "label" in table)
            table[f"given_{column}" if taken else column] = frame[column]
    return pd.DataFrame(table, index=frame.index), image_columns  # at once: to insert columns one by one is quadratic


def _mask_columns(columns: Columns) -> list[str]:
    """What the columns of masks are called in the study's frame."""
    return ["mask"] if len(columns.masks) == 1 else [f"{PREFIX}{name}" for name in columns.masks]


def _read_labels(opened: _Source, columns: Columns, options: LoadOptions, patient: pd.Series) -> _Labels:
    """The labels of all roles: one column or several, raters, heads."""
    frame, notes, label_columns = opened.frame, opened.notes, columns.labels
    cells, rater_columns, agreed = pd.DataFrame(index=frame.index), columns.raters, None
    names: list[str] | None = None
    if rater_columns:
        numeric = columns.task.is_value
        ratings = raters_.ratings(
            frame, rater_columns, notes, numeric=numeric, classes=options.classes, merge=options.merge_labels
        )
        agreed = agreement(ratings, patient, numeric=numeric)
        notes.append(f"the raters agree: {agreed.sentence(0)}")
        rater_columns = [f"given_{one}" if one in ("split", "label") else one for one in rater_columns]
        cells[rater_columns] = ratings.astype(object).where(ratings.notna(), "").map(str)
        if not label_columns:
            voted = raters_.consensus(ratings, notes, numeric=numeric)
            frame, label_columns = frame.loc[voted.index].assign(label=voted), ["label"]
    if label_columns:
        label, names = _read_label(frame, label_columns, columns.task, options, notes)
        cells = cells.loc[label.index].assign(label=label)
    heads: dict[str, list[str] | int] = {}
    if columns.heads is not None:
        heads, cells = read_heads(frame, columns.heads, notes, merge=options.merge_labels)
    elif not (label_columns or columns.masks):
        notes.append("no labels: the study can be looked at and predicted, not trained on")
    return _Labels(cells, names, heads, rater_columns, agreed)


def _read_label(
    frame: pd.DataFrame, columns: list[str], task: Task, options: LoadOptions, notes: list[str]
) -> tuple[pd.Series, list[str]]:
    """The label of every row that has one, and the classes or labels in order, or the name of the value."""
    classes, merge = options.classes, options.merge_labels
    if task == Task.MULTILABEL:
        if len(columns) > 1:
            return labels_.multilabel_columns(frame, columns)
        separator = str(options.label_separator)
        return labels_.multilabel_cells(frame[columns[0]], separator, notes, classes=classes, merge=merge)
    if task.is_value:
        return labels_.numbers(frame[columns[0]], notes, name=columns[0]).map(repr), [columns[0]]
    cells, names = labels_.classification(
        frame[columns[0]], notes, classes=classes, merge=merge, asked=options.task != "auto"
    )
    if task.ordered and classes is None:
        labels_.refuse_unordered(names)
    return cells, names


def _enough(study: Study) -> None:
    """One kind of image, and at least two classes, labels or values: from one alone nothing can be learnt."""
    task = study.task
    if "label" not in study.frame.columns or not task.per_image:
        return
    _ = study.kind  # a sample of the images is looked at, so that a mix of kinds is refused here
    if any(UNKNOWN_UNITS in one.notes for one in study.facts(spread(len(study)))):
        study.notes.append(f"some images: {UNKNOWN_UNITS}")
    if task == Task.MULTILABEL:
        fractions = zip(study.classes, study.targets().mean(axis=0), strict=True)
        flat = [name for name, fraction in fractions if fraction in (0, 1)]
        if flat or not study.classes:
            raise InputError(
                f"The label {flat[0]!r} is in none or in all of the {len(study)} images."
                if flat
                else "No image has any label.",
                "images with and without every label.",
                "Leave the label out, or add images.",
            )
        return
    found = study.frame["label"].unique()
    if len(found) < 2:
        raise InputError(
            f"{f'All {len(study)} images have' if len(study) > 1 else 'The only image has'} the label {found[0]!r}.",
            "different values." if task.is_value else "at least two classes.",
            "Add the images of the other class, or choose another label column.",
        )
    missing = [] if task.is_value else [name for name in study.classes if name not in found]
    if missing:
        raise InputError(
            f"No image is of the class {missing[0]!r} in classes=.",
            "images of every class.",
            "Correct classes=, or add the images.",
        )
