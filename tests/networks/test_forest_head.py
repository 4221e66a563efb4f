"""Soft decision trees as the head: as computed by hand, built of Keras' own layers, learning, saved, explained."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

import easydl
from easydl.errors import InputError
from easydl.networks import classifier, head, metadata_of, save_model, set_temperature
from easydl.networks.forest_head import DEPTH, TREES
from easydl.training.members import LAST_LAYERS


@pytest.fixture(scope="module")
def model():
    return classifier("tiny", classes=["no", "yes"], size=32, head="forest", seed=1)


@pytest.fixture(scope="module")
def films():
    rng = np.random.default_rng(0)
    images = rng.integers(20, 90, (24, 32, 32, 1)).astype("float32")
    images[::2, 8:24, 8:24] += 120
    return images


def test_the_logits_are_those_of_trees_walked_by_hand(model, films):
    features = np.asarray(keras.Model(model.input, model.get_layer("features").output)(films[:3]))
    scores = model.get_layer("logits").get_weights()
    arrived = np.ones((3, TREES, 1))
    for depth in range(1, DEPTH + 1):
        kernel, bias = model.get_layer(f"decision{depth}").get_weights()
        right = expit((features @ kernel + bias).reshape(3, TREES, -1))
        # Leaves stand in the order: all that went left at the last node, then all that went right.
        arrived = np.concatenate([arrived * (1 - right), arrived * right], axis=-1)
    np.testing.assert_allclose(arrived.sum(axis=-1), 1, atol=1e-9)
    expected = softmax(arrived.reshape(3, -1) @ scores[0] + scores[1], axis=1)
    np.testing.assert_allclose(np.asarray(model(films[:3])), expected, atol=1e-5)


def test_it_is_flat_and_made_of_built_in_layers(model):
    assert all(type(layer).__module__.startswith("keras.src.layers") for layer in model.layers)
    assert model.operations == model.layers
    assert [layer.name for layer in model.layers[-3:]] == ["leaves", "logits", "probability"]
    assert metadata_of(model).arguments["head"] == "forest"
    assert "head" not in metadata_of(classifier("tiny", size=32)).arguments


def test_it_learns_and_its_file_opens_here_and_in_plain_keras(films, tmp_path):
    model = classifier("tiny", classes=["no", "yes"], size=32, head="forest", seed=1)
    targets = np.eye(2)[(np.arange(24) % 2 == 0).astype(int)]
    model.compile(keras.optimizers.Adam(0.003), "categorical_crossentropy")
    losses = model.fit(films, targets, batch_size=8, epochs=15, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 4
    answers = np.asarray(model(films))
    features = np.asarray(keras.Model(model.input, model.get_layer("features").output)(films))
    np.testing.assert_allclose(np.asarray(head(model)(features)), answers, atol=1e-6)  # as trained on cached features
    path = save_model(model, tmp_path / "forest.keras")
    for opened in (easydl.load_model(path), keras.saving.load_model(path)):
        np.testing.assert_allclose(np.asarray(opened(films)), answers, atol=1e-6)
    heatmap = easydl.saliency(model, films[0], verdict=False)
    assert heatmap.array.max() == pytest.approx(1, abs=0.01)


def test_a_temperature_divides_its_logits(films):
    model = classifier("tiny", size=32, head="forest")
    before = np.log(np.asarray(model(films)))
    after = np.log(np.asarray(set_temperature(model, 2.0)(films)))
    np.testing.assert_allclose(np.diff(after), np.diff(before) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "shapes"),
    [
        ({"task": "regression"}, (None, 1)),
        ({"task": "multilabel", "classes": ["a", "b", "c"]}, (None, 3)),
        ({"covariates": ["age"]}, (None, 2)),
        ({"heads": {"cancer": ["no", "yes"], "age": 1}}, {"cancer": (None, 2), "age": (None, 1)}),
    ],
)
def test_it_serves_every_task(arguments, shapes):
    model = classifier("tiny", size=32, head="forest", **arguments)
    found = {name: one.shape for name, one in model.output.items()} if "heads" in arguments else model.output_shape
    assert found == shapes
    names = [layer.name for layer in model.layers]
    assert names.count("leaves") == 1


def test_members_of_an_ensemble_start_from_trees_of_their_own(model):
    new = {layer.name for layer in model.layers if layer.weights and LAST_LAYERS.fullmatch(layer.name)}
    assert new == {"logits", *(f"decision{depth}" for depth in range(1, DEPTH + 1))}
    assert LAST_LAYERS.fullmatch("cancer_logits") and not LAST_LAYERS.fullmatch("conv1")


def test_another_head_is_refused():
    with pytest.raises(InputError, match="forest"):
        classifier("tiny", head="forrest")
