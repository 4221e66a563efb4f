"""Sets of classes hold the right one as often as was asked, class by class; the limits are those of crepes' definition."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import betabinom, binom

from easydl.errors import InputError, ModelError
from easydl.evaluation.coverage import coverage_note
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
    value = Predictions(pd.DataFrame({"value": [1.0]}), ("v",), task="regression")
    with pytest.raises(ModelError, match="keeps no scores"):
        with_sets(value, stored, 0.9)
    with pytest.raises(ModelError, match="8 patients at most"):
        with_sets(value, {"": {"value": [1.0] * 8}}, 0.9)


def findings(patients, rng, images=2):
    """Three labels of which one is rare, with images of a patient that resemble each other."""
    names, share = ("edema", "mass", "no"), (0.5, 0.3, 0.12)
    truth = np.repeat(rng.random((patients, 3)) < share, images, axis=0)
    own = np.repeat(rng.normal(0, 0.7, (patients, 3)), images, axis=0)
    chance = 1 / (1 + np.exp(-(1.2 * (2 * truth - 1) + own + rng.normal(0, 0.5, own.shape))))
    frame = pd.DataFrame({"patient": np.repeat(np.arange(patients).astype(str), images)})
    frame["image"] = frame.index.astype(str)
    frame["label"] = ["; ".join(np.array(names)[row]) for row in truth]
    frame = frame.assign(**{f"p({name})": chance[:, k] for k, name in enumerate(names)})
    return Predictions(frame, names, task="multilabel").decided({}), truth


def test_every_label_is_right_as_often_as_asked_among_those_who_have_it_and_those_who_do_not():
    rng, rates = np.random.default_rng(5), {}
    for _ in range(60):
        stored = conformal_scores(findings(150, rng)[0])
        fresh, truth = findings(300, rng)
        sets = [cell.split("; ") for cell in with_sets(fresh, stored, 0.85).frame["set"]]
        for k, name in enumerate(fresh.classes):
            listed, unsure = (np.array([one in cell for cell in sets]) for one in (name, f"uncertain: {name}"))
            right = unsure | (listed == truth[:, k])
            for state in (True, False):
                rates.setdefault((name, state), []).append(right[truth[:, k] == state].mean())
    for key, found in rates.items():
        assert 0.85 - 3 * np.std(found) / np.sqrt(60) < np.mean(found) < 0.97, key


def test_of_labels_the_answer_is_in_the_set_and_the_test_counts_what_it_held():
    rng = np.random.default_rng(6)
    stored = conformal_scores(findings(300, rng)[0])
    predictions, truth = findings(100, rng)
    found = with_sets(predictions, stored, 0.9)
    right, sizes = covered(found)
    for cell, called, share, label, size in zip(
        found.frame["set"], found.frame["prediction"], right, truth, sizes, strict=True
    ):
        held = set(filter(None, cell.split("; ")))
        assert set(filter(None, called.split("; "))) <= {one.removeprefix("uncertain: ") for one in held}
        states = [f"uncertain: {n}" in held or (n in held) == one for n, one in zip(found.classes, label, strict=True)]
        assert share == pytest.approx(np.mean(states)) and size == 1 + sum(one.startswith("uncertain") for one in held)
    assert "had a coverage of 0.9" in coverage_note(found) and "held no uncertain label" in coverage_note(found)
    few = {name: scores[:5] if name == "+no" else scores for name, scores in stored[""].items()}
    notes = with_sets(predictions, {"": few}, 0.9).notes
    assert any(note.startswith("no present can never be left out") for note in notes)


def ages(patients, rng, images=2):
    truth = rng.normal(60, 12, patients)
    error = rng.standard_t(4, patients) * 4
    frame = pd.DataFrame({"patient": np.repeat(np.arange(patients).astype(str), images)})
    frame["image"], frame["label"] = frame.index.astype(str), np.repeat(truth, images).round(6).astype(str)
    return Predictions(frame.assign(value=np.repeat(truth + error, images)), ("age",), task="regression")


def test_intervals_of_values_hold_as_many_as_asked_within_the_bounds_of_the_binomial():
    rng, hits, draws = np.random.default_rng(7), 0, 400
    for _ in range(draws):  # a fresh validation part and one fresh patient each: independent draws
        stored = conformal_scores(ages(60, rng))
        found = with_sets(ages(1, rng, images=1), stored, 0.9)
        inside, width = covered(found)
        hits += int(inside[0])
        assert width[0] == pytest.approx(2 * limit(stored[""]["value"], 0.9))
    # 55 of 61 places: 0.9016.
    assert binom.ppf(0.001, draws, 55 / 61) <= hits <= binom.ppf(0.999, draws, 55 / 61)
    several = with_sets(ages(200, rng), stored, 0.9)
    assert several.frame["low"].lt(several.frame["value"]).all()
    assert "intervals from low to high had a coverage of" in coverage_note(several) and "200 patients" in coverage_note(
        several
    )


def test_several_heads_have_columns_of_their_own():
    from easydl.networks.metadata import Head

    rng = np.random.default_rng(8)
    one, other = ages(120, rng, images=1), cohort(120, rng)
    frame = one.frame.rename(columns={"label": "age: label", "value": "age: value"})
    for name in ("label", "prediction", "confidence", *(f"p({name})" for name in CLASSES)):
        frame[f"kind: {name}"] = other.frame[name]
    heads = {"age": Head(task="regression", classes=("age",)), "kind": Head(task="classification", classes=CLASSES)}
    both = Predictions(frame, tuple(heads), task="multitask", heads=heads)
    found = with_sets(both, conformal_scores(both), 0.9)
    alone = with_sets(one, {"": conformal_scores(both)["age"]}, 0.9)
    np.testing.assert_allclose(found.frame["age: low"], alone.frame["low"])
    assert set(found.frame.columns) >= {"age: high", "kind: set"} and "set" not in found.frame.columns
    assert covered(found.head("kind"))[0].mean() > 0.85
