"""`easydl.explain` with models whose rule is known: what they go by, and what they do not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

import easydl
from easydl.errors import InputError
from easydl.exploration import changes
from easydl.exploration.regions import moved, region_of
from easydl.images import Scan
from easydl.prediction.results import Predictions

SIDE = 64
BOX = (20, 32, 36, 48)


def film(nodule=False, marker=False, grey=90.0):
    pixels = np.full((SIDE, SIDE, 1), grey, np.float32)
    pixels += np.random.default_rng(0).normal(0, 4, pixels.shape).astype(np.float32)
    if nodule:
        pixels[22:30, 38:46] += 90
    if marker:
        pixels[:6, :6] = 250
    return Scan(pixels, "0-255", source="film.png")


@pytest.fixture
def rule(monkeypatch):
    """Predictions by a rule: of a nodule (a bright spot against its surroundings, anywhere), or of the marker."""

    def use(name):
        def predict(model, scan, covariates=None):
            image = scan.pixels[..., 0]
            if name == "nodule":
                spot = ndimage.uniform_filter(image, 7) - ndimage.uniform_filter(image, 21)
                p = 1 / (1 + np.exp(-(spot[8:-8, 8:-8].max() - 25) / 5))
            else:
                p = 1 / (1 + np.exp(-(image[:6, :6].mean() - 170) / 10))
            frame = pd.DataFrame(
                {"image": ["x"], "prediction": ["nodule" if p > 0.5 else "none"], "p(none)": [1 - p], "p(nodule)": [p]}
            )
            return Predictions(frame, ("none", "nodule"))

        monkeypatch.setattr(changes, "predict", predict)

    return use


@pytest.fixture
def model():
    return easydl.classifier("tiny", classes=("none", "nodule"), size=SIDE)


def test_hiding_what_a_model_goes_by_changes_its_answer_and_elsewhere_not(rule, model):
    rule("nodule")
    found = easydl.explain(model, film(nodule=True), hide=BOX)
    assert found.target == "nodule" and found.before > 0.9 and found.after < 0.2
    assert len(found.controls) == 20 and (found.controls > 0.8).all() and found.p == pytest.approx(1 / 21)
    assert "depends on this part" in found.sentence and "3.5% of the image hidden" in found.sentence
    rule("marker")
    other = easydl.explain(model, film(nodule=True, marker=True), hide=BOX)
    assert abs(other.after - other.before) < 0.01 and "hardly changes" in other.sentence


def test_a_change_that_other_places_make_too_is_said(rule, model):
    rule("nodule")
    found = easydl.explain(model, film(nodule=True), hide=BOX)
    alike = replace(found, controls=np.full(20, found.after))
    assert alike.p == 1 and "does not depend on this part alone" in alike.sentence
    assert "no other place" in replace(found, controls=np.array([])).sentence


def test_a_nodule_inserted_raises_a_good_model_and_not_one_of_the_marker(rule, model):
    source = (film(nodule=True, grey=60), BOX)
    rule("nodule")
    good = easydl.explain(model, film(), insert=source, at=(30, 10), target="nodule")
    assert good.after - good.before > 0.3 and good.p < 0.1
    assert np.argwhere(good.mask).min(axis=0).tolist() == [30, 10] and good.mask.sum() == 144
    rule("marker")
    poor = easydl.explain(model, film(), insert=source, at=(30, 10), target="nodule")
    assert abs(poor.after - poor.before) < 0.05


def test_a_part_is_as_bright_against_its_surroundings_as_it_was(rule, model):
    rule("nodule")
    found = easydl.explain(model, film(grey=120), insert=(film(nodule=True, grey=60), BOX))
    middle = found.changed.pixels[24:28, 40:44].mean()
    assert middle == pytest.approx(120 + 90, abs=4)
    untouched = ~found.mask
    np.testing.assert_array_equal(found.changed.pixels[untouched], found.scan.pixels[untouched])


def test_a_part_keeps_its_size_in_millimetres(rule, model):
    rule("nodule")
    small = replace(film(nodule=True), spacing_mm=(1.0, 1.0))
    found = easydl.explain(model, replace(film(), spacing_mm=(0.5, 0.5)), insert=(small, BOX), at=(5, 5))
    assert np.ptp(np.argwhere(found.mask), axis=0).tolist() == [23, 23]


def test_regions_are_boxes_masks_and_files(tmp_path):
    scan = film()
    mask = region_of(BOX, scan)
    assert mask[20:32, 36:48].all() and mask.sum() == 144
    Image.fromarray((mask * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    assert (region_of(tmp_path / "mask.png", scan) == mask).all() and (region_of(mask, scan) == mask).all()
    for wrong, said in (((1, 2, 3), "shape 3"), (np.ones((9, 9)), "9 x 9"), ((0, 0, 5, 5), "within 64 x 64"), ((-30, -10, 5, 9), "within 64 x 64"), ((0, 65, 5, 9), "within 64 x 64"), (("a", 9, 5, 9), "whole numbers"), ((0, 64, 0, 64), "every pixel"), (np.zeros((SIDE, SIDE)), "no pixel"), (np.ones((SIDE, SIDE)), "every pixel")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            region_of(wrong, scan)


def test_places_to_compare_with_have_the_shape_and_lie_inside():
    mask = np.zeros((40, 40), bool)
    mask[5:10, 5:8] = True
    inside = np.zeros_like(mask)
    inside[:, 20:] = True
    found = moved(mask, inside, 10, seed=0)
    assert len(found) == 10 and all(one.sum() == 15 and (one & inside).sum() >= 7 for one in found)
    assert not moved(np.ones((4, 4), bool), np.ones((4, 4), bool), 3, seed=0)


def test_the_answers_are_those_of_predict_for_the_changed_image(two_scanners, untrained):
    found = easydl.explain(untrained, two_scanners, hide=(8, 20, 8, 20), row=2, seed=1)
    after = easydl.predict(untrained, found.changed).frame
    assert found.after == pytest.approx(float(after[f"p({found.target})"].iloc[0]), abs=1e-6)
    before = easydl.predict(untrained, two_scanners).frame.iloc[2]
    assert found.target == before["prediction"] and found.before == pytest.approx(
        before[f"p({found.target})"], abs=1e-5
    )
    other = easydl.explain(untrained, two_scanners, hide=(8, 20, 8, 20), row=2, seed=2)
    assert not np.array_equal(found.controls, other.controls)
    assert found.table["output"].tolist() == ["disease", "healthy"]
    assert len(found.show().axes) == 2 and repr(found).endswith(easydl.RESEARCH_USE)
    assert easydl.RESEARCH_USE in found._repr_html_()


def test_a_volume_and_a_model_of_values():
    model = easydl.classifier("tiny3d", classes=("age_years",), task="regression", size=16)
    volume = np.random.default_rng(0).uniform(0, 255, (16, 16, 16, 1)).astype(np.float32)
    found = easydl.explain(model, volume, hide=(2, 8, 2, 8, 2, 8))
    assert found.target == "age_years" and found.mask.sum() == 216 and found.show().axes


def test_covariates_are_held_fixed():
    model = easydl.classifier("tiny", size=32, covariates={"age": None})
    image = np.random.default_rng(0).uniform(0, 255, (32, 32)).astype(np.float32)
    one, other = (easydl.explain(model, image, hide=(2, 9, 2, 9), covariates={"age": age}) for age in (-1, 1))
    assert one.before != other.before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Neither"),
        ({"hide": BOX, "insert": (film(), BOX)}, "Both"),
        ({"hide": BOX, "target": "nodul"}, "nodul"),
        ({"insert": (film(), BOX), "at": (60, 60)}, "beyond the image"),
        ({"insert": (replace(film(), units="HU"), BOX)}, "HU"),
        ({"insert": film()}, "is a Scan"),
        ({"insert": (film(), BOX), "at": 5}, "`at` is 5"),
        ({"insert": (film(), BOX), "at": (5, 5, 5)}, "row, column"),
    ],
)
def test_what_cannot_be_done_is_said(model, given, said):
    with pytest.raises(InputError, match=said):
        easydl.explain(model, film(), **given)


def test_a_sequential_of_somebody_else_is_asked_as_it_is():
    import keras

    layers = [keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    image = np.random.default_rng(0).uniform(0, 1, (16, 16)).astype(np.float32)
    found = easydl.explain(model, image, hide=(2, 9, 3, 8))
    assert found.before == pytest.approx(float(model(image[None, ..., None]).numpy().max()), abs=1e-5)
    assert found.after == pytest.approx(
        float(model(found.changed.pixels[None]).numpy()[0, int(found.target[-1])]), abs=1e-5
    )


def test_the_covariates_of_a_row_are_those_of_its_answer(two_scanners):
    study = replace(two_scanners, frame=two_scanners.frame.assign(age=np.arange(60).astype(str)))
    model = easydl.classifier("tiny", study, size=32, covariates=["age", "scanner"], seed=1)
    answers = easydl.predict(model, study).frame
    for row in (0, 59):
        found = easydl.explain(model, study, row=row, hide=(2, 9, 3, 8), target="disease")
        assert found.before == pytest.approx(answers["p(disease)"].iloc[row], abs=1e-4)
    with pytest.raises(InputError, match="no row 60"):
        easydl.explain(model, study, row=60, hide=(2, 9, 3, 8))


def test_a_model_of_masks_is_sent_to_its_heatmap():
    with pytest.raises(InputError, match="saliency"):
        easydl.explain(easydl.unet(width=4), film(), hide=BOX)
