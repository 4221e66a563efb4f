"""Sets of classes hold the right one as often as was asked, class by class; the limits are those of crepes' definition."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom

from easydl.errors import InputError, ModelError
from easydl.prediction.conformal import MOST, conformal_scores, covered, limit, patients_needed, with_sets
from easydl.prediction.results import Predictions

CLASSES = ("a", "b", "c")


def cohort(patients, rng, images=1, classes=CLASSES):
    """Patients of whom few have the last class, with images that resemble each other."""
    weights = np.arange(len(classes), 0, -1) / np.arange(len(classes), 0, -1).sum()
    truth = np.repeat(rng.choice(len(classes), patients, p=weights), images)
    own = np.repeat(rng.normal(0, 0.7, (patients, len(classes))), images, axis=0)
    logits = 1.5 * np.eye(len(classes))[truth] + own + rng.normal(0, 0.5, own.shape)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({"patient": np.repeat(np.arange(patients).astype(str), images)})
    frame["image"], frame["label"] = frame.index.astype(str), np.array(classes)[truth]
    frame = frame.assign(**{f"p({name})": shares[:, k] for k, name in enumerate(classes)})
    return Predictions(frame, classes).decided({})


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("draws", [40, pytest.param(500, marks=pytest.mark.everything)])
def test_new_patients_of_every_class_are_covered_as_asked(coverage, draws):
    rng = np.random.default_rng(0)
    inside = {name: [] for name in CLASSES}
    for _ in range(draws):
        stored = conformal_scores(cohort(150, rng, images=3))
        fresh = with_sets(cohort(400, rng, images=3), stored, coverage)
        right, _ = covered(fresh)
        labels = fresh.frame["label"].to_numpy()
        for name in CLASSES:
            inside[name].append(right[labels == name].mean())
    for name, rates in inside.items():
        error = np.std(rates) / np.sqrt(draws)
        assert np.mean(rates) > coverage - 3 * error, name
        assert np.mean(rates) < coverage + 0.1, name  # the answer is always in the set, which adds some


def test_the_limit_is_the_order_statistic_whose_coverage_is_beta_binomial():
    scores = np.sort(np.random.default_rng(1).random(60))
    place = int(np.flatnonzero(scores == limit(scores, 0.9))[0]) + 1
    assert place == 55
    # Of many new patients at most 55/61 on average are within it (Vovk 2012): never fewer than asked.
    assert betabinom(1000, place, 61 - place).mean() / 1000 == pytest.approx(55 / 61) and 55 / 61 >= 0.9 > 54 / 61
    assert limit(scores[:8], 0.9) == np.inf and limit(scores[:9], 0.9) == scores[8]
    assert patients_needed(0.9) == 9 and patients_needed(0.95) == 19


def test_several_images_of_a_patient_are_no_further_evidence():
    found = conformal_scores(cohort(40, np.random.default_rng(2), images=6))[""]
    assert sum(map(len, found.values())) == 40
    many = conformal_scores(cohort(3 * MOST, np.random.default_rng(2), classes=("x", "y")))[""]["x"]
    assert len(many) == MOST


def test_a_set_is_one_class_or_says_uncertain_and_holds_the_answer():
    rng = np.random.default_rng(3)
    stored = conformal_scores(cohort(300, rng))
    found = with_sets(cohort(200, rng), stored, 0.9)
    limits = {name: limit(scores, 0.9) for name, scores in stored[""].items()}
    for _, row in found.frame.iterrows():
        names = [name for name in CLASSES if 1 - row[f"p({name})"] <= limits[name] or name == row["prediction"]]
        assert row["set"] == (names[0] if len(names) == 1 else "uncertain: " + " or ".join(names))
    assert {"uncertain" in cell for cell in found.frame["set"]} == {True, False}
    assert any("90% of new patients of every class" in note for note in found.notes)


def test_too_few_patients_of_a_class_are_said_and_of_all_refused():
    predictions = cohort(300, np.random.default_rng(4))
    stored = conformal_scores(predictions)
    stored[""]["c"] = stored[""]["c"][:5]
    found = with_sets(predictions, stored, 0.9)
    assert all("c" in cell for cell in found.frame["set"])
    assert any("c can never be left out" in note and "9 are needed" in note for note in found.notes)
    few = {"": {name: scores[:5] for name, scores in stored[""].items()}}
    with pytest.raises(ModelError, match="5 patients of a class at most"):
        with_sets(predictions, few, 0.9)
    with pytest.raises(ModelError, match="keeps no scores"):
        with_sets(predictions, None, 0.9)
    with pytest.raises(InputError, match="coverage is 1"):
        with_sets(predictions, stored, 1.2)
    with pytest.raises(InputError, match="task is regression"):
        with_sets(Predictions(pd.DataFrame({"value": [1.0]}), ("v",), task="regression"), stored, 0.9)
