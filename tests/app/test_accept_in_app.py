"""Is the model ready for our own cases, the checklists of a run, and the ledger's sentence: where the app says them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pages import assert_calm, field, films, press, text
from run_folders import make_run

from easydl.workspace import Workspace, background, cases

FOUND = {
    "ready": "Look before using it here",
    "reasons": ["Here, at the model's own threshold: AUC 0.81 (95% CI 0.70-0.90), 60 patients."],
    "to_look_at": [
        {"case": "case 1", "answer": "nodule", "reference": "normal", "score": 0.97, "why": "the reference says"}
    ],
}
READY = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from easydl.fileio import write_status
home = Path(sys.argv[1])
asked = json.loads((home / "request.json").read_text())
sheet = home.parents[1] / "acceptance" / "abc" / "acceptance.html"
sheet.parent.mkdir(parents=True)
sheet.write_text("<p>sheet</p>")
(home / "result").mkdir()
found = {FOUND!r} | {{"sheet": str(sheet), "asked": asked}}
(home / "result" / "case.json").write_text(json.dumps(found))
write_status(home, state="finished")
"""


def test_many_cases_are_asked_about_and_the_sheet_can_be_taken_away(session, home: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(background, "command", lambda place: [sys.executable, "-c", READY, str(place)])
    make_run(home / "runs", "finished")
    at = session("use")
    assert_calm(at)
    assert "No study has been opened yet" in text(at)
    entry = Workspace().studies.open(films(tmp_path / "ours"), name="ours <b>")
    at = session("use")
    assert_calm(at)
    assert field(at, "selectbox", "Our cases").options == ["ours <b>"]
    press(at, "Is the model ready for these cases?")
    (case,) = Workspace().cases.all()
    until = time.monotonic() + 60
    while Workspace().cases.one(case.id).state == "running" and time.monotonic() < until:
        time.sleep(0.1)
    assert case.found["asked"]["study"] == entry.id and case.found["asked"]["model"].endswith("model.keras")
    at = session("use", case=case.id)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert FOUND["ready"] in words and "95% CI 0.70" in words and "cases.csv" in words and "case 1" in words
    assert "Download the sheet" in [one.label for one in at.get("download_button")]
    sheet = case.sheet
    press(at, "Another case")
    assert not case.folder.exists() and sheet.is_file()


def test_a_sheet_elsewhere_is_not_offered(home: Path, tmp_path: Path):
    place = Workspace().folder / "cases" / "0123456789abcdef"
    (place / "result").mkdir(parents=True)
    (tmp_path / "other.html").write_text("x")
    (place / "result" / "case.json").write_text(json.dumps({"sheet": str(tmp_path / "other.html")}))
    assert cases.Case(place).sheet is None


@pytest.mark.slow
def test_the_process_asks_the_model_and_keeps_the_sheet(home: Path, tmp_path: Path):
    import easydl
    from easydl.workspace import background_process

    folder = films(tmp_path / "ours", each=12)
    model = easydl.save_model(easydl.classifier("tiny", easydl.load(folder), size=32), tmp_path / "model.keras")
    entry = Workspace().studies.open(folder)
    for count in (1, 2):
        place = Workspace().folder / "cases" / f"{count:016d}"
        place.mkdir(parents=True)
        (place / "request.json").write_text(json.dumps({"work": "accept", "model": str(model), "study": entry.id}))
        background_process.work(place)
        case = Workspace().cases.one(place.name)
        assert case.state == "finished", case.status
        assert case.ready and case.reasons and len(case.to_look_at) == 12
        assert not {"image", "patient"} & set(case.to_look_at)
        assert len(json.loads((case.sheet.parent / "history.json").read_text())) == count


def test_export_offers_every_checklist(session, home: Path):
    make_run(home / "runs", "finished")
    at = session("export")
    assert_calm(at)
    lists = field(at, "selectbox", "Which")
    assert lists.options == ["CLAIM, 2024 update", "TRIPOD+AI", "STARD 2015", "Model card"]
    first = text(at)
    assert "TODO (you)" in first.replace("\\", "")
    lists.set_value("modelcard").run()
    assert_calm(at)
    assert text(at) != first and "Download checklist" in [one.label for one in at.get("download_button")]


def test_results_say_how_often_the_test_part_was_looked_at(session, home: Path):
    run = make_run(home / "runs", "finished")
    content = json.loads((run / "metrics.json").read_text())
    content["look"] = {"number": 2, "first": "2026-11-02", "entry": "a", "model": "b"}
    (run / "metrics.json").write_text(json.dumps(content))
    at = session("results")
    assert_calm(at)
    assert "look 2 at this test part" in text(at).replace("\\", "")


def test_the_prevalence_of_several_classes_is_asked_by_name(session, home: Path, tmp_path: Path):
    for names, kind in ((("a", "b"), "number_input"), (("a", "b", "c"), "multiselect")):
        entry = Workspace().studies.open(films(tmp_path / "-".join(names), names))
        at = session("train", study=entry.id)
        assert_calm(at)
        label = "Prevalence where the model is to be used"
        assert [one.label for one in at.get(kind)].count(label) == 1, (kind, np.array(names))
