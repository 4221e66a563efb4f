"""The groups of a test: planted gaps are found, chance is not accused, and what is too small is said."""

import numpy as np
import pandas as pd
import pytest
from cohorts import ball, case, predictions
from made import png_study
from sklearn.metrics import roc_auc_score

from easydl.errors import InputError
from easydl.evaluation import Metrics, evaluate, segmentation_metrics
from easydl.evaluation.as_text import WIDTH, tables_text
from easydl.evaluation.asked import check_asked
from easydl.evaluation.by_case import by_case
from easydl.evaluation.subgroups import grouped
from easydl.evaluation.tables import area, headline_of, table_metrics
from easydl.networks.metadata import Head
from easydl.prediction.doubt import MEANING
from easydl.prediction.results import Predictions
from easydl.runs.config import RunConfig, check_study
from easydl.studies import load
from easydl.tasks import Task

BINARY = ("normal", "effusion")


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr("easydl.evaluation.subgroups.PERMUTATIONS", 200)


def of_scanners(gap=True, patients=120, seed=0):
    """Predictions of patients of two scanners; with a gap the scores of scanner B are nearly noise."""
    frame = predictions(patients, skill=2.2, seed=seed)
    number = frame["patient"].str[1:].astype(int)
    frame["scanner"] = np.where(number % 2, "B", "A")
    if gap:
        rng = np.random.default_rng(seed)
        noisy = np.where(frame["scanner"] == "B", 0.15 * frame["p(effusion)"] + 0.85 * rng.random(len(frame)), 0)
        frame["p(effusion)"] = np.where(frame["scanner"] == "B", noisy, frame["p(effusion)"])
        frame["p(normal)"] = 1 - frame["p(effusion)"]
        frame["prediction"] = np.where(frame["p(effusion)"] > 0.5, "effusion", "normal")
    return Predictions(frame, BINARY)


def test_each_group_has_the_numbers_of_its_own_images():
    given = of_scanners()
    result = evaluate(given, by="scanner", resamples=200)
    table = result.groups[result.groups["group"] != ""].set_index(["group", "name"])
    for scanner in "AB":
        rows = given.frame[given.frame["scanner"] == scanner]
        assert table.loc[(scanner, "AUC"), "value"] == pytest.approx(
            roc_auc_score(rows["label"] == "effusion", rows["p(effusion)"])
        )
        sick = rows[rows["label"] == "effusion"]
        assert table.loc[(scanner, "sensitivity"), "value"] == pytest.approx((sick["prediction"] == "effusion").mean())
        assert table.loc[(scanner, "AUC"), "n"] == rows["patient"].nunique()
        alone = table_metrics(Predictions(rows, BINARY), resamples=200).table.iloc[0]
        assert table.loc[(scanner, "AUC"), "low"] == pytest.approx(alone["low"])


def test_the_largest_gap_has_an_interval_and_a_p_and_is_said():
    result = evaluate(of_scanners(), by="scanner", resamples=200)
    gap = result.groups.iloc[-1]
    first = result.groups[result.groups["name"] == "AUC"].set_index("group")
    assert gap["value"] == pytest.approx(first.loc["A", "value"] - first.loc["B", "value"])
    assert 0 < gap["low"] < gap["value"] < gap["high"]
    assert gap["p"] < 0.01
    assert any("By scanner: AUC is highest in A and lowest in B, a gap of" in note for note in result.notes)
    again = Metrics.from_dict(result.to_dict())
    pd.testing.assert_frame_equal(again.groups, result.groups)


def test_groups_without_a_gap_are_accused_in_about_5_of_100_tests():
    accused = sum(
        evaluate(of_scanners(gap=False, patients=40, seed=seed), by="scanner", resamples=100).groups.iloc[-1]["p"]
        < 0.05
        for seed in range(10)
    )
    assert accused <= 2


def test_a_group_of_few_patients_is_not_testable():
    given = of_scanners()
    given.frame.loc[given.frame["patient"].isin(["P000", "P002", "P004"]), "scanner"] = "C"
    given.frame.loc[given.frame["patient"].isin(["P006"]), "scanner"] = None
    result = evaluate(given, by="scanner", resamples=100)
    table = result.groups.set_index("group")
    assert table.loc["C", "note"] == "not testable: 3 patients, 10 are needed"
    assert np.isnan(table.loc["C", "value"])
    assert table.loc["(not given)", "n"] == 1
    assert any("Not testable with so few patients: C (3), (not given) (1)" in note for note in result.notes)
    alone = evaluate(Predictions(given.frame[given.frame["scanner"] == "A"], BINARY), by="scanner", resamples=100)
    assert any("no gap can be tested" in note for note in alone.notes)
    assert sum("scanner" in note for note in alone.notes) == 1
    none = evaluate(given, by="patient", resamples=100)
    said = [note for note in none.notes if note.startswith("By patient")]
    assert len(said) == 1 and said[0].count("By patient") == 1


def test_numbers_are_cut_into_three_bands_and_this_is_said():
    given = of_scanners(gap=False)
    number = given.frame["patient"].str[1:].astype(int)
    given.frame["age"] = 20 + number % 60
    result = evaluate(given, by=["age", "scanner"], resamples=100)
    bands = result.groups[(result.groups["by"] == "age") & (result.groups["name"] == "AUC")]
    assert bands["group"].tolist() == ["up to 39", "above 39 to 59", "above 59"]
    assert bands["n"].between(38, 42).all()
    assert any(note.startswith("age was cut into 3 bands") for note in result.notes)
    assert set(result.groups["by"]) == {"age", "scanner"}


def test_the_smallest_of_many_groups_are_put_together():
    site = pd.Series([f"site {k}" for k in range(20) for _ in range(k + 1)], name="site")
    groups, said = grouped(site, pd.Series(range(len(site))))
    assert len(groups.cat.categories) == 12
    assert groups.cat.categories[-1] == "(other)"
    assert (groups == "(other)").sum() == sum(range(1, 10))
    assert "20 groups" in said


def test_a_column_that_is_not_there_is_said():
    with pytest.raises(InputError, match="no column 'scaner' to group by"):
        evaluate(of_scanners(), by="scaner")


def test_the_groups_are_drawn_as_a_forest():
    result = evaluate(of_scanners(), by="scanner", resamples=100)
    panel = result.panels[-1]
    assert panel.kind == "forest"
    assert list(panel.data["estimates"]) == ["all (120)", "A (60)", "B (60)"]
    figure = result.show()
    titles = [axes.get_title(loc="left") for axes in figure.get_axes()]
    assert "AUC by scanner (patients)" in titles
    assert "By group" in result._repr_html_()


@pytest.mark.parametrize("task", ["multilabel", "regression", "ordinal"])
def test_every_task_has_groups_with_its_own_headline(task):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"patient": range(60), "scanner": np.tile(["A", "B"], 30)})
    if task == "multilabel":
        frame["label"] = np.where(rng.random(60) < 0.5, "nodule; mass", "mass")
        frame.loc[:20, "label"] = ""
        frame["p(nodule)"], frame["p(mass)"], classes = rng.random(60), rng.random(60), ("nodule", "mass")
    elif task == "regression":
        frame["label"], frame["value"], classes = rng.normal(50, 9, 60), rng.normal(50, 9, 60), ("age_years",)
    else:
        classes = ("1", "2", "3")
        frame["label"], frame["prediction"] = (rng.choice(classes, 60) for _ in range(2))
        frame[["p(1)", "p(2)", "p(3)"]] = rng.dirichlet([1, 1, 1], 60)
    result = evaluate(Predictions(frame, classes, task=task), by="scanner", resamples=100)
    rows = result.groups[result.groups["name"] == result.table["name"].iloc[0]].set_index("group")
    for scanner in "AB":
        inside = (frame["scanner"] == scanner).to_numpy()
        assert headline_of(Task(task), classes, frame)(inside) == pytest.approx(rows.loc[scanner, "value"])
    gap = result.groups.iloc[-1]
    assert gap["value"] == pytest.approx(abs(rows.loc["A", "value"] - rows.loc["B", "value"]))
    result.show()


def test_the_area_by_ranks_is_the_auc():
    rng = np.random.default_rng(3)
    scores, positive = rng.integers(0, 9, 50) / 9, rng.random(50) < 0.4
    assert area(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


class Masks:
    """What `by_case` takes of a study."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def addresses(self, row):
        return [self.images[row]]


def test_masks_are_grouped_by_their_images():
    truth = ball((32, 32), (16, 16), 8)
    cases = [case(np.roll(truth, 0 if k % 2 else 5, axis=1), truth, f"P{k:02d}") for k in range(40)]
    metrics = segmentation_metrics(cases, resamples=200)
    scanner = pd.Series(np.where(np.arange(40) % 2, "good", "poor"), name="scanner")
    shuffled = np.random.default_rng(0).permutation(40)
    images = [f"P{k:02d}.png" for k in shuffled]
    result = by_case(metrics, Masks(images), {"scanner": scanner.iloc[shuffled].reset_index(drop=True)})
    rows = result.groups.set_index("group")
    poor = metrics.cases.loc[metrics.cases["patient"].str[1:].astype(int) % 2 == 0, "dice"].mean()
    assert rows.loc["good", "value"] == 1
    assert rows.loc["poor", "value"] == pytest.approx(poor)
    assert rows.loc["", "p"] < 0.01
    assert rows.loc["good", "n"] == 20


def test_every_task_has_its_prevalence_and_what_is_not_there_is_refused_before_training():
    frame = of_scanners().frame
    columns = ["label", "prediction", "p(normal)", "p(effusion)"]
    both = frame[["image", "patient"]].copy()
    for name in ("chest", "other"):
        both[[f"{name}: {column}" if column != "label" else f"{name}: label" for column in columns]] = frame[columns]
    head = Head(task="classification", classes=BINARY)
    heads = {"chest": head, "other": head}
    given = Predictions(both, ("chest", "other"), task="multitask", heads=heads)
    result = evaluate(given, prevalence={"chest": 0.02}, resamples=100)
    alone = evaluate(of_scanners(), prevalence=0.02, resamples=100)
    values = {
        one: dict(zip(result.heads[one].table["name"], result.heads[one].table["value"], strict=True)) for one in heads
    }
    expected = alone.table.set_index("name").loc["PPV", "value"]
    assert values["chest"]["PPV"] == pytest.approx(expected) and values["other"]["PPV"] > expected
    check_asked(frame, Task.MULTITASK, (), heads, by="scanner", prevalence={"chest": 0.02})
    for wrong in (
        {"by": "scaner"},
        {"prevalence": 0.02},
        {"prevalence": {"chests": 0.02}},
        {"prevalence": {"chest": 2}},
    ):
        with pytest.raises(InputError):
            check_asked(frame, Task.MULTITASK, (), heads, **({"by": None, "prevalence": None} | wrong))
    with pytest.raises(InputError, match="predictive values"):
        check_asked(frame, Task.SEGMENTATION, (), {}, by=None, prevalence=0.02)


def test_a_run_refuses_what_its_test_would_before_it_trains(tmp_path):
    table = png_study(tmp_path, per_class=4, side=16)
    study = load(table)
    check_study(RunConfig(source=str(table), by=["patient"], prevalence=0.02), study)
    for asked in ({"by": ["scaner"]}, {"prevalence": {"nobody": 0.02}}):
        with pytest.raises(InputError):
            check_study(RunConfig(source=str(table), **asked), study)


def test_how_a_number_is_made_is_said_once_and_not_for_every_group():
    given = of_scanners()
    given.notes.append(MEANING.format("the 2 members of the ensemble"))
    result = evaluate(given, by="scanner", resamples=100)
    groups = result.groups[result.groups["group"] != ""]
    assert set(groups["note"]) == {""} and result.table["note"].str.len().gt(0).any()
    assert not any("spread" in note for note in result.notes)


def test_what_was_asked_for_is_printed_and_a_terminal_shows_it_in_columns():
    result = evaluate(of_scanners(), by="scanner", prevalence=0.02, resamples=100)
    lines = repr(result).splitlines()
    rows = result.table.set_index("name")
    assert lines[0] == result.headline and len(lines) == 3
    assert lines[1].startswith(f"At a stated prevalence of 2% effusion: PPV {rows.loc['PPV', 'value']:.2f} (95% CI ")
    assert "; NPV 0." in lines[1] and lines[2].startswith("By scanner: AUC is highest in A")
    assert len(repr(evaluate(of_scanners(), resamples=100)).splitlines()) <= 2
    assert Metrics.from_dict(result.to_dict()).summary == result.summary
    text = tables_text(result)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "scanner: largest gap in AUC" in text and "scanner A: AUC" in text
    text_of = "fraction recognised; threshold 0.50 (not chosen: 8 patients; 10 are needed); Wilson interval"
    row = result.rows[0].model_dump() | {"note": text_of}
    twice = tables_text(Metrics(task="classification", classes=BINARY, table=[row, row | {"name": "other"}]))
    assert "".join(twice.split()).count("threshold0.50(notchosen:8patients;10areneeded)") == 1
    assert "".join(twice.split()).count("areneeded") == 1
    assert "unit_of_n" not in text and "False" not in text
    for row in result.rows:
        assert any(line.startswith(f"{row.name} ") for line in text.splitlines())
    assert "scanner : " not in result._repr_html_()
