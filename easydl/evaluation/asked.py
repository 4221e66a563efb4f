"""What a test is asked for, checked against a study before its model is trained: groups and prevalence. It tests nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.classification import Prevalence, prevalences
from easydl.evaluation.subgroups import columns_of
from easydl.tasks import Task


def check_asked(
    frame: pd.DataFrame,
    task: Task,
    classes: Sequence[str],
    heads: Mapping[str, Any],
    *,
    by: str | Sequence[str] | None,
    prevalence: Prevalence,
) -> None:
    """Refuse groups and a prevalence that the test would refuse.

    Args:
        frame: Of the study.
        task: Of the study.
        classes: Its classes in order, not needed for several tasks.
        heads: Of several tasks ``task`` and ``classes`` of each, by name.
        by: As of `evaluate`.
        prevalence: As of `evaluate`.

    Raises:
        InputError: A column that is not there, a prevalence for what has no predictive values, or of an unknown class.
    """
    if by is not None:
        columns_of(frame, by)
    if task.is_multiple:
        for name, stated in prevalence_of_heads(prevalence, heads).items():
            check_prevalence(stated, Task(heads[name].task), heads[name].classes)
    else:
        check_prevalence(prevalence, task, classes)


def prevalence_of_heads(given: Prevalence, heads: Mapping[str, Any]) -> dict[str, float]:
    """The stated prevalence of each task, that of the second of its two classes.

    Raises:
        InputError: It is not given by the names of the tasks.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not set(given) <= set(heads):
        name = next(iter(heads))
        raise InputError(
            f"prevalence={given!r} with the tasks {', '.join(heads)}.",
            "a prevalence for each task by its name, of the second of its two classes.",
            f"Write for example prevalence={{{name!r}: 0.05}} (--prevalence {name}=0.05).",
        )
    return {str(name): value for name, value in given.items()}


def check_prevalence(given: Prevalence, task: Task, classes: Sequence[str]) -> None:
    """Refuse a prevalence for a task without predictive values, or of a class that is not there.

    Raises:
        InputError: It is one.
    """
    if given is None:
        return
    if task not in (Task.CLASSIFICATION, Task.MULTILABEL):
        raise InputError(
            f"prevalence={given!r} for a model of the task {task}.",
            "a model of classes or labels: only they have predictive values.",
            "Leave it out.",
        )
    two = task is Task.CLASSIFICATION and len(classes) == 2
    prevalences(given, tuple(map(str, classes)), str(classes[1]) if two else None)
