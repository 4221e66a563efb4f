"""A hospital's own cases: shifts that were planted are found and others are not, and every call adds to the sheet."""

import json
import os
import re
import stat
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from made import png_study
from PIL import Image
from scipy.stats import chi2_contingency, ks_2samp
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.acceptance import result as result_module
from easydl.acceptance.accepting import NO_LABELS, NO_PROFILE
from easydl.acceptance.cases import table_cases
from easydl.acceptance.result import CASES, DO_NOT, HISTORY, LOOK, NOTHING, PAGE, UNKNOWN, Acceptance
from easydl.acceptance.sheet import drift_chart
from easydl.acceptance.shift import Shift, _shuffled, shifts
from easydl.errors import RESEARCH_USE, InputError, RunError
from easydl.evaluation import Metrics
from easydl.evaluation.ledger import Ledger
from easydl.evaluation.looking import OVER_LOOKS
from easydl.networks import attach, metadata_of
from easydl.networks.decision import Threshold
from easydl.prediction.likeness import likeness_of
from easydl.prediction.profile import OTHERS, POINTS, quantiles, sample_of
from easydl.prediction.results import Predictions

SIDE = 16


def hospital(folder, *, brighter=0, seed=1, labels=True, scanner=("A", "B"), per_class=15, old=0):
    """A table of films with a header; they differ from those of training as asked."""
    table = png_study(folder, per_class=per_class, side=SIDE, seed=seed)
    frame = pd.read_csv(table)
    rng = np.random.default_rng(seed)
    frame["patient"] = [f"{folder.name} {row}" for row in range(len(frame))]
    frame["scanner"] = rng.permutation(np.resize(scanner, len(frame)))
    frame["age_years"] = rng.integers(40, 80, len(frame)) + old
    if brighter:
        for name in frame["image"]:
            pixels = np.asarray(Image.open(folder / name)).astype(int) + brighter
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
    (frame if labels else frame.drop(columns="label")).to_csv(table, index=False)
    return table


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """60 films of 60 patients, of which the model keeps the profile."""
    return easydl.load(hospital(tmp_path_factory.mktemp("training"), per_class=30, seed=0))


@pytest.fixture(scope="module")
def model(training):
    model = easydl.classifier("tiny", training, size=SIDE, seed=3)
    record = {"likeness": likeness_of(training).model_dump(mode="json"), "images": len(training)}
    return attach(model, metadata_of(model).model_copy(update={"training": record}))


@pytest.fixture
def answers(monkeypatch, training):
    """The model answers by the true label, but for a few cases."""

    def ask(wrong=(), uncertain=()):
        def predict(model, study):
            frame = study.frame[["image", "patient", *(["label"] if "label" in study.frame else [])]].copy()
            truth = study.frame["image"].str.contains("healthy").to_numpy()
            p = np.where(truth, 0.93, 0.07) + np.linspace(0, 0.01, len(frame))
            p[list(wrong)] = 1 - p[list(wrong)]
            p[list(uncertain)] = 0.5 + 0.001 * (1 + np.arange(len(uncertain)))
            p = p.clip(0.001, 0.999)
            frame["prediction"] = np.where(p >= 0.5, "healthy", "disease")
            frame["confidence"], frame["p(disease)"], frame["p(healthy)"] = np.maximum(p, 1 - p), 1 - p, p
            thresholds = {"healthy": Threshold(value=0.5, n=24)}
            return Predictions(frame, ("disease", "healthy"), thresholds=thresholds)

        monkeypatch.setattr("easydl.prediction.predict", predict)

    ask()
    return ask


def accept(model, table, **more):
    return easydl.accept(model, easydl.load(table), resamples=200, **more)


def test_cases_like_the_training_are_found_alike_and_those_that_differ_are_named(model, answers, tmp_path):
    alike = accept(model, hospital(tmp_path / "alike"))
    assert not [one.field for one in alike.shifts if one.differs] and alike.verdict == NOTHING
    assert any("fields is shown to differ" in one for one in alike.reasons)
    other = accept(model, hospital(tmp_path / "other", seed=2, brighter=60, scanner=("C",), old=30))
    differ = {one.field: one for one in other.shifts if one.differs}
    assert {"the middle grey value", "the darkest grey values", "scanner", "the age in years"} <= set(differ)
    assert not differ.keys() & {"the width in pixels", "the height in pixels"}
    assert other.verdict == LOOK and differ["scanner"].outside == 1.0 and differ["scanner"].n == 30
    assert re.search(
        r"Differs from the training: scanner \(p = 0\.00\d\); here C 100%, there ", " ".join(other.reasons)
    )
    assert [one.differs for one in other.shifts] == sorted([one.differs for one in other.shifts], reverse=True)


def test_the_tests_are_scipys(training, tmp_path):
    study = easydl.load(hospital(tmp_path / "h", seed=4, brighter=9))
    profile = likeness_of(training).profile
    found = {one.field: one for one in shifts(profile, study)}
    values = [float(np.median(study.scan(row).pixels)) for row in range(len(study))]
    raw = ks_2samp(values, sample_of(profile.quantiles["middle"], profile.n)).pvalue
    assert raw <= found["the middle grey value"].p <= min(1.0, raw * len(found))
    low, high = profile.quantiles["middle"][1], profile.quantiles["middle"][-2]
    assert found["the middle grey value"].outside == np.mean([not low <= one <= high for one in values])
    counts, here = {"A": 30, "B": 30, "C": 12}, pd.Series({"A": 12, "B": 20, "C": 12})
    exact = chi2_contingency([list(counts.values()), here.tolist()], correction=False).pvalue
    assert _shuffled(here, counts, np.random.default_rng(0)) == pytest.approx(exact, abs=0.03)


def test_no_shift_is_found_by_chance_in_more_than_few_of_many_hospitals(training):
    """The training part itself, dealt out anew: alpha is 1% over all fields."""
    profile, false = likeness_of(training).profile, 0
    rng = np.random.default_rng(5)
    for draw in range(25):
        rows = training.frame.index[rng.choice(len(training), 30, replace=False)]
        false += any(one.differs for one in shifts(profile, training.rows(rows), seed=draw))
    assert false <= 1


def test_the_profile_holds_distributions_and_no_patient(training):
    profile = likeness_of(training).profile
    assert set(profile.fields) == {"scanner"} and sum(profile.fields["scanner"].values()) == profile.patients == 60
    assert all(len(points) == POINTS for points in profile.quantiles.values()) and profile.labels == {
        "disease": 30,
        "healthy": 30,
    }
    text = profile.model_dump_json()
    assert len(text) < 4000 and not any(name in text for name in training.frame["patient"])
    values = np.random.default_rng(0).normal(100, 9, 200)
    assert ks_2samp(values, sample_of(quantiles(values), 200)).pvalue > 0.99
    rare = replace(training, frame=training.frame.assign(scanner=["X"] * 2 + ["Y"] * 58))
    assert likeness_of(rare).profile.fields["scanner"] == {"Y": 58, OTHERS: 2}


def test_the_numbers_are_those_of_evaluate_at_the_models_own_threshold(model, answers, tmp_path):
    answers(wrong=(0, 1, 20))
    found = accept(model, hospital(tmp_path / "h", seed=6))
    rows = found.metrics.table.set_index("name")
    assert rows.loc["sensitivity", "value"] == 14 / 15 and rows.loc["specificity", "value"] == 13 / 15
    assert "sensitivity 0.93 (95% CI" in repr(found) and "threshold 0.50, chosen on 24 validation patients" in " ".join(
        found.metrics.table["note"]
    )
    assert len(Ledger.open().entries) == 1, "it is a look at these cases"
    # The probabilities of the healthy: 14 right, one wrong; of the ill 13 right, two wrong.
    assert found.calibration["observed"] == 0.5 and found.calibration["n"] == 30
    assert found.calibration["value"] == pytest.approx(found.calibration["predicted"] - 0.5)
    assert found.calibration["low"] < found.calibration["value"] < found.calibration["high"]


def test_probabilities_that_are_too_high_are_said(model, monkeypatch, tmp_path):
    def predict(model, study):
        frame = study.frame[["image", "patient", "label"]].copy()
        p = np.where(frame["label"] == "healthy", 0.99, 0.9) + np.linspace(0, 0.005, len(frame))
        frame["prediction"] = np.where(p > 0.95, "healthy", "disease")
        frame["confidence"], frame["p(disease)"], frame["p(healthy)"] = p, 1 - p, p
        return Predictions(frame, ("disease", "healthy"))

    monkeypatch.setattr("easydl.prediction.predict", predict)
    found = accept(model, hospital(tmp_path / "h"))
    assert "The probabilities are too high here." in " ".join(found.reasons) and found.verdict != NOTHING


def test_a_model_that_knows_nothing_here_is_not_ready(model, answers, tmp_path):
    answers(wrong=range(0, 30, 2))
    found = accept(model, hospital(tmp_path / "h"))
    assert found.verdict == DO_NOT and "Not shown to be better than chance" in " ".join(found.reasons)


def test_the_cases_to_look_at(model, answers, tmp_path):
    answers(wrong=(3, 17), uncertain=(8, 22))
    table = hospital(tmp_path / "h")
    found = accept(model, table, k=4)
    names = pd.read_csv(table)["image"].tolist()
    assert set(found.cases["image"].map(os.path.basename)[:3]) >= {os.path.basename(names[row]) for row in (3, 17)}
    assert found.cases["why"].tolist() == ["the reference says otherwise"] * 3 + ["least sure"]
    assert found.cases["case"].tolist() == [f"case {k}" for k in range(1, 5)] and found.cases["score"].iloc[0] > 0.9
    with pytest.raises(RunError, match="k is 0"):
        accept(model, table, k=0)


def test_cases_of_values_labels_and_heads():
    rows = pd.DataFrame(
        {"image": list("abc"), "patient": list("abc"), "label": ["10", "20", "30"], "value": [11.0, 20.5, 50.0]}
    )
    assert table_cases(Predictions(rows, ("age",), task="regression"), 2)["image"].tolist() == ["c", "a"]
    several = pd.DataFrame({"image": list("ab"), "patient": list("ab"), "label": ["x", ""], "prediction": ["x", "x"],
                            "confidence": [0.9, 0.6], "p(x)": [0.9, 0.6], "p(y)": [0.1, 0.4]})  # fmt: skip
    assert table_cases(Predictions(several, ("x", "y"), task="multilabel"), 1)["image"].tolist() == ["b"]


def test_without_labels_only_the_shift_is_answered(model, answers, tmp_path):
    found = accept(model, hospital(tmp_path / "h", labels=False))
    assert found.metrics is None and found.verdict == UNKNOWN and NO_LABELS in found.reasons
    assert found.called == {"disease": 0.5, "healthy": 0.5} and set(found.cases["why"]) == {"least sure"}
    assert accept(model, hospital(tmp_path / "i", labels=False, brighter=70)).verdict == LOOK
    assert not Ledger.open().entries


def test_a_model_without_a_profile_says_so(training, answers, tmp_path):
    found = accept(easydl.classifier("tiny", training, size=SIDE), hospital(tmp_path / "h"))
    assert not found.shifts and NO_PROFILE in found.reasons and found.verdict == LOOK


def test_every_call_adds_to_the_sheet_and_names_stay_here(model, answers, tmp_path, monkeypatch):
    folder = tmp_path / "acceptance"
    for month, brighter in ((1, 0), (2, 0), (3, 60)):
        monkeypatch.setattr(
            "easydl.acceptance.accepting.now", lambda month=month: f"2026-{month:02d}-05T10:00:00+01:00"
        )
        answers(wrong=range(month))
        table = hospital(tmp_path / f"h{month}", seed=month, brighter=brighter)
        found = accept(model, table, folder=folder)
        found.save(folder)  # the same call is not added twice
    history = json.loads((folder / HISTORY).read_text())
    assert [one["date"][:7] for one in history] == ["2026-01", "2026-02", "2026-03"]
    page = (folder / PAGE).read_text(encoding="utf-8")
    assert page.count(RESEARCH_USE) >= 2 and "3 calls so far" in page and "data:image/svg" in page
    passed_on = page + (folder / HISTORY).read_text()
    frame = pd.read_csv(table)
    assert not any(name in passed_on for name in (*frame["patient"], *frame["image"].map(os.path.basename)))
    cases = pd.read_csv(folder / CASES, skiprows=1)
    assert cases["image"].map(os.path.basename).isin(frame["image"].map(os.path.basename)).all() and len(cases) == 12
    assert all(name in page for name in cases["case"])
    if os.name == "posix":
        assert stat.S_IMODE((folder / CASES).stat().st_mode) == 0o600
    left, right = drift_chart(history).axes
    assert [line.get_label() for line in left.get_lines()] == ["AUC", "sensitivity", "specificity"]
    assert left.get_lines()[1].get_ydata().tolist() == [one["table"][1]["value"] for one in history]
    assert len(right.get_lines()) >= 4
    assert found._repr_html_().count(RESEARCH_USE) == 1 and "to look at" in found._repr_html_()


def test_two_calls_within_a_second_are_two_calls(model, answers, tmp_path):
    answers()
    table = hospital(tmp_path / "h", seed=1)
    for _ in range(2):
        found = accept(model, table)
        folder = found.save(found.folder_in(tmp_path)).parent
    assert len(json.loads((folder / HISTORY).read_text())) == 2


def test_a_folder_is_of_one_model(model, training, answers, tmp_path):
    folder = tmp_path / "acceptance"
    accept(model, hospital(tmp_path / "h"), folder=folder)
    with pytest.raises(InputError, match="another model"):
        accept(easydl.classifier("tiny", training, size=SIDE, seed=9), hospital(tmp_path / "i"), folder=folder)
    (folder / HISTORY).write_text("{")
    with pytest.raises(InputError, match="does not hold what it should"):
        accept(model, hospital(tmp_path / "j"), folder=folder)
    assert result_module.now()[:2] == "20"


def test_the_command_and_a_real_model(model, tmp_path):
    """Nothing is replaced here: an untrained network knows nothing, and is not ready."""
    easydl.save_model(model, tmp_path / "model.keras")
    table = hospital(tmp_path / "h")
    done = CliRunner().invoke(cli.app, ["accept", str(tmp_path / "model.keras"), str(table), "--k", "3"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(DO_NOT) and RESEARCH_USE in done.stdout
    sheet = done.stdout.split("Written: ")[1].splitlines()[0]
    assert sheet.endswith(PAGE) and os.path.exists(sheet) and str(tmp_path / "workspace") in sheet
    folder = tmp_path / "here"
    asked = ["accept", str(tmp_path / "model.keras"), str(table), "--folder", str(folder), "--json"]
    as_json = json.loads(CliRunner().invoke(cli.app, asked).stdout)
    assert as_json["verdict"] == DO_NOT and as_json["images"] == 30 and (folder / PAGE).exists()


def test_every_task_is_in_the_reasons_and_a_second_look_is_nothing_against_the_model():
    def metrics_with(*warnings):
        row = {"name": "AUC", "value": 0.9, "low": 0.8, "high": 0.95, "n": 50, "unit_of_n": "patients"}
        rows = [row, row | {"name": "sensitivity"}, row | {"name": "F1"}]
        return Metrics(task="classification", classes=("no", "yes"), table=rows, warnings=list(warnings))

    heads = {"cancer": metrics_with(), "density": metrics_with()}
    look = "This test part has been looked at 2 times (first 2026-11-02); choose nothing by it. " + OVER_LOOKS + "."
    alike = Shift("age", "header", "50", "50", 0.0, 0.0, 0.1, n=50, n_training=50, p=0.8)
    given = {"model": "tiny", "fingerprint": "f", "date": "d", "images": 50, "patients": 50, "calibration": None}
    given |= {"called": {}, "labels": {}, "cases": pd.DataFrame(), "shifts": [alike]}
    both = Metrics(task="multitask", classes=("cancer", "density"), table=[], heads=heads, warnings=[look])
    found = Acceptance(**given, metrics=both)
    numbers = "AUC 0.90 (95% CI 0.80-0.95), 50 patients; sensitivity 0.90 (95% CI 0.80-0.95), 50 patients."
    for name in heads:
        assert f"{name}: here, at the model's own threshold: {numbers}" in found.reasons
    assert look in found.reasons and found.verdict == NOTHING
    bad = replace(found, metrics=both.model_copy(update={"warnings": ["density: Not shown to be better than chance"]}))
    assert bad.verdict == DO_NOT
    few = replace(found, metrics=both.model_copy(update={"notes": ["density: Too few to mean much."]}))
    assert few.verdict == LOOK and "density: Too few to mean much." in few.reasons
