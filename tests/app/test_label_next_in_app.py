"""Which images to label next: asked on the page Use, answered by a process, taken away as a list with the names."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from pages import assert_calm, field, films, press, text
from run_folders import make_run

from easydl.workspace import Workspace, background

ROWS = [{"row of the study": 3, "score": 0.98, "reason": "The model says: nodule 0.52, normal 0.48."}]
ANSWER = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from easydl.fileio import write_status
home = Path(sys.argv[1])
asked = json.loads((home / "request.json").read_text())
(home / "result").mkdir()
(home / "result" / "to_label.csv").write_text("image,patient\\n")
(home / "result" / "case.json").write_text(json.dumps({{"to_label": {ROWS!r}, "asked": asked}}))
write_status(home, state="finished")
"""


def test_the_list_is_asked_for_shown_and_offered(session, home: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(background, "command", lambda place: [sys.executable, "-c", ANSWER, str(place)])
    make_run(home / "runs", "finished")
    entry = Workspace().studies.open(films(tmp_path / "ours"), name="ours")
    at = session("use")
    field(at, "number_input", "Images to label next").set_value(7)
    press(at, "Which images to label next?")
    (case,) = Workspace().cases.all()
    until = time.monotonic() + 60
    while Workspace().cases.one(case.id).state == "running" and time.monotonic() < until:
        time.sleep(0.1)
    assert (case.found["asked"]["study"], case.found["asked"]["to_label"]) == (entry.id, "7")
    at = session("use", case=case.id)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert "1 image to label next" in words and "nodule 0.52" in words
    assert "Download the list" in [one.label for one in at.get("download_button")]


@pytest.mark.slow
def test_the_process_chooses_and_names_nobody_on_the_page(home: Path, tmp_path: Path):
    import easydl
    from easydl.workspace import background_process

    folder = films(tmp_path / "ours", each=6)
    model = easydl.save_model(easydl.classifier("tiny", easydl.load(folder), size=32), tmp_path / "model.keras")
    place = Workspace().folder / "cases" / f"{1:016d}"
    place.mkdir(parents=True)
    asked = {"model": str(model), "study": Workspace().studies.open(folder).id, "to_label": "5", "work": "label"}
    (place / "request.json").write_text(json.dumps(asked))
    background_process.work(place)
    case = Workspace().cases.one(place.name)
    assert case.state == "finished", case.status
    assert len(case.to_label) == 5 and not {"image", "patient"} & set(case.to_label)
    written = pd.read_csv(case.list_to_label, comment="#")
    images = easydl.load(folder).frame["image"]
    assert [images[row - 1] for row in case.to_label["row of the study"]] == list(written["image"])
