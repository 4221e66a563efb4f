"""The page Plan says what the functions say, and leaves the test part alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from made import png_study
from pages import assert_calm, field, open_folder, press, text

import easydl


def test_the_interval_of_a_test_is_that_of_the_function(session) -> None:
    at = session("plan")
    assert_calm(at)
    assert "No study is open" in text(at)
    field(at, "selectbox", "What will be measured").set_value("Mean Dice").run()
    field(at, "number_input", "What is expected").set_value(0.7)
    field(at, "number_input", "Standard deviation between patients").set_value(0.2)
    field(at, "number_input", "Patients tested").set_value(40).run()
    assert_calm(at)
    expected = repr(easydl.interval_width(dice=0.7, sd=0.2, patients=40)).splitlines()[0]
    assert expected.replace(".", "\\.").replace("(", "\\(").replace(")", "\\)").replace("-", "\\-") in text(at)


@pytest.fixture
def opened(session, tmp_path: Path):
    at = open_folder(session(), png_study(tmp_path / "films", per_class=30))
    at.switch_page("steps/plan.py").run()
    assert_calm(at)
    return at


def test_simple_models_are_compared_on_all_but_the_test_part(opened, monkeypatch) -> None:
    asked = []
    compare = easydl.compare
    monkeypatch.setattr(
        easydl, "compare", lambda study, *given, **more: asked.append(study) or compare(study, *given, **more)
    )
    at = press(opened, "Compare simple models")
    (study,) = asked
    assert set(study.frame["split"]) == {"train", "val", "test"}
    words = text(at)
    assert "forest" in words and "95% CI" in words and "out of fold" in words
    at.run()
    assert len(asked) == 1, "what was computed is kept"


def test_a_learning_curve_is_drawn(opened, monkeypatch) -> None:
    asked = []

    class Curve:
        sentence = "With 80 training patients instead of 40, AUC 0.80 is to be expected."

        def show(self):
            return easydl.interval_width(auc=0.8, patients=40).show()

    monkeypatch.setattr(easydl, "learning_curve", lambda study, model: asked.append((study, model)) or Curve())
    at = press(opened, "Draw the learning curve")
    assert "With 80 training patients instead of 40" in text(at) and asked[0][1] == "forest"


def test_a_study_of_masks_is_told_why_not(session, tmp_path: Path) -> None:
    from made import mask_study

    at = open_folder(session(), mask_study(tmp_path / "masks"))
    at.switch_page("steps/plan.py").run()
    next(button for button in at.button if button.label == "Compare simple models").click().run()
    assert "What to do" in "".join(one.value for one in at.error)
