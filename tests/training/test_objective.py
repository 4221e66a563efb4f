"""The losses against NumPy, and what each task is trained on."""

import numpy as np
import pytest

from easydl.training.objective import KERAS_LOSSES, scaled_error, weighed_findings
from easydl.training.ordinal import grade_error, ordinal_loss

RNG = np.random.default_rng(0)


def test_the_ordinal_loss_is_cross_entropy_plus_the_squared_earth_movers_distance():
    probability = RNG.dirichlet(np.ones(4), 10)
    target = np.eye(4)[RNG.integers(0, 4, 10)]
    entropy = -(target * np.log(probability)).sum(axis=1)
    moved = ((np.cumsum(probability, axis=1) - np.cumsum(target, axis=1)) ** 2).sum(axis=1)
    np.testing.assert_allclose(np.asarray(ordinal_loss(target, probability)), entropy + moved, rtol=1e-5)
    perfect = np.asarray(ordinal_loss(target, target))
    np.testing.assert_allclose(perfect, 0, atol=1e-5)


def test_the_error_in_grades_is_that_of_the_median():
    probability = np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]], np.float32)
    target = np.eye(3, dtype=np.float32)[[0, 0, 0]]
    assert np.asarray(grade_error(target, probability)).tolist() == [0, 1, 2]


def test_the_error_of_a_number_is_counted_in_deviations():
    target, value = np.array([[10.0], [10.0]]), np.array([[11.0], [30.0]])
    found = np.asarray(scaled_error(2.0)(target, value))
    np.testing.assert_allclose(
        found, [0.5 * 0.5**2, 10 - 0.5], rtol=1e-6
    )  # quadratic below one deviation, linear above


def test_findings_are_weighed_where_they_are_present():
    target, probability = np.array([[1.0, 0.0]], np.float32), np.array([[0.2, 0.3]], np.float32)
    found = float(np.asarray(weighed_findings([3.0, 5.0])(target, probability))[0])
    assert found == pytest.approx(-(3 * np.log(0.2) + np.log(0.7)) / 2, rel=1e-5)


def test_every_task_has_a_loss_that_plain_keras_knows():
    import keras

    assert all(callable(keras.losses.get(name)) for name in KERAS_LOSSES.values())
