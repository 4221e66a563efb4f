"""Labels, values, ordered classes and several tasks on the pages: opened, checked, and begun with covariates."""

from __future__ import annotations

import pytest
from made import mask_study
from made_tasks import GRADES, discs
from pages import assert_calm, field, text

CHOICES = {
    "multilabel": ({"Label column": ["corner", "stripes"]}, "Labels"),
    "regression": ({"Label column": ["size_mm"]}, "Values"),
    "ordinal": ({"Label column": ["grade"], "Classes": GRADES}, "Ordered classes"),
    "multitask": ({"Columns of several tasks": ["outcome", "size_mm"]}, "Tasks"),
}


@pytest.mark.parametrize(
    "task",
    [pytest.param(one, marks=() if one in ("multitask", "ordinal") else pytest.mark.everything) for one in CHOICES],
)
def test_a_study_of_every_task_is_opened_checked_and_begun(session, begun, tmp_path, task: str) -> None:
    fields, title = CHOICES[task]
    at = session()
    at.text_input[0].set_value(str(discs(tmp_path / "s", n=40))).run()
    assert {"grade", "size_mm"} <= set(field(at, "multiselect", "Label column").options), (
        "the table's columns are offered"
    )
    for label, value in fields.items():
        field(at, "multiselect", label).set_value(value)
    field(at, "selectbox", "Task").set_value(task)
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
    covariates = field(at, "multiselect", "Covariates")
    assert {"age", "sex"} <= set(covariates.options)
    assert not {"corner", "stripes"} & set(covariates.options) or task != "multilabel"
    covariates.set_value(["age", "sex"])
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
    at.text_input[0].set_value(str(mask_study(tmp_path / "s")))
    next(button for button in at.button if button.label == "Open the study").click()
    at.run()
    at.switch_page("steps/train.py").run()
    assert_calm(at)
    assert "20 images of 20 patients" in text(at)
    assert field(at, "checkbox", "Start from pretrained weights").disabled
    encoder = field(at, "selectbox", "Encoder")
    assert encoder.options[0] == "its own, from random weights"
    assert encoder.options[1].startswith("mobilenet_025")
    encoder.set_value("mobilenet_025").run()
    assert_calm(at)
    assert field(at, "checkbox", "Start from pretrained weights").value
    assert "The weights are on this computer." in text(at)
    next(button for button in at.button if button.label == "Train").click().run()
    assert_calm(at)
    assert (begun[0].model, begun[0].encoder, begun[0].pretrained) == ("unet", "mobilenet_025", True)
