"""Worthless models are said to be so before any number, for every task; models with skill are not."""

import json

import numpy as np
import pandas as pd
import pytest
from cohorts import ball, case, predictions
from scipy.stats import entropy
from sklearn.metrics import log_loss

from easydl.evaluation import (
    Metrics,
    classification_metrics,
    multilabel_metrics,
    ordinal_metrics,
    regression_metrics,
    segmentation_metrics,
)
from easydl.evaluation.reconstruction import reconstruction_metrics
from easydl.evaluation.tables import table_metrics
from easydl.networks.decision import Decision
from easydl.networks.metadata import Head
from easydl.prediction.results import Predictions, ReconstructedCase, output_columns
from easydl.tasks import Task

CLASSES = ["normal", "effusion"]
RNG = np.random.default_rng(0)


def table(probabilities, classes, labels, task=Task.CLASSIFICATION):
    frame = pd.DataFrame(
        {"image": range(len(labels)), "patient": [f"p{k}" for k in range(len(labels))], "label": labels}
    )
    return frame.assign(**output_columns(np.asarray(probabilities, float), Decision(task, tuple(classes))))


def shares(positive):
    return np.column_stack([1 - np.asarray(positive), positive])


HALF = np.repeat([0, 1], 30)
LABELS = np.array(CLASSES)[HALF]


def test_a_model_with_skill_has_no_finding():
    for classes in (CLASSES, ["a", "b", "c"]):
        found = classification_metrics(predictions(120, classes, skill=3), classes, resamples=300)
        assert found.warnings == [] and repr(found) == found.headline


def test_one_answer_for_every_image_is_said_first():
    same = classification_metrics(table(shares(np.full(60, 0.2)), CLASSES, LABELS), CLASSES, resamples=200)
    assert same.warnings[0] == "One answer for every image: all 60 got the same probabilities, whatever they show."
    assert same.warnings[1].startswith("Not shown to be better than chance: AUC 0.50")
    assert repr(same).splitlines()[0] == same.warnings[0] and repr(same).splitlines()[-1] == same.headline
    assert same._repr_html_().index(same.warnings[0]) < same._repr_html_().index(same.headline)
    ranked = 0.1 + 0.2 * HALF + RNG.uniform(0, 0.1, 60)
    stuck = classification_metrics(table(shares(ranked), CLASSES, LABELS), CLASSES, resamples=200)
    assert stuck.warnings == ["One answer for every image: all 60 were called normal, also the 30 that are not."]


def test_chance_worse_than_chance_and_certainty_without_skill():
    rng = np.random.default_rng(1)
    chance = classification_metrics(table(shares(rng.uniform(0.3, 0.7, 60)), CLASSES, LABELS), CLASSES, resamples=300)
    assert chance.table["low"][0] < 0.5 < chance.table["high"][0]
    assert (
        len(chance.warnings) == 1 and "(chance is 0.5)." in chance.warnings[0] and "60 patients" in chance.warnings[0]
    )
    turned = classification_metrics(table(shares(0.8 - 0.6 * HALF + rng.uniform(0, 0.1, 60)), CLASSES, LABELS), CLASSES)
    assert any("Worse than chance: AUC" in one and "exchanged" in one for one in turned.warnings)
    sure = shares(rng.choice([0.001, 0.999], 60))
    found = classification_metrics(table(sure, CLASSES, LABELS), CLASSES, resamples=300)
    assert "mean confidence >0.99" in found.warnings[0] or "mean confidence 0.999" in found.warnings[0]


def test_a_loss_that_exploded_is_told_with_its_interval_and_one_that_did_not_is_not():
    rng = np.random.default_rng(2)
    right = rng.random(60) < 0.75
    wild = np.where(right == HALF, 0.9999, 0.0001)
    found = classification_metrics(table(shares(wild), CLASSES, LABELS), CLASSES, resamples=300)
    (sentence,) = [one for one in found.warnings if "worse than none" in one]
    assert f"log loss {log_loss(HALF, wild):.2f} (95% CI " in sentence and f"has {entropy([0.5, 0.5]):.2f}." in sentence
    # Weights for a rare class move its probabilities up, which is no fault.
    rare = np.arange(60) < 6
    weighted = np.clip(0.45 + 0.3 * (rare - 0.3) + rng.normal(0, 0.05, 60), 0, 1)
    assert log_loss(rare, weighted) > entropy([0.1, 0.9])
    labels = np.where(rare, "effusion", "normal")
    assert classification_metrics(table(shares(weighted), CLASSES, labels), CLASSES, resamples=300).warnings == []


def test_labels():
    rng = np.random.default_rng(3)
    present = rng.random((80, 3)) < 0.4
    score = np.column_stack(
        [0.2 + 0.5 * present[:, 0] + rng.uniform(0, 0.2, 80), rng.uniform(0, 0.4, 80), rng.uniform(0, 1, 80)]
    )
    names = ["good", "never", "noise"]
    frame = pd.DataFrame({"image": range(80), "patient": [f"p{k}" for k in range(80)]})
    frame["label"] = ["; ".join(np.array(names)[row]) for row in present]
    found = multilabel_metrics(
        frame.assign(**{f"p({n})": score[:, k] for k, n in enumerate(names)}), names, resamples=300
    )
    assert f"never (called in none of 80 images, present in {present[:, 1].sum()})" in found.warnings[0]
    assert found.warnings[-2].endswith("cannot be computed): never, noise.")
    assert found.warnings[-1].startswith("The probabilities are worse than none: never (log loss ")
    assert ", noise (log loss " in found.warnings[-1]
    assert not any("good" in one for one in found.warnings)


def test_a_loss_that_exploded_is_told_of_the_label_it_belongs_to():
    rng = np.random.default_rng(6)
    good, wild = rng.random((2, 60)) < 0.5
    right = rng.random(60) < 0.8
    score = {"good": np.where(good, 0.7, 0.3), "wild": np.where(right == wild, 0.9999, 0.0001)}
    frame = pd.DataFrame({"image": range(60), "patient": [f"p{k}" for k in range(60)]})
    given = [[name for name, has in (("good", a), ("wild", b)) if has] for a, b in zip(good, wild, strict=True)]
    frame["label"] = ["; ".join(names) for names in given]
    frame = frame.assign(**{f"p({name})": values for name, values in score.items()})
    (sentence,) = multilabel_metrics(frame, ["good", "wild"], resamples=300).warnings
    said = f"The probabilities are worse than none: wild (log loss {log_loss(wild, score['wild']):.2f} (95% CI "
    assert sentence.startswith(said) and "60 patients; answering every image" in sentence


def test_ordered_classes():
    names, rng = ["none", "mild", "severe"], np.random.default_rng(4)
    given = np.repeat([0, 1, 2], 20)
    guess = ordinal_metrics(table(rng.dirichlet([3] * 3, 60), names, np.array(names)[given], Task.ORDINAL), names)
    assert any("Not shown to be better than chance: quadratic-weighted kappa" in one for one in guess.warnings)
    one = ordinal_metrics(table(np.tile([0.2, 0.6, 0.2], (60, 1)), names, np.array(names)[given], Task.ORDINAL), names)
    assert one.warnings[0].startswith("One answer for every image")
    good = ordinal_metrics(table(0.8 * np.eye(3)[given] + 0.2 / 3, names, np.array(names)[given], Task.ORDINAL), names)
    assert good.warnings == []


def test_values():
    rng = np.random.default_rng(5)
    reference = rng.normal(60, 12, 60)

    def found(value):
        frame = pd.DataFrame(
            {"image": range(60), "patient": [f"p{k}" for k in range(60)], "label": reference, "value": value}
        )
        return regression_metrics(frame, "age_years", resamples=300)

    assert found(reference + rng.normal(0, 3, 60)).warnings == []
    constant = found(np.full(60, reference.mean())).warnings
    assert constant[0] == "One answer for every image: all 60 got nearly the same value."
    assert "answering the mean for every image: R²" in constant[1]
    assert len(found(rng.normal(60, 4, 60)).warnings) == 1


def test_masks():
    shape, nothing = (24, 24), np.zeros((24, 24))
    truth = ball(shape, (12, 12), 5)
    good = segmentation_metrics([case(truth, truth, f"P{k}") for k in range(8)])
    assert good.warnings == []
    empty = segmentation_metrics([case(nothing, truth if k else nothing, f"P{k}") for k in range(8)])
    assert empty.warnings == ["nodule was marked in none of 8 images, although 7 have it."]
    beside = segmentation_metrics([case(ball(shape, (3, 3), 2), truth, f"P{k}") for k in range(8)])
    assert beside.warnings == [
        "Hardly any overlap with the reference is shown: Dice 0.00 (95% CI 0.00-0.20), 8 patients."
    ]
    # Nothing to find and nothing marked is right.
    assert segmentation_metrics([case(nothing, nothing, f"P{k}") for k in range(8)]).warnings == []


def test_pictures():
    rng = np.random.default_rng(6)

    def cases(better):
        for k in range(12):
            clean = rng.uniform(50, 200, (16, 16, 1)).astype(np.float32)
            noisy = clean + rng.normal(0, 20, clean.shape).astype(np.float32)
            made = clean + (0.3 if better else 1.0) * rng.normal(0, 20, clean.shape).astype(np.float32)
            yield ReconstructedCase(f"{k}", f"p{k}", clean, noisy, made)

    options = {"window": (0.0, 255.0), "channels": ("grey",), "corruption": "noise", "resamples": 300}
    assert reconstruction_metrics(cases(True), **options).warnings == []
    (sentence,) = reconstruction_metrics(cases(False), **options).warnings
    assert sentence.startswith("Not shown to be better than the corrupted images themselves: gain in PSNR")


def test_heads_say_which_of_them_and_a_file_keeps_it(tmp_path):
    inner = table(shares(np.full(60, 0.2)), CLASSES, LABELS)
    frame = inner[["image", "patient"]].assign(**{f"x: {name}": inner[name] for name in inner.columns[2:]})
    heads = {"x": Head(task=Task.CLASSIFICATION, classes=tuple(CLASSES))}
    found = table_metrics(Predictions(frame, ("x",), True, "t", "multitask", heads), resamples=200)
    assert found.warnings[0].startswith("x: One answer for every image")
    path = found.save(tmp_path)
    content = json.loads(path.read_text())
    assert content["warnings"] == found.warnings
    assert Metrics.from_dict(content).warnings == found.warnings
    old = {key: value for key, value in content.items() if key not in ("warnings", "seen")}
    assert Metrics.from_dict(old).warnings == []


@pytest.mark.parametrize("patients", [3, 4])
def test_few_patients_and_a_perfect_score_are_not_shown_to_be_better(patients):
    labels = np.array(CLASSES)[np.arange(patients) % 2]
    found = classification_metrics(table(shares(np.arange(patients) % 2 * 0.8 + 0.1), CLASSES, labels), CLASSES)
    assert found.table["value"][0] == 1.0
    assert found.warnings[0].startswith("Not shown to be better than chance: AUC 1.00")
