"""The threshold against a search over all of them, and that one mechanism decides everywhere."""

import numpy as np
import pandas as pd
import pytest
from cohorts import predictions

from easydl.evaluation import classification_metrics, evaluate, multilabel_metrics
from easydl.evaluation.thresholds import chosen, youden
from easydl.networks.decision import Decision, Threshold
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.results import Predictions
from easydl.tasks import Task

CLASSES = ("normal", "effusion")


def searched(score, positive):
    """The best sensitivity plus specificity over every threshold there is."""
    return max((score[positive] >= t).mean() + (score[~positive] < t).mean() for t in [*score, 2.0])


@pytest.mark.parametrize("seed", range(20))
def test_it_is_as_good_as_any_and_between_two_scores(seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(60) < 0.3
    score = np.clip(rng.normal(0.2 + 0.15 * positive, 0.1), 0, 1).round(2)
    found = youden(score, positive)
    assert (score[positive] >= found).mean() + (score[~positive] < found).mean() == pytest.approx(
        searched(score, positive)
    )
    assert found not in score


def test_of_equal_ones_it_is_the_nearest_to_a_half():
    score, positive = np.array([0.1, 0.2, 0.9, 0.95]), np.array([False, False, True, True])
    assert youden(score, positive) == pytest.approx(0.55)


def of_classes(patients=60, shift=0.25, **options):
    """Predictions of two classes whose probabilities are too low by a shift."""
    frame = predictions(patients, CLASSES, skill=2.5, **options)
    low = frame["p(effusion)"] * (1 - shift * 2)
    frame = frame.assign(**{"p(effusion)": low, "p(normal)": 1 - low})
    return Predictions(frame, CLASSES).decided({})


def test_probabilities_that_are_too_low_are_made_up_for_and_the_numbers_say_on_how_many():
    validation, test = of_classes(), of_classes(seed=1)
    (threshold,) = (thresholds := chosen(validation)).values()
    assert list(thresholds) == ["effusion"] and threshold.value < 0.35 and threshold.n == 60
    before, after = (evaluate(one, resamples=200).table.set_index("name") for one in (test, test.decided(thresholds)))
    assert after.loc["sensitivity", "value"] > before.loc["sensitivity", "value"] + 0.1
    assert after.loc["AUC", "value"] == before.loc["AUC", "value"]
    for name in ("sensitivity", "specificity"):
        assert f"threshold {threshold.value:.2f}, chosen on 60 validation patients" in after.loc[name, "note"]
    called = np.where(test.frame["p(effusion)"] >= threshold.value, "effusion", "normal")
    assert test.decided(thresholds).frame["prediction"].tolist() == called.tolist()
    positive = test.frame["label"] == "effusion"
    assert after.loc["sensitivity", "value"] == pytest.approx((called[positive] == "effusion").mean())
    assert any(
        f"effusion from a probability of {threshold.value:.2f} on" in note for note in after_notes(test, thresholds)
    )


def after_notes(test, thresholds):
    return evaluate(test.decided(thresholds), resamples=200).notes


def test_too_few_patients_or_no_skill_leave_a_half_with_the_reason():
    (few,) = chosen(of_classes(15)).values()
    assert (
        (few.value, few.n) == (0.5, 0)
        and "10 of each are needed" in few.text
        and "validation patients with effusion" in few.text
    )
    (useless,) = chosen(Predictions(predictions(60, CLASSES, skill=0), CLASSES)).values()
    assert useless.value == 0.5 and "not shown to be above 0.5" in useless.text
    unknown = of_classes()
    unknown.patients_known = False
    assert next(iter(chosen(unknown).values())).text.endswith(
        f"chosen on {len(unknown.frame)} validation images by Youden's index"
    )


def labels(n=80, seed=0):
    rng = np.random.default_rng(seed)
    present = rng.random((n, 2)) < [0.4, 0.05]
    score = np.clip(0.1 + 0.3 * present + rng.normal(0, 0.05, (n, 2)), 0, 1)
    names = [["nodule", "rare"][k] for k in range(2)]
    frame = pd.DataFrame({"image": range(n), "patient": [f"p{k}" for k in range(n)]})
    frame["label"] = ["; ".join(np.array(names)[row]) for row in present]
    frame = frame.assign(**{f"p({name})": score[:, k] for k, name in enumerate(names)})
    return Predictions(frame, tuple(names), task="multilabel"), present, score


def test_every_label_has_its_own():
    found, present, score = labels()
    thresholds = chosen(found.decided({}))
    assert 0.1 < thresholds["nodule"].value < 0.4 and thresholds["nodule"].n == 80
    assert (
        thresholds["rare"].value == 0.5
        and f"{present[:, 1].sum()} validation patients with rare" in thresholds["rare"].text
    )
    decided = found.decided(thresholds)
    expected = [cell.split("; ") == ["nodule"] for cell in decided.frame["prediction"]]
    assert expected == (score[:, 0] >= thresholds["nodule"].value).tolist()
    table = evaluate(decided, resamples=200).table.set_index("name")
    recall = (score[present[:, 0], 0] >= thresholds["nodule"].value).mean()
    assert table.loc["sensitivity, nodule", "value"] == pytest.approx(recall)
    assert "chosen on 80 validation patients" in table.loc["sensitivity, nodule", "note"]
    plain = multilabel_metrics(found.frame, found.classes, resamples=200).table.set_index("name")
    assert (
        plain.loc["sensitivity, nodule", "value"] < 0.2 and "threshold 0.50" in plain.loc["sensitivity, nodule", "note"]
    )


def test_one_mechanism_decides():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 1], 50)
    two = Decision(Task.CLASSIFICATION, ("no", "yes"), {"yes": Threshold(value=0.3, n=20)})
    np.testing.assert_array_equal(two.classes_of(shares), shares[:, 1] >= 0.3)
    np.testing.assert_array_equal(Decision(Task.CLASSIFICATION, ("no", "yes")).classes_of(shares), shares.argmax(1))
    even = Decision(Task.CLASSIFICATION, ("no", "yes"), {"yes": Threshold()})
    np.testing.assert_array_equal(even.classes_of(np.array([[0.5, 0.5], [0.4, 0.6]])), [0, 1])
    three = Decision(Task.CLASSIFICATION, ("a", "b", "c"), {"b": Threshold(value=0.1, n=9)})
    more = rng.dirichlet([1, 1, 1], 50)
    np.testing.assert_array_equal(three.classes_of(more), more.argmax(1))
    assert (two.positive, three.positive, Decision(Task.ORDINAL, ("a", "b")).positive) == ("yes", None, None)


def test_the_metadata_give_each_head_its_own():
    facts = {"builder": "classifier", "task": "multitask", "dimension": 2, "channels": 1, "size": (32, 32)}
    heads = {
        "cancer": {"task": "classification", "classes": ("no", "yes")},
        "age": {"task": "regression", "classes": ("age",)},
    }
    one = ModelMetadata(
        **facts, classes=("cancer", "age"), heads=heads, thresholds={"cancer: yes": {"value": 0.2, "n": 24}}
    )
    assert one.decision("cancer").values.tolist() == [0.5, 0.2] and one.decision("age").thresholds == {}
    with pytest.raises(ValueError, match="less than 1"):
        ModelMetadata(**facts, classes=("cancer", "age"), heads=heads, thresholds={"cancer: yes": {"value": 1.5}})


def test_metrics_of_a_table_of_ones_own_are_at_the_most_probable_class():
    found = classification_metrics(predictions(60, CLASSES), CLASSES, resamples=200)
    assert any("(the most probable class)" in note for note in found.notes)
    assert not any("threshold" in note for note in found.table["note"])
