"""The images of an issue stand in the report; a name in audit.json reaches no other file."""

import base64
import io

import pytest
from finished_runs import issue, make_classification, write
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl import cli
from easydl.reporting import RunRecord, report
from easydl.traps.issues import Audit


@pytest.fixture
def folder(tmp_path):
    made = make_classification(tmp_path / "run")
    made = tmp_path / "run" if made is None else made
    (made / "audit").mkdir()
    file = io.BytesIO()
    Image.new("RGB", (20, 8), (12, 200, 90)).save(file, "PNG")
    (made / "audit" / "00-A5.png").write_bytes(file.getvalue())
    (made / "secret.png").write_bytes(file.getvalue())
    return made


def test_the_report_holds_the_images_of_an_issue(folder):
    shown = {**issue("A5", "WARN", "The border tells the class."), "thumbnails": "00-A5.png"}
    write(folder / "audit.json", {"issues": [shown, issue("A2", "WARN", "Copies.")]})
    page = report(folder).read_text(encoding="utf-8")
    inside = base64.b64encode((folder / "audit" / "00-A5.png").read_bytes()).decode()
    assert page.count('class="strip"') == 1 and inside in page


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "missing.png", ""])
def test_a_name_reaches_no_other_file(folder, name):
    assert RunRecord(folder).thumbnails({"thumbnails": name}) == b""


def test_the_command_hands_the_model_on(monkeypatch):
    asked = {}
    monkeypatch.setattr(easydl, "load", lambda source, **_: source)
    monkeypatch.setattr(easydl, "load_model", lambda path: f"model of {path}")
    monkeypatch.setattr(easydl, "audit", lambda study, model, full: asked.update({study: (model, full)}) or Audit(()))
    for words in (["a.csv", "--full"], ["b.csv", "--model", "m.keras"]):
        result = CliRunner().invoke(cli.app, ["audit", *words])
        assert result.exit_code == 0, result.output
    assert asked == {"a.csv": (None, True), "b.csv": ("model of m.keras", False)}


@pytest.mark.parametrize(("severity", "said"), [("WARN", True), ("NOTE", True), ("OK", False), ("UNTESTED", False)])
def test_the_gap_of_training_and_test_stands_with_the_result_where_there_is_one(run, severity, said):
    gap = "The model is overfitted: AUC 0.99 on 60 training patients, 0.71 on 20 others; difference 0.28 (95% CI 0.15 to 0.41)."
    write(run / "audit.json", {"issues": [issue("A12", severity, gap, "Train fewer epochs.")]})
    page = report(run).read_text(encoding="utf-8")
    result = page[page.index("<h2>Result</h2>") :]
    assert (f'<p class="added">{gap}</p>' in result) is said
