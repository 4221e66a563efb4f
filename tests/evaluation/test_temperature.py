"""Temperatures against scikit-learn's, on probabilities that are too sure by a known factor."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss as sklearn_log_loss

from easydl.evaluation import classification_metrics
from easydl.evaluation.temperature import calibration, fitted, log_loss, platt_targets, tempered


def drawn(n, classes=3, factor=3.0, seed=0):
    """Probabilities from logits that are ``factor`` times too large, with labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, classes))
    right = softmax(logits, axis=1)
    labels = (right.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return softmax(factor * logits, axis=1).astype(np.float32), np.eye(classes)[labels], labels


class Given(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its logits."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


def test_it_is_the_temperature_of_scikit_learn():
    found, targets, labels = drawn(400)
    temperature = fitted([found], targets)
    logits = np.log(found.astype(float))
    theirs = CalibratedClassifierCV(FrozenEstimator(Given().fit(logits, labels)), method="temperature")
    expected = theirs.fit(logits, labels).predict_proba(logits)
    np.testing.assert_allclose(tempered([found], temperature), expected, atol=2e-3)
    assert temperature == pytest.approx(3.0, rel=0.2)
    assert log_loss(found, targets) == pytest.approx(sklearn_log_loss(labels, found.astype(float)), rel=2e-3)


def test_probabilities_that_are_too_sure_are_mended_on_new_images_and_both_numbers_are_said():
    found, targets, _ = drawn(300)
    one = calibration([found], targets, [f"p{k // 2}" for k in range(300)])
    assert one.reason == "" and (one.n, one.unit_of_n) == (150, "patients")
    fresh, fresh_targets, _ = drawn(5000, seed=1)
    after = tempered([fresh], one.temperature)
    assert log_loss(after, fresh_targets) < log_loss(fresh, fresh_targets) - 0.1
    # What is said of the validation part holds for others: it is cross-fitted.
    assert one.log_loss[1][0] == pytest.approx(log_loss(after, fresh_targets), abs=0.08)
    assert one.log_loss[0][0] == pytest.approx(log_loss(found, targets), rel=1e-6)
    (before, *_), (now, low, high) = one.ece
    assert now < before - 0.05 and low <= now <= high
    assert f"divided by {one.temperature:.2f}. Log-loss " in one.text and "150 validation patients" in one.text
    assert one.text.count("(95% CI ") == 4


def test_what_is_right_already_or_too_small_is_left():
    found, targets, _ = drawn(120, factor=1.0, seed=3)
    left = calibration([found], targets, None)
    assert left.temperature == 1 and "would not lower" in left.text and "120 validation images" in left.text
    few = calibration([found[:40]], targets[:40], [f"p{k // 2}" for k in range(40)])
    assert few.temperature == 1 and "20 validation patients, 30 are needed" in few.text
    one_class = calibration([found], np.eye(3)[np.zeros(120, int)], None)
    assert one_class.temperature == 1 and "one class only" in one_class.text


@pytest.mark.parametrize("exclusive", [True, False])
def test_few_images_that_are_all_right_do_not_make_it_sure(exclusive):
    """As `tiny` on 40 validation images: the lowest log-loss made its log-loss on new images twice as high."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [12, 28])
    margin = np.where(labels == 1, 1.0, -1.0) * rng.uniform(1.5, 6, 40)
    found = 1 / (1 + np.exp(-np.column_stack([-margin, margin])))
    targets = np.eye(2)[labels]
    assert (
        log_loss(tempered([found], 0.05), targets, exclusive=exclusive) < 1e-4
    )  # what the log-loss alone would choose
    temperature = fitted([found], targets, exclusive=exclusive)
    assert temperature > 0.6
    # Platt 1999: 29 of 30 for the images of the larger class, 13 of 14 for the others.
    soft = platt_targets(targets, exclusive)
    np.testing.assert_allclose(soft[labels == 1, 1], 29 / 30)
    np.testing.assert_allclose(soft[labels == 0, 1], 1 / 14)
    np.testing.assert_allclose(soft.sum(axis=1), 1)
    # Many images may make it as sure as they are.
    unsure, many, _ = drawn(4000, factor=0.5, seed=2)
    assert fitted([unsure], many) == pytest.approx(0.5, rel=0.1)


def test_labels_have_one_temperature_and_members_share_theirs():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (400, 3))
    targets = (rng.random((400, 3)) < 1 / (1 + np.exp(-logits))).astype(float)
    sure = 1 / (1 + np.exp(-2.5 * logits))
    assert fitted([sure], targets, exclusive=False) == pytest.approx(2.5, rel=0.2)
    found, targets, _ = drawn(400)
    noisy = [softmax(np.log(found) + rng.normal(0, 2, found.shape), axis=1) for _ in range(5)]
    temperature = fitted(noisy, targets)
    parts = [softmax(np.log(one) / temperature, axis=1) for one in noisy]
    np.testing.assert_allclose(tempered(noisy, temperature), np.mean(parts, axis=0), rtol=1e-5)
    grid = np.exp(np.linspace(np.log(0.1), np.log(10), 200))
    assert (
        log_loss(tempered(noisy, temperature), targets)
        <= min(log_loss(tempered(noisy, t), targets) for t in grid) + 1e-6
    )


def test_calibration_error_and_log_loss_are_those_of_a_test():
    found, targets, labels = drawn(200)
    names = [f"class {k}" for k in range(found.shape[1])]
    patients = [f"p{k // 2}" for k in range(200)]
    table = pd.DataFrame({f"p({name})": found[:, k] for k, name in enumerate(names)})
    table = table.assign(
        label=[names[k] for k in labels], prediction=[names[k] for k in found.argmax(axis=1)], patient=patients
    )
    rows = classification_metrics(table, names, resamples=500).table.set_index("name")
    one = calibration([found], targets, patients)
    for name, numbers, near in (("ECE", one.ece[0], 0.02), ("log loss", one.log_loss[0], 0.05)):  # 500 resamples
        row = rows.loc[name]
        assert numbers == pytest.approx((row["value"], row["low"], row["high"]), abs=near)
        assert numbers[0] == pytest.approx(row["value"], abs=1e-9)
