"""Patches of Keras: fused normalisation gives the layer's own values, half precision is close, and neither leaves a trace."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import easydl
from easydl.networks import supervised
from easydl.training import mixed_precision
from easydl.training.keras_internals import (
    MOST_IMAGES,
    fused_instance_norm,
    in_bfloat16,
    schedule_of,
    without_schedule,
)
from easydl.training.losses import dice_cross_entropy


def sums(model, x, y):
    """The output, and the gradient of a loss by every weight."""
    with tf.GradientTape() as tape:
        found = model(x, training=True)
        loss = tf.reduce_mean(keras.losses.categorical_crossentropy(y, found))
    return found.numpy(), [np.asarray(one) for one in tape.gradient(loss, [w.value for w in model.trainable_weights])]


def precise_sums(make, weights, x, y):
    """The same from a twin in double precision: the gradients of the layer's own chain are 2 in 100 off in single."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        twin = make(width=8)
        twin.set_weights(weights)
        return sums(twin, tf.cast(x, tf.float64), tf.cast(y, tf.float64))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def stirred(model):
    rng = np.random.default_rng(0)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize(("make", "shape"), [(easydl.unet, (3, 32, 48)), (easydl.unet3d, (2, 16, 24, 16))])
def test_gives_the_numbers_of_the_layer_forwards_and_backwards(make, shape, tmp_path):
    model = stirred(make(width=8))
    rng = np.random.default_rng(1)
    x = tf.constant(rng.uniform(0, 255, (*shape, 1)), tf.float32)
    y = tf.one_hot(rng.integers(0, 2, shape), 2)
    expected, slopes = sums(model, x, y)
    if make is easydl.unet:  # TensorFlow pools volumes in single precision only.
        _, slopes = precise_sums(make, model.get_weights(), x, y)
    with fused_instance_norm(model) as count:
        assert count == sum(isinstance(layer, keras.layers.GroupNormalization) for layer in model.layers) > 0
        found, steepness = sums(model, x, y)
        graph = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec(x.shape)).graph
        assert sum(node.type.startswith("FusedBatchNorm") for node in graph.get_operations()) == count * shape[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    for one, other in zip(steepness, slopes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * max(1e-3, np.abs(other).max()))
    np.testing.assert_array_equal(model(x), expected)
    assert not any("call" in vars(layer) for layer in model.layers)
    easydl.save_model(model, tmp_path / "m.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "m.keras")(x), expected, atol=1e-6)


@pytest.mark.parametrize("images", [None, MOST_IMAGES + 1])
def test_a_number_of_images_that_is_unknown_or_large_leaves_the_chain(images):
    model = stirred(easydl.unet(width=4))
    x = np.random.default_rng(1).uniform(0, 255, (images or 2, 16, 16, 1)).astype("float32")
    expected = np.asarray(model(x))
    with fused_instance_norm(model):
        call = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((images, 16, 16, 1))])
        np.testing.assert_allclose(call(x), expected, atol=1e-5)
        kinds = {node.type for node in call.get_concrete_function().graph.get_operations()}
    assert "FusedBatchNormV3" not in kinds


def test_other_normalisation_is_left_alone():
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.GroupNormalization(2), keras.layers.BatchNormalization()]
    )
    with fused_instance_norm(model) as count:
        assert count == 0


def patched(model):
    return [layer.name for layer in model.layers if "call" in vars(layer)]


def test_training_is_fused_and_leaves_no_trace(volume_parts, monkeypatch):
    seen = []

    def run(stage, objective, *given, **more):
        seen.append(patched(objective.learner))
        objective.learner.compile("sgd", "mse")

    monkeypatch.setattr("easydl.training.loop.run_stage", run)
    train, val, _ = volume_parts
    model = easydl.unet3d(train, width=4)
    easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)]
    assert seen == [norms]
    assert not patched(model)


@pytest.mark.everything
def test_fused_training_repeats_itself(volume_parts, few_steps):
    train, val, _ = volume_parts
    losses = []
    for _ in range(2):
        model = easydl.unet3d(train, width=4)
        history = easydl.fit(model, train, val, epochs=1, batch_size=1, verbose=False)
        losses.append(history.history["val_loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def batch(n=2, side=16):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (n, side, side, side, 1)).astype("float32")
    return x, np.eye(2, dtype="float32")[(x[..., 0] > 128).astype(int)]


def test_half_precision_computes_in_bfloat16_and_leaves_no_trace(tmp_path):
    model = easydl.unet3d(width=8)
    x, _ = batch()
    whole = np.asarray(model(x))
    with in_bfloat16(model):
        assert model.get_layer("bottom_conv1").compute_dtype == "bfloat16"
        assert model.get_layer("logits").compute_dtype == "float32"
        assert {weight.dtype for weight in model.weights} == {"float32"}
        rough = np.asarray(model(x))
    assert 0 < np.abs(rough - whole).max() < 0.1
    np.testing.assert_array_equal(np.asarray(model(x)), whole)
    easydl.save_model(model, tmp_path / "m.keras")
    assert {layer.dtype_policy.name for layer in keras.models.load_model(tmp_path / "m.keras").layers} == {"float32"}


def test_the_probabilities_of_coarser_levels_stay_float32():
    twin = supervised(easydl.unet3d(width=4, deep_supervision=True))
    with in_bfloat16(twin):
        kinds = {
            name: twin.get_layer(name).compute_dtype for name in ("level2", "level3_logits", "level3", "up1_conv1")
        }
    assert kinds == {"level2": "float32", "level3_logits": "float32", "level3": "float32", "up1_conv1": "bfloat16"}


def test_the_race_measures_and_changes_nothing():
    model = easydl.unet3d(width=4)
    before = model.get_weights()
    gain = mixed_precision.speedup(model, dice_cross_entropy, *batch())
    assert gain > 0
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(("gain", "used"), [(1.6, True), (1.0, False)])
def test_fit_takes_half_precision_only_when_it_won_the_race(gain, used, volume_parts, monkeypatch):
    monkeypatch.setattr(mixed_precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(mixed_precision, "WORTH_STEPS", 1)
    monkeypatch.setattr(mixed_precision, "speedup", lambda *given: gain)
    train, val, _ = volume_parts
    model = easydl.unet3d(train, width=4)
    seen = []

    def run(stage, objective, *given, **more):
        seen.append(objective.learner.get_layer("bottom_conv1").compute_dtype)
        objective.learner.compile("sgd", "mse")

    monkeypatch.setattr("easydl.training.loop.run_stage", run)
    history = easydl.fit(model, train, val, epochs=1, verbose=False)
    assert seen == ["bfloat16" if used else "float32"]
    assert any("1.6 times as fast" in line for line in history.params["plan"]) == used
    assert model.get_layer("bottom_conv1").compute_dtype == "float32"


def test_the_schedule_of_an_optimizer_is_found_and_comes_back():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    optimizer = keras.optimizers.SGD(schedule)
    assert schedule_of(optimizer) is schedule and schedule_of(keras.optimizers.SGD(0.1)) is None
    with without_schedule(optimizer):
        assert isinstance(optimizer.get_config()["learning_rate"], float)
    assert schedule_of(optimizer) is schedule and float(optimizer.learning_rate) == pytest.approx(0.1)
