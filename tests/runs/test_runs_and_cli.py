import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl import runs
from easydl.errors import InputError, LeakageError, RunError

ROOT = Path(__file__).parents[2]


def command(*words, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "easydl", *map(str, words)], capture_output=True, text=True, cwd=cwd or ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EASYDL_WEIGHTS": "/nowhere", "COLUMNS": "200", **environment},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run through the command line, used by the tests below."""
    place = tmp_path_factory.mktemp("finished")
    table = png_study(place / "study", per_class=15)
    out = command(
        "train", table, "--model", "tiny", "--size", 32, "--epochs", 12, "--heatmaps", 2, "--folder", place / "run"
    )
    assert out.returncode == 0, out.stderr
    return place / "run", table, out.stdout


def test_a_run_folder_holds_everything(finished):
    folder, _, said = finished
    for name in ("config.json", "table.csv", "split.json", "audit.json", "status.json", "history.csv", "model.keras",
                 "predictions.csv", "metrics.json", "run.json", "report.html", "heatmaps/index.json"):  # fmt: skip
        assert (folder / name).stat().st_size > 0, name
    assert runs.status(folder)["state"] == "finished"
    assert len(json.loads((folder / "heatmaps/index.json").read_text())) == 2
    assert "95% CI" in said
    assert easydl.RESEARCH_USE in said
    assert "report.html" in said
    facts = json.loads((folder / "run.json").read_text())
    assert facts["versions"]["keras"]
    assert set(facts["seconds"]) == {
        "loading",
        "splitting",
        "checking",
        "training",
        "testing",
        "explaining",
        "reporting",
    }
    assert not list(folder.rglob("*.tmp"))
    assert not (folder / "lock").exists()


def test_the_other_commands_work_on_its_model(finished, tmp_path):
    folder, table, _ = finished
    model = folder / "model.keras"
    out = command("evaluate", model, table, "--json")
    assert json.loads(out.stdout)["table"], out.stderr
    image = next((table.parent / "disease").glob("*.png"))
    assert "p(disease)" in command("predict", model, image).stdout
    assert command("predict", model, table, "-o", tmp_path / "p.csv").returncode == 0
    assert (tmp_path / "p.csv").read_text().startswith("# Research use only")
    out = command("saliency", model, image, "-o", tmp_path / "h.png", "--target", "disease")
    assert out.stdout.split(":")[0] in ("PASS", "CAUTION", "FAIL"), out.stderr
    assert (tmp_path / "h.png").stat().st_size > 1000
    (folder / "report.html").unlink()
    assert command("report", folder).returncode == 0
    assert (folder / "report.html").exists()


def test_lists_and_doctor(tmp_path):
    assert any(row["name"] == "resnet" for row in json.loads(command("models", "--json").stdout))
    wanted = ["--kind", "classifier", "--dimension", "2", "--pretrained", "imagenet", "--at-most-megabytes", "1"]
    assert [row["name"] for row in json.loads(command("models", *wanted, "--json").stdout)] == ["mobilenet_025"]
    assert any(row["name"] == "chest_xray" for row in json.loads(command("presets", "--json").stdout))
    out = json.loads(command("doctor", "--json").stdout)
    assert out["versions"]["tensorflow"]
    assert out["advice"]


def test_the_audit_command_says_what_blocks_with_its_exit_code(tmp_path):
    table = png_study(tmp_path / "s")
    assert command("audit", table).returncode == 0
    other = tmp_path / "s/healthy/000_0.png"
    other.write_bytes((tmp_path / "s/disease/000_0.png").read_bytes())
    out = command("audit", table)
    assert out.returncode == 2
    assert "BLOCK" in out.stdout


BAD = {
    "missing file": (["train", "gone.csv"], "does not exist"),
    "missing model": (["predict", "gone.keras", "x.png"], "gone.keras"),
    "one class": (["train", "ONE"], "All 8 images have the label"),
    "labels by case": (["train", "CASE"], "spaces or case"),
    "few patients": (["train", "FEW"], "too few patients"),
    "unreadable": (["train", "BROKEN"], "broken.png is not in a format that easydl reads"),
    "no weights": (["train", "GOOD", "--model", "mobilenet", "--pretrained"], "mobilenet_1_0_224_tf_no_top.h5"),
    "unknown model": (["train", "GOOD", "--model", "alexnot"], "alexnot"),
    "unknown preset": (["train", "GOOD", "--augment", "xray", "--model", "tiny"], "xray"),
    "bad setting": (["train", "GOOD", "--epochs", "0"], "epochs"),
    "no option": (["train", "GOOD", "--speed", "9"], "--speed"),
    "not a run": (["resume", "."], "run folder"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_three_lines_and_no_traceback(name, tmp_path):
    table = png_study(tmp_path / "s", per_class=8)
    frame = pd.read_csv(table, dtype=str)
    frame[:8].to_csv(tmp_path / "s/ONE.csv", index=False)
    frame.assign(label=["Disease", *frame["label"][1:]]).to_csv(tmp_path / "s/CASE.csv", index=False)
    frame.assign(patient=frame["label"]).to_csv(tmp_path / "s/FEW.csv", index=False)
    broken = frame.assign(image=["broken.png", *frame["image"][1:]])
    (tmp_path / "s/broken.png").write_text("not a picture")
    broken.to_csv(tmp_path / "s/BROKEN.csv", index=False)
    frame.to_csv(tmp_path / "s/GOOD.csv", index=False)
    words, expected = BAD[name]
    words = [f"{tmp_path}/s/{word}.csv" if word.isupper() else word for word in words]
    extra = ["--folder", tmp_path / "run"] if words[0] == "train" else []
    out = command(*words, *extra, cwd=tmp_path, EASYDL_WEIGHTS=str(tmp_path), KERAS_HOME=str(tmp_path),
                  EASYDL_WEIGHTS_URL="http://127.0.0.1:9/")  # fmt: skip
    assert out.returncode in (1, 2)
    assert "Traceback" not in out.stderr + out.stdout
    assert expected in out.stderr + out.stdout
    assert not (tmp_path / "run/model.keras").exists()
    if words[0] == "train" and (tmp_path / "run").exists() and "epochs" not in expected and "speed" not in expected:
        assert runs.status(tmp_path / "run")["state"] == "failed"
        assert runs.status(tmp_path / "run")["error"]["do"]


def test_one_run_in_a_folder_and_a_stale_lock_is_taken_over(tmp_path):
    from easydl.runs.folder import locked

    (tmp_path / "lock").write_text(str(os.getppid()))
    with pytest.raises(RunError, match="at work"), locked(tmp_path):
        raise AssertionError
    child = subprocess.Popen([sys.executable, "-c", "0"])
    child.wait()
    (tmp_path / "lock").write_text(str(child.pid))
    with locked(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert not (tmp_path / "lock").exists()


def test_a_started_run_survives_is_stopped_and_resumed(tmp_path):
    table = png_study(tmp_path / "s", per_class=15)
    config = runs.RunConfig(source=str(table), model="tiny", size=32, epochs=2000, heatmaps=0)
    folder = runs.new_folder(tmp_path, "tiny")
    runs.start(config, folder)
    with pytest.raises(RunError, match="going on"):
        runs.start(config, folder)
    _until(lambda: runs.status(folder)["epoch"] >= 2, folder)
    runs.stop(folder, wait_s=60)
    _until(lambda: runs.status(folder)["state"] == "stopped", folder)
    assert (folder / "model.keras").exists()
    assert runs.listing(tmp_path) == [folder]
    runs.resume(folder)
    _until(lambda: runs.status(folder)["state"] == "finished", folder)
    assert (folder / "metrics.json").exists()


def test_a_killed_run_is_interrupted(tmp_path):
    table = png_study(tmp_path / "s", per_class=15)
    folder = tmp_path / "run"
    pid = runs.start(runs.RunConfig(source=str(table), model="tiny", size=32, epochs=2000), folder)
    _until(lambda: runs.status(folder)["pid"] and runs.status(folder)["stage"] == "training", folder)
    os.kill(pid, signal.SIGKILL)
    _until(lambda: runs.status(folder)["state"] == "interrupted", folder)
    assert not (folder / "report.html").exists()


def _until(true, folder, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        state = runs.status(folder)
        assert state["state"] != "failed", state
        assert time.monotonic() < end, state
        time.sleep(0.1)


def test_leaking_splits_need_a_reason_that_the_report_repeats(tmp_path):
    table = png_study(tmp_path / "s", per_class=15, images_per_patient=2)
    frame = pd.read_csv(table, dtype=str)
    frame["split"] = np.resize(["train", "val", "test"], len(frame))
    frame.to_csv(table, index=False)
    config = {"source": str(table), "model": "tiny", "size": 32, "epochs": 1, "split": "split", "heatmaps": 0}
    with pytest.raises(LeakageError):
        runs.run(runs.RunConfig(**config), tmp_path / "refused", progress=lambda _: None)
    assert runs.status(tmp_path / "refused")["error"]["expected"]
    report = runs.run(
        runs.RunConfig(**config, override="to show what leakage does"), tmp_path / "run", progress=lambda _: None
    )
    assert "to show what leakage does" in report.read_text(encoding="utf-8")


def test_a_segmenter_is_chosen_for_masks_and_refused_for_labels(tmp_path):
    from made import nifti_study

    from easydl.runs.pipeline import build

    volumes = easydl.load(nifti_study(tmp_path / "n", cases=3), mask="mask")
    assert build(runs.RunConfig(source="x"), volumes).name.startswith("unet3d")
    with pytest.raises(InputError):
        build(runs.RunConfig(source="x", model="resnet"), volumes)
    films = easydl.load(png_study(tmp_path / "s"))
    with pytest.raises(InputError):
        build(runs.RunConfig(source="x", model="unet"), films)
    with pytest.raises(InputError, match="without masks"):
        build(runs.RunConfig(source="x", encoder="mobilenet_025"), films)


def test_a_segmenter_of_a_run_is_built_on_the_encoder_and_its_weights(tmp_path):
    from types import SimpleNamespace

    from easydl.networks import metadata_of, save_model
    from easydl.runs.pipeline import build

    masks = SimpleNamespace(task="segmentation", dimension=2, classes=["background", "lung"])
    start = easydl.classifier("mobilenet_025", classes=["a", "b"], size=64, channels=1, seed=5)
    save_model(start, tmp_path / "start.keras")
    model = build(
        runs.RunConfig(source="x", encoder="mobilenet_025", pretrained=str(tmp_path / "start.keras"), seed=1), masks
    )
    assert metadata_of(model).arguments["encoder"] == "mobilenet_025"
    np.testing.assert_array_equal(
        model.get_layer("conv_pw_3").get_weights()[0], start.get_layer("conv_pw_3").get_weights()[0]
    )
    with pytest.raises(InputError, match="without `encoder`"):
        build(runs.RunConfig(source="x", pretrained=True), masks)
    assert build(runs.RunConfig(source="x", size=64), masks).input_shape[1:3] == (64, 64)
    with pytest.raises(InputError, match="covariates"):
        build(runs.RunConfig(source="x", covariates=["age"]), masks)


@pytest.mark.slow
def test_the_demo_runs_offline(tmp_path):
    out = command("demo", "--folder", tmp_path / "demo")
    assert out.returncode == 0, out.stderr
    assert "simulat" in (tmp_path / "demo/report.html").read_text(encoding="utf-8").lower()
    assert runs.status(tmp_path / "demo")["state"] == "finished"


@pytest.mark.real
@pytest.mark.slow
def test_openi_is_trained_in_one_command(real, tmp_path):
    out = command("train", real / "openi_abd_vs_cxr", "--model", "tiny", "--epochs", 20, "--heatmaps", 1, "--seed", 7,
                  "--folder", tmp_path / "run")  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert "size of the image" in out.stdout
    split = json.loads((tmp_path / "run/split.json").read_text())
    assert split["test"]["images"] >= 14
    assert not split["patients_known"]
