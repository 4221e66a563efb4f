"""The catalogue of networks on the Train page: all of them, and those that its filters leave."""

from __future__ import annotations

from made import png_study
from pages import assert_calm, field, open_folder, text

import easydl


def test_the_catalogue_is_the_table_of_the_command_and_its_filters_are_too(session, tmp_path) -> None:
    at = open_folder(session(), png_study(tmp_path / "s"))
    at.switch_page("steps/train.py").run()
    assert_calm(at)
    assert list(at.dataframe[-1].value["name"]) == list(easydl.models()["name"])
    filters = {
        "Kind": ("classifier", {"kind": "classifier"}),
        "For": (2, {"dimension": 2}),
        "Pretrained weights": ("radimagenet", {"pretrained": "radimagenet"}),
        "Training step": ("medium", {"cost": "medium"}),
    }
    asked: dict = {}
    for value in ("image_to_image", "segmenter"):
        field(at, "selectbox", "Kind").set_value(value).run()
        assert list(at.dataframe[-1].value["name"]) == list(easydl.models(kind=value)["name"])
    for label, (value, option) in filters.items():
        field(at, "selectbox", label).set_value(value).run()
        asked |= option
        assert_calm(at)
        assert list(at.dataframe[-1].value["name"]) == list(easydl.models(**asked)["name"])
    field(at, "number_input", "Largest weights, MB").set_value(50.0).run()
    found = easydl.models(**asked, at_most_megabytes=50.0)
    assert 0 < len(found) < len(easydl.models(**asked))
    assert list(at.dataframe[-1].value["paper"]) == list(found["paper"])
    assert f"{len(found)} networks." in text(at)
