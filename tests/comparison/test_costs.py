"""What an answer costs: measured in `easydl.compare`, kept in files, and drawn against the numbers."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from made_comparisons import TASKS, split_study
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.comparison import Comparison, costs
from easydl.comparison.costs import Cost, cost_of, median_ms, with_costs
from easydl.comparison.results import ComparedModel
from easydl.errors import InputError
from easydl.networks import metadata_of


def compared():
    rows = (
        ComparedModel("large", "a large one", 0.86, 0.80, 0.92, 90, 90, ms=48.0, mb=94.1),
        ComparedModel("small", "a small one", 0.84, 0.77, 0.90, 90, 90, 0.02, -0.01, 0.05, ms=4.0, mb=13.5),
        ComparedModel("forest", "a forest", 0.80, 0.72, 0.87, 90, 90, 0.06, 0.01, 0.11, baseline=True),
    )
    return Comparison(rows, "AUC", against="large")


def test_the_first_call_does_not_count_and_the_median_is_taken(monkeypatch):
    waits = iter([0.2, 0.004, 0.004, 0.3, *[0.004] * 20])
    found = median_ms(lambda: time.sleep(next(waits)))
    assert 4 <= found < 60
    calls = []
    monkeypatch.setattr(costs, "ENOUGH_SECONDS", 0.0001)
    median_ms(lambda: calls.append(time.sleep(0.001)))
    assert len(calls) == 2  # a large volume is answered once more, not nine times


@pytest.mark.parametrize(("against", "places"), [("ms", [48.0, 4.0]), ("mb", [94.1, 13.5])])
def test_numbers_are_drawn_over_their_cost_with_their_intervals(against, places):
    ax = compared().show(against=against).axes[0]
    bars = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]]
    drawn = {float(bar.get_xdata()[0]): sorted(float(y) for y in bar.get_ydata()) for bar in bars}
    assert drawn == {places[0]: [0.80, 0.92], places[1]: [0.77, 0.90]}
    assert ax.get_xscale() == "log" and {text.get_text() for text in ax.texts} == {"large", "small", "forest"}
    assert ("milliseconds" if against == "ms" else "megabytes") in ax.get_xlabel()
    ax.figure.canvas.draw()
    shown = {text.get_text() for text in [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]}
    assert {"10", "20", "50"} <= shown and not any("10^" in text for text in shown)
    level = next(line for line in ax.lines if list(line.get_ydata()) == [0.80, 0.80])
    assert level.get_linestyle() == "--" and "dashed: what has no such cost" in ax.get_title(loc="left")


def test_a_word_that_is_not_known_and_a_comparison_without_costs_are_refused():
    with pytest.raises(InputError, match="against='mbs' is not known"):
        compared().show(against="mbs")
    bare = Comparison((ComparedModel("forest", "", 0.8, 0.7, 0.9, 9, 9, baseline=True),), "AUC", against="forest")
    with pytest.raises(InputError, match="None of the 1 lines") as caught:
        bare.show(against="ms")
    assert caught.value.expected and caught.value.do


def test_costs_are_kept_and_shown():
    found = compared()
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert [(row.ms, row.mb) for row in again.rows[:2]] == [(48.0, 94.1), (4.0, 13.5)] and np.isnan(again.rows[2].ms)
    assert "48 ms per image, 94.1 MB" in repr(again) and "48 ms per image, 94.1 MB" in again._repr_html_()
    assert found.rows[1].about == "a small one; 4 ms per image, 13.5 MB" and found.rows[2].about == "a forest"
    assert list(found.table["mb"][:2]) == [94.1, 13.5]
    old = found.to_dict()
    old["rows"] = [{key: cell for key, cell in row.items() if key not in ("ms", "mb")} for row in old["rows"]]
    assert np.isnan(Comparison.from_dict(old).rows[0].ms)  # a file of an earlier version


def test_networks_are_measured_and_baselines_are_not(films):
    study, parts = split_study(films, "classification")
    model = easydl.classifier("tiny", study, size=32)
    cost = cost_of(model, metadata_of(model), parts["test"])
    assert cost.mb == pytest.approx(4e-6 * sum(np.asarray(weight).size for weight in model.weights))
    assert 0.05 < cost.ms < 2000
    found = with_costs(compared(), {"forest": Cost(1.0, 2.0)})
    assert found.rows[2].ms == 1.0 and found.rows[0].ms == 48.0 and "Milliseconds per image" in found.notes[-1]
    assert with_costs(compared(), {}).notes == []


@pytest.mark.slow
def test_the_command_measures_and_draws(films, tmp_path):
    study, parts = split_study(films, "classification")
    files = [
        str(easydl.save_model(easydl.classifier("tiny", study, size=32, seed=seed), tmp_path / f"{seed}.keras"))
        for seed in (1, 2)
    ]
    table = films.parent / "costs.csv"
    parts["test"].frame[["image", "patient", "label"]].to_csv(table, index=False)
    words = ["compare", str(table), *files, "--against", "ms"]
    result = CliRunner().invoke(cli.app, [*words, "-o", str(tmp_path / "cost.png")])
    assert result.exit_code == 0, result.output
    assert " ms per image, 1.1" in result.output and (tmp_path / "cost.png").read_bytes()[:4] == b"\x89PNG"


def test_folds_measure_the_networks(films, monkeypatch):
    untrained = SimpleNamespace(epoch=[0], history={})
    monkeypatch.setattr("easydl.training.fit", lambda *parts, **options: untrained)
    study = easydl.load(films, **TASKS["classification"])
    found = easydl.compare(study, ["tiny", "prevalence"], folds=3, epochs=1, size=32)
    row = next(row for row in found.rows if row.name == "tiny")
    assert row.ms > 0 and row.mb == pytest.approx(1.15, abs=0.1)
    assert np.isnan(next(row for row in found.rows if row.name == "prevalence").ms)
