"""How much better a model is on its training images than on a test's: one sentence with n and interval."""

import numpy as np
import pytest
from made import png_study
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import easydl
from easydl.evaluation import Metrics
from easydl.evaluation.overfitting import BETTER, compared, training_scores


def measured(value, low, high, n=80, name="AUC", **more):
    row = {"name": name, "value": value, "low": low, "high": high, "n": n, "unit_of_n": "patients"} | more
    return Metrics(task="classification", classes=("no", "yes"), table=[row])


def test_what_is_shown_is_printed_and_what_is_not_stays_in_the_notes():
    train = training_scores(measured(0.97, 0.94, 0.99, n=200))
    found = compared(measured(0.80, 0.72, 0.87), train)
    # Square and add: 0.17 less the root of 0.03 squared and 0.07 squared, and 0.17 plus that of 0.02 and 0.08.
    low, high = 0.17 - np.hypot(0.03, 0.07), 0.17 + np.hypot(0.02, 0.08)
    said = f"AUC 0.97 against 0.80, difference 0.17 (95% CI {low:.2f} to {high:.2f}; 200 training patients, 80 patients here)."
    assert str(found).splitlines()[1] == f"{BETTER}: {said}" == found.notes[-1]
    healthy = compared(measured(0.95, 0.90, 0.98), train)
    assert BETTER not in str(healthy) and healthy.notes[-1].startswith(
        "Its training images and these: AUC 0.97 against 0.95"
    )


def test_of_an_error_less_is_better():
    error = {"name": "mean absolute error", "unit": "years"}
    train = training_scores(measured(2.0, 1.5, 2.6, **error))
    (note,) = compared(measured(5.0, 4.0, 6.5, **error), train).notes
    low, high = 3 - np.hypot(0.6, 1.0), 3 + np.hypot(0.5, 1.5)
    assert note.startswith(BETTER) and f"difference 3.00 years (95% CI {low:.2f} to {high:.2f} years;" in note
    assert compared(measured(2.0, 1.0, 3.0), train).notes == [], "another number"
    assert training_scores(measured(1.0, None, None)) == {}


def test_the_interval_holds_the_truth():
    """200 pairs of cohorts of a model whose true AUC is 0.90 on training and 0.80 on new patients."""
    rng, inside = np.random.default_rng(0), 0
    ill = np.repeat([0, 1], 40)
    for _ in range(200):
        both = []
        for auc in (0.90, 0.80):
            score = rng.normal(size=80) + np.sqrt(2) * norm.ppf(auc) * ill
            value = roc_auc_score(ill, score)
            # DeLong's variance by its components.
            wins = (score[ill == 1][:, None] > score[ill == 0][None]).astype(float)
            error = np.sqrt(wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 40)
            both.append(measured(value, value - 1.96 * error, value + 1.96 * error))
        (note,) = compared(both[1], training_scores(both[0])).notes
        low, high = map(float, note.split("95% CI ")[1].split(";")[0].split(" to "))
        inside += low - 0.005 <= 0.10 <= high + 0.005
    assert 180 <= inside <= 199


@pytest.mark.slow
def test_a_network_that_memorised_noise_is_told_from_its_file_alone(tmp_path):
    """The labels are drawn at random, so that nothing but memory makes the training score."""
    import pandas as pd

    path = png_study(tmp_path / "s", per_class=60, side=16)
    frame = pd.read_csv(path, dtype=str)
    frame["label"] = np.random.default_rng(0).permutation(frame["label"])
    frame.to_csv(path, index=False)
    train, val, test = easydl.load(path).split(seed=0)
    model = easydl.classifier("tiny", train, size=16)
    easydl.fit(model, train, val, epochs=30, augment="none", learning_rate=0.003, seed=0)
    kept = easydl.networks.metadata_of(model).training["training_score"][""]
    own = easydl.predict(model, train)
    assert kept["value"] == pytest.approx(
        roc_auc_score(own.frame["label"] == "healthy", own.frame["p(healthy)"]), abs=1e-6
    )
    assert kept["n"] == len(train) == 72
    opened = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    found = easydl.evaluate(opened, test, resamples=200)
    assert any("its training images" in note.lower() and "72 training patients" in note for note in found.notes)
    assert not any(
        "training patients" in note for note in easydl.evaluate(opened, train, override="to see", resamples=200).notes
    )
