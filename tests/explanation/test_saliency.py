"""`easydl.saliency` over builders, tasks and kinds of source."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError, ModelError
from easydl.explanation.gradcam import network_of
from easydl.images import Scan
from easydl.networks import metadata_of


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("name", ["tiny", pytest.param("mobilenet_025", marks=pytest.mark.everything), "tiny3d"])
def test_every_classifier_has_a_heatmap_on_the_images_own_grid(name):
    model = easydl.classifier(name, classes=["a", "b"], size=32)
    shape = (12, 30, 41) if name == "tiny3d" else (50, 37)
    heatmap = easydl.saliency(model, noise(*shape), verdict=False)
    assert heatmap.array.shape == shape
    assert heatmap.array.dtype == np.float32
    assert 0 <= heatmap.array.min() < heatmap.array.max() <= 1
    assert heatmap.verdict is None
    probabilities = easydl.predict(model, noise(*shape)[..., None]).frame
    assert heatmap.probability == pytest.approx(probabilities[f"p({heatmap.target})"].iloc[0], abs=1e-5)
    assert heatmap.probability == pytest.approx(probabilities["confidence"].iloc[0], abs=1e-5)


@pytest.mark.everything
@pytest.mark.parametrize("name", ["resnet", "efficientnet"])
def test_large_networks_too(name):
    heatmap = easydl.saliency(easydl.classifier(name, classes=2, size=64), noise(80, 70), verdict=False)
    assert heatmap.array.shape == (80, 70)
    assert heatmap.array.max() > 0


def finding(model, index):
    """A random segmentation model that finds one class wherever the image lets it."""
    model.get_layer("logits").bias.assign([5.0 * (number == index) for number in range(model.output_shape[-1])])
    return model


def test_unet_has_a_heatmap_for_any_size_and_is_traced_once():
    model = finding(easydl.unet(classes=["background", "lesion", "organ"], width=4), 2)
    for shape in ((40, 70), (32, 32)):
        heatmap = easydl.saliency(model, noise(*shape), verdict=False)
        assert heatmap.array.shape == shape
        assert heatmap.target == "organ"
        assert 0 < heatmap.array.max() <= 1
        assert heatmap.notes == ()
    assert network_of(model, (32, 32)).traces == 1


def test_unet3d_has_a_heatmap_on_the_images_own_grid():
    model = finding(easydl.unet3d(classes=["background", "lesion"], width=4, levels=2), 1)
    heatmap = easydl.saliency(model, noise(10, 36, 20), verdict=False)
    assert heatmap.array.shape == (10, 36, 20)
    assert 0 < heatmap.array.max() <= 1


def segmenter(dimension=2, size=None):
    """The smallest segmentation network: two convolutions."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    convolution = layers.Conv2D if dimension == 2 else layers.Conv3D
    image = layers.Input((*((size,) * dimension), 1), name="image")
    x = layers.Rescaling(1 / 127.5, -1, name="window")(image)
    x = convolution(8, 3, padding="same", activation="relu", name="maps")(x)
    logits = convolution(2, 1, name="logits")(x)
    return keras.Model(image, layers.Softmax(name="probability")(logits))


def test_a_window_is_explained_in_its_own_place():
    """A fixed patch on a large image: nothing is marked outside it, and the figure will say so."""
    model = segmenter(size=32)
    model.get_layer("maps").kernel.assign(np.full((3, 3, 1, 8), 1 / 9))
    model.get_layer("logits").kernel.assign(np.array([[-1.0, 1.0]] * 8).reshape(1, 1, 8, 2))
    model.get_layer("logits").bias.assign([4.0, -4.0])
    for corner in ((60, 10), (2, 70)):
        image = noise(96, 96) / 4
        image[corner[0] : corner[0] + 16, corner[1] : corner[1] + 16] += 150
        mask = easydl.predict(model, image).mask
        heatmap = easydl.saliency(model, image, verdict=False)
        assert "Only the window of 32 x 32" in heatmap.notes[0]
        rows, columns = np.nonzero(heatmap.array)
        middle = np.argwhere(mask == 1).mean(axis=0)
        assert np.ptp(rows) <= 34
        assert np.ptp(columns) <= 34
        assert np.abs(np.array([rows.mean(), columns.mean()]) - np.clip(middle, 16, 80)).max() < 10


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_segmentation_model_that_finds_nothing_has_nothing_to_interpret(dimension):
    model = segmenter(dimension)
    model.get_layer("logits").bias.assign([1000.0, -1000.0])
    heatmap = easydl.saliency(model, noise(*(20,) * dimension))
    assert heatmap.verdict.level == "FAIL"
    assert "segmented no class 1" in heatmap.verdict.sentence
    assert heatmap.array.max() == 0
    assert heatmap.probability < 0.01


@pytest.mark.parametrize(("dimension", "patches"), [(2, 49), (3, 27)])
def test_a_segmentation_model_is_tested_too(dimension, patches):
    heatmap = easydl.saliency(segmenter(dimension), noise(*(21,) * dimension))
    numbers = heatmap.verdict.numbers
    assert (numbers["n_patches"], numbers["n_random_networks"], numbers["n_blobs"]) == (patches, 9, 19)
    assert heatmap.verdict.level in ("CAUTION", "FAIL")
    assert 0 < numbers["margin_p"] <= 1


def test_other_tasks(build):
    many = build(task="multilabel", side=32, classes=("a", "b", "c"))
    heatmap = easydl.saliency(many, noise(32, 32))
    assert heatmap.probability == pytest.approx(float(np.max(many(noise(1, 32, 32, 1)))), abs=1e-5)
    assert "margin" in heatmap.verdict.numbers
    value = build(task="regression", side=32, classes=("age",))
    heatmap = easydl.saliency(value, noise(32, 32))
    assert heatmap.target == "age"
    assert heatmap.probability == pytest.approx(float(value(noise(1, 32, 32, 1))[0, 0]), rel=1e-4)
    assert "margin" not in heatmap.verdict.numbers
    assert f"age: {heatmap.probability:.3g}" in repr(heatmap)


def test_the_target_can_be_named_or_numbered(planted):
    by_name = easydl.saliency(planted.model, planted.images[0], target="plain", verdict=False)
    by_number = easydl.saliency(planted.model, planted.images[0], target=0, verdict=False)
    np.testing.assert_array_equal(by_name.array, by_number.array)
    chosen = easydl.saliency(planted.model, planted.images[0], verdict=False)
    assert by_name.probability + chosen.probability == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(by_name.array, chosen.array)


def test_all_kinds_of_source_give_the_same_map(planted, tmp_path):
    pixels = planted.images[0][..., 0].round()
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(planted.plain[0][..., 0].astype(np.uint8)).save(tmp_path / "b.png")
    frame = pd.DataFrame({"image": [str(tmp_path / f"{n}.png") for n in "ba"], "label": ["plain", "square"]})
    study = easydl.load(frame, patient=None)
    expected = easydl.saliency(planted.model, pixels, verdict=False).array
    for source, row in (
        (str(tmp_path / "a.png"), 0),
        (tmp_path / "a.png", 0),
        (pixels[..., None], 0),
        (Scan(pixels[..., None], "0-255"), 0),
        (study, 1),
    ):
        heatmap = easydl.saliency(planted.model, source, row=row, verdict=False)
        np.testing.assert_allclose(heatmap.array, expected, atol=1e-5)
    assert easydl.saliency(planted.model, study, row=0, verdict=False).target == "plain"


def test_occlusion_marks_the_planted_corner(planted):
    heatmap = easydl.saliency(planted.model, planted.images[0], method="occlusion")
    assert np.unravel_index(heatmap.array.argmax(), (64, 64)) < (9, 9)
    assert heatmap.array[:16, :16].sum() / heatmap.array.sum() > 0.5
    assert heatmap.verdict.numbers["n_random_maps"] == 3
    assert heatmap.layer == ""


def test_repeated_calls_trace_nothing(planted):
    for method in ("gradcam", "occlusion"):
        easydl.saliency(planted.model, planted.images[0], method=method)
    network = network_of(planted.model, (64, 64))
    before = network.traces
    easydl.saliency(planted.model, planted.images[1], target=0)
    easydl.saliency(planted.model, planted.images[2], method="occlusion")
    assert network.traces == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "lime"}, "method"),
        ({"target": "cat"}, "no class 'cat'"),
        ({"target": 2}, "no class 2"),
        ({"target": -1}, "no class -1"),
    ],
)
def test_wrong_arguments_are_said(planted, wrong, words):
    with pytest.raises(InputError, match=words):
        easydl.saliency(planted.model, planted.images[0], **wrong)


def test_wrong_rows_and_images_are_said(planted, table):
    with pytest.raises(InputError, match="no row 99"):
        easydl.saliency(planted.model, easydl.load(table), row=99)
    with pytest.raises(InputError, match="does not exist"):
        easydl.saliency(planted.model, "nowhere/case.png")
    with pytest.raises(ModelError, match="volume"):
        easydl.saliency(planted.model, noise(8, 16, 16, 1))


def test_the_models_weights_are_as_before(planted):
    before = [weight.copy() for weight in planted.model.get_weights()]
    easydl.saliency(planted.model, planted.images[0])
    for now, then in zip(planted.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert metadata_of(planted.model).classes == ("plain", "square")


def test_a_heatmap_of_a_study_says_the_reference_and_whether_the_answer_is_right(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        Image.fromarray(rng.integers(0, 255, (32, 32)).astype(np.uint8)).save(tmp_path / f"{k}.png")
    frame = pd.DataFrame({"image": [str(tmp_path / f"{k}.png") for k in range(4)], "label": list("abab")})
    study = easydl.load(frame.assign(patient=list("wxyz")))
    model = easydl.classifier("tiny", study, size=32)
    answers = easydl.predict(model, study).frame["prediction"].tolist()
    for row, answer in enumerate(answers):
        heatmap = easydl.saliency(model, study, row=row, verdict=False)
        assert heatmap.reference == "abab"[row] and heatmap.right == (answer == "abab"[row])
        assert heatmap.to_dict()["right"] == heatmap.right
        assert f"the answer is {'right' if heatmap.right else 'wrong'}" in heatmap._text
        # Whatever is explained: it is the model's own answer that is right or wrong.
        assert easydl.saliency(model, study, row=row, target="a", verdict=False).right == heatmap.right
    alone = easydl.saliency(model, frame["image"][0], verdict=False)
    assert alone.reference == "" and alone.right is None
