"""Guaranteed thresholds against SciPy, statsmodels and simulation; the cheapest against a search."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm
from statsmodels.stats.proportion import proportion_confint

from easydl.errors import InputError
from easydl.evaluation.guarantee import least_for_sensitivity, misses_allowed, most_for_specificity, needed
from easydl.evaluation.thresholds import Aim, cheapest, chosen
from easydl.networks.decision import Threshold
from easydl.prediction.results import Predictions

CLASSES = ("normal", "effusion")


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_as_many_misses_are_allowed_as_the_interval_of_clopper_and_pearson_allows(target, confidence):
    for n in (5, 20, 44, 45, 77, 150, 300):
        allowed = misses_allowed(n, target, confidence)
        lower = [proportion_confint(n - misses, n, alpha=2 * (1 - confidence), method="beta")[0] for misses in range(n)]
        expected = [misses for misses in range(n) if lower[misses] >= target]
        assert allowed == (max(expected) if expected else None), n
        assert (allowed is None) == (n < needed(target, confidence))
        if allowed is not None:  # at the target itself so few misses are as rare as promised
            assert binom.cdf(allowed, n, 1 - target) <= 1 - confidence + 1e-12


def cohort(patients, rng, images=1, skill=1.5):
    """Labels of patients, and the scores of their images, which resemble each other."""
    positive = np.repeat(np.arange(patients) % 2 == 0, images)
    own = np.repeat(rng.normal(0, 0.7, patients), images)
    score = 1 / (1 + np.exp(-(skill * positive - 1 + own + rng.normal(0, 0.7, patients * images))))
    names = np.repeat([f"p{k}" for k in range(patients)], images)
    frame = pd.DataFrame({"image": np.arange(len(names)), "patient": names, "label": np.array(CLASSES)[positive * 1]})
    return Predictions(frame.assign(**{"p(normal)": 1 - score, "p(effusion)": score}), CLASSES).decided({})


def rate_among_all(threshold, rate, skill=1.5):
    """How many of all such patients have both their images right at a threshold: an integral over the patients."""
    own, weights = np.polynomial.hermite_e.hermegauss(60)
    edge = np.log(threshold / (1 - threshold)) + 1
    above = norm.sf((edge - skill * (rate == "sensitivity") - 0.7 * own) / 0.7)
    both = above**2 if rate == "sensitivity" else (1 - above) ** 2
    return (weights * both).sum() / weights.sum()


@pytest.mark.parametrize("rate", ["sensitivity", "specificity"])
@pytest.mark.parametrize("draws", [40, pytest.param(1000, marks=pytest.mark.everything)])
def test_the_promise_is_kept_as_often_as_it_says(rate, draws, monkeypatch):
    # Intervals of the AUC, which the guarantee does without, would take most of the time.
    monkeypatch.setattr("easydl.evaluation.thresholds.table_metrics", lambda *args, **options: None)
    rng, kept = np.random.default_rng(0), []
    for _ in range(draws):
        (threshold,) = chosen(cohort(200, rng, images=2), aim=Aim(**{rate: 0.9}, confidence=0.8)).values()
        kept.append(rate_among_all(threshold.value, rate) >= 0.9)
    # 100 patients of a class: 6 misses allowed, so the promise is kept in binom.sf(6, 100, 0.1) = 88% of the draws.
    expected = binom.sf(6, 100, 0.1)
    assert misses_allowed(100, 0.9, 0.8) == 6 and expected >= 0.8
    # Halfway down to the next score it is a little safer than that.
    error = 3.5 * np.sqrt(expected * (1 - expected) / draws)
    assert -error < np.mean(kept) - expected < error + 0.03


def test_youden_on_the_same_cohorts_promises_nothing():
    rng = np.random.default_rng(1)
    (threshold,) = chosen(cohort(200, rng)).values()
    everyone = cohort(20_000, rng).frame
    assert threshold.rule == "by Youden's index"
    assert (everyone.loc[everyone["label"] == "effusion", "p(effusion)"] >= threshold.value).mean() < 0.9


def test_of_a_patient_the_worst_image_counts_and_images_are_no_further_evidence():
    rng = np.random.default_rng(2)
    few = cohort(80, rng, images=5)
    (threshold,) = chosen(few, aim=Aim(sensitivity=0.95)).values()
    assert not threshold.rule.startswith("for a sensitivity")
    assert "not reachable with these 40 patients with effusion, 45 are needed" in threshold.text
    more = cohort(100, rng, images=5)
    (threshold,) = chosen(more, aim=Aim(sensitivity=0.95)).values()
    frame = more.frame[more.frame["label"] == "effusion"]
    worst = frame.groupby("patient")["p(effusion)"].min().to_numpy()
    assert (worst < threshold.value).sum() == 0 == misses_allowed(50, 0.95, 0.9)
    assert threshold.text.endswith("validation patients for a sensitivity of at least 0.95 with 90% confidence")
    assert not ((more.frame["p(effusion)"] < worst.min()) & (more.frame["p(effusion)"] > threshold.value)).any()
    decided = more.decided({"effusion": threshold}).frame
    assert (decided.loc[decided["label"] == "effusion", "prediction"] == "effusion").all()


def test_it_lies_between_two_scores_and_never_on_a_half():
    every = np.array([0.1, 0.2, 0.4, 0.6, 0.9])
    assert least_for_sensitivity(np.array([0.6, 0.9]), every, 0) != 0.5
    assert least_for_sensitivity(np.array([0.6, 0.9]), every, 0) == pytest.approx(0.5)
    assert least_for_sensitivity(np.array([0.2, 0.9]), every, 1) == pytest.approx(0.75)
    assert most_for_specificity(np.array([0.1, 0.4]), every, 0) == pytest.approx(0.5)
    assert most_for_specificity(np.array([0.1, 0.4]), every, 1) == pytest.approx(0.15)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("cost", [0.2, 1, 10])
def test_no_threshold_is_cheaper(seed, cost):
    rng = np.random.default_rng(seed)
    positive = rng.random(50) < 0.4
    score = np.clip(rng.normal(0.3 + 0.2 * positive, 0.15), 0.01, 0.99).round(2)

    def total(threshold):
        return cost * (score[positive] < threshold).sum() + (score[~positive] >= threshold).sum()

    assert total(cheapest(score, positive, cost)) == min(total(t) for t in [*score, 1.1])


def test_a_dear_miss_lowers_the_threshold_and_the_rule_is_said():
    predictions = cohort(200, np.random.default_rng(3))
    cheap, dear = (chosen(predictions, aim=Aim(cost=cost))["effusion"] for cost in (0.2, 20))
    assert dear.value < cheap.value
    assert "at the lowest cost, a missed image counting as 20 false alarms" in dear.text


@pytest.mark.parametrize(
    ("aim", "said"),
    [
        ({"sensitivity": 0.9, "cost": 3}, "sensitivity and cost"),
        ({"sensitivity": 1.0}, "sensitivity is 1.0"),
        ({"cost": -1}, "cost is -1"),
        ({"sensitivity": 0.9, "confidence": 0.2}, "confidence is 0.2"),
    ],
)
def test_an_aim_that_cannot_be_meant_is_refused(aim, said):
    with pytest.raises(InputError, match=said):
        Aim(**aim).check(True)


def test_a_threshold_of_an_older_file_is_read():
    assert Threshold.model_validate({"value": 0.2, "n": 24}).text == "threshold 0.20, chosen on 24 validation patients"
