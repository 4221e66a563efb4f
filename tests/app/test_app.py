"""Every step for an empty workspace and for runs in every state; errors in words; user text inert."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pages import EVIL, assert_calm, field, films, open_folder, press, text
from PIL import Image
from run_folders import make_run

from easydl.comparison import BaselineComparisons, Comparison
from easydl.comparison.results import ComparedModel
from easydl.reporting import RunRecord

STEPS = ("data", "check", "plan", "train", "results", "heatmaps", "export")
STATES = ("running", "finished", "stopped", "failed", "interrupted")
TRICKS = (
    EVIL,
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "$x$ :red[y] :material/home: `z`",
)
ERROR = {"found": f"The class {EVIL} has one patient.", "expected": "two patients.", "do": "Add one."}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_of_an_empty_workspace_says_what_to_do(session, step: str) -> None:
    at = session(step)
    assert_calm(at)
    if step in ("check", "plan", "train"):
        assert "No study is open." in text(at)
    if step in ("results", "heatmaps", "export"):
        assert "No model has been trained yet." in text(at)


@pytest.mark.parametrize("state", STATES)
def test_every_step_renders_for_a_run_in_every_state(session, home: Path, state: str) -> None:
    run = make_run(home / "runs", state, error=ERROR if state == "failed" else None)
    at = session(run=run.name)
    for step in STEPS:
        at.switch_page(f"steps/{step}.py").run()
        assert_calm(at)
        words = text(at)
        if step == "train":
            assert_train_page(at, state)
        if step == "results":
            assert ("95% CI" in "".join(one.value for one in at.subheader)) == (state == "finished")
            assert ("The check of the data gave" in words) == (state == "finished")
        if step == "heatmaps":
            assert ("Trust" in words and "Do not trust" in words) == (state == "finished")
            # A name that is no number of this run stays out of sight, and no image has two numbers.
            assert ("Test image 1" in words) == (state == "finished") and "0.png" not in words
            assert ("2 images; no column says" in words) == (state == "finished")
            colours = [one for one in at.selectbox if one.label == "Coloured by"]
            assert [one.options for one in colours] == ([["island", "label", "scanner"]] if state == "finished" else [])
            for one in colours:
                assert one.value == "label" and "scanner" in chart_of(one.select("scanner").run())
        if step == "export" and state == "finished":
            labels = [one.proto.label for one in at.get("download_button")]
            assert labels[:3] == ["Download the model", "Download the report", "Download the predictions"]
            assert labels[3:] == ["Download checklist", "Download the notebook"]
            assert "easydl.load('/films/chest')" in words
            assert "easydl train /films/chest --seed 7 --no-pretrained --augment ct --epochs 8 --model tiny" in words


def chart_of(at) -> str:
    (chart,) = at.get("arrow_vega_lite_chart") or at.get("vega_lite_chart")
    return chart.proto.spec


def test_a_run_is_called_by_the_network_that_was_trained(home: Path) -> None:
    run = make_run(home / "runs", "finished")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "model": "auto"}))
    assert ", tiny, " in RunRecord(run).title
    (run / "model.keras").unlink()
    assert ", auto, " in RunRecord(run).title, "not known before there is one"


def test_the_results_page_shows_the_baselines_and_what_the_network_adds(session, home: Path) -> None:
    run = make_run(home / "runs", "finished")
    rows = (
        ComparedModel("network", "the trained network", 0.9, 0.8, 0.96, 40, 40),
        ComparedModel("forest", "random forest", 0.8, 0.7, 0.9, 40, 40, 0.1, 0.02, 0.18, baseline=True),
    )
    found = Comparison(rows, "AUC", against="network", left_out={"features": "no weights"})
    (run / "baselines.json").write_text(json.dumps(BaselineComparisons((found,)).to_dict()))
    at = session("results", run=run.name)
    words = text(at).replace("\\", "")
    assert "The network adds 0.10 AUC (95% CI 0.02-0.18) over the best baseline (forest), 40 patients." in words
    assert "Beside baselines" in words and "features left out: no weights." in words
    tables = [one.value for one in (*at.dataframe, *at.table)]
    assert any("network less this" in table.columns and "random forest" in table.to_string() for table in tables)


def assert_train_page(at, state: str) -> None:
    buttons = [button.label for button in at.button]
    assert "Train" not in buttons
    assert ("Stop" in buttons) == (state == "running")
    assert ("epoch 3 of 8" in text(at)) == (state == "running")
    assert len(at.error) == (state == "failed"), "a stop that was asked for is no error"
    if state == "failed":
        assert all(part in at.error[0].value for part in ("two patients", "What to do", "Add one"))
    if state == "interrupted":
        assert "Interrupted" in at.warning[0].value
    if state == "stopped":
        assert "Stopped by you" in at.info[0].value


def test_numbers_carry_n_and_interval(session, home: Path) -> None:
    at = session("results", run=make_run(home / "runs", "finished").name)
    table = at.table[0].value.map(lambda cell: cell.replace("\\", "").replace("&lt;", "<"))
    assert {"measure", "value", "95% interval", "n"} <= set(table.columns.astype(str))
    assert len(table) >= 4
    assert table["n"].str.fullmatch(r"\d+ (patients|images)").all()
    assert table["95% interval"].str.fullmatch(r"[\d.<>]+-[\d.<>]+|not computable").all()


@pytest.mark.parametrize("stage", ["loading", "checking", "training", "testing", "explaining", "reporting"])
def test_a_running_run_is_watched_in_every_stage(session, home: Path, stage: str) -> None:
    run = make_run(home / "runs", "running", stage=stage, epoch=0 if stage == "training" else 8)
    at = session("train", run=run.name)
    assert_calm(at)
    assert at.get("progress")


def test_stop_writes_the_stop_file_and_says_so(session, home: Path) -> None:
    run = make_run(home / "runs", "running")
    at = session("train", run=run.name)
    next(button for button in at.button if button.label == "Stop").click().run()
    assert (run / "stop").exists()
    assert "Stopping" in text(at)


def test_a_study_is_opened_from_a_folder_and_shown(session, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "my films"))
    assert_calm(at)
    assert [one.value for one in at.metric][:2] == ["20", "not known"]
    assert "my films" in text(at)
    assert "study" in at.query_params
    again = session(study=at.query_params["study"])
    assert "my films" in text(again), "a refresh finds the study again"
    assert set(again.table[0].value["class"]) == {"normal", "nodule"}


def test_the_table_preview_shows_no_patient_and_no_folder(session, tmp_path: Path) -> None:
    folder = films(tmp_path / "films")
    names = [f"{label}/{n}.png" for label in ("normal", "nodule") for n in range(10)]
    rows = [f"{name},{name.split('/')[0]},Smith^John{n}" for n, name in enumerate(names)]
    (folder / "films.csv").write_text("image,label,patient\n" + "\n".join(rows))
    at = open_folder(session(), folder / "films.csv")
    assert_calm(at)
    preview = at.dataframe[0].value
    assert list(preview["patient"])[:2] == ["patient 1", "patient 2"]
    assert list(preview["image"])[:2] == ["0.png", "1.png"]
    assert "Smith" not in text(at)


def test_check_shows_issues_and_a_split_and_leads_on(session, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    at.switch_page("steps/check.py").run()
    assert_calm(at)
    assert "leakage between" in text(at)
    assert list(at.table[0].value["part"]) == ["training", "validation", "test"]
    assert at.table[0].value["images"].astype(int).sum() == 20
    assert any(button.label == "Continue to Train" and not button.disabled for button in at.button)


def test_what_blocks_asks_for_a_reason_in_writing(session, tmp_path: Path) -> None:
    folder = films(tmp_path / "films")
    for n in range(2):
        (folder / "nodule" / f"{n}.png").write_bytes((folder / "normal" / f"{n}.png").read_bytes())
    at = open_folder(session(), folder)
    at.switch_page("steps/check.py").run()
    assert_calm(at)
    onward = next(button for button in at.button if button.label == "Continue to Train")
    assert onward.disabled
    at.text_area[0].set_value("I looked at them.").run()
    assert not next(button for button in at.button if button.label == "Continue to Train").disabled


def test_train_begins_one_run_with_the_settings_on_the_page(session, home, tmp_path, begun) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    at.switch_page("steps/train.py").run()
    assert_calm(at)
    assert "20 images of patients who are not known" in text(at)
    field(at, "number_input", "Epochs").set_value(3)
    field(at, "number_input", "Seed").set_value(11)
    extras = field(at, "multiselect", "Extras")
    assert len(extras.options) == 5
    extras.set_value(["mixup", "cutout"])
    next(button for button in at.button if button.label == "Train").click().run()
    assert_calm(at)
    assert len(begun) == 1
    assert (begun[0].model, begun[0].epochs, begun[0].seed, begun[0].augment) == (
        "efficientnetlite0",
        3,
        11,
        "auto+mixup+cutout",
    )
    assert at.query_params["run"] == next((home / "runs").iterdir()).name
    assert list(at.query_params) == ["study", "run"]
    other = session("train", run=at.query_params["run"])
    assert "epoch 3 of 8" in text(other), "a second browser watches the same run"
    third = session("train", study=at.query_params["study"])
    assert "epoch 3 of 8" in text(third), "one training at a time"
    assert "Train" not in [button.label for button in third.button]


def test_large_networks_are_offered_when_asked_and_their_size_is_said(session, home: Path, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    at.switch_page("steps/train.py").run()
    offered = at.selectbox[0].options
    assert any(one.startswith("tiny") for one in offered) and not any(one.startswith("vgg16") for one in offered)
    next(one for one in at.toggle if one.label == "Large networks too").set_value(True).run()
    at.selectbox[0].set_value("vgg16").run()
    assert_calm(at)
    assert "million parameters" in text(at)


def test_another_model_can_be_chosen_after_a_run(session, home: Path, tmp_path: Path) -> None:
    run = make_run(home / "runs", "finished")
    at = open_folder(session(), films(tmp_path / "films"))
    at.query_params["run"] = run.name
    at.switch_page("steps/train.py").run()
    next(button for button in at.button if button.label == "Train another model").click().run()
    at.selectbox[0].set_value("mobilenet").run()
    assert_calm(at)
    assert "Train" in [button.label for button in at.button], "the settings stay while they are changed"
    assert "not on this computer" in text(at) or "are on this computer" in text(at)


@pytest.mark.parametrize(
    ("path", "word"),
    [("", "empty"), ("/nowhere", "nothing at"), (EVIL, "nothing at")],
)
def test_a_wrong_path_is_one_error_in_three_parts(session, home: Path, path: str, word: str) -> None:
    at = session()
    at.text_input[0].set_value(path)
    next(button for button in at.button if button.label == "Open the study").click().run()
    assert_calm(at)
    assert len(at.error) == 1
    assert all(part in at.error[0].value for part in (word, "Expected", "What to do"))
    assert not list((home / "studies").iterdir())


def test_what_cannot_be_read_can_be_read_otherwise_or_forgotten(session, home: Path, tmp_path: Path) -> None:
    folder = films(tmp_path / "films")
    rows = [f"{label}/{n}.png,{label}" for label in ("normal", "nodule") for n in range(10)]
    (folder / "films.csv").write_text("picture,finding\n" + "\n".join(rows))
    at = open_folder(session(), folder / "films.csv")
    assert_calm(at)
    assert len(at.error) == 1
    assert "image" in at.error[0].value
    assert field(at, "multiselect", "Image column").options == ["picture", "finding"], (
        "the columns of the table are offered"
    )
    field(at, "multiselect", "Image column").set_value(["picture"])
    field(at, "multiselect", "Label column").set_value(["finding"])
    next(box for box in at.checkbox if "of another patient" in box.label).check()
    next(button for button in at.button if button.label == "Read it again").click().run()
    assert_calm(at)
    assert not at.error
    assert at.metric[0].value == "20"
    press(at, "Forget this study")
    press(at, "Yes, forget it")
    assert not list((home / "studies").iterdir())
    assert (folder / "films.csv").exists()


def test_masks_that_number_objects_are_read_after_one_tick(session, home: Path, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    assert not [box for box in at.checkbox if "mask" in box.label.lower()], (
        "films with labels have no masks to ask about"
    )
    for part in ("images", "masks"):
        (tmp_path / "cells" / part).mkdir(parents=True)
    for k in range(4):
        numbered = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((12, 12))).astype(np.uint8)
        noise = np.random.default_rng(k).integers(0, 255, numbered.shape).astype(np.uint8)
        for part, pixels in (("images", noise), ("masks", numbered * (numbered <= 12 + k))):
            Image.fromarray(pixels).save(tmp_path / "cells" / part / f"{k}.png")
    at = open_folder(session(), tmp_path / "cells")
    assert_calm(at)
    assert "number single objects" in at.error[0].value
    for label in ("Collapse instances", "Resample masks"):
        field(at, "checkbox", label).check().run()
        assert_calm(at)
        assert not at.error
    assert "background, foreground" in text(at).replace("\\", "")
    entries = [json.loads(path.read_text()) for path in (home / "studies").glob("*/study.json")]
    entry = next(one for one in entries if one["name"] == "cells")
    assert (entry["load"]["collapse_instances"], entry["load"]["resample_masks"]) == (True, True)


def test_an_upload_is_kept_at_once_and_opened(session, home: Path) -> None:
    packed = io.BytesIO()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(packed, "w") as archive:
        for label in (EVIL, "normal"):
            for number in range(6):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 255, (30, 30), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"films/{label}/{number}.png", picture.getvalue())
    at = session()
    at.file_uploader[0].set_value([("../../etc/Smith.zip", packed.getvalue(), "application/zip")]).run()
    assert_calm(at)
    assert at.metric[0].value == "12"
    assert len(list(home.rglob("*.png"))) == 12
    assert not list(home.parent.glob("*Smith*"))


def test_a_bad_upload_is_one_error_and_leaves_nothing(session, home: Path) -> None:
    at = session()
    at.file_uploader[0].set_value([("films.zip", b"PK not really", "application/zip")]).run()
    assert_calm(at)
    assert "damaged" in at.error[0].value
    assert not list((home / "studies").iterdir())


def test_a_study_whose_images_were_moved_away_is_an_error_in_words(session, tmp_path: Path) -> None:
    at = open_folder(session(), films(tmp_path / "films"))
    (tmp_path / "films").rename(tmp_path / "moved")
    for step in ("data", "check", "train"):
        again = session(step, study=at.query_params["study"])
        assert_calm(again)
        assert "does not exist" in again.error[0].value


def test_what_nobody_expected_is_one_calm_sentence_and_a_file(session, home: Path, tmp_path, monkeypatch) -> None:
    import easydl

    at = open_folder(session(), films(tmp_path / "films"))
    monkeypatch.setattr(easydl, "audit", lambda *_, **__: 1 / 0)
    at.switch_page("steps/check.py").run()
    assert_calm(at, surprised=True)
    assert "did not expect" in at.error[0].value
    assert "ZeroDivisionError" not in text(at)
    assert "ZeroDivisionError" in (home / "error.txt").read_text()


def test_a_workspace_that_cannot_be_written_is_an_error_in_words(session, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "file" / "within"))
    at = session()
    assert_calm(at)
    assert "cannot be written" in at.error[0].value


@pytest.mark.parametrize("trick", TRICKS)
def test_names_of_other_people_are_never_formatting(session, home: Path, trick: str) -> None:
    make_run(home / "runs", "finished", classes=(trick, "normal"), source=f"/films/{trick.replace('/', '')}")
    at = session()
    for step in ("train", "results", "heatmaps", "export"):
        at.switch_page(f"steps/{step}.py").run()
        assert_calm(at)
        for kind in ("markdown", "caption", "subheader", "button", "table"):
            for one in at.get(kind):
                value = one.value.to_csv() if kind == "table" else getattr(one, "value", "")
                words = str(value or getattr(one, "label", ""))
                for live in ("<img", "![x]", "[x](", "$x$", ":red[", "`z`"):
                    assert live not in words.replace(f"\\{live}", ""), f"{live} is live in {words!r}"
                assert not getattr(one, "allow_html", False)


def test_two_sessions_see_nothing_of_each_others_choice(session, tmp_path: Path) -> None:
    first = open_folder(session(), films(tmp_path / "one"))
    second = session()
    assert not second.metric
    assert "study" not in second.query_params
    second = open_folder(second, films(tmp_path / "two", each=12))
    assert [first.run().metric[0].value, second.run().metric[0].value] == ["20", "24"]


def test_forgetting_a_study_removes_its_copies(session, home: Path) -> None:
    packed = io.BytesIO()
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(packed, "w") as archive:
        for label in ("planted_name", "normal"):
            for number in range(3):
                picture = io.BytesIO()
                Image.fromarray(rng.integers(0, 255, (30, 30), dtype=np.uint8)).save(picture, "PNG")
                archive.writestr(f"{label}/{number}.png", picture.getvalue())
    at = session()
    at.file_uploader[0].set_value([("films.zip", packed.getvalue(), "application/zip")]).run()
    assert list(home.rglob("*planted_name*"))
    press(at, "Forget this study")
    press(at, "Yes, forget it")
    assert_calm(at)
    assert not list(home.rglob("*planted_name*"))
    assert "study" not in at.query_params


def test_the_app_loads_no_tensorflow(tmp_path: Path) -> None:
    """A fresh process walks through the app with an open study, and is then asked what it has loaded."""
    films(tmp_path / "films")
    script = f"""
import os, sys
os.environ["EASYDL_WORKSPACE"] = {str(tmp_path / "workspace")!r}
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[2])!r},
                {str(Path(__file__).parents[2] / "app")!r}]
from pathlib import Path
from pages import EVIL, assert_calm, field, films, open_folder, press, text
from run_folders import make_run
make_run(Path(os.environ["EASYDL_WORKSPACE"]) / "runs", "finished")
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(Path(__file__).parents[2] / "app" / "main.py")!r}, default_timeout=60).run()
at.text_input[0].set_value({str(tmp_path / "films")!r})
next(button for button in at.button if button.label == "Open the study").click()
at.run()
assert at.metric, at.error
for step in {STEPS!r}:
    at.switch_page(f"steps/{{step}}.py").run()
    assert not at.exception and not at.error, (step, at.error)
loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
print("loaded", loaded)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loaded []" in done.stdout
