"""Two models on the same images, against DeLong from the paper, statsmodels, SciPy, and simulated equal models."""

import numpy as np
import pytest
from scipy.stats import norm, permutation_test, t
from sklearn.metrics import average_precision_score, balanced_accuracy_score, cohen_kappa_score, log_loss, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar

from easydl.errors import InputError
from easydl.evaluation.influence import auc_influence, average_precision_influence, standard_error
from easydl.evaluation.intervals import PatientBootstrap
from easydl.evaluation.paired import MEASURES, paired_difference


def scores(n=60, seed=0, shift=(1.0, 0.6)):
    """Labels and the correlated scores of two models."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    common = rng.normal(size=n)
    return truth, *(step * truth + 0.7 * common + 0.7 * rng.normal(size=n) for step in shift)


def delong_covariance(truth, *models):
    """DeLong's covariance of AUCs, from the paper: V10 and V01 by all pairs."""
    tens, ones = [], []
    for score in models:
        positive, negative = score[truth == 1], score[truth == 0]
        wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        tens.append(wins.mean(axis=1))
        ones.append(wins.mean(axis=0))
    return np.cov(tens) / (truth == 1).sum() + np.cov(ones) / (truth == 0).sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_auc_is_compared_by_delongs_variance(seed):
    truth, a, b = scores(seed=seed)
    a = a.round(1)  # ties
    row = paired_difference(truth, a, b, np.arange(60))
    covariance = delong_covariance(truth, a, b)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert row.difference == pytest.approx(roc_auc_score(truth, a) - roc_auc_score(truth, b))
    assert (row.high - row.low) / 2 == pytest.approx(t.ppf(0.975, 58) * error)
    assert row.p == pytest.approx(2 * t.sf(abs(row.difference) / error, 58))


@pytest.mark.parametrize(
    ("influence", "value"), [(auc_influence, roc_auc_score), (average_precision_influence, average_precision_score)]
)
def test_the_influence_is_the_derivative_by_the_weight_of_an_image(influence, value):
    truth, a, _ = scores(30, seed=3)
    a = a.round(1)
    small = 1e-6
    slopes = [
        (value(truth, a, sample_weight=1 + small * (np.arange(30) == j)) - value(truth, a)) / small for j in range(30)
    ]
    assert influence(a, truth == 1) == pytest.approx(slopes, abs=1e-5)


def test_several_images_of_a_patient_count_as_one_patient():
    truth, a, b = scores(40)
    once = paired_difference(truth, a, b, np.arange(40))
    often = paired_difference(*(np.repeat(each, 5) for each in (truth, a, b, np.arange(40))))
    assert (often.low, often.high, often.p, often.n, often.images) == pytest.approx(
        (once.low, once.high, once.p, 40, 200)
    )


def test_clustered_errors_agree_with_the_bootstrap():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(80), rng.integers(1, 5, 80))
    truth = (people % 2).astype(bool)
    score = truth + rng.normal(size=80)[people] + rng.normal(size=len(people))
    plan = PatientBootstrap(people, truth, resamples=500)
    for influence, value in ((auc_influence, roc_auc_score), (average_precision_influence, average_precision_score)):
        drawn = plan.run(lambda w: np.array([[value(truth, score, sample_weight=x[plan.index])] for x in w]))  # noqa: B023
        assert standard_error(influence(score, truth), plan.index, plan.strata)[0] == pytest.approx(
            drawn.std(), rel=0.08
        )


def test_accuracy_of_one_image_a_patient_is_mcnemars_exact_test():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 90)
    a = np.where(rng.random(90) < 0.8, truth, (truth + 1) % 3)
    b = np.where(rng.random(90) < 0.6, truth, (truth + 1) % 3)
    right = [[np.sum((a == truth) & (b == truth)), np.sum((a == truth) & (b != truth))],
             [np.sum((a != truth) & (b == truth)), np.sum((a != truth) & (b != truth))]]  # fmt: skip
    row = paired_difference(truth, a, b, np.arange(90), measure="accuracy")
    assert row.p == pytest.approx(mcnemar(right, exact=True).pvalue)
    assert row.difference == pytest.approx((a == truth).mean() - (b == truth).mean())
    assert row.low < row.difference < row.high


@pytest.mark.parametrize("patients", [9, 40])
def test_dice_is_compared_by_the_exchanges_of_scipy(patients):
    rng = np.random.default_rng(5)
    a, b = rng.beta(8, 2, patients), rng.beta(7, 2, patients)
    row = paired_difference(None, a, b, np.arange(patients), measure="dice", resamples=4000)
    expected = permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=4000, random_state=1
    ).pvalue
    assert row.p == pytest.approx(expected, abs=1e-9 if patients < 12 else 0.03)


def test_every_measure_has_the_value_of_scikit_learn():
    rng = np.random.default_rng(6)
    truth, people = np.arange(50) % 2, np.arange(50) // 2
    a, b = (np.clip(0.3 * truth + 0.7 * rng.random(50), 0.01, 0.99) for _ in range(2))
    called = (a > 0.5).astype(int)
    expected = {
        "auc": (a, roc_auc_score(truth, a)),
        "average_precision": (a, average_precision_score(truth, a)),
        "accuracy": (called, (called == truth).mean()),
        "balanced_accuracy": (called, balanced_accuracy_score(truth, called)),
        "kappa": (called, cohen_kappa_score(truth, called, weights="quadratic")),
        "sensitivity": (called, called[truth == 1].mean()),
        "specificity": (called, 1 - called[truth == 0].mean()),
        "brier": (a, np.mean((a - truth) ** 2)),
        "log_loss": (a, log_loss(truth, a)),
        "mae": (a, np.abs(a - truth).mean()),
        "dice": (a, a.mean()),
        "mean": (a, a.mean()),
    }
    assert set(expected) == set(MEASURES)
    for measure, (given, value) in expected.items():
        other = (b > 0.5).astype(int) if given is called else b
        row = paired_difference(truth, given, other, people, measure=measure)
        assert row.first == pytest.approx(value), measure
        assert row.low < row.difference < row.high, measure
        assert 0 < row.p <= 1, measure
        assert (row.n, row.images) == (25, 50)


def test_several_classes_are_averaged_one_versus_rest():
    rng = np.random.default_rng(7)
    truth = np.arange(60) % 3
    a, b = (rng.dirichlet([1, 1, 1], 60) + step * np.eye(3)[truth] for step in (0.5, 0.2))
    a, b = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    row = paired_difference(truth, a, b, np.arange(60))
    assert row.first == pytest.approx(roc_auc_score(truth, a, multi_class="ovr"))
    assert row.second == pytest.approx(roc_auc_score(truth, b, multi_class="ovr"))


def test_pairs_with_a_missing_number_are_left_out():
    row = paired_difference(None, [0.5, np.nan, 0.8], [0.4, 0.9, 0.6], ["a", "b", "c"], measure="dice")
    assert (row.n, row.difference) == (2, pytest.approx(0.15))


def test_pseudonyms_change_no_limit_and_no_p():
    rng = np.random.default_rng(8)
    a, b, people = rng.random(40), rng.random(40), np.arange(40) // 2
    plain = paired_difference(None, a, b, people, measure="dice", resamples=300)
    renamed = paired_difference(None, a, b, rng.permutation(20)[people], measure="dice", resamples=300)
    assert (plain.low, plain.high, plain.p) == (renamed.low, renamed.high, renamed.p)


def test_equal_models_have_no_interval_and_a_p_of_one():
    truth, a, _ = scores()
    same = paired_difference(truth, a, a, np.arange(60))
    assert same.difference == 0
    assert same.p == 1
    assert "rank all patients alike" in same.note


def test_what_cannot_be_compared_is_said():
    with pytest.raises(InputError, match="measure='auk'"):
        paired_difference([0, 1], [0, 1], [0, 1], ["a", "b"], measure="auk")
    with pytest.raises(InputError, match="same images"):
        paired_difference([0, 1], [0, 1], [0, 1, 1], ["a", "b"])
    assert "one class only" in paired_difference([1, 1], [0.2, 0.3], [0.1, 0.4], ["a", "b"]).note
    assert "fewer than 2 patients" in paired_difference([0, 1, 1], [0.2, 0.3, 1], [0.1, 0.4, 1], ["a", "b", "c"]).note
    assert "fewer than 2 patients" in paired_difference(None, [0.2, 0.3], [0.1, 0.4], ["a", "a"], measure="dice").note


@pytest.mark.everything
@pytest.mark.parametrize("measure", ["auc", "accuracy", "dice"])
def test_equal_models_differ_in_5_of_100_cohorts_of_24(measure):
    found, held, cohorts = 0, 0, 400
    for cohort in range(cohorts):
        rng = np.random.default_rng(cohort)
        people = np.repeat(np.arange(24), rng.integers(1, 4, 24))
        truth = people % 2
        own, n = rng.normal(size=24)[people], len(people)
        a, b = (truth + own + rng.normal(size=n) for _ in range(2))
        if measure == "accuracy":
            a, b = a > 0.5, b > 0.5
        if measure == "dice":
            a, b = norm.cdf(a), norm.cdf(b)
        row = paired_difference(truth, a, b, people, measure=measure, seed=cohort, resamples=300)
        found += row.p < 0.05
        held += row.low <= 0 <= row.high
    assert found / cohorts < 0.08
    assert 0.92 < held / cohorts <= 0.985
