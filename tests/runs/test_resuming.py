"""A run that is gone on with: where it was, on the study it began with, and with a report that says so."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
from commands import done
from made import mask_study, png_study

import easydl
from easydl import fileio, runs
from easydl.errors import DiskFullError, RunError, Stopped
from easydl.fileio import DRAFT
from easydl.networks import load_network, metadata_of
from easydl.runs.resuming import check_same_rows, digest_of, times_resumed
from easydl.training import checkpoint
from easydl.training.callbacks import Progress


def quiet(config, folder, **how):
    return runs.run(config, folder, progress=lambda _: None, **how)


@pytest.fixture
def settings(tmp_path):
    """Of a study whose patients are in several parts, with a reason in writing."""
    table = png_study(tmp_path / "study", per_class=6, images_per_patient=2)
    frame = pd.read_csv(table, dtype=str)
    frame.assign(split=np.resize(["train", "val", "test", "train"], len(frame))).to_csv(table, index=False)
    options = {"model": "tiny", "size": 32, "epochs": 3, "heatmaps": 0, "augment": "chest_xray", "seed": 3}
    return runs.RunConfig(source=str(table), split="split", override="to show what leakage does", **options)


def test_a_stopped_run_trains_on_to_the_same_model_and_says_so(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    monkeypatch.setattr("easydl.training.callbacks.LOOK_S", 0)
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    quiet(settings, whole)
    end = Progress.on_epoch_end

    def asked(self, epoch, logs=None):
        end(self, epoch, logs)
        if epoch == 0:
            (folder / "stop").touch()

    with monkeypatch.context() as during:
        during.setattr(Progress, "on_epoch_end", asked)
        with pytest.raises(Stopped):
            quiet(settings, folder)
    assert runs.status(folder)["state"] == "stopped"
    assert metadata_of(load_network(folder / "model.keras")).training["stopped"]
    assert len(pd.read_csv(folder / "history.csv")) == 2, "the second epoch was stopped in its middle"
    (folder / f"{DRAFT}left.npz").write_bytes(b"by a killed process")
    assert "Training" in done("resume", folder)
    assert not list(folder.glob(".*.npz")) and not (folder / "checkpoint.npz").exists()
    models = [load_network(one / "model.keras") for one in (whole, folder)]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (whole / "history.csv").read_text() == (folder / "history.csv").read_text()
    facts = json.loads((folder / "run.json").read_text())
    assert (facts["resumed"], facts["training"]["resumed"], facts["training"]["stopped"]) == (1, 1, False)
    assert facts["seconds"]["training"] >= facts["training"]["seconds"] > 0
    assert "interrupted and resumed 1 time; the training took" in (folder / "report.html").read_text(encoding="utf-8")
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "resumed" not in page and "to show what leakage does" in page
    # Another table in the same place: its test part may hold what the model was trained on.
    frame = pd.read_csv(settings.source, dtype=str)
    frame.iloc[1:].to_csv(settings.source, index=False)
    with pytest.raises(RunError, match="24 images then, 23 now"):
        quiet(settings, folder)
    assert runs.status(folder)["state"] == "failed"
    assert (folder / "metrics.json").exists(), "what was there stays"


def test_the_study_is_known_by_its_rows_and_files(tmp_path):
    table = png_study(tmp_path / "study", per_class=6)
    study = easydl.load(table)
    first = digest_of(study)
    assert first == digest_of(study.rows(study.frame.index[::-1])) == digest_of(easydl.load(table)), "in any order"
    others = [study.rows(study.frame.index[1:])]
    others += [
        study.with_split("part") for study.frame["part"] in (["train", "val", "test"] * 4, ["val", "test", "train"] * 4)
    ]
    changed = study.frame["label"].to_list()[::-1]
    study.frame["label"] = changed
    others.append(study)
    masks = mask_study(tmp_path / "masks", cases=3)
    others.append(easydl.load(masks))
    digests = [digest_of(one) for one in others]
    os.replace(tmp_path / "masks" / "mask1.png", tmp_path / "masks" / "mask0.png")
    os.link(tmp_path / "masks" / "mask0.png", tmp_path / "masks" / "mask1.png")
    digests.append(digest_of(easydl.load(masks)))
    assert len({first, *digests}) == 1 + len(digests)


def test_a_folder_in_which_nothing_was_trained_takes_any_study(tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"rows_digest": "a", "rows": 9}))
    check_same_rows(tmp_path, "b", 9)
    (tmp_path / "checkpoint.npz").touch()
    check_same_rows(tmp_path, "a", 9)
    with pytest.raises(RunError, match="9 images, but not all are as they were"):
        check_same_rows(tmp_path, "b", 9)
    (tmp_path / "split.json").write_text("{}")  # of an older edition
    check_same_rows(tmp_path, "b", 9)


def test_a_run_is_resumed_as_often_as_it_was_not_finished(tmp_path):
    counts = []
    for _ in range(3):
        counts.append(times_resumed(tmp_path))
        fileio.write_status(tmp_path, resumed=counts[-1])
    (tmp_path / "run.json").touch()
    assert [*counts, times_resumed(tmp_path)] == [0, 1, 2, 2]


def test_the_settings_of_a_run_hold_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.npz").touch()
    runs.RunConfig(source="study/scans.csv", pretrained="weights.npz").save(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert (stored["source"], stored["pretrained"]) == (f"{tmp_path}/study/scans.csv", f"{tmp_path}/weights.npz")
    runs.RunConfig(source="/a/b", pretrained="radimagenet").save(tmp_path)
    assert runs.RunConfig.open(tmp_path).pretrained == "radimagenet"


@pytest.fixture
def full(monkeypatch):
    """A function: from now on no new file is written."""

    def fill():
        def no_room(*given, **more):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(fileio.tempfile, "mkstemp", no_room)

    return fill


def test_a_run_on_a_full_disk_fails_with_the_disk_named_and_its_status_says_so(settings, tmp_path, full, monkeypatch):
    folder = tmp_path / "run"

    def load(self):
        full()
        fileio.write_text(self.folder / "table.csv", "")

    monkeypatch.setattr("easydl.runs.pipeline._Pipeline._load", load)
    with pytest.raises(DiskFullError) as caught:
        quiet(settings, folder)
    assert str(folder) in caught.value.found and "MB are free" in caught.value.found
    status = runs.status(folder)
    assert status["state"] == "failed" and "is full" in status["error"]["found"]
    assert not list(folder.glob(f"{DRAFT}*"))
