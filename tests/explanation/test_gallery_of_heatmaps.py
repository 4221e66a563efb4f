"""Several heatmaps in one figure."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import RESEARCH_USE, EasyDLError
from easydl.explanation.gallery import surest_errors_first


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("gallery"), np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32)).astype(np.uint8)).save(folder / f"{k}.png")
    names = [str(folder / f"{k}.png") for k in range(6)]
    study = easydl.load(pd.DataFrame({"image": names, "label": list("ababab")}), patient=None)
    return easydl.classifier("tiny", study, size=32), study


def test_wrong_answers_come_first_and_the_surest_of_them_at_the_top(two):
    model, study = two
    table = easydl.predict(model, study).frame
    order = surest_errors_first(model, study)
    assert sorted(order) == list(range(6))
    wrong = [row for row in range(6) if table["prediction"].iloc[row] != "ababab"[row]]
    assert set(order[: len(wrong)]) == set(wrong) and order[len(wrong) :] == sorted(order[len(wrong) :])
    sure = [table["confidence"].iloc[row] for row in order[: len(wrong)]]
    assert sure == sorted(sure, reverse=True)


def test_methods_stand_beside_each_other(two):
    model, study = two
    figure = easydl.gallery(model, study, methods=["gradcam", "occlusion"], most=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert len(titles) == 6 and [len(ax.images) for ax in figure.axes] == [1, 2, 2] * 2
    assert titles[1].startswith("Grad-CAM\n") and titles[2].startswith("Occlusion\n")
    assert titles[1].split("\n")[1] in ("Trust", "Caution", "Do not trust")
    assert "reference" in titles[0] and figure._supxlabel.get_text().replace("\n", " ") == RESEARCH_USE
    expected = easydl.saliency(model, study, row=surest_errors_first(model, study)[0], target=0, verdict=False)
    alone = easydl.gallery(model, study, most=1, target=0, verdict=False)
    np.testing.assert_allclose(alone.axes[1].images[1].get_array(), expected.array, atol=1e-6)
    assert alone.axes[1].get_title().endswith("not tested")


def test_wrong_arguments_are_said(two):
    for wrong in ({"methods": "lime"}, {"methods": []}, {"most": 0}, {"most": 25}):
        with pytest.raises(EasyDLError):
            easydl.gallery(*two, **wrong)
