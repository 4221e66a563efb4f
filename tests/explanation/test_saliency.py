"""`easydl.saliency` over builders, tasks and kinds of source."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError, ModelError
from easydl.explanation.gradcam import network_of
from easydl.images import Scan
from easydl.models import recipe_of


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("name", ["tiny", "mobilenet_025", "tiny3d"])
def test_every_classifier_has_a_heatmap_on_the_images_own_grid(name):
    model = easydl.classifier(name, classes=["a", "b"], size=32)
    shape = (12, 30, 41) if name == "tiny3d" else (50, 37)
    heatmap = easydl.saliency(model, noise(*shape), verdict=False)
    assert heatmap.array.shape == shape
    assert heatmap.array.dtype == np.float32
    assert 0 <= heatmap.array.min() < heatmap.array.max() <= 1
    assert heatmap.verdict is None
    probabilities = easydl.predict(model, noise(*shape, 1)).frame
    assert heatmap.target == probabilities["prediction"].iloc[0]
    assert heatmap.probability == pytest.approx(probabilities["confidence"].iloc[0], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "efficientnet"])
def test_large_networks_too(name):
    heatmap = easydl.saliency(easydl.classifier(name, classes=2, size=64), noise(80, 70), verdict=False)
    assert heatmap.array.shape == (80, 70)
    assert heatmap.array.max() > 0


@pytest.mark.parametrize("name", ["unet", "unet3d"])
@pytest.mark.parametrize("fixed", [False, True])
def test_every_segmenter_has_a_heatmap_on_the_images_own_grid(name, fixed):
    shape = (40, 70) if name == "unet" else (10, 36, 20)
    size = None if not fixed else (32,) * len(shape)
    model = getattr(easydl, name)(classes=["background", "lesion", "organ"], width=4, size=size)
    heatmap = easydl.saliency(model, noise(*shape), target="organ", verdict=False)
    assert heatmap.array.shape == shape
    assert heatmap.target == "organ"
    assert heatmap.array.max() > 0
    assert bool(heatmap.notes) == fixed


def test_a_window_is_explained_in_its_own_place():
    """A fixed patch on a large image: nothing is marked outside it."""
    model = easydl.unet(classes=["background", "lesion"], width=4, size=32)
    image = noise(96, 96)
    heatmap = easydl.saliency(model, image, verdict=False)
    rows, columns = np.nonzero(heatmap.array)
    assert np.ptp(rows) < 34
    assert np.ptp(columns) < 34
    mask = easydl.predict(model, image).mask
    middle = np.argwhere(mask == 1).mean(axis=0)
    assert abs(rows.mean() - np.clip(middle[0], 16, 80)) < 12
    assert abs(columns.mean() - np.clip(middle[1], 16, 80)) < 12


def test_a_segmenter_that_outlines_nothing_has_nothing_to_interpret():
    model = easydl.unet(classes=["background", "lesion"], width=4)
    model.get_layer("logits").bias.assign([1000.0, -1000.0])
    heatmap = easydl.saliency(model, noise(32, 32))
    assert heatmap.verdict.level == "FAIL"
    assert "outlined no lesion" in heatmap.verdict.sentence
    assert heatmap.array.max() == 0
    assert heatmap.probability < 0.01


def test_a_segmenter_gets_a_verdict_with_its_numbers():
    model = easydl.unet3d(classes=["background", "lesion"], width=4)
    heatmap = easydl.saliency(model, noise(16, 16, 16))
    assert heatmap.verdict.level == "FAIL"
    assert heatmap.verdict.numbers["n_patches"] == 27
    assert heatmap.verdict.numbers["n_random_networks"] == 9


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
    easydl.saliency(planted.model, planted.images[0])
    network = network_of(planted.model, (64, 64))
    before = network.traces
    easydl.saliency(planted.model, planted.images[1], target=0)
    easydl.saliency(planted.model, planted.images[2], method="occlusion")
    assert network.traces == before == 3


def test_segmenters_of_any_size_are_traced_once():
    model = easydl.unet(classes=2, width=4)
    for side in (32, 48, 50):
        easydl.saliency(model, noise(side, side), verdict=False)
    assert network_of(model, (32, 32)).traces == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"method": "lime"}, "method"), ({"target": "cat"}, "no class 'cat'"), ({"target": 2}, "no class 2"),
     ({"target": -1}, "no class -1")],
)  # fmt: skip
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
    assert recipe_of(planted.model).classes == ("plain", "square")
