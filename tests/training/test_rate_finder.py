"""The search for a learning rate: what it proposes, and that it leaves everything as it was."""

import random
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from small_models import tiny

import easydl
from easydl.errors import InputError
from easydl.training import loop
from easydl.training.loop import Data, Stage
from easydl.training.objective import Objective
from easydl.training.pipeline import image_feed
from easydl.training.rate_curve import LearningRates
from easydl.training.rate_finder import find_rates

RATES = tuple(np.geomspace(1e-6, 1, 100))


def curve(falls_at, rises_at, noise=0.0, planned=0.001):
    rates = np.array(RATES)
    losses = 0.3 + 1 / (1 + (rates / falls_at) ** 2) + (rates / rises_at) ** 4
    return LearningRates(RATES, tuple(losses + np.random.default_rng(0).normal(0, noise, 100)), planned)


@pytest.mark.quick
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_it_proposes_where_the_loss_has_fallen(noise):
    for falls_at in (1e-4, 1e-3, 1e-2):
        found = curve(falls_at, 30 * falls_at, noise)
        # Nine tenths of this fall are made at three times its middle.
        assert falls_at < found.chosen < 6 * falls_at
        assert found.falls and found.rises == pytest.approx(30 * falls_at, rel=0.7)
        assert f"{found.chosen:.2g}" in found.sentence and "0.001" in found.sentence


@pytest.mark.quick
def test_a_loss_that_never_falls_keeps_the_planned_rate_or_less():
    flat = LearningRates(RATES, tuple(np.random.default_rng(1).normal(1, 0.1, 100)), 0.001)
    assert not flat.falls and flat.chosen == 0.001
    rising = LearningRates(RATES, tuple(1 + (np.array(RATES) / 1e-3) ** 2), 0.001)
    assert not rising.falls and rising.chosen < 2e-4
    assert "no rate lowers the loss" in rising.sentence


@pytest.mark.quick
def test_the_curve_is_a_table_a_figure_and_files(tmp_path):
    found = curve(1e-3, 1e-1, 0.02)
    found.save(tmp_path)
    table = pd.read_csv(tmp_path / "learning_rates.csv", skiprows=1)
    assert list(table.columns) == ["learning_rate", "loss", "smoothed", "planned"] and len(table) == 100
    assert (tmp_path / "learning_rates.png").read_bytes()[:4] == b"\x89PNG"
    again = LearningRates.open(tmp_path)
    assert again.chosen == found.chosen and again.planned == 0.001 and LearningRates.open(tmp_path / "none") is None
    axes = found.show().axes[0]
    assert axes.get_xscale() == "log" and any("chosen" in text.get_text() for text in axes.get_legend().get_texts())


@pytest.fixture
def blobs():
    """A dense network with dropout and batch normalisation, and its data."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)).astype(np.float32), np.eye(2, dtype=np.float32)[np.arange(64) % 2]
    x[:, 0] += 2 * y[:, 1]
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="relu")(inputs))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Dropout(0.5, seed=3)(hidden))
    model = keras.Model(inputs, outputs)

    def feed(first_epoch=0):
        return image_feed(x, y, 16, seed=0, first_epoch=first_epoch)

    objective = Objective(model, "categorical_crossentropy", lambda: ["accuracy"], "categorical_crossentropy")
    return model, objective, Data(feed, (x, y))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_statistics_and_random_states_are_as_they_were_bit_by_bit(blobs, optimizer, monkeypatch):
    monkeypatch.setattr("easydl.training.rate_finder.STEPS", 40)
    model, objective, data = blobs
    before = [np.asarray(variable).copy() for variable in model.variables]
    states = random.getstate(), np.random.get_state()[1].copy()
    found = find_rates(Stage("train", 5, 4, 0.001, optimizer=optimizer), objective, data)
    for old, variable in zip(before, model.variables[: len(before)], strict=True):
        np.testing.assert_array_equal(old, np.asarray(variable))
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert 20 < len(found.rates) <= 40
    ratio = found.rates[1] / found.rates[0]
    assert ratio == pytest.approx(10 ** (6 / 39)) and found.rates[0] == pytest.approx(
        1e-6 * (10 if optimizer == "sgd" else 1)
    )


def test_a_training_behind_the_search_is_the_one_without_it(blobs, monkeypatch):
    """The same batches, dropout and optimizer state: the losses of every epoch are equal."""
    monkeypatch.setattr("easydl.training.rate_finder.STEPS", 20)
    model, objective, data = blobs
    start, stage, losses = (
        [np.asarray(one).copy() for one in model.variables],
        Stage("train", 2, 4, 0.01, silent=True),
        [],
    )
    for search in (True, False):
        for variable, value in zip(model.variables, start, strict=False):
            variable.assign(value)
        if search:
            find_rates(stage, objective, data)
        progress = loop.Progress(None)
        loop.run_stage(stage, objective, data, progress)
        losses.append([row["loss"] for row in progress.rows])
    assert losses[0] == losses[1]


def test_fit_trains_at_the_rate_it_found_and_keeps_it_when_it_goes_on(parts, stages, monkeypatch, tmp_path):
    train, val, _ = parts
    monkeypatch.setattr(
        "easydl.training.feeder.find_rates", lambda stage, *_: replace(curve(1e-4, 1e-2), planned=stage.learning_rate)
    )
    options = {"augment": "none", "epochs": 2, "verbose": False, "run": tmp_path, "learning_rate": "find"}
    history = easydl.fit(tiny(train, seed=2), train, val, **options)
    found = history.params["learning_rates"]
    assert stages[0][0].learning_rate == found.chosen and found.planned == 0.002
    assert found.sentence in history.params["plan"] and (tmp_path / "learning_rates.png").exists()
    # A checkpoint of this training is on the disk: nothing is looked for again.
    monkeypatch.setattr("easydl.training.feeder.find_rates", None)
    known = type("State", (), {"facts": {"measured": {"learning_rates": 0.0123}}})
    monkeypatch.setattr("easydl.training.feeder.load_checkpoint", lambda *_: known)
    easydl.fit(tiny(train, seed=2), train, val, **options)
    assert stages[1][0].learning_rate == 0.0123


def test_it_is_not_looked_for_in_a_dataset(parts):
    train, _, _ = parts
    with pytest.raises(InputError, match='"find" was given with a dataset'):
        easydl.fit(tiny(train), train.batches(8, size=(32, 32)), learning_rate="find")
