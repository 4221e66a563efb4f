"""The cascade: where the second model looks, what it gives, what is said, and its folder."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from made import mask_study
from PIL import Image

import easydl
from easydl.errors import InputError, ModelError
from easydl.images import Scan
from easydl.images.resampling import prepare
from easydl.networks import attach, metadata_of
from easydl.prediction import Cascade, Segmentation
from easydl.prediction.grid import working_grid
from easydl.prediction.segmentation import segment_scan


def by_brightness(limits: list[float], dimension: int = 2) -> keras.Model:
    """A segmentation model whose class is the number of limits that a pixel is above: known without training."""
    image = keras.Input((*[None] * dimension, 1))
    convolution = keras.layers.Conv2D if dimension == 2 else keras.layers.Conv3D
    layer = convolution(len(limits) + 1, 1, activation="softmax")
    model = keras.Model(image, layer(image))
    steps = np.arange(len(limits) + 1, dtype="float32")
    layer.set_weights([steps.reshape((1,) * dimension + (1, -1)), -np.cumsum([0, *limits]).astype("float32")])
    return model


def scene() -> np.ndarray:
    """An organ (120) with a lesion (220) in it, a lesion just outside it, and one far away."""
    pixels = np.full((64, 80, 1), 20, np.float32)
    pixels[20:40, 30:50] = 120
    pixels[28:32, 36:42] = 220
    pixels[41:43, 40:44] = 220
    pixels[2:8, 2:8] = 220
    return pixels


def expected(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    mask = np.zeros(pixels.shape[:-1], np.int32)
    view = np.s_[20 - rows : 40 + rows, 30 - columns : 50 + columns]
    mask[view] = pixels[view][..., 0] > 200
    return mask


def test_the_lesion_is_looked_for_around_the_organ_only():
    whole = easydl.cascade(by_brightness([100, 200]), by_brightness([200]), organ="class 1", margin_mm=4)
    scan = Scan(scene(), "0-255", spacing_mm=(2.0, 1.0))
    found = easydl.predict(whole, scan)
    assert isinstance(found, Segmentation) and found.classes == ("background", "class 1")
    np.testing.assert_array_equal(found.mask, expected(scan.pixels, 2, 4))
    assert found.mask[41, 41] == 1 and found.mask[:10].sum() == 0
    assert any("not beyond" in note for note in found.notes)
    none = easydl.predict(easydl.cascade(whole.find_organ, whole.find_lesion, organ=1, margin_mm=0), scan)
    np.testing.assert_array_equal(none.mask, expected(scan.pixels, 0, 0))
    every = easydl.predict(easydl.cascade(whole.find_organ, whole.find_lesion), scan)
    assert every.mask[4, 4] == 1, "without `organ` every structure counts"


def test_the_margin_is_in_pixels_where_the_spacing_is_not_known_and_that_is_said():
    whole = easydl.cascade(by_brightness([100, 200]), by_brightness([200]), organ="class 1", margin_mm=3)
    found = easydl.predict(whole, scene()[..., 0])
    np.testing.assert_array_equal(found.mask, expected(scene(), 3, 3))
    assert any("pixels instead of mm" in note for note in found.notes)


def test_without_the_organ_the_mask_is_empty_and_that_is_said():
    whole = easydl.cascade(by_brightness([100, 200]), by_brightness([200]), organ="class 1")
    found = easydl.predict(whole, np.where(scene() == 120, 20, scene())[..., 0])
    assert found.mask.sum() == 0 and found.mask.shape == (64, 80)
    assert "not found" in found.notes[0]


def test_values_are_those_of_the_whole_scan_as_in_training():
    whole = easydl.cascade(by_brightness([100, 200]), by_brightness([200]), organ="class 1", margin_mm=5)
    scan = Scan(scene() * 3 + 1000, "relative", spacing_mm=(1.0, 1.0))
    values = prepare(scan, channels=1, units="0-255")
    assert 100 < values[25, 35, 0] < 200 < values[30, 40, 0]
    np.testing.assert_array_equal(easydl.predict(whole, scan).mask, expected(scene(), 5, 5))


@pytest.mark.parametrize("reduced", [True, False])
def test_the_part_is_shown_at_the_scale_of_the_training_images(reduced, monkeypatch):
    lesion = by_brightness([200])
    attach(lesion, metadata_of(lesion).model_copy(update={"max_side": 40, "reduced": reduced}))
    whole = easydl.cascade(by_brightness([100, 200]), lesion, organ="class 1", margin_mm=4)
    scan = Scan(scene(), "0-255", spacing_mm=(1.0, 1.0))
    seen = []

    def spy(model, metadata, part, notes, **options):
        seen.append(working_grid(metadata, part))
        return segment_scan(model, metadata, part, notes, **options)

    monkeypatch.setattr("easydl.prediction.cascades.segment_scan", spy)
    mask = whole.segment(scan)
    assert mask.shape == scan.shape
    # What the lesion model gets of the whole scan, 32 x 40 pixels, as training showed it: rows 16-44 are 8-22 there.
    shown = working_grid(metadata_of(lesion), scan)[8:22, 13:27] if reduced else scan.pixels[16:44, 26:54]
    assert seen[1].shape == shown.shape
    np.testing.assert_allclose(seen[1][1:-1, 1:-1], shown[1:-1, 1:-1], atol=1e-3)


def test_training_records_whether_images_were_reduced(tmp_path, monkeypatch):
    study = easydl.load(mask_study(tmp_path / "s", cases=9))
    train, val, _ = study.split(seed=1)
    model = easydl.unet(study, width=4, levels=2)
    monkeypatch.setattr(
        "easydl.training.loop.run_stage", lambda stage, objective, *_, **given: objective.learner.compile("sgd")
    )
    for side, reduced in ((24, True), (32, False)):
        monkeypatch.setattr("easydl.training.segmentation.SIDE_2D", side)
        easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
        assert metadata_of(model).reduced is reduced


def test_a_scan_without_spacing_is_named_once(tmp_path):
    models = by_brightness([100, 200]), by_brightness([200])
    for one in models:
        attach(one, metadata_of(one).model_copy(update={"spacing_mm": (1.0, 1.0)}))
    found = easydl.predict(easydl.cascade(*models, organ="class 1"), scene()[..., 0])
    assert sum("check the scale" in note for note in found.notes) == 1
    known = easydl.predict(easydl.cascade(*models, organ="class 1"), Scan(scene(), "0-255", spacing_mm=(1.0, 1.0)))
    assert not any("check the scale" in note for note in known.notes)


def test_volumes_keep_their_grid():
    pixels = np.full((12, 30, 28, 1), 20, np.float32)
    pixels[4:8, 10:20, 10:18] = 120
    pixels[5, 13:16, 12:15] = 220
    pixels[10, 2:4, 2:4] = 220
    affine = np.diag([3.0, 1.0, 1.0, 1.0])
    whole = easydl.cascade(by_brightness([100, 200], 3), by_brightness([200], 3), organ="class 1", margin_mm=3)
    found = easydl.predict(whole, Scan(pixels, "0-255", (3.0, 1.0, 1.0), affine))
    np.testing.assert_array_equal(found.mask, (pixels[..., 0] > 200) & (np.arange(12)[:, None, None] < 9))
    np.testing.assert_array_equal(found.affine, affine)


def test_evaluate_takes_a_cascade(tmp_path):
    for number in range(3):
        Image.fromarray(scene()[..., 0].astype(np.uint8)).save(tmp_path / f"i{number}.png")
        Image.fromarray(expected(scene(), 0, 0).astype(np.uint8)).save(tmp_path / f"m{number}.png")
    rows = [{"image": f"i{k}.png", "mask": f"m{k}.png", "patient": f"p{k}"} for k in range(3)]
    pd.DataFrame(rows).to_csv(tmp_path / "scans.csv", index=False)
    study = easydl.load(tmp_path / "scans.csv", mask="mask", mask_labels={"class 1": 1})
    whole = easydl.cascade(by_brightness([100, 200]), by_brightness([200]), organ="class 1", margin_mm=0)
    assert easydl.evaluate(whole, study).table["value"].iloc[0] == 1.0
    wider = easydl.cascade(whole.find_organ, whole.find_lesion, organ="class 1", margin_mm=5)
    lesion, beside = 4 * 6, 2 * 4
    dice = 2 * lesion / (2 * lesion + beside)
    assert easydl.evaluate(wider, study).table["value"].iloc[0] == pytest.approx(dice)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cascade") / "liver"
    organ = easydl.unet(classes=["background", "liver", "spleen"], width=4, levels=2, seed=1)
    lesion = easydl.unet(classes=["background", "tumour"], width=4, levels=2, seed=2)
    whole = easydl.cascade(organ, lesion, organ="liver", margin_mm=2.5)
    return whole, whole.save(folder)


def test_a_folder_opens_as_it_was_saved(saved):
    whole, folder = saved
    assert sorted(one.name for one in folder.iterdir()) == ["cascade.json", "find_lesion.keras", "find_organ.keras"]
    again = easydl.load_model(folder)
    assert isinstance(again, Cascade) and (again.organs, again.margin_mm) == (("liver",), 2.5)
    assert metadata_of(again.find_lesion).classes == ("background", "tumour")
    pixels = np.random.default_rng(0).uniform(0, 255, (40, 33))
    np.testing.assert_array_equal(easydl.predict(folder, pixels).mask, easydl.predict(whole, pixels).mask)
    from_files = easydl.cascade(folder / "find_organ.keras", str(folder / "find_lesion.keras"), organ=1, margin_mm=2.5)
    np.testing.assert_array_equal(easydl.predict(from_files, pixels).mask, easydl.predict(whole, pixels).mask)
    assert "tumour" in repr(again) and "liver" in repr(again)


def test_saving_replaces_a_cascade_and_nothing_else(saved, tmp_path):
    whole, folder = saved
    target = tmp_path / "c"
    shutil.copytree(folder, target)
    easydl.cascade(whole.find_organ, whole.find_lesion, margin_mm=7).save(target)
    assert easydl.load_model(target).organs == ("liver", "spleen")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".c")] == [], "no drafts are left"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(ModelError):
        whole.save(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("harm", ["swap", "cut", "missing", "key", "organ", "text", "margin"])
def test_a_damaged_folder_is_refused_in_three_parts(saved, tmp_path, harm):
    folder = tmp_path / "c"
    shutil.copytree(saved[1], folder)
    metadata = json.loads((folder / "cascade.json").read_text("utf-8"))
    if harm == "swap":
        (folder / "find_organ.keras").replace(folder / "x")
        (folder / "find_lesion.keras").replace(folder / "find_organ.keras")
        (folder / "x").replace(folder / "find_lesion.keras")
    elif harm == "cut":
        data = (folder / "find_lesion.keras").read_bytes()
        (folder / "find_lesion.keras").write_bytes(data[:-200])
    elif harm == "missing":
        (folder / "find_lesion.keras").unlink()
    changes = {"key": {"code": "1"}, "organ": {"organs": ["heart"]}, "margin": {"margin_mm": -1}}.get(harm, {})
    (folder / "cascade.json").write_text("{" if harm == "text" else json.dumps(metadata | changes), "utf-8")
    with pytest.raises(ModelError) as caught:
        easydl.load_model(folder)
    assert caught.value.found and caught.value.expected and caught.value.do


def test_wrong_arguments_are_refused():
    organ, lesion = by_brightness([100]), by_brightness([200])
    for options in ({"organ": "heart"}, {"organ": 0}, {"organ": 5}, {"margin_mm": -1}, {"margin_mm": "far"}):
        with pytest.raises(InputError):
            easydl.cascade(organ, lesion, **options)
    with pytest.raises(ModelError, match="2D"):
        easydl.cascade(organ, by_brightness([200], 3))
    with pytest.raises(ModelError, match="task"):
        easydl.cascade(organ, easydl.classifier("tiny", size=32))
