"""How much rare classes and labels count, and the reason as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from easydl.errors import InputError, unknown_name
from easydl.studies import Study
from easydl.tasks import Task

MOST_WEIGHT = 10.0
LEAST_DIFFERENCE = 1.2
"""Weights that differ by less are left out."""

Weights = dict[int, float] | None
Given = dict[str, float] | str | None


def choose_weights(given: Given, train: Study) -> tuple[Weights, dict[str, dict[int, float]], list[str]]:
    """The weights of classes or labels, those of several heads by name, and the reasons.

    Raises:
        InputError: ``given`` is not valid for this task, or names a class that is not there.
    """
    task = Task(train.task)
    if isinstance(given, str) and given != "auto":
        raise InputError(f"class_weight={given!r}.", '"auto", None or a dict from class to weight.', "Choose one.")
    if isinstance(given, dict) and not task.has_classes:
        what = "a value" if task.is_value else "several tasks"
        raise InputError(
            f"class_weight was given, and the model learns {what}.",
            'classes to weight; "auto" or None otherwise.',
            "Leave class_weight out.",
        )
    if not task.is_multiple:
        weights, reason = (None, "") if task.is_value else _weights_of_one(given, train)
        return weights, {}, [reason] if reason else []
    by_head, reasons = {}, []
    for name, classes in train.heads.items():
        weights, reason = (None, "") if classes == 1 else _weights_of_one(given, train.head(name))
        if weights:
            by_head[name] = weights
            reasons.append(f"{name}: {reason[0].lower()}{reason[1:]}")
    return None, by_head, reasons


def _weights_of_one(given: Given, train: Study) -> tuple[Weights, str]:
    classes = list(train.classes)
    if given is None:
        return None, ""
    if isinstance(given, dict):
        check_weighted(given, classes)
        return {k: float(given.get(name, 1.0)) for k, name in enumerate(classes)}, "Class weights were given."
    counts = [int(count) for count in train.targets().sum(axis=0)]
    if Task(train.task).exclusive:
        what = "Rare classes count more"
        seen = sum(count > 0 for count in counts)
        weights = {k: len(train) / (seen * count) for k, count in enumerate(counts) if count}
        unequal = max(weights.values()) / min(weights.values())
    else:
        what = "Images with a label count more than those without it"
        weights = {k: _positive_weight(len(train), count) for k, count in enumerate(counts)}
        unequal = max(weights.values())
    if unequal < LEAST_DIFFERENCE:
        return None, ""
    listing = ", ".join(f"{classes[k]} {weight:.2f}" for k, weight in weights.items())
    return {k: weights.get(k, 1.0) for k in range(len(classes))}, f"{what}: {listing}."


def check_weighted(given: Mapping[str, float], classes: Sequence[str]) -> None:
    """Refuse a weight for a class that is not there.

    Raises:
        InputError: A name is none of the classes.
    """
    for name in sorted(set(given) - set(classes)):
        raise unknown_name(
            f"class_weight names {name!r}.", name, classes, do="Correct the name.", expected="the classes {}."
        )


def _positive_weight(images: int, positive: int) -> float:
    """An image with a rare label counts up to as much as all without it, and ten times at most."""
    return float(np.clip((images - positive) / max(1, positive), 1.0, MOST_WEIGHT))
