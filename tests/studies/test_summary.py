"""What a builder is told of a study: printable, JSON, and never at odds with the targets."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from made import nifti_study

import easydl
from easydl.studies import StudySummary


@pytest.fixture
def frame(table):
    found = pd.read_csv(table, dtype=str)
    return found.assign(image=[str(table.parent / path) for path in found["image"]], age=[str(k) for k in range(16)])


def test_classes_are_a_plain_list_that_nobody_can_change(frame):
    study = easydl.load(frame)
    assert type(study.classes) is list
    study.classes.reverse()
    assert study.classes == ["disease", "healthy"]
    with pytest.raises(FrozenInstanceError):
        study.class_names = ["healthy", "disease"]


@pytest.mark.parametrize("order", [["disease", "healthy"], ["healthy", "disease"]])
def test_classes_and_targets_have_one_order_in_every_study_derived_from_another(frame, order):
    study = easydl.load(frame)
    _ = study.summary, study.targets()  # nothing that was worked out before may be left over
    renamed = replace(study, class_names=order)
    train = replace(study.split(seed=0)[0], class_names=order)
    for one in (renamed, renamed.rows([0, 9]), *renamed.split(seed=0), *renamed.folds(3)[0], train, train.rows([1])):
        named = [one.classes[place] for place in one.targets().argmax(axis=1)]
        assert (one.classes, list(one.summary.classes)) == (order, order)
        assert named == one.frame["label"].tolist()
    assert study.classes == ["disease", "healthy"]


def test_the_summary_prints_calmly_and_is_json(frame):
    study = easydl.load(frame.assign(sex=["F", "M"] * 8))
    assert str(study.summary).splitlines() == [
        "Task:        classification",
        "Classes:     disease, healthy",
        "Images:      2D, 1 channel, 0-255",
        "Median size: 32 x 32 pixels",
        "Covariates:  age, sex (F, M)",
    ]
    assert StudySummary.from_json(study.summary.to_json()) == study.summary
    assert study.rows([0, 1]).summary is study.summary


def test_the_summary_of_masks_names_their_values_and_spacing(tmp_path):
    summary = easydl.load(nifti_study(tmp_path, cases=3), mask="mask").summary
    assert (summary.classes, summary.label_values) == (("background", "foreground"), (0, 1))
    assert "Median spacing: 2 x 1.5 x 1.5 mm" in str(summary)
    assert StudySummary.from_json(summary.to_json()) == summary


def test_the_summary_of_heads_holds_each(frame):
    study = easydl.load(frame, heads={"label": ["healthy", "disease"], "age": 1})
    assert study.summary.heads == {"label": ("healthy", "disease"), "age": 1}
    assert "Heads:       label (healthy, disease), age" in str(study.summary)
    assert np.allclose(study.targets()["label"].sum(axis=1), 1)
