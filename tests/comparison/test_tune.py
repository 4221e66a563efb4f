"""`easydl.tune`: what it tries, that no choice sees what it is tested on, and what it hands over."""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from made_comparisons import TASKS, split_study
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.comparison.candidates import Candidates
from easydl.comparison.search_space import proposals, read_space, space_of
from easydl.errors import EasyDLError, InputError, MissingPackageError, ModelError
from easydl.studies import Study
from easydl.studies.dataset import decode
from easydl.tasks import Task

GRID = {"model": ["tiny"], "learning_rate": [0.001, 0.01, 0.1]}
QUIET = {"folds": 3, "verbose": False}


@pytest.fixture
def made_up(monkeypatch):
    """Trainings are left out: what a model says is the truth with noise that depends on its learning rate."""
    asked = []

    def trained(self, settings, train, val, rows, seed):
        asked.append((settings, train, val, rows))
        rate = settings.get("learning_rate") or 0.001
        if rate >= 1:
            raise ModelError("The training diverged.", "a loss that falls.", "Choose a lower rate.")
        noise = 0.35 + abs(np.log10(rate / 0.01)) * 0.5
        found = []
        for one in rows:
            rng = np.random.default_rng([int(one[0]), len(one), int(1e6 * rate)])
            truth = self.study.targets()[one]
            said = truth + rng.normal(0, noise, truth.shape)
            if not Task(self.study.task).is_value:
                said = np.clip(said, 1e-3, None) / np.clip(said, 1e-3, None).sum(axis=1, keepdims=True)
            found.append(said)
        return found

    monkeypatch.setattr(Candidates, "trained", trained)
    return asked


def test_every_trial_is_tested_out_of_fold_and_the_best_by_validation_is_first(films, made_up):
    study = easydl.load(films, **TASKS["classification"])
    found = easydl.tune(study, GRID, **QUIET)
    assert len(made_up) == 9 and len(found.table) == 3
    assert [row.n for row in found.trials] == [120] * 3 and all(
        row.low <= row.value <= row.high for row in found.trials
    )
    assert found.best == {"classifier": {"name": "tiny", "pretrained": False}, "fit": {"learning_rate": 0.01}}
    assert found.trials[0].chosen and found.trials[0].settings["learning_rate"] == 0.01
    assert found.trials[0].validation == max(row.validation for row in found.trials)
    other = found.trials[-1]
    assert other.difference == pytest.approx(found.trials[0].value - other.value) and other.difference_low > 0
    for settings, train, val, (on_val, test) in made_up:
        assert settings["pretrained"] is False and list(on_val) == list(val)
        parts = [set(study.frame["patient"].iloc[rows]) for rows in (train, val, test)]
        assert not parts[0] & parts[1] and not parts[2] & (parts[0] | parts[1])


def test_the_nested_number_is_that_of_each_folds_own_choice(films, made_up, monkeypatch):
    """In every fold another trial is best on the validation part, and by luck it is always the worst on the test part."""
    study = easydl.load(films, **TASKS["classification"])
    true, count = Candidates.trained, []

    def trained(self, settings, train, val, rows, seed):
        on_val, on_test = true(self, settings, train, val, rows, seed)
        fold, trial = divmod(len(count), 3)
        count.append(0)
        truth = self.study.targets()
        return [truth[rows[0]] * 0.8 + 0.1, 1.0 - on_test] if trial == fold else [on_val[:, ::-1] * 0 + 0.5, on_test]

    monkeypatch.setattr(Candidates, "trained", trained)
    # Fold by fold: the trials follow each other within a fold.
    found = easydl.tune(study, {"learning_rate": [0.008, 0.01, 0.012]}, **QUIET)
    assert len(set(found.winners)) == 3
    assert found.value < 0.3 < found.trials[0].value
    assert "neither training nor choice has seen" in found.sentence and "quote the first" in found.caution
    truth = (study.frame["label"] == "yes").to_numpy()
    ranks = np.full(len(study), np.nan)
    for train, _, _ in study.folds(3, seed=0):
        test = train.parent.frame["split"].to_numpy() == "test"
        assert test.sum() == 40
        ranks[test] = 0.0
    assert np.isfinite(ranks).all() and 0 < truth.mean() < 1


def test_the_nested_number_is_computed_from_ranks_within_the_folds(films, made_up):
    study = easydl.load(films, **TASKS["classification"])
    found = easydl.tune(study, {"learning_rate": [0.01]}, **QUIET)
    ranks, truth = np.zeros(len(study)), (study.frame["label"] == "yes").to_numpy()
    for settings, train, val, rows in list(made_up):
        _, said = Candidates.trained(Candidates(study), settings, train, val, rows, 0)
        ranks[rows[1]] = pd.Series(said[:, 1]).rank(pct=True)
    assert found.value == pytest.approx(roc_auc_score(truth, ranks), abs=0.01)
    assert found.value == found.trials[0].value and found.caution == ""


def test_optuna_searches_each_fold_by_itself(films, made_up):
    study = easydl.load(films, **TASKS["classification"])
    space = {"learning_rate": (0.0001, 0.5), "batch_size": (4, 32), "augment": ["none", "chest_xray"]}
    found = easydl.tune(study, space, search="optuna", trials=4, **QUIET)
    best = found.trials[0]
    assert best.folds == 3 and best.n == 120 and found.n == 120
    assert 0.0001 <= best.settings["learning_rate"] <= 0.5 and isinstance(best.settings["batch_size"], int)
    # Four proposals in each of three folds, and the winners in the other folds: no proposal saw another fold's score.
    assert 12 <= len(made_up) <= 18
    alone = [row for row in found.trials if row.folds == 1]
    assert alone and all(row.n == 40 for row in alone)
    again = easydl.tune(study, space, search="optuna", trials=4, **QUIET)
    assert again.table.drop(columns="seconds").equals(found.table.drop(columns="seconds"))


def test_without_optuna_it_says_what_to_install(films, made_up, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingPackageError, match="python -m pip install optuna"):
        easydl.tune(easydl.load(films, **TASKS["classification"]), GRID, search="optuna", **QUIET)


def test_a_training_that_diverges_is_a_bad_trial(films, made_up):
    study = easydl.load(films, **TASKS["regression"])
    found = easydl.tune(study, {"learning_rate": [0.01, 5.0]}, **QUIET)
    assert found.measure.name == "mean absolute error" and found.best["fit"]["learning_rate"] == 0.01
    assert found.failed == {"learning_rate 5.0": "The training diverged."} and np.isnan(found.trials[1].value)
    with pytest.raises(InputError, match="The training diverged"):
        easydl.tune(study, {"learning_rate": [5.0]}, **QUIET)


def test_keras_objects_are_distinguished_and_handed_over(films, made_up):
    study = easydl.load(films, **TASKS["classification"])
    optimizers = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)]
    found = easydl.tune(study, {"optimizer": optimizers}, **QUIET)
    assert len(found.trials) == 2 and found.best["fit"]["optimizer"] in optimizers
    assert json.loads(json.dumps(found.to_dict()))["best"]["fit"] == {"optimizer": "SGD"}


def test_what_is_found_is_shown_and_saved(films, made_up, tmp_path):
    study, _ = split_study(films, "classification")
    found = easydl.tune(study, GRID, **QUIET)
    table = pd.read_csv(found.save(tmp_path / "trials.csv"), skiprows=1)
    assert list(table["learning_rate"]) == [row.settings["learning_rate"] for row in found.trials]
    assert {"validation", "value", "low", "high", "n", "seconds", "chosen"} <= set(table.columns)
    content = json.loads(found.save(tmp_path / "tuning.json").read_text())
    assert content["n"] == len(study) - 24 and len(content["trials"]) == 3
    labels = [text.get_text() for text in found.show().axes[0].get_yticklabels()]
    assert labels[0] == "the search, nested" and len(labels) == 4
    assert found.trials[0].name in found._repr_html_() and easydl.RESEARCH_USE in repr(found)
    assert "The test part (24 patients) was left untouched." in found.notes
    assert any(
        "not split" in note for note in easydl.tune(easydl.load(films, **TASKS["classification"]), GRID, **QUIET).notes
    )


@pytest.fixture
def unreadable_test(films, tmp_path, monkeypatch):
    """A split study whose test files are no images any more when the search begins, and nothing of them is cached."""
    monkeypatch.setenv("EASYDL_CACHE", "off")
    whole, _ = split_study(films, "classification")
    rows = whole.frame[["image", "patient"]].assign(outcome=whole.frame["label"], part=whole.frame["split"])
    places = [tmp_path / f"{k}.png" for k in range(len(rows))]
    for place, image in zip(places, rows["image"], strict=True):
        place.write_bytes(Path(image).read_bytes())
    study = easydl.load(rows.assign(image=list(map(str, places))), label="outcome", split="part")
    for place, part in zip(places, rows["part"], strict=True):
        if part == "test":
            place.write_text("not an image")
    return study


def test_the_test_part_cannot_have_been_read(unreadable_test, made_up, monkeypatch):
    """All that a training is given is decoded; reading a test file would fail."""
    true, read = Candidates.trained, []

    def trained(self, settings, train, val, rows, seed):
        for some in (train, val, *rows):
            read.append(decode(self._part(some, "x"), size=(32, 32), channels=1, units="0-255"))
        return true(self, settings, train, val, rows, seed)

    monkeypatch.setattr(Candidates, "trained", trained)
    found = easydl.tune(unreadable_test, {"learning_rate": [0.01]}, **QUIET)
    assert found.n == 96 and sum(map(len, read[3::4])) == 96
    with pytest.raises(EasyDLError):
        decode(unreadable_test.part("test"), size=(32, 32), channels=1, units="0-255")


@pytest.mark.everything
def test_networks_are_chosen_without_the_test_part(unreadable_test):
    space = {"learning_rate": [0.01, 1e-7], "batch_size": [16]}
    found = easydl.tune(unreadable_test, space, epochs=6, size=32, **QUIET)
    assert found.n == 96 and found.best["fit"]["learning_rate"] == 0.01
    assert found.best["classifier"] == {"pretrained": False, "size": 32}


REFUSED = {
    "nothing": ({}, "nothing to choose from"),
    "a list": (["tiny"], "are a list"),
    "an unknown setting": ({"learning_rates": [1e-3]}, 'Did you mean "learning_rate"'),
    "a wrong value": ({"learning_rate": [1e-3, -1]}, "learning_rate=-1"),
    "a baseline": ({"model": ["forest"]}, "no network"),
    "an unknown model": ({"model": ["tinyy"]}, 'Did you mean "tiny"'),
    "no value": ({"learning_rate": []}, "no value of learning_rate"),
    "a range in a grid": ({"learning_rate": (1e-3, 1e-1)}, "range of learning_rate"),
    "an empty range": ({"learning_rate": (1e-1, 1e-3)}, "not a range"),
    "a huge grid": ({"batch_size": list(range(1, 202))}, "201 combinations"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_tried_is_refused_before_anything_is_trained(films, case, monkeypatch):
    monkeypatch.setattr(Candidates, "trained", None)
    space, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        easydl.tune(easydl.load(films, **TASKS["classification"]), space, **QUIET)


def test_a_grid_holds_all_and_a_draw_some(films):
    study = easydl.load(films, **TASKS["classification"])
    space = space_of({"learning_rate": [1e-3, 1e-2], "batch_size": [8, 16, 32]}, study)
    assert proposals(space, "grid", None, 0)[:2] == [
        {"learning_rate": 1e-3, "batch_size": 8}, {"learning_rate": 1e-3, "batch_size": 16},
    ]  # fmt: skip
    some = proposals(space, "random", 4, 1)
    assert len(some) == len({str(one) for one in some}) == 4
    assert len(proposals(space, "random", None, 1)) == 6
    drawn = proposals(space_of({"learning_rate": (1e-4, 1e-1), "batch_size": (4, 64)}, study), "random", 300, 2)
    rates = np.log10([one["learning_rate"] for one in drawn])
    assert rates.min() >= -4 and rates.max() <= -1 and np.mean(rates) == pytest.approx(-2.5, abs=0.15)
    assert {type(one["batch_size"]) for one in drawn} == {int}
    with pytest.raises(InputError, match="trials=3"):
        proposals(space, "grid", 3, 0)


def test_the_command_says_the_same(films, made_up, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["tune", str(films), "--label", "outcome", "--try", "learning_rate=0.001,0.01", "--folds", "3"]
    result = CliRunner().invoke(cli.app, [*words, "-o", "trials.csv", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["best"]["fit"] == {"learning_rate": 0.01}
    assert len(pd.read_csv(tmp_path / "trials.csv", skiprows=1)) == 2
    assert "Fold 1 of 3" in CliRunner().invoke(cli.app, words).output
    assert read_space(["pretrained=true,false", "batch_size=4..64"]) == {
        "pretrained": [True, False],
        "batch_size": (4, 64),
    }
    for wrong in ("learning_rate", "=3", "x="):
        with pytest.raises(EasyDLError, match="--try"):
            read_space([wrong])


def test_it_takes_the_training_part_but_no_test_part(films, made_up):
    study, parts = split_study(films, "classification")
    assert easydl.tune(study.part("train"), {"learning_rate": [0.01]}, **QUIET).n == 72
    with pytest.raises(InputError, match="test part"):
        easydl.tune(parts["test"], GRID, **QUIET)
    assert isinstance(study, Study)
