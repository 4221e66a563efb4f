"""`easydl.compare`: names on folds by patient, trained models on one test set."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_comparisons import TASKS, split_study
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.comparison import Comparison
from easydl.comparison.baselines import BASELINES, BaselineInputs
from easydl.comparison.candidates import Candidates
from easydl.comparison.results import ComparedModel
from easydl.errors import EasyDLError, InputError, LeakageError
from easydl.studies import Study
from easydl.training.estimators import problem_of


@pytest.fixture(scope="module")
def compared(films):
    return easydl.compare(easydl.load(films, **TASKS["classification"]), ["prevalence", "thumbnail", "forest"], folds=3)


def test_the_best_is_first_and_every_patient_is_tested(compared):
    assert [row.n for row in compared.rows] == [120] * 3
    values = [row.value for row in compared.rows]
    assert values == sorted(values, reverse=True) and compared.rows[-1].name == "prevalence" and values[-1] == 0.5
    assert compared.against == compared.rows[0].name and np.isnan(compared.rows[0].difference)
    last = compared.rows[-1]
    assert last.difference == pytest.approx(values[0] - 0.5) and last.difference_low > 0.3
    assert all(row.seconds >= 0 for row in compared.rows)
    assert "each tested out of fold" in repr(compared) and "3 folds by patient, seed 0." in compared.notes
    assert "The study is not split" in compared.notes[0]


def test_the_auc_is_that_of_scores_ranked_within_each_fold(films, compared):
    study = easydl.load(films, **TASKS["classification"])
    ranks, truth = np.zeros(len(study)), (study.frame["label"] == "yes").to_numpy()
    for train, _, test in study.folds(3, seed=0):
        split = train.parent.frame["split"].to_numpy()
        outputs = BASELINES["thumbnail"].outputs(BaselineInputs(study), problem_of(study), split != "test", 0)
        ranks[split == "test"] = pd.Series(outputs[split == "test", 1]).rank(pct=True)
        assert not set(train.frame["patient"]) & set(test.frame["patient"])
    row = next(row for row in compared.rows if row.name == "thumbnail")
    assert row.value == pytest.approx(roc_auc_score(truth, ranks), abs=0.01)


def test_the_test_part_of_a_split_study_is_never_touched(films, monkeypatch):
    study, parts = split_study(films, "classification")
    used = set()
    folds = Study.folds
    monkeypatch.setattr(Study, "folds", lambda self, *a, **k: used.update(self.frame["image"]) or folds(self, *a, **k))
    found = easydl.compare(study, ["thumbnail"], folds=3)
    assert not used & set(parts["test"].frame["image"]) and len(used) == len(study) - len(parts["test"])
    assert found.rows[0].images == len(used)
    assert "The test part (24 patients) was left untouched." in found.notes
    assert not any("not split" in note for note in found.notes)
    with pytest.raises(InputError, match="test part of a split study"):
        easydl.compare(parts["test"], ["forest"])


@pytest.mark.parametrize(
    ("task", "measure"), [("regression", "mean absolute error"), ("ordinal", "quadratic-weighted kappa")]
)
def test_other_tasks_have_their_measure(films, task, measure):
    found = easydl.compare(easydl.load(films, **TASKS[task]), ["thumbnail", "prevalence"], folds=3)
    assert found.measure == measure and found.rows[0].name == "thumbnail"
    assert found.lower_is_better == (task == "regression") and (found.unit == "mm") == (task == "regression")


def test_seed_and_folds_draw_other_folds(films, monkeypatch):
    study, drawn = easydl.load(films, **TASKS["classification"]), []
    folds = Study.folds
    monkeypatch.setattr(Study, "folds", lambda self, *a, **k: drawn.append(parts := folds(self, *a, **k)) or parts)
    for options in ({}, {"folds": 3}, {"folds": 3, "seed": 5}):
        easydl.compare(study, ["prevalence"], **options)
    assert [len(parts) for parts in drawn] == [5, 3, 3]
    tested = [set(parts[0][2].frame["patient"]) for parts in drawn]
    assert tested[1] != tested[2]


@pytest.mark.parametrize(
    ("models", "options", "said"),
    [
        (["forrest"], {}, "Did you mean \"forest\""),
        (["forest", "tiny3d"], {}, "cannot be compared on this study"),
        (["forest", "forest"], {}, "there twice"),
        ([], {}, "nothing to compare"),
        (["forest", object()], {}, "Names and trained models"),
        (["forest"], {"folds": 2}, "folds is 2"),
        (["metadata", "features"], {"folds": 3}, "no pretrained weights"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said(films, models, options, said):
    frame = easydl.load(films, label="outcome").frame[["image", "label", "patient"]]
    with pytest.raises(EasyDLError, match=said):
        easydl.compare(easydl.load(frame), models, **options)


def test_a_study_of_masks_or_of_several_tasks_is_sent_elsewhere(films):
    with pytest.raises(InputError, match=r"study\.head\('outcome'\)"):
        easydl.compare(easydl.load(films, **TASKS["multitask"]), ["forest"])
    head = easydl.load(films, **TASKS["multitask"]).head("outcome")
    assert easydl.compare(head, ["thumbnail"], folds=3).measure == "AUC"


def test_sentences_say_better_worse_and_not_shown():
    def two(low, high, **more):
        rows = (
            ComparedModel("network", "", 0.8, 0.7, 0.9, 40, 50),
            ComparedModel("forest", "", 0.7, 0.6, 0.8, 40, 50, (low + high) / 2, low, high, baseline=True),
        )
        return Comparison(rows, **({"measure": "AUC"} | more), against="network").sentence

    assert (
        two(0.03, 0.13) == "The network adds 0.08 AUC (95% CI 0.03-0.13) over the best baseline (forest), 40 patients."
    )
    assert two(-0.02, 0.06) == (
        "The network adds nothing that can be shown over the best baseline (forest): difference in AUC 0.02 "
        "(95% CI -0.02 to 0.06), 40 patients."
    )
    assert two(-0.3, -0.1).startswith("The network is worse than the best baseline (forest): difference in AUC -0.20")
    error = {"measure": "mean absolute error", "unit": "mm", "lower_is_better": True}
    assert two(-3.0, -1.0, **error).startswith(
        "The network lowers the mean absolute error by 2.00 mm (95% CI 1.00 mm to 3.00 mm) compared with the best"
    )
    assert two(1.0, 3.0, **error).startswith("The network is worse than")
    assert two(np.nan, np.nan).startswith("The network adds nothing") or "cannot be said" in two(np.nan, np.nan)
    assert "[cancer]." in two(0.1, 0.2, head="cancer")


def test_two_trained_models_are_compared_without_a_baseline():
    first = ComparedModel("a.keras", "", 0.8, 0.7, 0.9, 40, 50)
    other = ComparedModel("b.keras", "", 0.7, 0.6, 0.8, 40, 50, 0.1, 0.02, 0.18)
    assert Comparison((first, other), "AUC", against="a.keras").sentence == (
        "a.keras adds 0.10 AUC (95% CI 0.02-0.18) over b.keras, 40 patients."
    )
    assert Comparison((first,), "AUC", against="a.keras").sentence == "There is nothing to compare with."


def test_the_command_compares(films, tmp_path):
    words = ["compare", str(films), "thumbnail", "prevalence", "--label", "outcome", "--folds", "3", "--seed", "0"]
    for output in ("found.json", "found.png"):
        result = CliRunner().invoke(cli.app, [*words, "-o", str(tmp_path / output)])
        assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "found.json").read_text())
    found = Comparison.from_dict(content)
    assert repr(found).splitlines()[0] in result.output and content["sentence"] == found.sentence
    assert (tmp_path / "found.png").read_bytes()[:4] == b"\x89PNG"
    printed = CliRunner().invoke(cli.app, [*words, "--json"])
    assert json.loads(printed.stdout)["rows"][0]["name"] == "thumbnail"


@pytest.fixture(scope="module")
def untrained(films):
    study, parts = split_study(films, "classification")
    return [easydl.classifier("tiny", study, size=32, seed=seed) for seed in (1, 2)], parts["test"]


@pytest.mark.slow
def test_trained_models_are_compared_on_one_test_set(untrained, films, tmp_path):
    (first, second), test = untrained
    run = tmp_path / "my_run"
    run.mkdir()
    easydl.save_model(second, run / "model.keras")
    found = easydl.compare(test, [first, run])
    assert {row.name for row in found.rows} == {first.name, "my_run"} and found.part == "test"
    values = {row.name: row.value for row in found.rows}
    for name, model in ((first.name, first), ("my_run", second)):
        said = easydl.predict(model, test).frame
        assert values[name] == pytest.approx(roc_auc_score(said["label"] == "yes", said["p(yes)"]))
    assert found.rows[1].difference == pytest.approx(found.rows[0].value - found.rows[1].value)
    # Two models are two looks at the part, and more are told of.
    assert any("makes 2 looks" in note for note in found.notes)
    assert any("looked at" in one for one in easydl.evaluate(first, test).warnings)
    twice = easydl.compare(test, [first, first])
    assert [row.name for row in twice.rows] == [first.name, f"{first.name} (2)"] and twice.rows[1].difference == 0
    with pytest.raises(EasyDLError, match="task is classification"):
        easydl.compare(easydl.load(films, **TASKS["regression"]), [first])


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, pytest.param(True, marks=pytest.mark.everything)])
def test_a_network_is_fitted_anew_in_every_fold(films, monkeypatch, trained):
    study = easydl.load(films, **TASKS["classification"])
    fitted = []
    import easydl.training.fitting as fitting

    fit = fitting.fit

    def watched(model, train, val, **options):
        fitted.append((train, val, options, model.input_shape))
        return fit(model, train, val, **options) if trained else SimpleNamespace(epoch=[0], history={"loss": [1.0]})

    monkeypatch.setattr("easydl.training.fit", watched)
    found = easydl.compare(study, ["tiny", "prevalence"], folds=3, epochs=1, size=32)
    assert len(fitted) == 3
    for train, val, options, shape in fitted:
        assert not set(train.frame["patient"]) & set(val.frame["patient"])
        assert len(train) + len(val) == 80 and options["epochs"] == 1 and shape[1:3] == (32, 32)
    row = next(row for row in found.rows if row.name == "tiny")
    assert row.text.startswith("network of ") and row.text.endswith("up to 1 epochs") and 0 <= row.value <= 1
    with pytest.raises(EasyDLError):  # weights that nobody has
        easydl.compare(study, ["mobilenet_025"], folds=3, pretrained="radimagenet")


@pytest.mark.everything
def test_a_model_that_has_seen_the_test_set_is_refused(films):
    _, parts = split_study(films, "classification")
    model = easydl.classifier("tiny", parts["test"].parent, size=32)
    easydl.fit(model, parts["test"], parts["val"], epochs=1, verbose=False)
    with pytest.raises(LeakageError):
        easydl.compare(parts["test"], [model])


def test_several_seeds_give_a_mean_and_both_uncertainties(films, monkeypatch):
    """What a network says depends on its seed: each training's AUC is known, and so are their mean and spread."""
    study, asked = easydl.load(films, **TASKS["classification"]), []

    def trained(self, settings, train, val, rows, seed):
        asked.append(seed)
        self.texts[settings["model"]] = "a network"
        return [
            self.study.targets()[one] + np.random.default_rng([seed, len(one)]).normal(0, 0.8, (len(one), 2))
            for one in rows
        ]

    monkeypatch.setattr(Candidates, "trained", trained)
    alone = [easydl.compare(study, ["tiny", "prevalence"], folds=3, seed=0)]
    found = easydl.compare(study, ["tiny", "prevalence"], folds=3, repeats=4)
    assert asked == [0] * 3 + [seed for seed in range(4) for _ in range(3)]
    network, baseline = found.rows
    assert network.by_seed[0] == alone[0].rows[0].value and len(set(network.by_seed)) == 4
    assert network.value == pytest.approx(np.mean(network.by_seed))
    assert network.spread == pytest.approx(np.std(network.by_seed, ddof=1))
    assert network.low < network.value < network.high and network.n == 120
    assert baseline.value == 0.5 and baseline.by_seed == ()
    assert baseline.difference == pytest.approx(network.value - 0.5) and baseline.difference_low > 0
    assert "over patients; SD over 4 seeds" in found.value_text(network) and "SD" not in found.value_text(baseline)
    assert any("trained from 4 seeds" in note for note in found.notes)
    content = json.loads(json.dumps(found.to_dict()))
    assert (
        repr(Comparison.from_dict(content)) == repr(found)
        and Comparison.from_dict(content).rows[0].by_seed == network.by_seed
    )
    assert "orange" in found.show().axes[0].get_title(loc="left")
    with pytest.raises(InputError, match="repeats=2"):
        easydl.compare(study, [easydl.classifier("tiny", study, size=32)], repeats=2)
