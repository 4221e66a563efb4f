"""The wrong answers come first, the surest at the head; warnings before the numbers; nobody is called a patient."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pages import assert_calm, films, open_folder, text
from run_folders import make_run

from easydl.reporting import RunRecord
from easydl.workspace import Workspace
from easydl.workspace.tables import by_error, numbered, table, wrong

WARNING = "The model gives one answer for every image."


def written(folder: Path, rows: list[tuple], columns: list[str], head: str = "# Research use only.\n") -> RunRecord:
    (folder / "predictions.csv").write_text(head + pd.DataFrame(rows, columns=columns).to_csv(index=False))
    return RunRecord(folder)


@pytest.mark.parametrize("head", ["", "# Research use only.\n"])
def test_the_surest_wrong_answers_are_first(tmp_path: Path, head: str) -> None:
    rows = [
        ("/a/1.png", "p1", "normal", "normal", 0.99),
        ("/a/2.png", "p2", "normal", "nodule", 0.61),
        ("/a/3.dcm#4", "p3", "nodule", "normal", 0.97),
        ("/a/4.png", "p4", "NA", "normal", 0.7),
        ("/a/5.png", "p5", "", "normal", 0.999),
    ]
    run = written(tmp_path, rows, ["image", "patient", "label", "prediction", "confidence"], head)
    sentence, cases = wrong(run)
    assert sentence == "3 of 4 answers differ from the reference; the surest first."
    assert cases.to_numpy().tolist() == [
        ["3.dcm", "nodule", "normal", "0.97"],
        ["4.png", "NA", "normal", "0.70"],
        ["2.png", "normal", "nodule", "0.61"],
    ]


def test_values_masks_and_several_tasks_have_their_own_order(tmp_path: Path) -> None:
    run = written(tmp_path, [("1.png", 50, 49.0), ("2.png", 60, 20.5), ("3.png", 9, 12.0)], ["image", "label", "value"])
    assert list(wrong(run)[1]["image"]) == ["2.png", "3.png", "1.png"]
    run = written(tmp_path, [("1.nii", "liver", 0.9), ("2.nii", "liver", 0.1)], ["image", "class", "dice"])
    assert list(wrong(run)[1]["image"]) == ["2.nii", "1.nii"]
    columns = ["image", "a: label", "a: prediction", "a: confidence", "b: label", "b: prediction", "b: confidence"]
    run = written(tmp_path, [("1.png", "x", "y", 0.6, "u", "u", 0.9), ("2.png", "x", "x", 0.9, "u", "v", 0.8)], columns)
    sentence, cases = wrong(run)
    assert sentence.startswith("2 of 4 answers")
    assert list(cases["task"]) == ["b", "a"]
    assert wrong(RunRecord(tmp_path / "nothing"))[0] == ""


def test_heatmaps_of_wrong_answers_come_first() -> None:
    entries = [
        {"file": "right", "label": "a", "prediction": "a", "probability": 0.99},
        {"file": "unsure", "label": "a", "prediction": "b", "probability": 0.6},
        {"file": "mask"},
        {"file": "surest", "label": "a", "prediction": "a", "right": False, "probability": 0.95},
        {"file": "sure", "label": "a", "prediction": "b", "probability": 0.9},
    ]
    assert [entry["file"] for entry in by_error(entries)] == ["surest", "sure", "unsure", "right", "mask"]


def test_the_results_page_shows_them_under_the_numbers(session, home: Path) -> None:
    run = make_run(home / "runs", "finished")
    frame = pd.read_csv(run / "predictions.csv")
    count = int((frame["label"] != frame["prediction"]).sum())
    at = session("results", run=run.name)
    assert_calm(at)
    assert f"{count} of 40 answers differ" in text(at).replace("\\", "")


def test_a_warning_stands_before_the_numbers_and_no_green_tick_beside_it(session, home: Path) -> None:
    run = make_run(home / "runs", "finished")
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, "warnings": [WARNING]}))
    at = session("results", run=run.name)
    assert_calm(at)
    assert "one answer for every image" in at.warning[0].value
    assert at.sidebar.button[0].proto.icon == ":material/warning:"
    at = session("train", run=run.name)
    assert not at.success
    assert "one answer for every image" in at.warning[0].value


def test_the_coach_speaks_above_the_curves_of_both_pages(session, home: Path) -> None:
    run = make_run(home / "runs", "finished")
    status = json.loads((run / "status.json").read_text())
    finding = {"code": "overfitting", "sentence": "Overfitting: it rose.", "advice": "More patients help."}
    for coach in ([], [finding]):
        (run / "status.json").write_text(json.dumps({**status, "coach": coach}))
        for page in ("train", "results"):
            at = session(page, run=run.name)
            assert_calm(at)
            values = [one.value.replace("\\", "") for one in at.warning]
            said = [one for one in values if "Overfitting: it rose. More patients help." in one]
            assert len(said) == len(coach)


def test_nobody_is_called_a_patient_where_patients_are_not_known(session, home: Path, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    assert_calm(at)
    assert "patient" not in at.dataframe[0].value.columns
    study = Workspace(home).studies.load(Workspace(home).studies.all()[0])
    assert not study.patients_known
    assert set(numbered(study).frame["patient"]) == {""}
    assert "patient" not in table(study, 5).columns
    words = " ".join(one.get_text() for ax in numbered(study).show(4).axes for one in (ax.title, *ax.texts))
    assert "patient" not in words and words.strip()
