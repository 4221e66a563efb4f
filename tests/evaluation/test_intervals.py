"""The intervals against other libraries, textbook figures, and their promise: the truth 95 times in 100."""

import time

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from easydl.errors import InputError
from easydl.evaluation.intervals import (
    Interval,
    PatientBootstrap,
    auc_interval,
    auc_statistic,
    logit_interval,
    mean_interval,
    mean_of_intervals,
    proportion_interval,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 5), (9, 10), (27, 30), (90, 100), (30, 30), (350, 700)])
def test_wilson_agrees_with_statsmodels(hits, n):
    interval = wilson(hits / n, n)
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(hits, n, method="wilson"))


@pytest.mark.parametrize(("hits", "n", "low", "high"), [(9, 10, 0.60, 0.98), (27, 30, 0.74, 0.97), (30, 30, 0.89, 1.0)])
def test_one_image_per_patient_gives_the_published_wilson_interval(hits, n, low, high):
    interval = proportion_interval(hits / n, np.full(200, hits / n), np.ones(n))
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


def delong_error(positive: np.ndarray, negative: np.ndarray) -> float:
    """DeLong's standard error of the AUC, written from the paper (Biometrics 1988;44:837-845)."""
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return float(np.sqrt(wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)))


def test_bootstrap_error_of_the_auc_agrees_with_delong():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0, 1, 150), rng.normal(1.2, 1, 90)])
    positive = np.arange(240) >= 150
    bootstrap = PatientBootstrap(np.arange(240), positive.astype(int), resamples=4000)
    drawn = bootstrap.run(lambda w: auc_statistic(scores, positive, bootstrap.index)(w)[:, None])[:, 0]
    assert drawn.std() == pytest.approx(delong_error(scores[positive], scores[~positive]), rel=0.06)


def test_weighted_auc_agrees_with_scikit_learn_also_with_ties():
    rng = np.random.default_rng(1)
    scores, positive = rng.integers(0, 12, 80) / 12, rng.random(80) < 0.4
    weights = rng.integers(0, 4, size=(25, 80)).astype(float)
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    assert auc_statistic(scores, positive, np.arange(80))(weights) == pytest.approx(expected)


def test_a_resample_with_one_class_only_has_no_auc():
    auc = auc_statistic(np.array([0.2, 0.8]), np.array([False, True]), np.arange(2))
    assert np.isnan(auc(np.array([[2.0, 0.0]]))[0])


def test_every_resample_draws_as_many_patients_of_each_class_as_there_are():
    labels = np.repeat([0, 1, 2], [10, 4, 7])
    bootstrap = PatientBootstrap(np.arange(21), labels, resamples=300)
    order = bootstrap.names.astype(int)
    drawn = bootstrap.run(lambda w: np.stack([w[:, labels[order] == k].sum(axis=1) for k in range(3)], axis=1))
    assert (drawn == [10, 4, 7]).all()


def test_a_lone_patient_of_a_class_is_not_drawn_every_time():
    """A stratum of one would hide the uncertainty that one patient brings."""
    bootstrap = PatientBootstrap(list("abcde"), [0, 0, 0, 0, 1], resamples=500)
    times = bootstrap.run(lambda w: w[:, [4]])
    assert 0 in times
    assert times.mean() == pytest.approx(1, abs=0.15)


def test_patients_with_several_labels_are_drawn_among_themselves():
    bootstrap = PatientBootstrap(list("aabbccddeeff"), [0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1], resamples=100)
    assert sorted(sorted(bootstrap.names[members]) for members in bootstrap.strata) == [
        ["a", "b"],
        ["c", "d"],
        ["e", "f"],
    ]


def test_the_seed_decides_and_the_order_of_rows_does_not():
    rng = np.random.default_rng(2)
    patients, values = rng.integers(0, 20, 60).astype(str), rng.random(60)

    def mean(order, seed):
        bootstrap = PatientBootstrap(patients[order], resamples=200, seed=seed)
        sums = np.bincount(bootstrap.index, values[order])
        return bootstrap.run(lambda w: (w @ sums)[:, None])

    rows = np.arange(60)
    assert np.array_equal(mean(rows, 3), mean(rows, 3))
    assert not np.array_equal(mean(rows, 3), mean(rows, 4))
    assert mean(rng.permutation(60), 3) == pytest.approx(mean(rows, 3))


def test_chunks_of_resamples_change_nothing_but_memory(monkeypatch):
    def draws(cells):
        monkeypatch.setattr("easydl.evaluation.bootstrap.CELLS_AT_ONCE", cells)
        return PatientBootstrap(np.arange(30), resamples=250).run(lambda w: w.sum(axis=1, keepdims=True))

    assert draws(30 * 100).shape == draws(10**9).shape == (250, 1)
    assert (draws(1) == 30).all()


def test_copies_of_a_patients_images_do_not_narrow_the_interval():
    """The one mistake this room exists to prevent: counting images as if they were patients."""
    rng = np.random.default_rng(4)
    scores = np.concatenate([rng.normal(0, 1, 25), rng.normal(1, 1, 25)])
    positive, patients = np.arange(50) >= 25, np.arange(50).astype(str)

    def width(copies):
        bootstrap = PatientBootstrap(np.repeat(patients, copies), np.repeat(positive, copies).astype(int))
        auc = auc_statistic(np.repeat(scores, copies), np.repeat(positive, copies), bootstrap.index)
        interval = auc_interval(0.76, bootstrap.run(lambda w: auc(w)[:, None])[:, 0], 25, 25)
        return interval.high - interval.low

    assert width(10) == pytest.approx(width(1))


def test_newcombe_solves_its_own_equation_and_narrows_with_patients():
    intervals = {n: auc_interval(1.0, np.ones(200), n, n) for n in (5, 10, 50)}
    for n, interval in intervals.items():
        theta, size = interval.low, n - 1
        variance = theta * (1 - theta) * (1 + size * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / n**2
        assert 1 - theta == pytest.approx(norm.ppf(0.975) * np.sqrt(variance))
        assert interval.high == 1.0
    assert intervals[5].low < intervals[10].low < intervals[50].low
    mirrored = auc_interval(0.0, np.zeros(200), 10, 10)
    assert (mirrored.low, mirrored.high) == pytest.approx((0.0, 1 - intervals[10].low))


def test_a_perfect_proportion_of_few_patients_keeps_an_honest_width():
    interval = proportion_interval(1.0, np.ones(500), np.full(8, 5.0))
    assert (interval.low, interval.high) == pytest.approx(proportion_confint(8, 8, method="wilson"))
    assert "on patients" in interval.note


def test_one_patient_has_no_interval_and_says_so_in_words():
    for interval in (
        proportion_interval(0.5, np.array([0.5] * 100), np.array([4.0])),
        auc_interval(0.9, np.array([0.8, 0.9]), 1, 20),
        mean_interval(np.array([0.5]), 1),
        logit_interval(0.7, np.full(100, 0.7), 10),
    ):
        assert not interval.computable
        assert interval.note.startswith("interval not computable")


def test_limits_are_combined_as_independent_errors():
    parts = [wilson(0.9, 10), wilson(0.8, 40)]
    values = np.array([0.9, 0.8])
    combined = mean_of_intervals(0.85, values, parts)
    low = 0.85 - 0.5 * np.hypot(0.9 - parts[0].low, 0.8 - parts[1].low)
    assert combined.low == pytest.approx(low)
    assert combined.low < 0.85 < combined.high


def test_the_upper_limits_are_combined_as_the_lower_ones():
    parts = [wilson(0.9, 10), wilson(0.8, 40)]
    combined = mean_of_intervals(0.85, np.array([0.9, 0.8]), parts)
    assert combined.high == pytest.approx(0.85 + 0.5 * np.hypot(parts[0].high - 0.9, parts[1].high - 0.8))


@pytest.mark.parametrize(
    ("low", "high", "computable"), [(0.1, 0.9, True), (0.1, np.nan, False), (np.nan, 0.9, False), (0.1, np.inf, False)]
)
def test_an_interval_needs_both_limits(low, high, computable):
    assert Interval(low, high).computable is computable


def test_the_seed_is_zero_when_none_is_given():
    def draws(**options):
        return PatientBootstrap(np.arange(30), resamples=100, **options).run(lambda w: w[:, :1])

    assert np.array_equal(draws(), draws(seed=0))


def test_a_proportion_with_several_images_per_patient_uses_the_effective_sample_size():
    """p (1 - p) over the bootstrap variance (Korn and Graubard 1998), with Student's quantile of the patients."""
    patients, std = 12, 0.08
    resampled = np.array([0.7 - std, 0.7 + std] * 500)
    interval = proportion_interval(0.7, resampled, np.full(patients, 5.0))
    effective = 0.7 * 0.3 / (std**2 * patients / (patients - 1))
    expected = wilson(0.7, effective, float(t.ppf(0.975, patients - 1)))
    assert 1 < effective < 5 * patients
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("resampled", [np.full(200, np.nan), np.array([np.nan] * 199 + [0.7])])
def test_undefined_resamples_give_no_interval(resampled):
    assert not logit_interval(0.7, resampled, 10).computable


def test_too_few_resamples_are_refused():
    with pytest.raises(InputError, match="resamples=20"):
        PatientBootstrap(["a", "b"], resamples=20)


@pytest.mark.parametrize(("patients", "most_images"), [(12, 1), (20, 5), (40, 3)])
def test_intervals_hold_the_truth_about_95_times_in_100(patients, most_images):
    """Simulated cohorts: a patient's own level plus the noise of each image; AUC and proportion 0.85."""
    rng = np.random.default_rng(5)
    shift, cohorts = norm.ppf(0.85) * np.sqrt(2), 400
    share = 0.4 if most_images > 1 else 0.0
    held = np.zeros(3)
    for cohort in range(cohorts):
        images = rng.integers(1, most_images + 1, 2 * patients)
        index = np.repeat(np.arange(2 * patients), images)
        positive = index >= patients
        noise = rng.normal(0, np.sqrt(1 - share), len(index))
        scores = rng.normal(0, np.sqrt(share), 2 * patients)[index] + noise + shift * positive
        bootstrap = PatientBootstrap([f"{k:04d}" for k in index], positive.astype(int), resamples=300, seed=cohort)
        auc = auc_statistic(scores, positive, bootstrap.index)
        hit = positive & (scores > shift - norm.ppf(0.85))
        counts = np.bincount(index[positive], minlength=2 * patients)
        hits, sums = np.bincount(index[hit], minlength=2 * patients), np.bincount(index, scores)

        def statistic(weights, auc=auc, hits=hits, counts=counts, sums=sums, images=images):
            return np.stack([auc(weights), weights @ hits / (weights @ counts), weights @ sums / (weights @ images)], 1)

        drawn = bootstrap.run(statistic)
        area, proportion, _ = statistic(np.ones((1, 2 * patients)))[0]
        intervals = [
            auc_interval(area, drawn[:, 0], patients, patients),
            proportion_interval(proportion, drawn[:, 1], counts[counts > 0]),
            mean_interval(drawn[:, 2], 2 * patients),
        ]
        truths = [0.85, 0.85, shift * images[patients:].sum() / images.sum()]
        held += [part.low <= truth <= part.high for part, truth in zip(intervals, truths, strict=True)]
    coverage = held / cohorts
    assert (coverage > 0.905).all(), coverage
    assert 0.93 < coverage.mean() < 0.985, coverage


def test_two_thousand_resamples_of_700_images_take_less_than_a_second():
    rng = np.random.default_rng(6)
    scores, positive = rng.random(700), rng.random(700) < 0.3
    start = time.process_time()
    bootstrap = PatientBootstrap(rng.integers(0, 500, 700).astype(str), positive.astype(int), resamples=2000)
    bootstrap.run(lambda w: auc_statistic(scores, positive, bootstrap.index)(w)[:, None])
    assert time.process_time() - start < 1.0
