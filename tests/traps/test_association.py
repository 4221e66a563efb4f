"""The test behind every confounder: its AUC against scikit-learn, its false alarms, what it finds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from easydl.traps.association import RIDGE, Categories, Features, Labels, Spots, column_aucs


def labels_of(y, patient=None, seed=0):
    patient = np.arange(len(y)) if patient is None else patient
    return Labels(pd.Series(y), pd.Series(patient).astype(str), seed=seed)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_auc_of_categories_is_that_of_their_scores(classes):
    rng = np.random.default_rng(0)
    labels = labels_of(rng.permutation([f"c{i % classes}" for i in range(240)]), np.arange(240) // 2)
    evidence = Categories(pd.Series(rng.integers(0, 7, 240)))
    scores = evidence.scores(labels.truth, labels.fold)
    expected = [roc_auc_score(labels.truth[:, k], scores[:, k]) for k in range(labels.truth.shape[1])]
    np.testing.assert_allclose(evidence.aucs(labels.truth, labels.fold), expected, rtol=1e-12)


@pytest.mark.parametrize("width", [4, 300])
def test_features_are_a_ridge_regression_on_the_other_folds(width):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 100)
    values = rng.normal(size=(100, width)) + y[:, None] * 0.5
    labels, evidence = labels_of(np.where(y, "b", "a")), Features(values)
    scores = evidence.scores(labels.truth, labels.fold)[:, 0]
    scaled = ((values - values.mean(0)) / values.std(0)).astype(np.float32)
    for fold in range(5):
        inside = labels.fold == fold
        target = labels.truth[~inside, 0].astype(float)
        penalty = RIDGE * ((~inside).sum() if width <= (~inside).sum() else width)
        fitted = Ridge(alpha=penalty, fit_intercept=False).fit(scaled[~inside], target - target.mean())
        np.testing.assert_allclose(scores[inside], fitted.predict(scaled[inside]), atol=2e-4)
    np.testing.assert_allclose(
        column_aucs(scores[:, None], labels.truth)[0], roc_auc_score(labels.truth[:, 0], scores), rtol=1e-9
    )


def test_a_patients_rows_are_in_one_fold_and_keep_one_class_when_shuffled():
    patient = np.repeat(np.arange(30), 3)
    labels = labels_of(np.repeat(["a", "b"], 45), patient)
    assert pd.Series(labels.fold).groupby(patient).nunique().eq(1).all()
    block = next(labels.shuffled())
    for shuffle in block[..., 0].T:
        assert pd.Series(shuffle).groupby(patient).nunique().eq(1).all()
        assert shuffle.sum() == 45


@pytest.mark.parametrize("kind", ["categories", "features", "spots"])
def test_what_tells_nothing_is_rarely_significant(kind):
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = labels_of(rng.permutation(["a", "b"] * 25), seed=seed)
        evidence = {
            "categories": lambda rng=rng: Categories(pd.Series(rng.integers(0, 3, 50))),
            "features": lambda rng=rng: Features(rng.normal(size=(50, 3))),
            "spots": lambda rng=rng: Spots(rng.normal(size=(50, 200))),
        }[kind]()
        alarms += labels.associate(evidence).p < 0.05
    assert alarms <= 8  # 3 expected at 5%; nine or more has a chance of 0.3%


def test_thirty_hospitals_a_marker_and_an_age_are_found():
    rng = np.random.default_rng(3)
    y = rng.permutation(np.arange(160) % 2)
    labels = labels_of(np.where(y, "b", "a"))
    hospitals = labels.associate(Categories(pd.Series(rng.integers(0, 15, 160) + 15 * y)))
    assert hospitals.auc > 0.95
    assert hospitals.p <= 0.001
    spots = rng.normal(size=(160, 1392))
    spots[:, 700] += 2.5 * y
    marker = labels.associate(Spots(spots))
    assert marker.auc > 0.9
    assert marker.low > 0.75
    age = labels.associate(Features(rng.normal(55 + 10 * y, 12)[:, None]))
    assert 0.6 < age.low < age.auc < age.high


def test_of_several_classes_the_one_that_is_told_apart_is_named():
    rng = np.random.default_rng(4)
    y = rng.permutation([0, 1, 2] * 40)
    labels = labels_of(np.array(["lung", "liver", "spleen"])[y])
    found = labels.associate(Categories(pd.Series(np.where(y == 1, "A", "B"))))
    assert found.label == "liver"
    assert found.auc > 0.99


def test_few_patients_are_not_testable():
    assert not labels_of(["a", "b"] * 4).testable
    assert not labels_of(["a"] * 20).testable
    assert not labels_of(["a"] * 20 + ["b"] * 4).testable
    assert labels_of(["a", "b"] * 5).testable


@pytest.mark.parametrize("varying", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", [Features, Spots])
def test_a_border_that_hardly_varies_is_tested_all_the_same(kind, varying):
    values = np.zeros((40, 6))
    y = np.arange(40) % 2
    values[:, :varying] = y[:, None]
    found = labels_of(np.where(y, "b", "a")).associate(kind(values))
    assert found.auc == (1.0 if varying else 0.5)


def test_a_rare_class_hides_nothing_and_too_rare_a_one_stops_nothing():
    rng = np.random.default_rng(3)
    label = np.repeat(["common", "other", "rare"], [150, 40, 6])
    source = np.where(rng.random(len(label)) < 0.75, label == "other", rng.random(len(label)) < 0.5).astype(str)
    found = Labels(pd.Series(label), pd.Series(np.arange(len(label)))).associate(Categories(pd.Series(source)))
    assert found.label in ("common", "other") and found.p < 0.005
    few = Labels(pd.Series(label[:-3]), pd.Series(np.arange(len(label) - 3)))  # 3 of the rare class are left
    assert few.testable and set(few.classes) == {"common", "other"} and few.counts["rare"] == 3
