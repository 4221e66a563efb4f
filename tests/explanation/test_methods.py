"""One contract over methods and families of models: the same promises for each pair."""

import typing

import numpy as np
import pytest
from matplotlib.text import Text

import easydl
from easydl.errors import InputError
from easydl.explanation import gradcam
from easydl.explanation.gradcam import network_of
from easydl.explanation.methods import METHODS
from easydl.images import Scan
from easydl.networks import metadata_of
from easydl.networks.metadata import attached
from easydl.options_of_use import SaliencyOptions

SIDE = 32


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


def nested(build):
    """A model as people build it: a backbone as a layer, softmax in the last dense layer, no metadata."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    image = layers.Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    backbone = keras.Model(
        image, layers.Conv2D(8, 3, padding="same", activation="relu", name="top")(x), name="backbone"
    )
    scaling = layers.Rescaling(1 / 127.5, -1)
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(3, activation="softmax")]
    return keras.Sequential([layers.Input((SIDE, SIDE, 3)), scaling, backbone, *head])


def applications(build):
    import keras

    keras.utils.set_random_seed(6)
    return keras.applications.MobileNetV2(weights=None, classes=3, input_shape=(64, 64, 3), alpha=0.35)


FAMILIES = {
    "classifier": (lambda build: build(side=SIDE), noise(50, 37), {}),
    "3D": (lambda build: build(dimension=3, side=12), noise(10, 14, 12), {}),
    "segmentation": (lambda build: easydl.unet(classes=["background", "lesion"], width=4, levels=2), noise(16, 16), {}),
    "multilabel": (lambda build: build(task="multilabel", side=SIDE, classes=("a", "b", "c")), noise(32, 32), {}),
    "regression": (lambda build: build(task="regression", side=SIDE, classes=("age",)), noise(32, 32), {}),
    "heads": (
        lambda build: easydl.classifier("tiny", heads={"cancer": ["no", "yes"], "age": 1}, size=SIDE),
        noise(32, 32),
        {"target": "cancer: yes"},
    ),
    "ordinal": (
        lambda build: easydl.classifier("tiny", classes=["small", "middle", "large"], task="ordinal", size=SIDE),
        noise(32, 32),
        {},
    ),
    "covariates": (
        lambda build: easydl.classifier("tiny", classes=2, covariates={"age": None, "sex": ["F", "M"]}, size=SIDE),
        noise(32, 32),
        {"covariates": {"age": 1.5, "sex": "M"}},
    ),
    "nested": (nested, noise(SIDE, SIDE, 3), {}),
    "keras.applications": (applications, noise(64, 64, 3) / 127.5 - 1, {}),
}
WITHOUT_CAM = {"segmentation", "covariates"}
MOST_TRACES = 6
"""Answer, gradients, guided gradients, masks, feature maps, pooled maps."""


def test_the_options_name_every_method_of_the_table():
    names = typing.get_args(SaliencyOptions.model_fields["method"].annotation)
    assert sorted(names) == sorted(METHODS)
    for method in METHODS.values():
        assert any(year in method.paper for year in map(str, range(2013, 2022)))


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[pytest.mark.everything] * (name == "keras.applications")) for name in FAMILIES],
)
def test_every_method_works_for_every_family(family, build):
    make, image, options = FAMILIES[family]
    model = make(build)
    before = [weight.copy() for weight in model.get_weights()]
    layers = list(model.layers)
    for name, method in METHODS.items():
        few = {"samples": 8} if method.samples else {}
        if name == "cam" and family in WITHOUT_CAM:
            with pytest.raises(InputError, match="average over each feature map and one dense layer"):
                easydl.saliency(model, image, method=name, verdict=False, **options)
            continue
        heatmap = easydl.saliency(model, image, method=name, verdict=False, **few, **options)
        assert heatmap.array.shape == image.shape[: metadata_of(model).dimension], name
        assert heatmap.array.dtype == np.float32, name
        assert heatmap.array.min() >= 0 and heatmap.array.max() in (0.0, pytest.approx(1.0)), name
        assert heatmap.array.max() > 0 or method.needs == "layer", name
        assert (heatmap.layer != "") == (method.needs == "layer"), name
        assert heatmap.method == name
    (network,) = gradcam._networks[model].values()
    assert network.traces <= MOST_TRACES
    count = network.traces
    for name in ("gradcam", "scorecam", "smoothgrad", "guided", "occlusion"):
        few = {"samples": 12} if METHODS[name].samples else {}
        easydl.saliency(model, image[::-1].copy(), method=name, verdict=False, **few, **options)
    assert network.traces == count  # another image, another number of samples: nothing is compiled again
    assert model.layers == layers
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("name", METHODS)
def test_the_figure_says_the_method_and_what_must_be_known_of_it(name, planted):
    heatmap = easydl.saliency(planted.model, planted.images[0], method=name, verdict=False)
    written = " ".join(text.get_text() for text in heatmap.show().findobj(Text))
    assert f"{METHODS[name].title}:" in written
    assert METHODS[name].note in " ".join(heatmap.notes)
    assert ("edge detector" in heatmap._text) == (name == "guided")
    again = easydl.saliency(planted.model, planted.images[0], method=name, verdict=False)
    np.testing.assert_array_equal(heatmap.array, again.array)


@pytest.mark.parametrize("name", ["gradcam++", "layercam", "scorecam", "cam", "integrated_gradients", "rise"])
def test_every_kind_of_map_finds_the_planted_corner(name, planted):
    """The network learned a bright square of 8 in the corner of 64; coarse maps reach a little further."""
    corner = 16 if METHODS[name].needs == "layer" else 12
    array = easydl.saliency(planted.model, planted.images[0], method=name, target="square", verdict=False).array
    inside = array[:corner, :corner].mean()
    assert inside > 4 * array.mean()


def test_a_verdict_is_given_for_every_method(planted):
    for name, maps in (("gradient", 19), ("layercam", 19), ("integrated_gradients", 3)):
        verdict = easydl.saliency(planted.model, planted.images[0], method=name).verdict
        assert verdict.level in ("PASS", "CAUTION", "FAIL")
        assert verdict.numbers["n_random_maps"] == maps


def test_an_untouched_network_of_keras_is_explained():
    import keras

    model = keras.applications.MobileNetV2(weights=None, classes=3, input_shape=(96, 96, 3))
    image = noise(96, 96, 3) / 127.5 - 1
    heatmap = easydl.saliency(model, image, verdict=False)
    assert heatmap.probability == pytest.approx(model(image[None]).numpy().max(), abs=1e-6)
    assert heatmap.layer == "block_13_expand_relu"  # 6 x 6, the last of at least 4 points
    assert heatmap.array.shape == (96, 96) and heatmap.array.max() == 1


def test_samples_are_for_methods_that_take_some(planted):
    with pytest.raises(InputError, match="samples") as problem:
        easydl.saliency(planted.model, planted.images[0], method="gradient", samples=20)
    assert "smoothgrad" in problem.value.expected
    few, many = (
        easydl.saliency(planted.model, planted.images[0], method="rise", samples=n, verdict=False).array
        for n in (16, 64)
    )
    assert not np.allclose(few, many)


def test_guided_backpropagation_needs_relu():
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            layers.Input((16, 16, 1)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    with pytest.raises(InputError, match="no ReLU"):
        easydl.saliency(model, noise(16, 16), method="guided", verdict=False)


def test_a_model_of_somebody_else_takes_values_as_they_are(build, tmp_path):
    """Not prepared, not rounded; a file would need preparing, and how is not known."""
    import keras

    model = nested(build)
    model.save(tmp_path / "theirs.keras")
    theirs = keras.models.load_model(tmp_path / "theirs.keras")
    assert attached(theirs) is None
    image = np.random.default_rng(2).uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    expected = theirs(image[None]).numpy()[0]
    for source in (image, Scan(image, "relative")):
        heatmap = easydl.saliency(theirs, source, verdict=False)
        assert heatmap.probability == pytest.approx(expected.max(), abs=1e-6)
        assert heatmap.target == f"class {expected.argmax()}"
        assert heatmap.layer == "backbone/top"
    for source in (str(tmp_path / "theirs.keras"), tmp_path):
        with pytest.raises(InputError, match="easydl did not make this model") as problem:
            easydl.saliency(theirs, source)
        assert f"{SIDE} x {SIDE} x 3" in problem.value.expected


@pytest.mark.parametrize("ending", ["fused", "layer", "reshaped", "inside", "sigmoid"])
def test_the_logits_are_found_however_the_model_ends(ending):
    import keras
    from keras import layers

    keras.utils.set_random_seed(7)
    image = layers.Input((12, 12, 1))
    x = layers.GlobalAveragePooling2D(keepdims=ending == "reshaped")(layers.Conv2D(6, 3, activation="relu")(image))
    if ending == "fused":
        out = layers.Dense(3, activation="softmax")(x)
    elif ending == "layer":
        out = layers.Softmax()(layers.Dense(3)(x))
    elif ending == "reshaped":  # as MobileNet
        out = layers.Activation("softmax")(layers.Reshape((3,))(layers.Conv2D(3, 1)(x)))
    elif ending == "inside":
        vector = layers.Input((6,))
        out = keras.Model(vector, layers.Dense(3, activation="softmax")(vector))(x)
    else:
        out = layers.Dense(3, activation="sigmoid")(x)
    model = keras.Model(image, out)
    picture = np.random.default_rng(3).normal(size=(1, 12, 12, 1)).astype(np.float32)
    probabilities = model(picture).numpy()[0].astype(float)
    logits = network_of(model, (12, 12)).answer(picture).logits
    if ending == "sigmoid":
        np.testing.assert_allclose(logits, np.log(probabilities / (1 - probabilities)), atol=1e-5)
    else:
        wanted = np.log(probabilities)
        np.testing.assert_allclose(logits - logits.mean(), wanted - wanted.mean(), atol=1e-5)
