"""Use on a new case: drop, wait or stop, and see what speaks against the answer before the answer."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
import zipfile
from pathlib import Path

import pytest
from pages import EVIL, assert_calm, press, text
from run_folders import make_run

from easydl.workspace import Workspace, background

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FOUND = {
    "answer": f"nodule {EVIL}",
    "probabilities": {"no nodule": 0.29, "nodule": 0.71},
    "threshold": 0.37,
    "doubt": ["What holds the right answer for 90% of new patients: no nodule or nodule."],
    "rules": [
        "nodule is called from a score of 0.37 on, a threshold chosen on 41 validation patients.",
        "One case has none.",
    ],
    "reference": None,
    "verdict": {"level": "FAIL", "sentence": "It looks the same with random weights."},
    "unlike": ["It is 4000 pixels wide; the training images were 512."],
    "volumes_ml": {},
    "notes": ["The window was chosen."],
    "images": ["heatmap.png", "../../request.json"],
}
MASK = {
    "answer": "liver 1512.2 mL",
    "volumes_ml": {"liver": 1512.25},
    "probabilities": {},
    "threshold": None,
    "images": [],
}
ANSWER = f"""
import base64, json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from easydl.fileio import write_status
home = Path(sys.argv[1])
asked = json.loads((home / "request.json").read_text())
assert Path(asked["source"]).exists() and asked["model"].endswith("model.keras")
(home / "result").mkdir()
(home / "result" / "case.json").write_text({json.dumps(json.dumps(FOUND))})
(home / "result" / "case.html").write_text("<p>case</p>")
(home / "result" / "heatmap.png").write_bytes({PNG!r})
write_status(home, state="finished")
"""
FAIL = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from easydl.fileio import write_status
write_status(Path(sys.argv[1]), state="failed", error={{"found": "It is a film.", "expected": "CT.", "do": "Choose."}})
"""
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch):
    """In place of the process that asks the model: a few lines of Python."""

    def does(lines: str) -> None:
        monkeypatch.setattr(background, "command", lambda home: [sys.executable, "-c", lines, str(home)])

    return does


def drop(session, home: Path, *files: tuple[str, bytes]):
    """As a browser does that has sent the files: the page then hears of them, once."""
    import arriving  # of the app's own folder

    run = make_run(home / "runs", "finished")
    at = session("use", run=run.name)
    assert_calm(at)
    batch = home / "incoming" / ("0" * 32)
    batch.mkdir(parents=True)
    for number, (_, content) in enumerate(files):
        (batch / str(number)).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        arrived = {"batch": batch.name, "names": [name for name, _ in files]}
        patch.setattr(arriving, "files_place", lambda *_, **__: arrived)
        at.run()
    assert not batch.exists()
    return at


def ended(at, home: Path):
    until = time.monotonic() + 60
    while time.monotonic() < until and Workspace(home).cases.all()[0].state == "running":
        time.sleep(0.1)
    return at.run()


def test_the_answer_comes_after_what_speaks_against_it(session, home: Path, child) -> None:
    child(ANSWER)
    at = ended(drop(session, home, ("Smith^John.png", PNG)), home)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert "Unlike the training images" in at.warning[0].value and "4000 pixels wide" in at.warning[0].value
    assert "chosen on 41 validation patients" in words and words.count("One case has none") == 1
    assert "The window was chosen" in words
    assert "Answer: nodule &lt;img" in words and "What holds the right answer" in words
    assert "looks the same with random weights" in words and "Do not trust" in words
    assert list(at.table[0].value["score"].str.replace("\\", "")) == ["0.29", "0.71"]
    shown = [path.name for path in Workspace(home).cases.all()[0].images]
    assert shown == ["heatmap.png"], "a picture outside its folder is not shown"
    assert [one.proto.label for one in at.get("download_button")] == ["Download this page"]
    again = session("use", case=at.query_params["case"])
    assert "0.71" in text(again).replace("\\", ""), "a refresh finds it again"
    press(at, "Another case")
    assert list((home / "cases").iterdir()) == [], "and its files are gone"
    assert "all files of one series" in text(at)


def test_a_mask_is_told_in_millilitres(session, home: Path, child) -> None:
    child(ANSWER.replace(json.dumps(json.dumps(FOUND)), json.dumps(json.dumps(MASK))))
    at = ended(drop(session, home, ("1.png", PNG)), home)
    assert_calm(at)
    words = text(at).replace("\\", "")
    assert "Mask" in words and "liver: 1512.2 mL" in words
    assert not at.table and not at.warning


def test_a_case_that_cannot_be_answered_says_why_in_three_parts(session, home: Path, child) -> None:
    child(FAIL)
    at = ended(drop(session, home, ("1.png", PNG)), home)
    assert_calm(at)
    assert all(part in at.error[0].value for part in ("It is a film", "Expected: CT", "What to do: Choose"))


def test_a_case_can_be_stopped_while_it_is_worked_on(session, home: Path, child) -> None:
    child(SLEEP)
    at = drop(session, home, ("1.png", PNG))
    assert_calm(at)
    assert "so far" in text(at)
    press(at, "Stop")
    assert Workspace(home).cases.all()[0].state == "stopped"
    assert "Stopped by you" in at.run().info[0].value
    press(at, "Another case")


def test_a_process_that_dies_is_an_error_in_words(session, home: Path, child) -> None:
    child("raise SystemExit(9)")
    at = ended(drop(session, home, ("1.png", PNG)), home)
    assert_calm(at)
    assert "ended before there was an answer" in at.error[0].value


def test_what_is_no_image_is_refused_and_leaves_nothing(session, home: Path, child) -> None:
    child(ANSWER)
    at = drop(session, home, ("letter.pdf", b"%PDF"))
    assert_calm(at)
    assert "not an image" in at.error[0].value
    assert list((home / "cases").iterdir()) == []
    assert list((home / "runs").iterdir())


def test_a_series_arrives_as_files_or_as_a_zip(home: Path, tmp_path: Path, child) -> None:
    child(SLEEP)
    slices = [(f"{n}.dcm", b"\0" * 128 + b"DICM" + bytes([n])) for n in range(3)]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in slices:
            archive.writestr(f"series/{name}", content)
    kept = Workspace(home).cases
    for files in (
        [(name, io.BytesIO(content)) for name, content in slices],
        [("a.ZIP", io.BytesIO(packed.getvalue()))],
    ):
        case = kept.begin(tmp_path / "model.keras", files, method="layercam")
        asked = json.loads((case.folder / "request.json").read_text())
        assert asked["method"] == "layercam"
        assert sorted(path.name for path in Path(asked["source"]).iterdir()) == ["0.dcm", "1.dcm", "2.dcm"]
        kept.remove(case.id)
    assert kept.all() == []


def test_an_unknown_case_is_not_here(session, home: Path) -> None:
    make_run(home / "runs", "finished")
    for wrong in ("0123456789abcdef", "../runs"):
        at = session("use", case=wrong)
        assert_calm(at)
        assert "not here any more" in at.info[0].value
        assert "all files of one series" in text(at)


def test_a_model_file_from_elsewhere_is_used_without_any_run(session, home: Path, tmp_path: Path) -> None:
    at = session("use")
    assert_calm(at)
    assert "No model has been trained yet" in text(at)
    at.text_input[0].set_value("/nowhere.keras").run()
    assert_calm(at)
    assert "no model file" in at.error[0].value
    (tmp_path / "chest.keras").write_bytes(b"model")
    at.text_input[0].set_value(f'"{tmp_path / "chest.keras"}"').run()
    assert_calm(at)
    assert "all files of one series" in text(at) and not at.error


def test_cases_of_closed_windows_can_be_deleted(session, home: Path, child) -> None:
    child(FAIL)
    ended(drop(session, home, ("1.png", PNG)), home)
    at = session("use")
    press(at, "Delete earlier cases (1)")
    assert list((home / "cases").iterdir()) == []
