"""Which test images are explained: the most confident wrong answers first, and right ones beside them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from easydl.runs.cases import cases_to_show
from easydl.tasks import Task

pytestmark = pytest.mark.quick


class Test:
    """A test set of so many rows."""

    __test__ = False

    def __init__(self, labels, task=Task.CLASSIFICATION, heads=(), **columns):
        self.task, self.heads = task, dict.fromkeys(heads, ())
        self.frame = pd.DataFrame({"image": [f"{k}.png" for k in range(len(labels))], "label": labels, **columns})
        stratified = Task.CLASSIFICATION if heads else task
        self.schema = SimpleNamespace(stratified_by=lambda frame: (stratified, frame["label"]))

    def __len__(self):
        return len(self.frame)

    def head(self, name):
        return SimpleNamespace(task=Task.CLASSIFICATION)


def table(**columns):
    """Cells as text, as a CSV has them."""
    return pd.DataFrame(columns).map(str)


def test_wrong_answers_come_first_the_most_confident_of_them_before_the_others():
    test = Test(list("aabbab"))
    predictions = table(label=list("aabbab"), prediction=list("abbbba"), confidence=[0.9, 0.6, 0.8, 0.7, 0.99, 0.8])
    rows = [row for row, head in cases_to_show(test, predictions, 6)]
    assert rows[:3] == [4, 5, 1]
    assert sorted(rows) == list(range(6))
    # Half of the places at most: the others are right ones, of both classes.
    assert [row for row, _ in cases_to_show(test, predictions, 4)][:2] == [4, 5]
    assert {test.frame["label"][row] for row, _ in cases_to_show(test, predictions, 4)[2:]} == {"a", "b"}
    assert cases_to_show(test, predictions, 0) == []


def test_values_by_their_error_and_masks_by_their_dice():
    values = Test(["1", "2", "3", "4"], Task.REGRESSION)
    predictions = table(label=[1, 2, 3, 4], value=[1.1, 2.0, 9.0, 3.0])
    assert [row for row, _ in cases_to_show(values, predictions, 4)][:2] == [2, 3]
    masks = Test(list("----"), Task.SEGMENTATION, mask=["m", "", "m", "m"])
    cases = table(image=["p", "p", "q", "q", "r", "r"], dice=[0.9, 0.7, 0.2, 0.4, np.nan, 0.5])
    assert [row for row, _ in cases_to_show(masks, cases, 4)][:2] == [2, 3]
    assert sorted(row for row, _ in cases_to_show(masks, cases, 4)) == [0, 1, 2, 3]


def test_heads_take_turns_and_blanks_are_not_wrong():
    test = Test(list("abab"), Task.MULTITASK, heads=("x", "y"))
    predictions = table(**{
        "x: label": ["no", "no", "", "yes"], "x: prediction": ["no", "yes", "yes", "no"], "x: confidence": [1, 0.6, 1, 0.7],
        "y: label": ["no"] * 4, "y: prediction": ["yes", "no", "no", "no"], "y: confidence": [0.9] * 4,
    })  # fmt: skip
    shown = cases_to_show(test, predictions, 4)
    assert shown[:2] == [(3, "x"), (0, "y")]
    assert sorted(head for _, head in shown) == ["x", "x", "y", "y"]
    assert len({row for row, _ in shown}) == 4
