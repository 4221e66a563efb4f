"""Fit calibrates, then chooses the threshold for the aim it was given; both are in the file and in every answer."""

import keras
import numpy as np
import pandas as pd
import pytest
from made_tasks import discs
from sklearn.linear_model import LogisticRegression
from small_models import tiny
from typer.testing import CliRunner

import easydl
from easydl.cli import app as cli
from easydl.errors import InputError, LeakageError
from easydl.evaluation.temperature import log_loss
from easydl.networks import metadata_of, set_temperature
from easydl.prediction import compiled
from easydl.studies.dataset import decode


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(discs(tmp_path_factory.mktemp("d") / "s", n=320), label="outcome")


@pytest.fixture(scope="module")
def split(study):
    return study.split(sizes=(0.2, 0.5, 0.3), seed=1)


@pytest.fixture
def uncertain(monkeypatch, split):
    """In the place of a training: regularised logistic regression on the features of a random network, too uncertain."""
    train = split[0]

    def run(stage, objective, data, progress, *, key=""):
        model = objective.learner
        images = decode(train, size=(32, 32), channels=1, units="0-255").astype("float32")
        found = np.asarray(compiled(model, "features")(images), float)
        scale = found.std(axis=0) + 1e-9
        right = LogisticRegression(C=0.01, max_iter=500).fit(
            (found - found.mean(axis=0)) / scale, train.frame["label"] == "yes"
        )
        kernel = right.coef_[0] / scale
        bias = right.intercept_[0] - kernel @ found.mean(axis=0)
        zero = np.zeros_like(kernel)
        model.get_layer("logits").set_weights([np.stack([zero, kernel], 1), np.array([0, bias])])
        model.compile("sgd", objective.loss)

    monkeypatch.setattr("easydl.training.loop.run_stage", run)


def targets_of(frame):
    return np.stack([frame["label"] == "no", frame["label"] == "yes"], axis=1).astype(float)


def outputs_of(frame):
    return frame[["p(no)", "p(yes)"]].to_numpy(float)


def test_a_model_that_is_too_uncertain_is_calibrated_in_its_last_layer(split, uncertain, tmp_path):
    train, val, test = split
    raw, model = tiny(train), tiny(train)
    easydl.fit(raw, train, val, augment="none", calibrate=False, verbose=False)
    history = easydl.fit(model, train, val, augment="none", sensitivity=0.9, verbose=False)
    facts = metadata_of(model).training["calibration"][""]
    temperature = facts["temperature"]
    assert temperature < 0.8 and facts["n"] == val.n_patients
    assert "calibration" not in metadata_of(raw).training
    assert facts["text"] in history.params["plan"]
    before, after = (easydl.predict(one, test).frame for one in (raw, model))
    expected = outputs_of(before) ** (1 / temperature)
    np.testing.assert_allclose(outputs_of(after), expected / expected.sum(axis=1, keepdims=True), atol=2e-3)
    assert log_loss(outputs_of(after), targets_of(after)) < log_loss(outputs_of(before), targets_of(before))
    # The threshold is of the calibrated probabilities.
    threshold = metadata_of(model).thresholds["yes"]
    assert threshold.rule == "for a sensitivity of at least 0.9 with 90% confidence"
    of_val = easydl.predict(model, val).frame
    assert (of_val.loc[of_val["label"] == "yes", "p(yes)"] >= threshold.value).mean() >= 0.9
    again = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    pd.testing.assert_frame_equal(easydl.predict(again, test).frame, after)
    plain = keras.models.load_model(tmp_path / "m.keras")
    assert [layer.name for layer in plain.layers] == [layer.name for layer in raw.layers]
    easydl.operating_point(model, val, specificity=0.9)
    assert metadata_of(model).thresholds["yes"].rule.startswith("for a specificity of at least 0.9")


def test_the_operating_point_is_written_into_the_model_and_every_answer_follows(split, uncertain, tmp_path):
    train, val, test = split
    model = tiny(train)
    easydl.fit(model, train, val, augment="none", verbose=False)
    assert metadata_of(model).thresholds["yes"].rule in ("by Youden's index", "")
    val_table = tmp_path / "val.csv"
    val.frame.assign(outcome=val.frame["label"])[["image", "patient", "outcome"]].to_csv(val_table, index=False)
    found = easydl.operating_point(model, val, sensitivity=0.9, confidence=0.95, resamples=200)
    threshold = metadata_of(model).thresholds["yes"]
    assert f"yes: {threshold.text}." == found.notes[0] and "0.9 with 95% confidence" in threshold.text
    assert "the very images" in found.notes[1] and "epoch was chosen" in found.notes[2]
    sensitivity = found.table.set_index("name").loc["sensitivity", "value"]
    assert sensitivity >= 0.9
    again = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    answers = easydl.predict(again, test).frame
    np.testing.assert_array_equal(answers["prediction"] == "yes", answers["p(yes)"] >= threshold.value)
    words = [
        "operating-point",
        str(tmp_path / "m.keras"),
        str(val_table),
        "--root",
        "/",
        "--label",
        "outcome",
        "--cost",
        "5",
    ]
    result = CliRunner().invoke(cli, [*words, "-o", str(tmp_path / "new.keras")])
    assert result.exit_code == 0 and "a missed image counting as 5 false alarms" in result.output, result.output
    assert "5 false alarms" in metadata_of(easydl.load_model(tmp_path / "new.keras")).thresholds["yes"].text
    row = easydl.evaluate(again, test, resamples=200).table.set_index("name").loc["sensitivity"]
    assert threshold.text in row["note"]


def test_what_cannot_be_promised_is_refused_with_the_number_that_is_needed(split, uncertain):
    train, val, _ = split
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="none", sensitivity=0.999, verbose=False)
    with_it = int((val.frame["label"] == "yes").sum())
    said = f"a sensitivity of at least 0.999 with 90% confidence is not reachable with these {with_it} patients with yes, 2302 are needed"
    assert any(said in one for one in history.params["warnings"])
    before = metadata_of(model).thresholds
    with pytest.raises(InputError, match="2302 are needed"):
        easydl.operating_point(model, val, sensitivity=0.999)
    assert metadata_of(model).thresholds == before
    with pytest.raises(LeakageError, match="in the training"):
        easydl.operating_point(model, train, sensitivity=0.9)
    whole = train.parent
    found = easydl.operating_point(model, whole, cost=3, resamples=200)
    assert f"Of {len(whole)} images only the {len(val)} of the model's validation part count." in found.notes
    assert found.table.equals(easydl.operating_point(model, val, cost=3, resamples=200).table)
    with pytest.raises(InputError, match="together"):
        easydl.fit(model, train, val, sensitivity=0.9, cost=3, verbose=False)
    three = easydl.classifier("tiny", classes=["a", "b", "c"], size=32)
    with pytest.raises(InputError, match="No threshold decides"):
        easydl.operating_point(three, val)


def test_a_temperature_is_a_finite_number_above_zero():
    model = easydl.classifier("tiny", classes=2, size=32)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="temperature"):
            set_temperature(model, wrong)
