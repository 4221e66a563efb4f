"""Findings, numbers, grades and several questions on the pages: opened, checked, and begun with what is told beside."""

from __future__ import annotations

import pytest
from made import outlined_study
from made_tasks import GRADES, discs
from test_app import assert_calm, text

CHOICES = {
    "multilabel": ({"Column with the label": "corner, stripes"}, "any number of findings", "Findings"),
    "regression": ({"Column with the label": "size_mm"}, "a number", "Numbers"),
    "ordinal": (
        {"Column with the label": "grade", "Classes in order, separated by commas": ", ".join(GRADES)},
        "one of several ordered grades", "Grades",
    ),
    "multitask": ({"Several questions: their columns, separated by commas": "outcome, size_mm"}, "several questions", "Questions"),
}  # fmt: skip


def field(at, kind: str, label: str):
    return next(one for one in at.get(kind) if one.label == label)


@pytest.mark.parametrize("task", list(CHOICES))
def test_a_study_of_every_task_is_opened_checked_and_begun(session, begun, tmp_path, task: str) -> None:
    fields, asked, title = CHOICES[task]
    at = session()
    at.text_input[0].set_value(str(discs(tmp_path / "s", n=40)))
    for label, value in fields.items():
        field(at, "text_input", label).set_value(value)
    field(at, "selectbox", "What is to be learnt").set_value(task)
    assert asked in field(at, "selectbox", "What is to be learnt").options
    next(button for button in at.button if button.label == "Open the study").click()
    at.run()
    assert_calm(at)
    assert title in text(at)
    if task in ("regression", "multitask"):
        assert "median" in text(at)
    at.switch_page("steps/check.py").run()
    assert_calm(at)
    assert "training" in text(at)
    at.switch_page("steps/train.py").run()
    assert_calm(at)
    beside = field(at, "multiselect", "Told beside the image")
    assert {"age", "sex"} <= set(beside.options)
    assert not {"corner", "stripes"} & set(beside.options) or task != "multilabel"
    beside.set_value(["age", "sex"])
    next(button for button in at.button if button.label == "Train").click().run()
    assert_calm(at)
    assert (begun[0].task, begun[0].covariates) == (task, ["age", "sex"])
    assert begun[0].label == {"multilabel": ["corner", "stripes"], "regression": "size_mm", "ordinal": "grade"}.get(
        task
    )
    assert begun[0].heads == (["outcome", "size_mm"] if task == "multitask" else None)


def test_a_segmenter_is_built_on_a_classifier_and_its_weights(session, begun, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EASYDL_WEIGHTS", str(tmp_path))
    (tmp_path / "mobilenet_2_5_224_tf_no_top.h5").write_bytes(b"weights")
    at = session()
    at.text_input[0].set_value(str(outlined_study(tmp_path / "s")))
    next(button for button in at.button if button.label == "Open the study").click()
    at.run()
    at.switch_page("steps/train.py").run()
    assert_calm(at)
    assert "20 images of 20 patients" in text(at)
    assert field(at, "toggle", "Start from pretrained weights").disabled
    encoder = field(at, "selectbox", "Encoder")
    assert encoder.options[0] == "its own, from random numbers"
    assert encoder.options[1].startswith("mobilenet_025")
    encoder.set_value("mobilenet_025").run()
    assert_calm(at)
    assert field(at, "toggle", "Start from pretrained weights").value
    assert "The weights are on this computer." in text(at)
    next(button for button in at.button if button.label == "Train").click().run()
    assert_calm(at)
    assert (begun[0].model, begun[0].encoder, begun[0].pretrained) == ("unet", "mobilenet_025", True)
