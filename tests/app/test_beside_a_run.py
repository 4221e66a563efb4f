"""What other processes do for the pages: models for other programs, nearest training images, comparisons before a training."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import EVIL, assert_calm, field, films, press, text
from PIL import Image
from run_folders import make_run

from easydl.reporting import RunRecord
from easydl.workspace import Workspace, background, conversions
from easydl.workspace.background import Work
from easydl.workspace.conversions import Conversions
from easydl.workspace.similar import KEPT_APART, search

BEGIN = f"""
import json, shutil, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from easydl.fileio import write_status
home = Path(sys.argv[1])
asked = json.loads((home / "request.json").read_text())
"""
LINES = ["9 bytes, 25% of float32.", "Same decision: 99.0% (95% CI 97.0% to 100.0%, 40 patients)."]
CONVERT = f"""
assert (asked["work"], asked["ending"], asked["weights"]) == ("convert", ".tflite", "float32")
(home / "model-float32.tflite").write_bytes(b"converted")
(home / "export.json").write_text(json.dumps({{"lines": {LINES!r}, "files": ["model-float32.tflite", "../../config.json"]}}))
write_status(home, state="finished")
"""
NEAR = {
    "images": [{"file": "near.png", "name": "image 12", "label": f"nodule {EVIL}", "distance": 0.1234}],
    "sentence": "The 1 nearest cases: 1 nodule.",
    "same_patient": KEPT_APART,
}
SEARCH = f"""
shutil.copyfile(home.parent / "heatmaps" / "case-000.png", home / "near.png")
(home / "index.json").write_text(json.dumps({{"case-000.png": {NEAR!r}}}))
write_status(home, state="finished")
"""
FOUND = {
    "sentence": "tiny adds 0.10 AUC (95% CI 0.02-0.18) over forest, 16 images.",
    "rows": [{"model": "tiny", "AUC (95% CI)": "0.81 (95% CI 0.70-0.90)"}, {"model": "forest", "AUC (95% CI)": "0.71"}],
    "settings": {"model": "tiny", "pretrained": False},
    "notes": ["The test part (4 images) was left untouched."],
}
COMPARE = f"""
assert asked["work"] == "compare" and asked["compared"][:2] == ["thumbnail", "forest"] and asked["split"] == {{"seed": 7}}
(home / "found.json").write_text(json.dumps({FOUND!r}))
write_status(home, state="finished")
"""
FAIL = 'write_status(home, state="failed", error={"found": "It is a cascade.", "expected": "One.", "do": "Split."})'
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """In place of the process that does the work: a few lines of Python."""

    def does(lines: str) -> None:
        monkeypatch.setattr(background, "command", lambda home: [sys.executable, "-c", BEGIN + lines, str(home)])

    return does


def ended(find: Callable[[], Work | None]) -> Work:
    until = time.monotonic() + 60
    while time.monotonic() < until and (work := find()) is not None and work.running:
        time.sleep(0.05)
    work = find()
    assert work is not None and not work.running
    return work


def labels(at, kind: str = "button") -> list[str]:
    return [one.label if kind == "button" else one.proto.label for one in at.get(kind)]


def test_a_model_for_other_programs_is_made_once_and_kept(session, home: Path, child) -> None:
    run = make_run(home / "runs", "finished")
    kept = Conversions(RunRecord(run))
    child(CONVERT)
    at = session("export", run=run.name)
    assert_calm(at)
    press(at, "Convert")
    assert ended(lambda: kept.find(".tflite", "float32")).state == "finished"
    at = session("export", run=run.name)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert all(line in words for line in LINES) and "TensorFlow Lite, float32" in words and "made already" in words
    assert "Download" in labels(at, "download_button")
    assert [path.name for path in kept.all()[0].files] == ["model-float32.tflite"], "nothing outside its folder"
    assert next(one for one in at.button if one.label == "Convert").disabled
    field(at, "selectbox", "Weights").set_value("int8").run()
    assert not next(one for one in at.button if one.label == "Convert").disabled
    child(FAIL)
    press(at, "Convert")
    ended(lambda: kept.find(".tflite", "int8"))
    at.run()
    assert_calm(at)
    assert "It is a cascade" in text(at).replace("\\", "")


def test_a_format_whose_package_is_missing_says_what_to_install(session, home: Path, monkeypatch) -> None:
    from importlib import util

    run = make_run(home / "runs", "finished")
    at = session("export", run=run.name)
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *rest: None if name == "openvino" else found(name, *rest))
    field(at, "selectbox", "Format").set_value(".xml").run()
    assert_calm(at)
    (said,) = [one.value.replace("\\", "") for one in at.info]
    assert said.startswith(
        "Writing OpenVINO files needs the package openvino, which is not installed. Run: python -m pip"
    )
    assert next(one for one in at.button if one.label == "Convert").disabled
    assert conversions.missing(".tflite") is None


def test_nearest_training_images_are_asked_for_once_and_shown_at_each_heatmap(session, home: Path, child) -> None:
    run = make_run(home / "runs", "finished")
    child(SLEEP)
    at = session("heatmaps", run=run.name)
    press(at, "Find the nearest training images")
    assert "Looking for the nearest training images" in text(at)
    press(at, "Stop")
    assert search(RunRecord(run)).state == "stopped" and "Stopped by you" in text(at)
    child(SEARCH)
    press(at, "Find the nearest training images")
    assert ended(lambda: search(RunRecord(run))).state == "finished"
    at = session("heatmaps", run=run.name)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert "distance 0.12" in words and "training image 12" in words and KEPT_APART in words
    assert "nodule &lt;img" in words and "Find the nearest training images" not in labels(at)


def test_a_new_case_shows_the_nearest_training_images(session, home: Path) -> None:
    place = Workspace(home).folder / "cases" / ("0" * 16)
    (place / "result").mkdir(parents=True)
    (place / "request.json").write_text("{}")
    (place / "status.json").write_text(json.dumps({"state": "finished"}))
    (place / "result" / "case.json").write_text(json.dumps({"answer": "nodule"}))
    Image.new("L", (24, 24)).save(place / "result" / "near.png")
    for content, said in ((NEAR, "distance 0.12"), ({"missing": "Look for them first."}, "Look for them first.")):
        (place / "result" / "nearest.json").write_text(json.dumps(content))
        at = session("use", case=place.name)
        assert_calm(at)
        assert said in text(at).replace("\\", "") and "Nearest training images" in text(at)
    (place / "result" / "nearest.json").write_text("{}")
    assert "Nearest training images" not in text(session("use", case=place.name))


def test_networks_are_compared_before_a_training_and_the_best_is_taken(session, home: Path, tmp_path, child) -> None:
    entry = Workspace().studies.open(films(tmp_path / "films"))
    child(COMPARE)
    at = session("train", study=entry.id)
    assert_calm(at)
    press(at, "Compare")
    (work,) = Workspace().comparisons.of(entry.id)
    assert ended(lambda: Workspace().comparisons.find(work.id)).state == "finished"
    at = session("train", study=entry.id)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert FOUND["sentence"] in words and FOUND["notes"][0] in words and "0.81 (95% CI" in words
    assert not str(field(at, "selectbox", "Model").value).startswith("tiny")
    press(at, "Use tiny")
    assert field(at, "selectbox", "Model").value == "tiny"
    press(at, "Delete")
    assert Workspace().comparisons.of(entry.id) == []


def test_learning_rates_are_asked_for_with_the_network(session, home: Path, tmp_path, child) -> None:
    entry = Workspace().studies.open(films(tmp_path / "films"))
    child(SLEEP)
    at = session("train", study=entry.id)
    field(at, "selectbox", "Network").set_value("tiny").run()
    field(at, "multiselect", "Learning rates").set_value([0.01, 0.001]).run()
    press(at, "Choose among them")
    (work,) = Workspace().comparisons.of(entry.id)
    assert (work.asked["work"], work.asked["model"], work.asked["compared"]) == ("tune", "tiny", [0.001, 0.01])
    assert work.asked["options"]["pretrained"] is False and work.asked["options"]["folds"] == 5
    assert "Comparing the learning rates 0.001, 0.01 of tiny" in text(at).replace("\\", "")
    press(at, "Stop")
    assert Workspace().comparisons.find(work.id).state == "stopped"
