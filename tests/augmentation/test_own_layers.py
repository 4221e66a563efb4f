"""The user's own augmentation: a preset as it is, and Keras layers where they can work."""

import keras
import numpy as np
import pytest
from PIL import Image

import easydl
from easydl.augmentation import Preset, own_augmentation, preset
from easydl.augmentation.operations import flip
from easydl.errors import InputError

layers = keras.layers
ADAPT = {"dimension": 2, "units": "0-255", "channels": 1, "task": "classification"}


def augmenter(layer, **options):
    found, _ = own_augmentation(layer)
    return found.adapted(**ADAPT).augmenter(dimension=2, units="0-255", window=(0.0, 255.0), **{"seed": 3} | options)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, 24, 24, 1)).astype(np.float32)


def test_the_seed_and_the_number_of_a_batch_repeat_it(images):
    stack = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2), layers.RandomBrightness(0.2)]
    )
    augment, again = augmenter(stack), augmenter(stack)
    targets = np.eye(3, dtype=np.float32)
    first, same = augment(images, targets=targets, counter=4)
    other, _ = augment(images, targets=targets, counter=5)
    repeated, _ = again(images, targets=targets, counter=4)
    np.testing.assert_array_equal(first, repeated)
    assert same is targets
    assert np.abs(first - other).max() > 1 and np.abs(first - images).max() > 1
    assert np.abs(augmenter(stack, seed=9)(images, counter=4)[0] - first).max() > 1


def test_the_layers_are_called_in_training(images):
    """Dropout is the layer that does nothing otherwise."""
    found = augmenter(layers.Dropout(0.5, seed=1))(images, counter=0)[0].numpy()
    assert 0.3 < (found == 0).mean() < 0.7


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (layers.Rescaling(1 / 255), "on their scale"),
        (layers.Resizing(16, 16), "shape of images"),
        (layers.MixUp(), "mixup"),
        (keras.Sequential([layers.CutMix()]), "cutmix"),
        (layers.Cropping1D(1), "1 channels"),
        ("chest", None),
        (3, "a Keras layer"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(layer, words):
    if words is None:
        with pytest.raises(InputError):
            easydl.preset(layer)
        return
    with pytest.raises(InputError, match=words):
        augmenter(layer)


@pytest.mark.parametrize("change", [{"dimension": 3}, {"task": "segmentation"}, {"task": "reconstruction"}])
def test_layers_are_for_classifiers_of_images(change):
    found, _ = own_augmentation(layers.RandomFlip("horizontal"))
    with pytest.raises(InputError, match="two-dimensional"):
        found.adapted(**ADAPT | change)


def test_an_own_preset_keeps_the_rules_of_anatomy():
    own = Preset("mine", operations=(flip("left-right"),))
    found, reason = own_augmentation(own)
    assert found is own and "mine" in reason
    adapted = found.adapted(**ADAPT, classes=["left lung"])
    assert not adapted.operations and "left lung" in adapted.notes[0]
    assert own_augmentation(preset("ct"))[0] == preset("ct")


@pytest.mark.everything
def test_fit_trains_on_what_the_layers_make(tmp_path):
    """Images that differ by their brightness alone cannot be learnt where a layer makes all of them alike."""
    for k in range(32):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        image = np.random.default_rng(k).integers(0, 100, (32, 32)) + 100 * (k % 2)
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "ab"[k % 2] / f"{k}.png")
    train, val, _ = easydl.load(tmp_path, patient=None).split(seed=0)
    reached = []
    for layer in (layers.RandomFlip("horizontal", seed=1), layers.RandomBrightness(1.0, seed=1)):
        model = easydl.classifier("tiny", train, size=32, seed=1)
        history = easydl.fit(model, train, val, augment=layer, epochs=6, verbose=False)
        reached.append(history.history["loss"][-1])
        assert any(type(layer).__name__ in line for line in history.params["plan"])
    assert reached[0] < 0.5 * reached[1]
