"""The planner: its widths are those of simulated cohorts."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

import easydl
from easydl.comparison.planning import auc_variance
from easydl.errors import EasyDLError, InputError
from easydl.evaluation.measuring import headline
from easydl.prediction.results import Predictions

COHORTS = 1000


def scores(rng, auc, positives, negatives):
    return rng.normal(np.sqrt(2) * stats.norm.ppf(auc), 1, positives), rng.normal(0, 1, negatives)


@pytest.mark.parametrize(("auc", "patients", "positive"), [(0.85, 200, 0.3), (0.7, 60, 0.5), (0.92, 300, 0.1)])
def test_the_width_of_an_auc_is_that_of_1000_cohorts(auc, patients, positive):
    rng = np.random.default_rng(0)
    sick = round(patients * positive)
    found, widths = [], []
    for _ in range(COHORTS):
        a, b = scores(rng, auc, sick, patients - sick)
        wins = (a[:, None] > b).astype(float)
        value = np.clip(wins.mean(), 0.01, 0.99)
        # DeLong's interval on the logit scale, by hand.
        error = np.sqrt(wins.mean(axis=1).var(ddof=1) / sick + wins.mean(axis=0).var(ddof=1) / (patients - sick))
        half = 1.96 * error / (value * (1 - value))
        low, high = (1 / (1 + (1 - value) / value * np.exp(step)) for step in (half, -half))
        found.append(value)
        widths.append(high - low)
    plan = easydl.interval_width(patients=patients, auc=auc, positive=positive)
    assert plan.width == pytest.approx(np.mean(widths), rel=0.1)
    assert np.sqrt(auc_variance(auc, sick, patients - sick)) == pytest.approx(np.std(found), rel=0.1)
    assert plan.low < auc < plan.high


def test_the_width_is_the_one_that_evaluate_prints():
    rng = np.random.default_rng(1)
    widths = []
    for cohort in range(25):
        a, b = scores(rng, 0.85, 60, 140)
        probability = stats.norm.cdf(np.r_[a, b])
        rows = pd.DataFrame(
            {
                "image": [f"{cohort}-{row}" for row in range(200)], "patient": [f"p{row}" for row in range(200)],
                "label": ["yes"] * 60 + ["no"] * 140, "prediction": np.where(probability > 0.5, "yes", "no"),
                "p(no)": 1 - probability, "p(yes)": probability,
            }
        )  # fmt: skip
        line = headline(Predictions(rows, ("no", "yes")), resamples=400)
        assert line["value"] == pytest.approx(roc_auc_score(rows["label"] == "yes", rows["p(yes)"]))
        widths.append(line["high"] - line["low"])
    assert easydl.interval_width(patients=200, auc=0.85, positive=0.3).width == pytest.approx(np.mean(widths), rel=0.1)


@pytest.mark.parametrize(("proportion", "patients"), [(0.9, 60), (0.5, 40), (0.97, 150)])
def test_the_width_of_a_proportion_is_that_of_1000_cohorts(proportion, patients):
    hits = np.random.default_rng(0).binomial(patients, proportion, COHORTS)
    low, high = proportion_confint(hits, patients, method="wilson")
    plan = easydl.interval_width(patients=patients, proportion=proportion)
    assert plan.width == pytest.approx(np.mean(high - low), rel=0.1)
    exact = proportion_confint(proportion * patients, patients, method="wilson")
    assert (plan.low, plan.high) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("dice", "sd", "patients"), [(0.85, 0.08, 30), (0.7, 0.15, 12)])
def test_the_width_of_a_dice_is_that_of_1000_cohorts(dice, sd, patients):
    drawn = np.random.default_rng(0).normal(dice, sd, (COHORTS, patients))
    low, high = stats.t.interval(0.95, patients - 1, drawn.mean(axis=1), drawn.std(axis=1, ddof=1) / np.sqrt(patients))
    assert easydl.interval_width(patients=patients, dice=dice, sd=sd).width == pytest.approx(
        np.mean(high - low), rel=0.1
    )


def test_more_patients_and_more_of_the_rarer_class_make_it_narrower():
    width = lambda **settings: easydl.interval_width(auc=0.8, **settings).width  # noqa: E731
    assert width(patients=100) > width(patients=400) > width(patients=1600)
    assert width(patients=100) / width(patients=400) == pytest.approx(2, rel=0.1)
    assert width(patients=200, positive=0.1) > width(patients=200, positive=0.5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patients": 30}, "No number was given"),
        ({"patients": 30, "auc": 0.8, "proportion": 0.9}, "were given"),
        ({"patients": 30, "dice": 0.8}, "without its standard deviation"),
        ({"patients": 30, "auc": 0.8, "sd": 0.1}, "sd without dice"),
        ({"patients": 3, "auc": 0.8}, "patients is 3"),
        ({"patients": 30, "auc": 1.2}, "auc is 1.2"),
        ({"patients": 30, "auc": 0.8, "positive": 0.02}, "fewer than 2 patients in a class"),
    ],
)
def test_what_cannot_be_planned_is_said(settings, said):
    with pytest.raises(EasyDLError, match=said):
        easydl.interval_width(**settings)


def test_it_prints_draws_and_saves_itself():
    plan = easydl.interval_width(patients=200, auc=0.85, positive=0.3)
    assert "200 patients (60 of them with the disease)" in repr(plan) and easydl.RESEARCH_USE in repr(plan)
    assert "width 0.12" in plan._repr_html_()
    assert plan.to_dict()["width"] == plan.width
    assert plan.show().axes[0].get_ylabel() == "AUC"
    with pytest.raises(InputError):
        easydl.interval_width(patients=4, auc=0.8, positive=0.3)
