"""Brier score, calibration and predictive values against statsmodels, scikit-learn, textbook figures and simulation."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from cohorts import predictions
from scipy.special import expit, logit
from sklearn import metrics as oracle
from statsmodels.stats.proportion import proportion_confint

from easydl.errors import InputError
from easydl.evaluation import classification_metrics, multilabel_metrics
from easydl.evaluation.probabilities import calibration_line

BINARY = ("normal", "effusion")


def rows(metrics):
    return metrics.table.set_index("name")


def table_of(truth, p, patients=None):
    return pd.DataFrame(
        {
            "patient": np.arange(len(truth)) if patients is None else patients,
            "label": np.where(truth, "effusion", "normal"),
            "prediction": np.where(p > 0.5, "effusion", "normal"),
            "p(normal)": 1 - p,
            "p(effusion)": p,
        }
    )


def calibrated(n=400, slope=1.0, intercept=0.0, seed=0):
    """Outcomes and probabilities of which the true calibration slope and intercept are known."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(0, 1.5, n))
    return rng.random(n) < expit(intercept + slope * logit(p)), p


def test_slope_and_intercept_agree_with_clustered_regression_in_statsmodels():
    truth, p = calibrated(300, slope=0.6, intercept=0.4)
    people = np.arange(300) // 2
    result = rows(classification_metrics(table_of(truth, p, people), BINARY, resamples=100))
    x = logit(p)
    clustered = {"cov_type": "cluster", "cov_kwds": {"groups": people, "use_correction": False}}
    line = sm.GLM(truth.astype(float), sm.add_constant(x), family=sm.families.Binomial()).fit(**clustered)
    level = sm.GLM(truth.astype(float), np.ones(300), offset=x, family=sm.families.Binomial()).fit(**clustered)
    for name, value, error in (
        ("calibration slope", line.params[1], line.bse[1]),
        ("calibration intercept", level.params[0], level.bse[0]),
    ):
        assert result.loc[name, "value"] == pytest.approx(value, abs=1e-6)
        # Student's t of 148 in the place of the normal, and n / (n - 1) patients.
        half = 1.9761 * error * np.sqrt(150 / 149)
        assert (result.loc[name, "high"] - result.loc[name, "low"]) / 2 == pytest.approx(half, rel=2e-3)
    assert result.loc["calibration slope", "note"].startswith("not calibrated")


def test_a_calibrated_model_is_accused_in_about_5_of_100_tests():
    accused = np.zeros(2)
    for seed in range(100):
        truth, p = calibrated(150, seed=seed)
        found = calibration_line(np.column_stack([1 - p, p]), truth.astype(int), np.arange(150), [np.arange(150)])
        intervals = [found["slope"][1], found["intercept"][1]]
        accused += [not one.low <= ideal <= one.high for one, ideal in zip(intervals, (1, 0), strict=True)]
    assert (accused <= 11).all(), accused


def test_calibration_needs_50_patients_and_says_so():
    truth, p = calibrated(49)
    result = rows(classification_metrics(table_of(truth, p), BINARY, resamples=100))
    for name in ("ECE", "calibration slope", "calibration intercept"):
        assert np.isnan(result.loc[name, "value"])
        assert result.loc[name, "note"] == "not testable: 50 patients are needed, 49 are there"
    truth, p = calibrated(50)
    assert rows(classification_metrics(table_of(truth, p), BINARY, resamples=100))["value"].notna().all()


def test_the_calibration_error_is_that_of_equally_filled_bins():
    truth, p = calibrated(200, slope=0.5)
    order = np.argsort(p)
    bins = np.array_split(order, 10)
    expected = sum(len(one) * abs(p[one].mean() - truth[one].mean()) for one in bins) / 200
    assert rows(classification_metrics(table_of(truth, p), BINARY, resamples=100)).loc["ECE", "value"] == pytest.approx(
        expected, abs=0.01
    )


@pytest.mark.everything
def test_the_calibration_errors_interval_holds_the_true_error():
    """Probabilities too extreme by a slope of a half, of which the true calibration error is known by integration."""
    big = expit(np.random.default_rng(9).normal(0, 1.5, 400_000))
    edges = np.quantile(big, np.linspace(0, 1, 11)[1:-1])
    inside = np.searchsorted(edges, big)
    excess = big - expit(0.5 * logit(big))
    truth = sum(abs(excess[inside == one].sum()) for one in range(10)) / len(big)
    held = 0
    for seed in range(200):
        outcome, p = calibrated(300, slope=0.5, seed=seed)
        row = rows(classification_metrics(table_of(outcome, p), BINARY, resamples=300)).loc["ECE"]
        held += row["low"] <= truth <= row["high"]
    assert 0.9 <= held / 200 <= 0.99


def test_three_classes_have_the_brier_score_and_log_loss_of_scikit_learn():
    names = ("a", "b", "c")
    frame = predictions(90, names, seed=3)
    result = rows(classification_metrics(frame, names, resamples=100))
    shares = frame[[f"p({name})" for name in names]].to_numpy()
    assert result.loc["log loss", "value"] == pytest.approx(oracle.log_loss(frame["label"], shares, labels=names))
    truth = np.eye(3)[[names.index(name) for name in frame["label"]]]
    assert result.loc["Brier score", "value"] == pytest.approx(((shares - truth) ** 2).sum(axis=1).mean())
    assert result.loc["MCC", "value"] == pytest.approx(oracle.matthews_corrcoef(frame["label"], frame["prediction"]))
    assert result.loc["F1, mean over classes", "value"] == pytest.approx(
        oracle.f1_score(frame["label"], frame["prediction"], average="macro")
    )
    for name in names:
        score = frame[f"p({name})"]
        assert result.loc[f"average precision, {name}", "value"] == pytest.approx(
            oracle.average_precision_score(frame["label"] == name, score)
        )
        called, truth_of = frame["prediction"] == name, frame["label"] == name
        assert result.loc[f"PPV, {name}", "value"] == pytest.approx(oracle.precision_score(truth_of, called))
        assert result.loc[f"NPV, {name}", "value"] == pytest.approx(oracle.precision_score(~truth_of, ~called))


def test_the_slope_of_many_classes_is_found_again():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (3000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    soft = np.exp(0.5 * logits)
    drawn = [rng.choice(3, p=one / one.sum()) for one in soft]
    frame = pd.DataFrame({"patient": range(3000), "label": np.array(["a", "b", "c"])[drawn]})
    frame["prediction"] = np.array(["a", "b", "c"])[p.argmax(axis=1)]
    frame[["p(a)", "p(b)", "p(c)"]] = p
    row = rows(classification_metrics(frame, ("a", "b", "c"), resamples=100)).loc["calibration slope"]
    assert row["low"] < 0.5 < row["high"]
    assert row["high"] - row["low"] < 0.1


@pytest.mark.parametrize(("prevalence", "ppv"), [(0.5, 0.90), (0.1, 0.50), (0.01, 0.083)])
def test_predictive_values_at_a_stated_prevalence_are_those_of_the_textbook(prevalence, ppv):
    """Sensitivity and specificity of 0.9 each: 90%, 50% and 8.3%."""
    truth = np.repeat([True, False], 100)
    p = np.where(np.tile(np.arange(100) < 90, 2) == truth, 0.9, 0.1)
    result = rows(classification_metrics(table_of(truth, p), BINARY, prevalence=prevalence, resamples=100))
    assert result.loc["PPV", "value"] == pytest.approx(ppv, abs=1e-3)
    assert result.loc["NPV", "value"] == pytest.approx(
        0.9 * (1 - prevalence) / (0.9 * (1 - prevalence) + 0.1 * prevalence)
    )
    assert f"stated prevalence of {100 * prevalence:.3g}% effusion" in result.loc["PPV", "note"]
    for name in ("PPV", "NPV"):
        assert result.loc[name, "low"] < result.loc[name, "value"] < result.loc[name, "high"]
    # With sensitivity known the PPV follows from the specificity alone: its limits are those of Wilson.
    wilson = proportion_confint(90, 100, method="wilson")
    outer = [0.9 * prevalence / (0.9 * prevalence + (1 - limit) * (1 - prevalence)) for limit in wilson]
    assert result.loc["PPV", "low"] == pytest.approx(outer[0], rel=0.05)
    assert result.loc["PPV", "high"] == pytest.approx(outer[1], rel=0.05)


def test_a_perfect_specificity_does_not_make_a_certain_ppv():
    truth = np.repeat([True, False], 20)
    p = np.where(truth & (np.arange(40) > 1), 0.9, 0.1)
    row = rows(classification_metrics(table_of(truth, p), BINARY, prevalence=0.05, resamples=100)).loc["PPV"]
    assert (row["value"], row["high"]) == (1.0, 1.0)
    assert row["low"] < 0.3


@pytest.mark.everything
def test_predictive_values_hold_the_truth_in_95_of_100_cohorts():
    sensitivity, specificity, prevalence = 0.85, 0.9, 0.08
    hit, alarm = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    truths = {"PPV": hit / (hit + alarm)}
    missed, right = (1 - sensitivity) * prevalence, specificity * (1 - prevalence)
    truths["NPV"] = right / (right + missed)
    held = dict.fromkeys(truths, 0)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        truth = np.repeat([True, False], [20, 40])
        p = np.where(rng.random(60) < np.where(truth, sensitivity, 1 - specificity), 0.9, 0.1)
        result = rows(classification_metrics(table_of(truth, p), BINARY, prevalence=prevalence, resamples=100))
        for name, value in truths.items():
            held[name] += result.loc[name, "low"] <= value <= result.loc[name, "high"]
    assert all(0.92 <= count / 300 <= 0.99 for count in held.values()), held


@pytest.mark.parametrize("prevalence", [0, 1, 1.2, {"nodule": 0.1}])
def test_what_is_no_prevalence_is_refused(prevalence):
    with pytest.raises(InputError, match="prevalence"):
        classification_metrics(predictions(20), BINARY, prevalence=prevalence)


def test_prevalences_of_several_classes_are_given_by_name():
    names = ("a", "b", "c")
    frame = predictions(60, names)
    with pytest.raises(InputError, match="one prevalence for each class"):
        classification_metrics(frame, names, prevalence=0.1)
    result = rows(classification_metrics(frame, names, prevalence={"b": 0.02}, resamples=100))
    assert "stated prevalence of 2% b" in result.loc["PPV, b", "note"]
    assert "among these images" in result.loc["PPV, a", "note"]
    hit, spared = result.loc["sensitivity, b", "value"], result.loc["specificity, b", "value"]
    assert result.loc["PPV, b", "value"] == pytest.approx(0.02 * hit / (0.02 * hit + 0.98 * (1 - spared)))


def test_labels_have_predictive_values_and_calibration_of_their_own():
    truth, p = calibrated(120)
    frame = pd.DataFrame({"patient": range(120), "label": np.where(truth, "nodule", ""), "p(nodule)": p})
    result = rows(multilabel_metrics(frame, ["nodule"], prevalence={"nodule": 0.1}, resamples=100))
    alone = rows(classification_metrics(table_of(truth, p), BINARY, prevalence=0.1, resamples=100))
    for name in ("PPV", "NPV", "F1", "Brier score", "log loss", "ECE", "calibration slope", "calibration intercept"):
        assert result.loc[f"{name}, nodule", "value"] == pytest.approx(alone.loc[name, "value"]), name
