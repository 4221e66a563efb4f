"""Learning curves: nested parts by patient, a band, and an extrapolation that is refused where it does not fit."""

import json
from itertools import pairwise

import numpy as np
import pytest
from made_comparisons import TASKS, split_study
from scipy.optimize import curve_fit
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.comparison.candidates import Candidates
from easydl.comparison.learning_curves import Projection
from easydl.comparison.power_law import Law, fit_law
from easydl.errors import RESEARCH_USE, EasyDLError, InputError

SIZES = np.array([15, 27, 48, 85, 150])


def repeats(law, rng, shared=1 / 3, spread=0.04, times=12):
    """Curves of a true law: what the repeats share (the patients) and what each draws."""
    common = rng.normal() * np.sqrt(shared / (1 + shared))
    own = rng.normal(size=(times, len(SIZES))) * np.sqrt(1 / (1 + shared))
    return law.at(SIZES) + spread * (common + own)


def test_the_law_is_found_again():
    law = Law(0.95, 0.08, 0.5, 150)
    found = fit_law(SIZES, repeats(law, np.random.default_rng(0), spread=1e-3), 0.1, 1.0).law
    assert found.at(600) == pytest.approx(law.at(600), abs=0.005)
    mean = repeats(law, np.random.default_rng(0), spread=1e-3)
    errors = mean.std(axis=0, ddof=1) / np.sqrt(len(mean))
    oracle, _ = curve_fit(
        lambda n, a, b, c: a - b * n**-c, SIZES, mean.mean(axis=0), [0.9, 0.5, 0.5], sigma=errors, maxfev=9999
    )
    assert found.at(600) == pytest.approx(oracle[0] - oracle[1] * 600 ** -oracle[2], abs=0.003)


def test_the_extrapolated_value_lies_in_its_band_in_8_of_10_draws():
    law, inside, narrow = Law(0.93, 0.06, 0.6, 150), 0, []
    for draw in range(10):
        fit = fit_law(SIZES, repeats(law, np.random.default_rng(draw)), 1 / 3, 1.0, seed=draw)
        assert not fit.refusal
        low, high = (float(one[0]) for one in fit.band(np.array([300])))
        inside += low <= law.at(300) <= high
        narrow.append(high - low)
    assert inside >= 8 and np.mean(narrow) < 0.15  # a band of everything would hold it too


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        (lambda rng: 0.5 + 0.05 * rng.normal(size=(12, 5)), "no rise"),
        (lambda rng: 0.8 - 0.03 * np.arange(5) + 0.01 * rng.normal(size=(12, 5)), "no rise"),
        (lambda rng: np.array([0.6, 0.8, 0.62, 0.83, 0.9]) + 0.005 * rng.normal(size=(12, 5)), "do not lie on"),
    ],
)
def test_what_does_not_rise_along_a_law_is_refused(curve, said):
    fit = fit_law(SIZES, curve(np.random.default_rng(0)), 0.05, 1.0)
    assert fit.law is None and said in fit.refusal


def test_three_sizes_are_too_few():
    assert "too few" in fit_law(SIZES[:3], np.full((5, 3), 0.5), 0.3, 1.0).refusal


@pytest.fixture
def rising(monkeypatch):
    """A model that is better the more it was given, and what it was given."""
    given = []

    def outputs(self, name, train, val, test, seed):
        given.append((train, val, test))
        rng = np.random.default_rng(seed)
        self.texts[name] = "a model"
        truth = np.asarray(self.study.targets())[test]
        noise = 1.2 * (len(train) + len(val)) ** -0.15
        said = np.clip(truth + rng.normal(0, noise, truth.shape), 1e-3, None)
        return said if self.study.task.is_value else said / said.sum(axis=1, keepdims=True)

    monkeypatch.setattr(Candidates, "outputs", outputs)
    return given


def test_parts_are_nested_and_share_no_patient_with_those_held_back(films, rising):
    study = easydl.load(films, **TASKS["classification"])
    curve = easydl.learning_curve(study, "forest", repeats=3)
    assert len(curve.points) == 5 and len(rising) == 15 and curve.tested == 30
    assert [point.patients for point in curve.points] == [len(train) for train, _, _ in rising[:5]]
    for repeat in range(3):
        parts = rising[5 * repeat : 5 * repeat + 5]
        for (smaller, *_), (larger, *_) in pairwise(parts):
            assert set(smaller) < set(larger)
        for train, _, test in parts:
            assert not set(train) & set(test) and len(set(train)) + len(test) <= len(study)
        sick = [(study.frame["label"].iloc[train] == "yes").mean() for train, _, _ in parts]
        assert np.ptp(sick) < 0.2
    assert set(rising[0][2]) != set(rising[5][2])


def test_the_band_is_that_of_nadeau_and_bengio(films, rising):
    study = easydl.load(films, **TASKS["regression"])
    curve = easydl.learning_curve(study, "thumbnail", repeats=6)
    assert curve.measure.lower_is_better and curve.points[0].value > curve.points[-1].value
    values = []
    for repeat in range(6):
        train, _, test = rising[5 * repeat + 4]
        truth = np.asarray(study.targets())[test]
        rng = np.random.default_rng(repeat)
        said = np.clip(truth + rng.normal(0, 1.2 * len(train) ** -0.15, truth.shape), 1e-3, None)
        values.append(np.abs(said - truth).mean())
    half = 2.5706 * np.std(values, ddof=1) * np.sqrt(1 / 6 + 30 / 90)
    last = curve.points[-1]
    assert last.value == pytest.approx(np.mean(values)) and last.high - last.value == pytest.approx(half, rel=1e-3)


def test_a_networks_patients_are_divided_for_stopping(films, rising):
    curve = easydl.learning_curve(easydl.load(films, **TASKS["classification"]), "tiny", sizes=4)
    assert len(rising) == 3 * 4 and curve.points[0].repeats == 3
    for (train, val, _), count in zip(rising, [point.patients for point in curve.points], strict=False):
        assert len(val) == max(1, round(0.2 * count)) and len(train) + len(val) == count
        assert not set(train) & set(val)


def test_the_test_part_is_left_untouched(films, rising):
    study, parts = split_study(films, "classification")
    curve = easydl.learning_curve(study, "forest", repeats=3)
    assert "The test part (24 patients) was left untouched." in curve.notes
    assert curve.points[-1].patients + curve.tested == len(study) - len(parts["test"])


def test_it_extrapolates_shows_itself_and_goes_no_further(films, rising):
    curve = easydl.learning_curve(easydl.load(films, **TASKS["classification"]), "forest", repeats=20)
    assert not curve.refusal and curve.at(180).low < curve.at(180).value < curve.at(180).high
    assert "With 180 training patients instead of 90" in curve.sentence
    with pytest.raises(InputError, match="too far"):
        curve.at(361)
    assert easydl.RESEARCH_USE in repr(curve) and curve.sentence in curve._repr_html_()
    assert list(curve.table.columns) == ["patients", "value", "low", "high", "repeats"]
    assert len(curve.show().axes[0].lines) >= 3
    assert json.loads(json.dumps(curve.to_dict(), allow_nan=False))["refusal"] == ""


def test_a_curve_without_a_rise_says_so(films):
    study = easydl.load(films, **TASKS["classification"])
    curve = easydl.learning_curve(study, "prevalence", repeats=3)
    assert "no rise" in curve.refusal and "not extrapolated" in curve.sentence
    with pytest.raises(InputError, match="not extrapolated"):
        curve.at(100)
    assert curve.points[-1].value == 0.5


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [("forrest", {}, "forest"), ("forest", {"repeats": 2}, "repeats is 2"), ("forest", {"sizes": 3}, "sizes is 3"),
     ("features", {}, "no pretrained weights")],
)  # fmt: skip
def test_what_cannot_be_measured_is_said(films, model, options, said):
    with pytest.raises(EasyDLError, match=said):
        easydl.learning_curve(easydl.load(films, **TASKS["classification"]), model, **options)


def test_too_few_patients_are_said(films):
    study = easydl.load(films, **TASKS["classification"])
    with pytest.raises(InputError, match="left to train on"):
        easydl.learning_curve(study.rows(study.frame.index[:18]), "forest")


def test_seed_draws_other_patients(films, rising):
    study = easydl.load(films, **TASKS["classification"])
    easydl.learning_curve(study, "forest", repeats=3, seed=0)
    easydl.learning_curve(study, "forest", repeats=3, seed=50)
    assert set(rising[0][2]) != set(rising[15][2])


def test_the_commands_measure_and_plan(films, tmp_path):
    words = ["learning-curve", str(films), "thumbnail", "--label", "outcome", "--repeats", "3", "--sizes", "4"]
    result = CliRunner().invoke(cli.app, [*words, "-o", str(tmp_path / "curve.png")])
    assert result.exit_code == 0, result.output
    assert (
        "AUC of thumbnail, on 30 patients held back" in result.output and (tmp_path / "curve.png").stat().st_size > 999
    )
    result = CliRunner().invoke(cli.app, ["interval-width", "200", "--auc", "0.85", "--positive", "0.3"])
    assert result.output == f"{easydl.interval_width(patients=200, auc=0.85, positive=0.3)!r}\n"


def test_a_rise_is_rarely_found_where_there_is_none():
    rng = np.random.default_rng(0)
    fits = [fit_law(SIZES, repeats(Law(0.7, 0.0, 0.5, 150), rng), 1 / 3, 1.0, seed=draw) for draw in range(100)]
    assert sum(not fit.refusal for fit in fits) <= 4


@pytest.mark.slow
def test_what_half_of_a_study_promises_the_whole_study_keeps():
    """Ten studies: what twice the patients bring in truth lies in the band that the study gave, and few are refused."""
    sizes = np.array([12, 22, 40, 70, 120])
    truth = _gaussian_curve(np.random.default_rng(99), 20_000, [240], times=10).mean()
    inside = refused = 0
    for draw in range(10):
        fit = fit_law(sizes, _gaussian_curve(np.random.default_rng(draw), 160, sizes, times=10), 1 / 3, 1.0, seed=draw)
        refused += bool(fit.refusal)
        low, high = (0.0, 0.0) if fit.refusal else (float(one[0]) for one in fit.band(np.array([240])))
        inside += low <= truth <= high and high - low < 0.3
    assert refused <= 2 and inside >= 8


def _gaussian_curve(rng, patients, sizes, times):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    y = np.arange(patients) % 2
    x = rng.normal(size=(patients, 12)) + 0.45 * y[:, None]
    found = np.zeros((times, len(sizes)))
    for repeat in range(times):
        order = rng.permutation(patients)
        test, pool = order[: patients // 4], order[patients // 4 :]
        for place, count in enumerate(sizes):
            model = LogisticRegression(C=0.1).fit(x[pool[:count]], y[pool[:count]])
            found[repeat, place] = roc_auc_score(y[test], model.predict_proba(x[test])[:, 1])
    return found


def test_what_a_number_of_patients_would_bring_is_a_sentence():
    said = repr(Projection(500, 0.98134, 0.9703, 0.9902))
    assert said == f"With 500 training patients 0.98 (95% band 0.97-0.99) is to be expected. {RESEARCH_USE}"
