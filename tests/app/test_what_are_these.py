"""What no header says is asked once: it sets preset, window and weights. What a header says is not asked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pages import assert_calm, field, films, open_folder, press, text

from easydl.simulation import simulate
from easydl.workspace import KINDS, Workspace, pretrained

QUESTION = "What are these images?"


def onward(at):
    return next(button for button in at.button if button.label == "Continue to Check")


@pytest.mark.parametrize(
    ("shows", "preset"),
    [
        ("breast", "mammography"),
        ("other", "auto"),
        pytest.param("ultrasound", "ultrasound", marks=pytest.mark.everything),
        pytest.param("fundus", "fundus", marks=pytest.mark.everything),
    ],
)
def test_pictures_are_asked_about_once_and_the_answer_sets_the_preset(
    session, home: Path, tmp_path: Path, begun, shows: str, preset: str
) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    assert onward(at).disabled
    assert "Say first what these images are" in text(at)
    field(at, "selectbox", QUESTION).set_value(shows).run()
    assert_calm(at)
    assert not onward(at).disabled
    assert Workspace(home).studies.all()[0].shows == shows
    at.switch_page("steps/train.py").run()
    assert KINDS[shows].title in text(at)
    press(at, "Train")
    assert (begun[0].augment, begun[0].window) == (preset, None)
    again = session(study=at.query_params["study"])
    assert field(again, "selectbox", QUESTION).value == shows, "it is not asked again"


def test_what_the_table_says_is_not_asked(session, tmp_path: Path) -> None:
    folder = films(tmp_path / "films")
    rows = [(f"{label}/{n}.png", label, "US") for label in ("normal", "nodule") for n in range(10)]
    pd.DataFrame(rows, columns=["image", "label", "modality"]).to_csv(folder / "films.csv", index=False)
    at = session()
    at.text_input[0].set_value(str(folder / "films.csv"))
    next(box for box in at.checkbox if "of another patient" in box.label).check()
    press(at, "Open the study")
    assert QUESTION not in [one.label for one in at.selectbox]
    assert not onward(at).disabled


def test_ct_may_say_its_organ_which_sets_the_window(session, home: Path, tmp_path: Path, begun) -> None:
    source = simulate(tmp_path / "ct", patients=8, size=48, seed=1)
    entry = Workspace(home).studies.open(source)
    at = session(study=entry.id)
    assert_calm(at)
    assert not onward(at).disabled, "the units are known, so the question is open"
    field(at, "selectbox", "What do these CT images show?").set_value("lungs").run()
    at.switch_page("steps/train.py").run()
    press(at, "Train")
    assert (begun[0].augment, begun[0].window) == ("ct", "lung")


def test_the_weights_suit_the_images_where_they_are_on_this_computer(tmp_path: Path, monkeypatch) -> None:
    from easydl.networks.listing import ENTRIES

    monkeypatch.setenv("EASYDL_WEIGHTS", str(tmp_path))
    assert pretrained("resnet50", KINDS["ultrasound"]) is True
    (tmp_path / ENTRIES["resnet50"].radimagenet_file).write_bytes(b"weights")
    assert pretrained("resnet50", KINDS["ultrasound"]) == "radimagenet"
    assert pretrained("resnet50", KINDS["skin"]) is True
    assert pretrained("resnet50", None) is True
    assert pretrained("mobilenetv2", KINDS["ultrasound"]) is True


def test_every_answer_names_a_preset_and_a_window_that_there_are() -> None:
    from easydl.augmentation import presets
    from easydl.images.ct_windows import CT_WINDOWS_HU

    assert {kind.preset for kind in KINDS.values()} <= {"auto", *presets()["name"]}
    assert {kind.window for kind in KINDS.values()} <= {None, *CT_WINDOWS_HU}
