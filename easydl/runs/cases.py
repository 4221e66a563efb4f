"""Which test images a run explains: the worst first, then some of every class. It predicts nothing."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

WORST = 0.5
"""The fraction of the places that wrong answers may fill: without right ones beside them nobody sees the difference."""


def cases_to_show(test: Study, predictions: pd.DataFrame, most: int) -> list[tuple[int, str]]:
    """Rows of a test set, each with its head (or ""): the most confident wrong answers, then classes in turn.

    ``predictions`` is the table that `easydl.predict` wrote of the same rows; for masks the table of their Dice. Several
    heads take turns.
    """
    heads = list(test.heads) or [""]
    orders = []
    for head in heads:
        wrong = _wrong(test, predictions, head)
        orders.append(wrong[: max(1, int(most * WORST / len(heads)))] if most else [])
    worst = [
        (row, head) for rows in zip_longest(*orders) for row, head in zip(rows, heads, strict=True) if row is not None
    ]
    shown = worst[:most]
    seen = {row for row, _ in shown}
    others = [row for row in spread(test) if row not in seen]
    turn = {head: sum(one == head for _, one in shown) for head in heads}
    for row in others[: most - len(shown)]:
        head = min(heads, key=lambda one: (turn[one], heads.index(one)))
        shown.append((row, head))
        turn[head] += 1
    return shown


def _wrong(test: Study, predictions: pd.DataFrame, head: str) -> list[int]:
    """Rows whose answer is wrong, the worst first; for values all of them, by their error; for masks by their Dice."""
    start = f"{head}: " if head else ""
    task = Task(test.head(head).task) if head else Task(test.task)
    if task.has_masks:
        return _lowest_dice(test, predictions)
    needed = [f"{start}label", f"{start}value"] if task.is_value else [f"{start}{one}" for one in _COLUMNS]
    if len(predictions) != len(test) or not set(needed) <= set(predictions.columns):
        return []
    if task.is_value:
        label, value = (pd.to_numeric(predictions[column], errors="coerce") for column in needed)
        worst = (value - label).abs().to_numpy()
        return [int(row) for row in np.argsort(-worst, kind="stable") if np.isfinite(worst[row])]
    label, answer, confidence = (predictions[column] for column in needed)
    wrong = np.flatnonzero((label != answer) & ((label != "") | (task == Task.MULTILABEL)))
    sure = pd.to_numeric(confidence, errors="coerce").fillna(0.0).to_numpy()
    return [int(row) for row in wrong[np.argsort(-sure[wrong], kind="stable")]]


_COLUMNS = ("label", "prediction", "confidence")


def _lowest_dice(test: Study, cases: pd.DataFrame) -> list[int]:
    if not {"image", "dice"} <= set(cases.columns):
        return []
    dice = pd.to_numeric(cases["dice"], errors="coerce").groupby(cases["image"].map(str)).mean().dropna()
    # The table has the rows with a mask in their order, a line for each structure.
    images = list(dict.fromkeys(cases["image"].map(str)))
    rows = [row for row in range(len(test)) if str(test.frame["mask"].iloc[row])]
    place = dict(zip(images, rows, strict=True)) if len(images) == len(rows) else {}
    return [place[image] for image in dice.sort_values(kind="stable").index if image in place]


def spread(test: Any) -> list[int]:
    """Rows of a test set such that the first of them are of different classes, or values far apart."""
    task, labels = test.schema.stratified_by(test.frame)
    labels = labels.reset_index(drop=True)
    if Task(task).has_masks or not len(labels):
        return list(range(len(test)))
    if Task(task).is_value:
        order = pd.to_numeric(labels).sort_values(kind="stable").index
        # The lowest, the highest, the middle, then the quarters: always the middle of the widest gap.
        places = [0.0, 1.0, *((2 * k + 1) / 2**depth for depth in range(1, 8) for k in range(2 ** (depth - 1)))]
        chosen = [int(order[round(place * (len(order) - 1))]) for place in places]
        return list(dict.fromkeys([*chosen, *map(int, order)]))
    return [int(row) for row in labels.groupby(labels).cumcount().sort_values(kind="stable").index]
