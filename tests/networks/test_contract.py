"""One contract for every network in the catalogue: shape, learning, flat graph, channels, sizes, files."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from easydl.networks import (
    backbone_layers,
    classifier,
    load_model,
    recipe_of,
    save_model,
    set_window,
    unet,
    unet3d,
)
from easydl.networks.catalogue import ENTRIES

NAMES = list(ENTRIES)
# Two of the four widths of MobileNet stand for all where a test takes time.
FAMILIES = [name for name in NAMES if name not in ("mobilenet_050", "mobilenet_075")]
SEGMENTERS = {"unet": unet, "unet3d": unet3d}
ODD = {"unet": (48, 80), "unet3d": (16, 24, 8), "tiny3d": (9, 14, 11)}
_built: dict[str, keras.Model] = {}


def build(name: str, **options) -> keras.Model:
    if ENTRIES[name].makes == "segmenter":
        return SEGMENTERS[name](**{"classes": 3, "width": 8} | options)
    small = {"size": 16 if ENTRIES[name].dimension == 3 else 48, "classes": 3}
    return classifier(name, **small | options)


def built(name: str) -> keras.Model:
    """One build of each, for the tests that do not change it."""
    if name not in _built:
        _built[name] = build(name)
    return _built[name]


def batch(model: keras.Model, n: int = 2, seed: int = 0) -> np.ndarray:
    whole = 16 if len(model.input_shape) == 5 else 32
    shape = [side or whole for side in model.input_shape[1:-1]]
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (n, *shape, model.input_shape[-1])).astype("float32")


def without_dropout(model: keras.Model) -> keras.Model:
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return model


def call(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


@pytest.mark.parametrize("name", NAMES)
def test_gives_probabilities_of_the_right_shape(name):
    model = built(name)
    x = batch(model)
    y = call(model, x)
    spatial = x.shape[1:-1] if ENTRIES[name].makes == "segmenter" else ()
    assert y.shape == (2, *spatial, 3)
    assert y.dtype == np.float32
    assert y.min() >= 0
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_one_step_down_the_gradient_lowers_the_loss(name):
    model = build(name)
    without_dropout(model)
    x = batch(model, 4)
    y = np.random.default_rng(1).integers(0, 3, model(x[:1]).shape[:-1]).repeat(4, 0)
    y[0] = (y[0] + 1) % 3

    def loss() -> tf.Tensor:
        return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))

    with tf.GradientTape() as tape:
        before = loss()
    variables = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(before, variables)
    assert all(gradient is not None for gradient in gradients)
    norm = tf.linalg.global_norm(gradients)
    assert float(norm) > 0
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(0.001 * gradient / norm)
    assert float(loss()) < float(before)


@pytest.mark.parametrize("name", NAMES)
def test_is_flat_and_made_of_named_built_in_layers(name):
    model = built(name)
    kinds = {type(layer) for layer in model.layers}
    assert not any(issubclass(kind, keras.Model) for kind in kinds)
    assert not any("Lambda" in kind.__name__ for kind in kinds)
    assert all(kind.__module__.startswith("keras.src.layers") for kind in kinds), kinds
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["image", "window", "clip"]
    assert names[-2:] == ["logits", "probability"]
    if ENTRIES[name].makes == "classifier":
        assert names[-4:-2] == ["features", "dropout"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("channels", [3, 5])
def test_takes_several_channels_and_odd_sizes(name, channels):
    size = ODD.get(name, (65, 70))
    model = without_dropout(build(name, channels=channels, size=size))
    assert model.input_shape == (None, *size, channels)
    assert recipe_of(model).channels == channels
    assert recipe_of(model).size == size
    x = batch(model, 2)
    changed = x.copy()
    changed[..., -1] = 255 - changed[..., -1]
    # With the statistics of the batch: an untrained MobileNet lets next to nothing through with its own.
    one, other = np.asarray(model(x, training=True)), np.asarray(model(changed, training=True))
    np.testing.assert_allclose(one.sum(-1), 1, atol=1e-5)
    assert np.abs(one - other).max() > 1e-5, "the last channel is looked at"


@pytest.mark.parametrize("name", NAMES)
def test_has_the_parameters_that_the_catalogue_says(name):
    entry = ENTRIES[name]
    if entry.makes == "segmenter":
        model = SEGMENTERS[name]()
        layers = model.layers
    else:
        model = built(name) if entry.application else classifier(name)
        layers = backbone_layers(model) if entry.application else model.layers
    assert sum(layer.count_params() for layer in layers) == entry.parameters


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "efficientnet"])
def test_backbones_have_the_published_number_of_parameters(name):
    # keras.io/api/applications, with the 1000-class head that ours leaves out.
    total, features = {
        "resnet": (25_613_800, 2048),
        "mobilenet": (4_253_864, 1024),
        "efficientnet": (5_330_571, 1280),
    }[name]
    assert ENTRIES[name].parameters == total - (features + 1) * 1000


def test_files_open_in_plain_keras_without_easydl_and_in_easydl_with_equal_predictions(tmp_path):
    for name in FAMILIES:
        model = built(name)
        set_window(model, (-10.0, 300.0), "HU")
        save_model(model, tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", x=batch(model), y=call(model, batch(model)))
    script = (
        "import sys; sys.modules['easydl'] = None\n"
        "import json, keras, numpy as np\n"
        "out = {}\n"
        f"for name in {FAMILIES!r}:\n"
        "    model = keras.models.load_model(name + '.keras')\n"
        "    known = np.load(name + '.npz')\n"
        "    out[name] = float(np.abs(np.asarray(model(known['x'], training=False)) - known['y']).max())\n"
        "print(json.dumps(out))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    apart = json.loads(done.stdout.splitlines()[-1])
    assert set(apart) == set(FAMILIES)
    assert max(apart.values()) < 1e-6, apart
    for name in FAMILIES:
        again = load_model(tmp_path / f"{name}.keras")
        known = np.load(tmp_path / f"{name}.npz")
        np.testing.assert_allclose(call(again, known["x"]), known["y"], atol=1e-6)
        assert recipe_of(again).window == (-10.0, 300.0)
        assert recipe_of(again).classes == recipe_of(built(name)).classes


@pytest.mark.parametrize("name", ["mobilenet_025", "tiny", "tiny3d", "unet", "unet3d"])
def test_seed_settles_the_weights_and_leaves_the_callers_alone(name):
    import random

    random.seed(5)
    np.random.seed(5)
    keras.utils.set_random_seed(5)
    expected = (random.random(), np.random.rand(), float(tf.random.uniform(())))
    keras.utils.set_random_seed(5)
    one = build(name, seed=3)
    assert (random.random(), np.random.rand(), float(tf.random.uniform(()))) == expected
    two, other = build(name, seed=3), build(name, seed=4)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
