"""Which columns of a table play which role, and which task they pose. It reads no cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from easydl.errors import InputError, unknown_name
from easydl.options import LoadOptions
from easydl.studies.tables import pick
from easydl.tasks import STUDY_TASKS, Task


@dataclass(frozen=True)
class Columns:
    """The columns of a table by their roles, by the table's own names, and the task.

    Attributes:
        images: Several become channels.
        labels: None for masks and heads; several are one label each.
        masks: With masks; several hold one structure each.
        patient: With patients, or None.
        raters: With the labels of several raters.
        heads: Columns of several tasks, as the user gave them, or None.
        task: What is to be learnt.
    """

    images: list[str]
    labels: list[str]
    masks: list[str]
    patient: str | None
    raters: list[str]
    heads: Sequence[str] | Mapping[str, Sequence[str] | int] | None
    task: Task


def choose_columns(frame: pd.DataFrame, options: LoadOptions) -> Columns:
    """Find the columns that the user named, or that are recognised by their names.

    Raises:
        InputError: A column is not there, or the columns cannot tell the task.
    """
    images = [str(pick(frame, "image", name, required=True)) for name in _several(options.image) or [None]]
    labels = [str(pick(frame, "label", name)) for name in _several(options.label)]
    raters = [str(pick(frame, "raters", name)) for name in options.raters or []]
    masks = [name for one in _several(options.mask) or [None] if (name := pick(frame, "mask", one))]
    if len(masks) != len(set(masks)) or (len(masks) > 1 and options.mask_labels is not None):
        raise InputError(
            f"mask={options.mask!r}{' with mask_labels=' if options.mask_labels else ''}.",
            "each column once; several are one structure each, and their names are those of the columns.",
            "Correct mask= (--mask), and leave mask_labels= out: it names the values of a single mask.",
        )
    if not (options.mask or raters or labels or options.heads is not None):
        recognised = pick(frame, "label", None)
        labels = [recognised] if recognised else []
    task = _task(options, labels, masks, raters)
    patient = None
    if options.patient:
        patient = pick(frame, "patient", None if options.patient == "auto" else options.patient)
    return Columns(images, [] if task.has_masks else labels, masks, patient, raters, options.heads, task)


def _several(names: str | Sequence[str] | None) -> Sequence[str | None]:
    return [names] if isinstance(names, str) else list(names or [])


def _task(options: LoadOptions, labels: list[str], masks: list[str], raters: list[str]) -> Task:
    """What is to be learnt, and whether the columns can tell it."""
    asked, separator = options.task, options.label_separator
    if options.heads is not None or asked == Task.MULTITASK:
        others = labels or separator or options.mask or raters
        if options.heads is None or others or asked not in ("auto", Task.MULTITASK):
            raise InputError(
                f"task={asked!r} with heads={options.heads!r} and other labels cannot be combined.",
                "heads= alone, for several tasks on one image, and for nothing else.",
                "Name the columns of all tasks in heads= (--heads), and leave label=, mask= and raters= out.",
            )
        return Task.MULTITASK
    several = len(labels) > 1 or separator is not None
    if asked == "auto":
        segments = options.mask or (masks and not labels and not raters)
        task = Task.MULTILABEL if several else Task.SEGMENTATION if segments else Task.CLASSIFICATION
    elif asked in STUDY_TASKS:
        task = Task(asked)
    else:
        raise unknown_name(f"task={asked!r}.", asked, ("auto", *STUDY_TASKS), do="Correct task= (--task).")
    if several != (task == Task.MULTILABEL):
        raise InputError(
            f"task={str(task)!r} does not go with {len(labels)} label columns and label_separator={separator!r}.",
            "several label columns, or a separator of labels within a cell, for 'multilabel' and for nothing else.",
            "Correct task= (--task), label= (--label) or label_separator= (--label-separator).",
        )
    if task.has_masks and not masks:
        raise InputError(
            "task='segmentation' needs masks.", "a column with masks.", "Pass mask= (--mask) the name of the column."
        )
    if raters and (task.has_masks or several):
        raise InputError(
            f"raters= does not go with the task {str(task)!r}.",
            "one class or value per rater and image.",
            "Load each label as a study, or leave raters= (--raters) out.",
        )
    return task
