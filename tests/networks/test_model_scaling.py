"""The network sees what it was trained on: windows and scaling, against NumPy and keras.applications."""

import keras
import numpy as np
import pytest

from easydl.errors import InputError, ModelError
from easydl.networks import classifier, feature_extractor, load_network, metadata_of, save_model, set_window
from easydl.networks.common_layers import scaled, seeded
from easydl.networks.listing import ENTRIES

# One network of every module of keras.applications in the registry, at a small size.
FAMILIES = {
    "resnet": 64,
    "resnet50": 64,
    "vgg16": 64,
    "vgg19": 32,
    "densenet121": 64,
    "inceptionv3": 80,
    "inceptionresnetv2": 80,
    "xception": 80,
    "mobilenet_025": 64,
    "mobilenetv2_035": 64,
    "mobilenetv3small": 64,
    "efficientnetb0": 64,
    "efficientnetv2b0": 64,
    "efficientnetv2s": 64,
    "convnexttiny": 64,
    "nasnetmobile": 64,
}
# One for every way of scaling and of laying out; the others differ in the order of their layers.
BY_DEFAULT = {"resnet50", "mobilenet_025", "mobilenetv3small", "efficientnetb0", "convnexttiny"}
PUBLISHED = [name for name, entry in ENTRIES.items() if entry.application]


def make(name):
    return getattr(keras.applications, ENTRIES[name].application)


def preprocess(name, x):
    """What the network's own module of keras.applications does to pixels from 0 to 255."""
    module = make(name).__module__.rsplit(".", 1)[1]
    return np.asarray(getattr(keras.applications, module).preprocess_input(x.copy()))


def up_to(model, layer):
    return keras.Model(model.input, model.get_layer(layer).output)


def image(size=48, channels=3, n=2, seed=0):
    """Random patches of 8 pixels, darker in every further image: images a network can tell apart."""
    rng = np.random.default_rng(seed)
    patches = rng.uniform(0, 255, (n, size // 8, size // 8, channels)) / np.arange(1, n + 1).reshape(n, 1, 1, 1)
    return np.kron(patches, np.ones((1, 8, 8, 1))).astype("float32")


def test_every_family_of_keras_applications_is_tested():
    assert {make(name).__module__ for name in PUBLISHED} == {make(name).__module__ for name in FAMILIES}


# What convnext, efficientnet and mobilenet_v3 do lies in their layers: the features below are the test of it.
@pytest.mark.parametrize(
    "name", [name for name in PUBLISHED if not name.startswith(("convnext", "eff", "mobilenetv3"))]
)
def test_pixels_reach_the_backbone_as_its_own_preprocessing_has_them(name):
    x = image()
    expected = preprocess(name, x)
    if ENTRIES[name].bgr:
        assert np.abs(expected - expected[..., ::-1]).max() > 1, "blue first; here the weights are turned instead"
        expected = expected[..., ::-1]
    np.testing.assert_allclose(scaled(x, ENTRIES[name].scaling), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_025"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_backbone_gets_these_pixels_and_grey_three_times(name, channels):
    x = image(channels=channels)
    ours = up_to(classifier(name, channels=channels, size=48), "scaling")(x)
    expected = preprocess(name, np.repeat(x, 3 // channels, -1))
    np.testing.assert_allclose(ours, expected[..., ::-1] if ENTRIES[name].bgr else expected, atol=1e-4)


def test_five_channels_start_as_their_average():
    x = image(channels=5)
    ours = up_to(classifier("mobilenet_025", channels=5, size=48), "to_rgb")(x)
    np.testing.assert_allclose(ours, np.repeat(x.mean(-1, keepdims=True), 3, -1), rtol=1e-5)


def test_untrained_efficientnet_standardises_by_the_imagenet_colours():
    x = image()
    model = classifier("efficientnetb0", channels=3, size=48)
    normalised = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    published = (x / 255 - mean) / std / np.sqrt(std)
    np.testing.assert_allclose(up_to(model, normalised.name)(x), published, atol=1e-4)


def disturbed(model, stir):
    """A random value for every parameter: one that is where another should be would be seen."""
    rng = np.random.default_rng(3)
    for weight in model.weights:
        if len(weight.shape) == 1 and weight.path.endswith("gamma"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1 and weight.path.endswith(("bias", "beta")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.input_mean is None:
            layer.adapt_mean.assign([0.485, 0.456, 0.406])
            layer.adapt_variance.assign(np.square([0.229, 0.224, 0.225]))
            layer.finalize_state()
    return stir(model)


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.everything] * (name not in BY_DEFAULT)) for name in FAMILIES]
)
def test_pretrained_features_equal_those_of_keras_applications(name, tmp_path, monkeypatch, stir, write_official):
    """Random weights in the official layout, read by Keras' own loader and by ours, on one image."""
    size, entry = FAMILIES[name], ENTRIES[name]
    options = {"include_top": False, "input_shape": (size, size, 3)}
    options |= {} if entry.width is None else {"alpha": entry.width}
    path = tmp_path / "weights.h5"
    with monkeypatch.context() as patch, seeded(0):
        # The graph for the published weights (EfficientNet's has one layer more), before it reads any.
        patch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
        patch.setattr(keras.Model, "load_weights", lambda *args, **kwargs: None)
        theirs = make(name)(weights="imagenet", pooling="avg", **options)
    write_official(disturbed(theirs, stir), path)
    for weight in theirs.weights:
        weight.assign(keras.ops.zeros_like(weight))
    theirs.load_weights(path)
    x = image(size)
    expected = np.asarray(theirs(preprocess(name, x), training=False))
    ours = classifier(name, channels=3, size=size, pretrained=path)
    # The same images, and such as another scaling or another order of colours would make of them.
    seen = np.concatenate([x, x * 0.5, x[..., ::-1]])
    found, dimmed, turned = np.split(np.asarray(feature_extractor(ours)(seen, training=False)), 3)
    # Rounding differs between the two graphs, and a deep untrained network amplifies it (6e-6 at most was measured):
    # the tolerance. What the test is to notice has to be well above it.
    tolerance = 1e-4 * np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 10 * tolerance, "the features tell the images apart"
    assert min(np.abs(dimmed - expected).max(), np.abs(turned - expected).max()) > 10 * tolerance
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert "weights.h5" in metadata_of(ours).pretrained


@pytest.mark.parametrize(("low", "high"), [(-160.0, 240.0), (0.0, 1.0), (-1000.0, 3000.0)])
def test_window_maps_low_to_black_and_high_to_white(low, high):
    model = set_window(classifier("tiny", size=32), (low, high), "HU")
    x = np.linspace(low - 500, high + 500, 32 * 32, dtype="float32").reshape(1, 32, 32, 1)
    expected = np.clip((x - low) / (high - low), 0, 1) * 255
    np.testing.assert_allclose(up_to(model, "clip")(x), expected, atol=0.05)
    assert metadata_of(model).window == (low, high)
    assert metadata_of(model).units == "HU"


def test_window_takes_effect_after_a_compiled_prediction_and_survives_the_file(tmp_path, stir):
    model = stir(classifier("tiny", size=32))
    x = np.random.default_rng(0).uniform(-200, 300, (2, 32, 32, 1)).astype("float32")
    before = model.predict(x, verbose=0)
    set_window(model, (-160, 240), "HU")
    after = model.predict(x, verbose=0)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model(x, training=False), atol=1e-6)
    path = save_model(model, tmp_path / "window.keras")
    np.testing.assert_allclose(load_network(path)(x, training=False), after, atol=1e-6)
    np.testing.assert_allclose(keras.models.load_model(path)(x, training=False), after, atol=1e-6)


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (0, float("nan")), (0, float("inf")), (1,), "ab", None, 5])
def test_bad_window_is_refused_and_changes_nothing(window):
    model = classifier("tiny", size=32)
    with pytest.raises(InputError, match="lower first"):
        set_window(model, window, "HU")
    with pytest.raises(InputError, match="HU"):
        set_window(model, (0, 1), "mm")
    assert metadata_of(model).window == (0.0, 255.0)
    assert model.get_layer("window").scale == 1.0


def test_a_model_without_a_window_is_refused():
    layers = [keras.Input((8, 8, 1)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2, "softmax")]
    with pytest.raises(ModelError, match="window"):
        set_window(keras.Sequential(layers), (0, 1), "HU")
