"""Accuracy against what is referred, with arithmetic by hand and on simulated patients."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from cohorts import predictions

import easydl
from easydl.errors import InputError
from easydl.evaluation.referral import refer
from easydl.networks.decision import Threshold
from easydl.prediction.results import Predictions

CLASSES = ("normal", "effusion")


def test_by_hand():
    score = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1])
    label = np.array([1, 1, 1, 1, 0, 0, 1, 0, 0, 0])
    frame = pd.DataFrame({"image": range(10), "patient": range(10), "label": np.array(CLASSES)[label]})
    frame = frame.assign(**{"p(normal)": 1 - score, "p(effusion)": score})
    table = refer(Predictions(frame, CLASSES).decided({}), resamples=200).table.set_index("referred")
    assert table.loc[0.0, "accuracy"] == 0.7 and table.loc[0.0, "n"] == 10
    assert table.loc[0.2, "accuracy"] == 7 / 8  # without 0.55 and, of two that are as near, the later
    assert table.loc[0.3, "accuracy"] == 1.0 and table.loc[0.3, "images"] == 7
    moved = Predictions(frame, CLASSES).decided({"effusion": Threshold(value=0.9, n=20)})
    assert refer(moved, resamples=200).table["accuracy"].iloc[0] == 0.7  # three of four above are called normal


def test_referring_the_least_sure_fifth_lowers_the_error_and_a_random_fifth_does_not():
    frame = predictions(200, CLASSES, seed=3)
    found = refer(Predictions(frame, CLASSES).decided({}))
    row = found.table.set_index("referred").loc[0.2]
    assert row["gain"] > 0.03 and row["gain_low"] > 0
    assert "least sure 20% referred" in found.sentence and found.sentence.count("95% CI") == 3
    rng = np.random.default_rng(0)
    random = refer(Predictions(frame.assign(spread=rng.random(len(frame))), CLASSES).decided({}), by="spread")
    row = random.table.set_index("referred").loc[0.2]
    assert row["gain_low"] < 0 < row["gain_high"]
    figure = found.show()
    assert not plt.get_fignums()  # pyplot's figures are shown twice in a notebook
    assert figure.axes[0].lines[0].get_ydata().tolist() == found.table["accuracy"].tolist()
    assert easydl.RESEARCH_USE in repr(found) and easydl.RESEARCH_USE in found._repr_html_()


def test_after_further_looks_its_intervals_are_wider():
    from easydl.evaluation.level import over_looks

    frame = predictions(60, skill=1)
    once = refer(Predictions(frame, CLASSES), resamples=300).table
    with over_looks(4):
        later = refer(Predictions(frame, CLASSES), resamples=300).table
    assert (later["high"] - later["low"] > once["high"] - once["low"]).all()
    gains = [(table["gain_high"] - table["gain_low"])[1:] for table in (later, once)]
    assert (gains[0] > gains[1]).all()


def test_labels_and_more_classes_have_a_margin_too():
    three = Predictions(predictions(150, ("a", "b", "c")), ("a", "b", "c")).decided({})
    assert refer(three, resamples=200).table["gain"].iloc[4] > 0
    rng = np.random.default_rng(1)
    present = rng.random((300, 2)) < 0.4
    score = 1 / (1 + np.exp(-(3 * present - 1.5 + rng.normal(0, 1.5, present.shape))))
    frame = pd.DataFrame({"image": range(300), "patient": range(300)})
    frame["label"] = ["; ".join(np.array(["x", "y"])[row]) for row in present]
    several = Predictions(frame.assign(**{"p(x)": score[:, 0], "p(y)": score[:, 1]}), ("x", "y"), task="multilabel")
    table = refer(several.decided({}), resamples=200).table
    assert table["accuracy"].iloc[0] == ((score >= 0.5) == present).all(axis=1).mean()
    assert table["gain"].iloc[4] > 0.03


def test_what_cannot_be_referred_is_refused():
    frame = predictions(30, CLASSES)
    with pytest.raises(InputError, match="no column spread"):
        refer(Predictions(frame, CLASSES), by="spread")
    with pytest.raises(InputError, match="no labels"):
        refer(Predictions(frame.drop(columns="label"), CLASSES))
    with pytest.raises(InputError, match="task regression"):
        refer(Predictions(pd.DataFrame({"value": [1.0], "label": ["1"]}), ("v",), task="regression"))
