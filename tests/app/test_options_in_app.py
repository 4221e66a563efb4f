"""Every option has its widget, with the option's own name, help and limits, or is left to code for a reason."""

from __future__ import annotations

import importlib

import pytest
from made import mask_study
from made_tasks import discs
from pages import assert_calm, field, films, open_folder

from easydl.errors import InputError
from easydl.option_text import help_text, title
from easydl.options import RunOptions

KINDS = ("text_input", "text_area", "selectbox", "multiselect", "number_input", "checkbox")


def test_every_option_has_its_widget_or_a_reason_why_not(session, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EASYDL_WEIGHTS", str(tmp_path))
    shown = {}
    at = session()
    for source in (discs(tmp_path / "s", n=40), mask_study(tmp_path / "masks")):
        at = session()
        keep(shown, at)
        open_folder(at, source)
        for step in ("check", "train"):
            at.switch_page(f"steps/{step}.py").run()
            assert_calm(at)
            keep(shown, at)
    left = importlib.import_module("option_widgets").LEFT_TO_CODE
    for name, option in RunOptions.model_fields.items():
        if name in left:
            assert left[name]
        elif name != "override":  # a text area on the page Check, where something blocks
            assert shown.get(title(name, option)) == help_text(option), name
    assert set(left) <= set(RunOptions.model_fields)


def keep(shown: dict[str, str], at) -> None:
    shown |= {one.label: one.help for kind in KINDS for one in at.get(kind)}


def test_more_options_go_to_the_study_and_to_the_run(session, begun, tmp_path) -> None:
    at = session()
    at.text_input[0].set_value(str(discs(tmp_path / "s", n=40))).run()
    field(at, "multiselect", "Columns of several raters").set_value(["corner", "stripes"])
    at = open_folder(at, discs(tmp_path / "s", n=40))
    at.switch_page("steps/check.py").run()
    field(at, "text_input", "Fractions of the parts").set_value("0.5, 0.25, 0.25").run()
    assert_calm(at)
    at.switch_page("steps/train.py").run()
    for kind, label, value in (
        ("text_input", "Batch size", "4"),
        ("text_input", "Learning rate", "0.002"),
        ("selectbox", "Optimizer", "sgd"),
        ("multiselect", "More metrics", ["recall"]),
        ("selectbox", "Strategy", "features"),
        ("text_input", "Stages to fine-tune", "0"),
        ("multiselect", "Class weight", ["0=1", "1=2.5"]),
        ("text_input", "Window", "10, 200"),
        ("text_input", "Loss", "focal"),
        ("number_input", "Heatmaps", 2),
        ("selectbox", "Last layers of a classifier", "forest"),
        ("selectbox", "Activation", "elu"),
        ("number_input", "Stochastic depth", 0.2),
    ):
        field(at, kind, label).set_value(value)
    next(button for button in at.button if button.label == "Train").click().run()
    assert_calm(at)
    config = begun[0]
    assert config.raters == ["corner", "stripes"] and config.sizes == (0.5, 0.25, 0.25)
    assert (config.batch_size, config.learning_rate, config.strategy, config.fine_tune) == (4, 0.002, "features", 0)
    assert (config.optimizer, config.metrics) == ("sgd", ["recall"])
    assert (config.class_weight, config.window, config.loss) == ({"0": 1.0, "1": 2.5}, (10.0, 200.0), "focal")
    assert config.heatmaps == 2 and config.head == "forest"
    assert (config.activation, config.stochastic_depth) == ("elu", 0.2)


def test_what_cannot_be_read_in_a_field_is_one_error_in_words(session, tmp_path) -> None:
    at = session()
    field(at, "multiselect", "Names of the mask values").set_value(["tumour"])
    at = open_folder(at, films(tmp_path / "films"))
    assert_calm(at)
    assert "not a valid value" in at.error[0].value


@pytest.mark.usefixtures("home")
def test_a_form_holds_nothing_texts_or_values() -> None:
    widgets = importlib.import_module("option_widgets")
    given = {
        "epochs": None,
        "mask": "",
        "raters": [],
        "patient": widgets.NONE,
        "strategy": "finetune",
        "spacing_mm": "5, 1, 1",
    }
    assert widgets.chosen(given) == {
        "epochs": None, "mask": None, "raters": None, "patient": None, "strategy": "finetune", "spacing_mm": ["5", "1", "1"],
    }  # fmt: skip
    with pytest.raises(InputError):
        widgets.chosen({"class_weight": ["nodule=big"]})
