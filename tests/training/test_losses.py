"""Losses for masks against NumPy: the same sums, written out."""

import keras
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from easydl.errors import InputError
from easydl.training.losses import (
    BOUNDARY_WEIGHT,
    MASK_LOSSES,
    SMOOTH,
    dice,
    mask_loss,
    signed_distance,
)


@pytest.fixture(scope="module")
def masks():
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 10, 12), int)
    labels[0, 2:6, 3:9] = 1
    labels[1, 5:9, 1:4] = 2
    target = np.eye(3, dtype="float32")[labels]
    noise = rng.normal(size=target.shape).astype("float32") + 2 * target
    probability = np.exp(noise) / np.exp(noise).sum(-1, keepdims=True)
    return target, probability


def cross_entropy(target, probability):
    return -(target * np.log(np.clip(probability, 1e-7, 1))).sum(-1).mean()


def soft_dice(target, probability):
    return (2 * (target * probability).sum((0, 1, 2)) + SMOOTH) / ((target + probability).sum((0, 1, 2)) + SMOOTH)


def expected(name, target, probability):
    both = cross_entropy(target, probability) + 1 - soft_dice(target, probability)[1:].mean()
    if name == "dice_cross_entropy":
        return both
    if name == "cross_entropy":
        return cross_entropy(target, probability)
    if name == "dice":
        t, p = target[..., 1:], probability[..., 1:]
        return 1 - (2 * (t * p).sum((0, 1, 2)) + 1e-7) / (t.sum((0, 1, 2)) + p.sum((0, 1, 2)) + 1e-7)
    if name == "tversky":
        t, p = target[..., 1:], probability[..., 1:]
        hit, alarm, miss = (t * p).sum((0, 1, 2)), ((1 - t) * p).sum((0, 1, 2)), (t * (1 - p)).sum((0, 1, 2))
        return 1 - hit / (hit + 0.3 * alarm + 0.7 * miss + 1e-7)
    if name == "focal":
        # Keras balances the classes by alpha = 0.25 for each, and gamma is 2.
        p = np.clip(probability, 1e-7, 1)
        return (-0.25 * (1 - p) ** 2 * target * np.log(p)).sum(-1).mean()
    distance = np.zeros_like(probability)
    for image in range(2):
        for k in range(3):
            inside = target[image, ..., k] == 1
            if inside.any():
                away = distance_transform_edt(~inside) - distance_transform_edt(inside) + inside
                distance[image, ..., k] = away
    return both + BOUNDARY_WEIGHT * (probability[..., 1:] * distance[..., 1:]).mean()


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_losses_are_those_written_out(name, masks):
    target, probability = masks
    loss = mask_loss(name)
    found = np.asarray(loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(probability)))
    np.testing.assert_allclose(found, expected(name, target, probability), rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("dice_cross_entropy", "boundary") else pytest.param(name, marks=pytest.mark.everything)
        for name in MASK_LOSSES
    ],
)
def test_every_loss_trains_a_model_towards_the_mask(name, masks):
    target, _ = masks
    x = np.concatenate([target[..., 1:2] * 200, target[..., 2:3] * 200], -1).astype("float32")
    layers = [
        keras.Input((10, 12, 2)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(3, 1, activation="softmax"),
    ]
    keras.utils.set_random_seed(0)
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.1), loss=mask_loss(name))
    first = model.evaluate(x, target, verbose=0)
    model.fit(x, target, epochs=40, verbose=0)
    assert model.evaluate(x, target, verbose=0) < 0.6 * first
    assert (model.predict(x, verbose=0).argmax(-1) == target.argmax(-1)).mean() > 0.95


def test_the_dice_that_is_followed_is_that_of_the_most_probable_classes(masks):
    target, probability = masks
    mixed = probability[:, ::-1]
    taken = np.eye(3)[mixed.argmax(-1)]
    expected = soft_dice(target, taken)[1:].mean()
    found = float(dice(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(mixed)))
    assert found == pytest.approx(expected, rel=1e-5)
    assert 0.01 < found < 0.99, "neither of the two ends"
    assert float(dice(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(target))) == pytest.approx(1)


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="dice_cross_entropy, dice, tversky"):
        mask_loss("hinge")


def test_distances_are_negative_inside_and_zero_where_a_class_is_absent():
    target = np.eye(3, dtype="float32")[np.array([[[0, 0, 0, 1, 1, 1, 1, 0]]])]
    distance = signed_distance(target)
    np.testing.assert_array_equal(distance[0, 0, :, 1], [3, 2, 1, 0, -1, -1, 0, 1])
    np.testing.assert_array_equal(distance[..., 2], 0)
