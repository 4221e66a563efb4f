"""Fused instance normalisation: the numbers of Keras' own layer, forwards and backwards, and no trace of it afterwards."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import easydl
from easydl.training.group_norm import MOST_IMAGES, fused


def sums(model, x, y):
    """The answer, and the gradient of a loss by every weight."""
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
    with fused(model) as count:
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
    with fused(model):
        call = tf.function(lambda x: model(x), input_signature=[tf.TensorSpec((images, 16, 16, 1))])
        np.testing.assert_allclose(call(x), expected, atol=1e-5)
        kinds = {node.type for node in call.get_concrete_function().graph.get_operations()}
    assert "FusedBatchNormV3" not in kinds


def test_other_normalisation_is_left_alone():
    model = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.GroupNormalization(2), keras.layers.BatchNormalization()]
    )
    with fused(model) as count:
        assert count == 0


def test_training_is_fused_and_repeats_itself(tmp_path, monkeypatch):
    from made import nifti_study

    from easydl.training import group_norm as room
    from easydl.training import segmentation

    seen = []

    def spied(model):
        seen.append(model.name)
        return room.fused(model)

    study = easydl.load(nifti_study(tmp_path, cases=10))
    train, val, _ = study.split(seed=0)
    once = []
    monkeypatch.setattr(segmentation, "fused", spied)
    for _ in range(2):
        model = easydl.unet3d(study, width=4)
        easydl.fit(model, train, val, epochs=1, verbose=False)
        once.append(model.get_weights())
        assert not any("call" in vars(layer) for layer in model.layers)
    assert seen == ["unet3d", "unet3d"]
    for one, other in zip(*once, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
