"""Activation and stochastic depth as options: as computed by hand, with the weights of the plain network, refused where due."""

import keras
import numpy as np
import pytest
from scipy.special import erf, expit

import easydl
from easydl.errors import InputError
from easydl.networks import backbone_layers, classifier, metadata_of, save_model
from easydl.networks.registry import RESIDUAL

BY_HAND = {
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "silu": lambda x: x * expit(x),
    "tanh": np.tanh,
    "sigmoid": expit,
}
IMAGES = np.random.default_rng(0).uniform(0, 255, (48, 32, 32, 1)).astype("float32")


@pytest.fixture(scope="module")
def dropping():
    return classifier("resnet18", size=32, seed=3, stochastic_depth=0.5)


@pytest.mark.parametrize("name", BY_HAND)
def test_the_activation_is_the_one_of_that_name_in_every_hidden_layer(name):
    model = classifier("tiny", size=32, activation=name)
    ends = [layer for layer in model.layers if layer.name.endswith("_relu")]
    assert len(ends) == 7
    inner = keras.Model(model.input, [tensor for layer in ends for tensor in (layer.input, layer.output)])
    # Far from 0 on both sides, which an untrained network is not.
    model.get_layer("stage1_1_bn").set_weights(list(np.outer([9, 0, 0, 1], np.ones(16))))
    found = [np.asarray(one, float) for one in inner(IMAGES[:4])]
    assert found[0].min() < -1 and found[0].max() > 1
    for before, after in zip(found[::2], found[1::2], strict=True):
        np.testing.assert_allclose(after, BY_HAND[name](before), atol=1e-4)
    assert metadata_of(model).arguments["activation"] == name


def test_another_activation_leaves_the_weights_and_what_is_no_hidden_layer():
    plain, other = (easydl.segmenter("attention_unet", width=4, activation=one) for one in ("auto", "elu"))
    for one, two in zip(plain.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert "activation" not in metadata_of(plain).arguments
    changed = {one.name for one in other.layers if one.get_config().get("activation") == "elu"}
    assert changed == {one.name for one in plain.layers if type(one).__name__ == "ReLU"} - {"clip"}
    assert other.get_layer("gate1_attention").activation is keras.activations.sigmoid
    assert type(other.get_layer("clip")).__name__ == "ReLU"


def test_blocks_are_dropped_by_image_in_training_and_scaled_by_what_is_kept(dropping):
    adds = [layer for layer in dropping.layers if isinstance(layer, keras.layers.Add)]
    drops = [dropping.get_layer(f"{layer.name}_drop") for layer in adds]
    # Equation 4 of the paper: a line from (nearly) 0 to the rate of the last block.
    np.testing.assert_allclose([layer.rate for layer in drops], 0.5 * np.arange(1, 9) / 8)
    inner = keras.Model(
        dropping.input, [tensor for add, drop in zip(adds, drops, strict=True) for tensor in (drop.input, *add.input)]
    )
    shortcuts = [
        1 - [one is drop.output for one in add.input].index(True) for add, drop in zip(adds, drops, strict=True)
    ]
    statistics = dropping.get_weights()
    for training in (True, False):
        found = [np.asarray(one) for one in inner(IMAGES, training=training)]
        for number, drop in enumerate(drops):
            block, after = found[3 * number], found[3 * number + 2 - shortcuts[number]]
            factors = (after * block).sum(axis=(1, 2, 3)) / (block * block).sum(axis=(1, 2, 3))
            np.testing.assert_allclose(after, block * factors[:, None, None, None], atol=1e-3 * np.abs(block).max())
            kept = factors > 0.5
            np.testing.assert_allclose(factors, kept / (1 - drop.rate) if training else 1.0, atol=1e-4)
            spread = np.sqrt(len(IMAGES) * drop.rate * (1 - drop.rate))
            if training:
                assert abs((~kept).sum() - len(IMAGES) * drop.rate) < 4 * spread
    dropping.set_weights(statistics)


def test_in_inference_it_is_the_network_without_it(dropping):
    plain = classifier("resnet18", size=32, seed=3)
    np.testing.assert_allclose(np.asarray(dropping(IMAGES)), np.asarray(plain(IMAGES)), atol=1e-6)
    assert metadata_of(dropping).arguments["stochastic_depth"] == 0.5
    assert "stochastic_depth" not in metadata_of(plain).arguments


@pytest.mark.everything
def test_weights_pass_between_a_network_with_it_and_one_without(dropping, tmp_path):
    path = save_model(dropping, tmp_path / "dropping.keras")
    for rate in (0.0, 0.3):
        again = classifier("resnet18", size=32, seed=9, stochastic_depth=rate, pretrained=path)
        for layer in backbone_layers(dropping):
            for one, two in zip(
                layer.get_weights(), again.get_layer(layer.name).get_weights() if layer.weights else (), strict=True
            ):
                np.testing.assert_array_equal(one, two)


@pytest.mark.everything
def test_published_weights_reach_the_layers_they_belong_to(stir, write_official, tmp_path):
    # The order of the layers, by which Keras' files are read, is another one with blocks that are dropped.
    source = stir(keras.applications.ResNet50(include_top=False, weights=None, input_shape=(64, 64, 3)))
    path = write_official(source, tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5")
    plain, dropping = (classifier("resnet50", size=64, pretrained=path, stochastic_depth=rate) for rate in (0.0, 0.2))
    x = np.repeat(IMAGES[:2], 2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(np.asarray(dropping(x)), np.asarray(plain(x)), atol=1e-5)


def test_the_residual_networks_are_those_whose_names_say_so():
    families = ("resnet", "convnext", "mobilenetv2", "efficientnetlite0")
    table = easydl.models(kind="classifier")
    assert set(RESIDUAL) == {name for name in table["name"] if name.startswith(families)}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: classifier("tiny", activation="rellu"), "relu"),
        (lambda: classifier("mobilenet_025", activation="elu"), "easydl's own"),
        (lambda: classifier("efficientnetlite0", activation="elu", pretrained=True), "trained with"),
        (lambda: easydl.unet(encoder="mobilenet_025", activation="elu"), "easydl's own"),
        (lambda: easydl.unet(encoder="efficientnetlite0", activation="elu", pretrained=True), "trained with"),
        (lambda: classifier("tiny", stochastic_depth=0.2), "resnet18"),
        (lambda: classifier("efficientnetb0", stochastic_depth=0.2), "resnet18"),
        (lambda: classifier("resnet18", stochastic_depth=0.9), "0.8"),
        (lambda: classifier("resnet18", stochastic_depth=True), "0.8"),
        (lambda: classifier("resnet18", stochastic_depth=float("nan")), "0.8"),
    ],
)
def test_what_cannot_be_had_is_refused(build, expected):
    with pytest.raises(InputError) as caught:
        build()
    assert expected in caught.value.expected and caught.value.found and caught.value.do
