"""What a question needs of the study that it is asked of: that it is one, and labels that differ. It calls no model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from easydl.errors import InputError
from easydl.studies import Study
from easydl.tasks import Task


def check_study(study: Any) -> None:
    """Refuse what is no study, such as the path of its table.

    Raises:
        InputError: It is none.
    """
    if not isinstance(study, Study):
        raise InputError(
            f"`study` is a {type(study).__name__}.", "a study from easydl.load.", "Give easydl.load(the table)."
        )


def check_labels(frame: pd.DataFrame, task: Task) -> None:
    """Refuse images without labels, and those of one class: nothing can be lost where there is nothing to tell apart.

    Raises:
        InputError: There are no labels, or of classes only one.
    """
    if "label" not in frame.columns:
        raise InputError(
            "The study has no labels of the model's task.",
            "labels: an input is worth what the answers lose without it.",
            "Load it with its labels.",
        )
    different = sorted(set(frame["label"].astype(str).str.strip()) - {""})
    if task.has_classes and len(different) < 2:
        raise InputError(
            f"All {len(frame)} images have the label {different[0]!r}." if different else "No image has a label.",
            "images of two classes at least: the result of one cannot be measured.",
            "Add images of another class.",
        )
