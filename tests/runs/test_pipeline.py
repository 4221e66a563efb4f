"""The pipeline of a run: started, killed, stopped and resumed in a process of its own; locked; with its overrides."""

import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from commands import done
from made import nifti_study, png_study

import easydl
from easydl import runs
from easydl.errors import InputError, LeakageError, RunError
from easydl.networks import load_network, metadata_of
from easydl.runs import folder as folder_of_runs
from easydl.runs.folder import locked
from easydl.runs.pipeline import build
from easydl.studies.summary import StudySummary
from easydl.tasks import Task


def test_one_run_in_a_folder_and_only_a_living_one_holds_it(tmp_path):
    (tmp_path / ".lock").touch()  # left by a process that was killed
    with locked(tmp_path), pytest.raises(RunError) as caught, locked(tmp_path):
        raise AssertionError
    assert caught.value.expected == "one run in a folder."
    with locked(tmp_path):
        pass


@pytest.mark.slow
def test_a_run_survives_a_kill_and_a_stop(tmp_path):
    table = png_study(tmp_path / "s", per_class=15)
    config = runs.RunConfig(source=str(table), model="tiny", size=32, epochs=2000, heatmaps=0)
    folder = runs.new_folder(tmp_path, "tiny")
    pid = runs.start(config, folder)
    with pytest.raises(RunError, match="going on"):
        runs.start(config, folder)
    _until((folder / "checkpoint.npz").exists, folder)
    os.kill(pid, signal.SIGKILL)
    _until(lambda: runs.status(folder)["state"] == "interrupted", folder)
    assert not (folder / "report.html").exists()
    before = len(pd.read_csv(folder / "history.csv"))
    assert before >= 1
    first = runs.resume(folder)  # at once: the lock died with the process
    assert first != pid
    _until(lambda: len(pd.read_csv(folder / "history.csv")) > before, folder)
    runs.stop(folder)
    _until(lambda: runs.status(folder)["state"] == "stopped", folder)
    assert metadata_of(load_network(folder / "model.keras")).training["resumed"] == 1, "from its checkpoint"
    epochs = pd.read_csv(folder / "history.csv")["epoch"].tolist()
    assert epochs == list(range(1, len(epochs) + 1)) and runs.status(folder)["epoch"] >= before
    assert runs.listing(tmp_path) == [folder]
    done("resume", folder, "--no-train")  # as the third process would: it is begun as the other two were
    assert runs.status(folder)["state"] == "finished"
    assert (folder / "metrics.json").exists()


@pytest.mark.parametrize("train", [True, False])
def test_a_process_is_told_whether_to_train_on(tmp_path, monkeypatch, train):
    begun = []
    monkeypatch.setattr(
        folder_of_runs.subprocess, "Popen", lambda words, **_: begun.append(words) or SimpleNamespace(pid=os.getpid())
    )
    runs.RunConfig(source="x").save(tmp_path)
    runs.resume(tmp_path, train=train)
    assert begun[0][3:] == ["resume", str(tmp_path), *([] if train else ["--no-train"])]


def _until(true, folder, seconds=180):
    end = time.monotonic() + seconds
    while not true():
        state = runs.status(folder)
        assert state["state"] != "failed", state
        assert time.monotonic() < end, state
        time.sleep(0.1)


def test_leaking_splits_need_a_reason(tmp_path):
    """With one, the report repeats it (test_resuming.py)."""
    table = png_study(tmp_path / "s", per_class=15, images_per_patient=2)
    frame = pd.read_csv(table, dtype=str)
    frame["split"] = np.resize(["train", "val", "test"], len(frame))
    frame.to_csv(table, index=False)
    config = runs.RunConfig(source=str(table), model="tiny", size=32, epochs=1, split="split", heatmaps=0)
    with pytest.raises(LeakageError):
        runs.run(config, tmp_path / "refused", progress=lambda _: None)
    assert runs.status(tmp_path / "refused")["error"]["expected"]


def test_a_segmenter_is_chosen_for_masks_and_refused_for_labels(tmp_path):
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
    from easydl.networks import save_model

    masks = StudySummary(Task.SEGMENTATION, ("background", "lung"))
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


def test_the_head_of_a_run_is_that_of_its_classifier_and_of_no_segmenter(tmp_path):
    films = easydl.load(png_study(tmp_path / "films"))
    trees = build(runs.RunConfig(source="x", head="forest", pretrained=False), films)
    assert metadata_of(trees).arguments["head"] == "forest"
    masks = StudySummary(Task.SEGMENTATION, ("background", "lung"))
    with pytest.raises(InputError, match="head"):
        build(runs.RunConfig(source="x", head="forest"), masks)
    with pytest.raises(InputError, match="stochastic_depth"):
        build(runs.RunConfig(source="x", stochastic_depth=0.2), masks)
    assert metadata_of(build(runs.RunConfig(source="x", activation="elu"), masks)).arguments["activation"] == "elu"
