"""The network sees what it was trained on: windows and scaling, against NumPy and keras.applications."""

import keras
import numpy as np
import pytest

from easydl.errors import InputError, ModelError
from easydl.networks import classifier, feature_extractor, load_model, recipe_of, save_model, set_window
from easydl.networks.catalogue import ENTRIES
from easydl.networks.wiring import seeded

FAMILIES = {
    "resnet": keras.applications.resnet_v2,
    "mobilenet": keras.applications.mobilenet,
    "mobilenet_025": keras.applications.mobilenet,
}


def up_to(model, layer):
    return keras.Model(model.input, model.get_layer(layer).output)


def picture(size=48, channels=3, n=2, seed=0):
    """Random patches of 8 pixels, darker in every further picture: pictures a network can tell apart."""
    rng = np.random.default_rng(seed)
    patches = rng.uniform(0, 255, (n, size // 8, size // 8, channels)) / np.arange(1, n + 1).reshape(n, 1, 1, 1)
    return np.kron(patches, np.ones((1, 8, 8, 1))).astype("float32")


@pytest.mark.parametrize("name", FAMILIES)
def test_backbone_gets_the_published_preprocessing(name):
    x = picture()
    ours = up_to(classifier(name, channels=3, size=48), "scaling")(x)
    np.testing.assert_allclose(ours, FAMILIES[name].preprocess_input(x.copy()), atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_grey_is_three_times_the_same(name):
    x = picture(channels=1)
    ours = up_to(classifier(name, channels=1, size=48), "scaling")(x)
    np.testing.assert_allclose(ours, FAMILIES[name].preprocess_input(np.repeat(x, 3, -1)), atol=1e-5)


def test_five_channels_start_as_their_average():
    x = picture(channels=5)
    ours = up_to(classifier("mobilenet_025", channels=5, size=48), "to_rgb")(x)
    np.testing.assert_allclose(ours, np.repeat(x.mean(-1, keepdims=True), 3, -1), rtol=1e-5)


def test_untrained_efficientnet_standardises_by_the_imagenet_colours():
    x = picture()
    model = classifier("efficientnet", channels=3, size=48)
    normalised = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    published = (x / 255 - mean) / deviation / np.sqrt(deviation)
    np.testing.assert_allclose(up_to(model, normalised.name)(x), published, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
@pytest.mark.parametrize("name", ["resnet", "mobilenet_025", "efficientnet"])
def test_pretrained_features_equal_those_of_keras_applications(name, tmp_path, monkeypatch, stir, write_official):
    """Random weights in the official layout, read by Keras' own loader and by ours, on one picture."""
    entry = ENTRIES[name]
    make = getattr(keras.applications, entry.application)
    options = {} if entry.width is None else {"alpha": entry.width}
    with seeded(0):
        official = make(include_top=False, weights=None, input_shape=(64, 64, 3), **options)
    for layer in official.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_mean.assign([0.485, 0.456, 0.406])
            layer.adapt_variance.assign(np.square([0.229, 0.224, 0.225]))
            layer.finalize_state()
    stir(official)
    path = write_official(official, tmp_path / "weights.h5")
    for module in ("resnet", "mobilenet", "efficientnet"):
        utilities = getattr(__import__("keras.src.applications", fromlist=[module]), module).file_utils
        monkeypatch.setattr(utilities, "get_file", lambda *args, **kwargs: str(path))
    theirs = make(include_top=False, weights="imagenet", pooling="avg", input_shape=(64, 64, 3), **options)
    preprocess = {"efficientnet": keras.applications.efficientnet.preprocess_input}.get(name) or FAMILIES[
        name
    ].preprocess_input
    x = picture(64)
    expected = np.asarray(theirs(preprocess(x.copy()), training=False))
    ours = classifier(name, channels=3, size=64, pretrained=str(path))
    found = np.asarray(feature_extractor(ours)(x, training=False))
    scale = np.abs(expected).max()
    # Rounding differs between the two graphs, and a deep untrained network enlarges it: the tolerance. What the
    # test is to notice has to be well above it.
    tolerance = 1e-3 * scale
    assert np.abs(expected[0] - expected[1]).max() > 10 * tolerance, "the features tell the pictures apart"
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert "weights.h5" in recipe_of(ours).pretrained
    dimmed = np.asarray(feature_extractor(ours)(x * 0.5, training=False))
    assert np.abs(dimmed - expected).max() > 10 * tolerance, "another scaling would be seen"


@pytest.mark.parametrize(("low", "high"), [(-160.0, 240.0), (0.0, 1.0), (-1000.0, 3000.0)])
def test_window_maps_low_to_black_and_high_to_white(low, high):
    model = set_window(classifier("tiny", size=32), (low, high), "HU")
    x = np.linspace(low - 500, high + 500, 32 * 32, dtype="float32").reshape(1, 32, 32, 1)
    expected = np.clip((x - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(up_to(model, "clip")(x), expected, atol=0.05)
    assert recipe_of(model).window == (low, high)
    assert recipe_of(model).units == "HU"


def test_window_takes_effect_after_a_compiled_prediction_and_survives_the_file(tmp_path, stir):
    model = stir(classifier("tiny", size=32))
    x = np.random.default_rng(0).uniform(-200, 300, (2, 32, 32, 1)).astype("float32")
    before = model.predict(x, verbose=0)
    set_window(model, (-160, 240), "HU")
    after = model.predict(x, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model(x, training=False), atol=1e-6)
    path = save_model(model, tmp_path / "window.keras")
    np.testing.assert_allclose(load_model(path)(x, training=False), after, atol=1e-6)
    np.testing.assert_allclose(keras.models.load_model(path)(x, training=False), after, atol=1e-6)


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0, float("nan")), (0, float("inf")), (1,), "ab", None, 5])
def test_bad_window_is_refused_and_changes_nothing(window):
    model = classifier("tiny", size=32)
    with pytest.raises(InputError, match="lower first"):
        set_window(model, window, "HU")
    with pytest.raises(InputError, match="HU"):
        set_window(model, (0, 1), "mm")
    assert recipe_of(model).window == (0.0, 255.0)
    assert model.get_layer("window").scale == 1.0


def test_a_model_without_a_window_is_refused():
    layers = [keras.Input((8, 8, 1)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2, "softmax")]
    with pytest.raises(ModelError, match="window"):
        set_window(keras.Sequential(layers), (0, 1), "HU")
