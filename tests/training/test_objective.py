"""The losses against NumPy, and what each task is trained on."""

import numpy as np
import pytest

import easydl
from easydl.errors import InputError
from easydl.training.losses import ordinal_error, ordinal_loss, scaled_error, weighted_binary_cross_entropy
from easydl.training.objective import KERAS_LOSSES, LOSSES, classifier_objective

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
    assert np.asarray(ordinal_error(target, probability)).tolist() == [0, 1, 2]


def test_the_error_of_a_number_is_counted_in_deviations():
    target, value = np.array([[10.0], [10.0]]), np.array([[11.0], [30.0]])
    found = np.asarray(scaled_error(2.0)(target, value))
    np.testing.assert_allclose(
        found, [0.5 * 0.5**2, 10 - 0.5], rtol=1e-6
    )  # quadratic below one deviation, linear above


@pytest.mark.parametrize(("kind", "expected"), [("squared_error", [0.25, 100.0]), ("absolute_error", [0.5, 10.0])])
def test_other_errors_of_a_number_are_counted_in_deviations_too(kind, expected):
    target, value = np.array([[10.0], [10.0]]), np.array([[11.0], [30.0]])
    np.testing.assert_allclose(np.asarray(scaled_error(2.0, kind)(target, value)), expected, rtol=1e-6)


class Numbers:
    """A study as far as an objective looks at it."""

    def targets(self):
        return np.array([[40.0], [60.0], [80.0]], np.float32)


@pytest.mark.parametrize(
    ("task", "loss"), [(task, loss) for task, known in LOSSES.items() for loss in known if not task.has_masks]
)
def test_every_loss_is_at_its_lowest_for_the_truth_and_differs_from_the_others(task, loss):
    from easydl.networks import metadata_of

    model = easydl.classifier("tiny", size=16, task=task, classes=1 if task == "regression" else 3)
    metadata = metadata_of(model)
    rng = np.random.default_rng(0)
    if task == "regression":
        target, guess = np.array([[50.0], [70.0]], "float32"), np.array([[61.0], [42.0]], "float32")
    else:
        target = np.eye(3, dtype="float32")[[0, 2]]
        guess = rng.dirichlet(np.ones(3), 2).astype("float32")

    def mean(name, answer):
        kind = classifier_objective(model, metadata, Numbers(), None, name).loss
        kind = __import__("keras").losses.get(kind) if isinstance(kind, str) else kind
        return float(np.mean(np.asarray(kind(target, answer))))

    assert mean(loss, target) < 1e-4 < mean(loss, guess)
    others = [other for other in LOSSES[task] if other != loss]
    assert all(abs(mean(other, guess) - mean(loss, guess)) > 1e-3 for other in others)
    assert mean("auto", guess) == pytest.approx(mean(LOSSES[task][0], guess))


def test_a_loss_of_another_task_is_refused():
    from easydl.networks import metadata_of

    model = easydl.classifier("tiny", size=16)
    with pytest.raises(InputError, match="cross_entropy, focal"):
        classifier_objective(model, metadata_of(model), Numbers(), None, "huber")
    model = easydl.classifier("tiny", size=16, heads={"a": 2})
    with pytest.raises(InputError, match=r'loss="auto"'):
        classifier_objective(model, metadata_of(model), Numbers(), None, "focal")


def test_findings_are_weighed_where_they_are_present():
    target, probability = np.array([[1.0, 0.0]], np.float32), np.array([[0.2, 0.3]], np.float32)
    found = float(np.asarray(weighted_binary_cross_entropy([3.0, 5.0])(target, probability))[0])
    assert found == pytest.approx(-(3 * np.log(0.2) + np.log(0.7)) / 2, rel=1e-5)


def test_focal_findings_are_weighed_as_well():
    import keras

    from easydl.networks import metadata_of

    model = easydl.classifier("tiny", size=16, task="multilabel", classes=3)
    target = RNG.integers(0, 2, (20, 3)).astype("float32")
    p = RNG.uniform(0.05, 0.95, (20, 3)).astype("float32")

    def found(weights):
        loss = classifier_objective(model, metadata_of(model), Numbers(), weights, "focal").loss
        return np.asarray(loss(target, p))

    more = np.array([3.0, 1.0, 5.0])
    each = more * target * (1 - p) ** 2 * np.log(p) + (1 - target) * p**2 * np.log(1 - p)
    np.testing.assert_allclose(found({0: 3.0, 2: 5.0}), -each.mean(axis=1), rtol=1e-4)
    plain = keras.losses.binary_focal_crossentropy(target, p, gamma=2.0)
    np.testing.assert_allclose(found(dict.fromkeys(range(3), 1.0)), plain, rtol=1e-4)
    assert found(None) == pytest.approx(float(np.mean(plain)), rel=1e-4)


def test_every_task_has_a_loss_that_plain_keras_knows():
    import keras

    assert all(callable(keras.losses.get(name)) for name in KERAS_LOSSES.values())
