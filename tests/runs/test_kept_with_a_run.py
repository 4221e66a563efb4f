"""What is kept with a run after it: the features, the nearest training images of its heatmaps, the model in other formats."""

import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

import easydl
from easydl import exporting
from easydl.errors import RunError
from easydl.exploration.neighbours import FeatureSpace
from easydl.exporting.results import Agreement, Export, Size
from easydl.reporting import RunRecord
from easydl.runs.kept_features import FEATURES, kept
from easydl.runs.resuming import study_of
from easydl.workspace import conversions, similar
from easydl.workspace.background_process import work


@pytest.fixture
def run(finished, tmp_path):
    return Path(shutil.copytree(finished / "run", tmp_path / "runs" / "run"))


def done(home, **asked):
    """As the other process does it."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "request.json").write_text(json.dumps(asked))
    work(home)
    status = json.loads((home / "status.json").read_text())
    assert status["state"] == "finished", status
    return home


def test_the_features_of_the_training_and_test_part_are_kept(run):
    study = study_of(run)
    known = kept(run, study)
    expected = FeatureSpace.of(easydl.features(run / "model.keras", known.training).to_numpy(float), known.training)
    np.testing.assert_allclose(known.space.directions, expected.directions, atol=2e-3)
    np.testing.assert_allclose(known.space.own, expected.own, atol=2e-3)
    assert [known.direction(row) is None for row in range(len(study))] == list(study.frame["split"] == "val")
    assert stat.S_IMODE((run / FEATURES).stat().st_mode) == 0o600
    shutil.copyfile(run / FEATURES, run / "other")
    (run / FEATURES).write_bytes((run / "other").read_bytes()[:200])
    assert kept(run, study) is None, "half a file is no file"


def test_the_nearest_of_its_heatmaps_are_found_once_without_names(run):
    similar.of_heatmaps(RunRecord(run))
    assert similar.of_heatmaps(RunRecord(run)) == {} and similar.search(RunRecord(run)) is None
    home = done(run / "nearest", work="nearest")
    record, study = RunRecord(run), study_of(run)
    found = similar.of_heatmaps(record)
    assert list(found) == [entry["file"] for entry in record.heatmaps]
    train, test = study.part("train"), study.part("test")
    for entry in record.heatmaps:
        row = int(np.flatnonzero(test.frame["image"] == address_of(record, study, entry["image"]))[0])
        expected = easydl.nearest(run / "model.keras", test, train, row=row)
        one = found[entry["file"]]
        assert [image.label for image in one.images] == list(expected.table["label"])
        assert [address_of(record, study, image.name) for image in one.images] == list(expected.table["image"])
        np.testing.assert_allclose([image.distance for image in one.images], expected.table["distance"], atol=2e-3)
        assert all(image.path.read_bytes().startswith(b"\x89PNG") for image in one.images)
        assert one.same_patient == similar.KEPT_APART and "5 nearest cases" in one.sentence
    written = (home / "index.json").read_text()
    assert not any(name in written for name in [*study.frame["patient"], *map(os.path.basename, study.frame["image"])])
    os.utime(run / "heatmaps" / "index.json")
    assert similar.of_heatmaps(record) == {}, "of other heatmaps"


def address_of(record, study, name):
    return study.frame["image"].iloc[int(np.flatnonzero(record.table["shown_image"] == name)[0])]


def test_features_that_are_not_kept_are_computed_once(run):
    (run / FEATURES).unlink()
    done(run / "nearest", work="nearest")
    assert (run / FEATURES).is_file() and similar.of_heatmaps(RunRecord(run))


def test_a_new_case_gets_its_nearest_training_images(run, tmp_path):
    study = study_of(run)
    path, train = study.part("val").frame["image"].iloc[0], study.part("train")
    found = similar.find_for_case(run / "model.keras", path, tmp_path)
    expected = easydl.nearest(run / "model.keras", path, train)
    shown = similar.from_kept(found, tmp_path)
    np.testing.assert_allclose([one.distance for one in shown.images], expected.table["distance"], atol=2e-3)
    assert "does not say whose it is: one of these may be of the same patient" in shown.same_patient
    outside = {"images": [{**found["images"][0], "file": "../secret.png"}]}
    assert similar.from_kept(outside, tmp_path).images[0].path is None
    (run / FEATURES).unlink()
    assert "on the page Heatmaps" in similar.find_for_case(run / "model.keras", path, tmp_path)["missing"]
    alone = shutil.copyfile(run / "model.keras", tmp_path / "model.keras")
    assert similar.find_for_case(Path(alone), path, tmp_path) == {}


def test_a_study_that_is_another_now_is_refused(run):
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps(split | {"rows_digest": "0" * 64}))
    with pytest.raises(RunError, match="not the one this run was trained on"):
        study_of(run)


@pytest.fixture
def asked_of(run, monkeypatch):
    """In place of the converter, which takes seconds: what it was given, and a file."""
    given = []

    def export(model, path, study, **options):
        given.append((model, path.name, study, options))
        path.write_bytes(b"converted")
        sidecar = path.with_name(f"{path.name}.easydl.json")
        sidecar.write_text("{}")
        agreement = [Agreement("same decision", 1.0, 0.8, 1.0, 6, "patients", 6)] if study is not None else []
        return Export(path, sidecar, options["to"], None, Size(9, 9, 9, 9), agreement, ["A note."])

    monkeypatch.setattr(exporting, "export", export)
    return given


def test_a_model_is_converted_on_the_validation_part_and_kept(run, asked_of):
    home = run / "exports" / "tensorflow-lite-int8"
    changed = (run / "model.keras").stat().st_mtime_ns
    done(home, work="convert", ending=".tflite", weights="int8", model_changed=changed)
    ((model, name, study, options),) = asked_of
    assert (model, name, options) == (run / "model.keras", "model-int8.tflite", {"to": "int8", "verbose": False})
    assert list(study.frame["image"]) == list(study_of(run).part("val").frame["image"])
    (made,) = conversions.Conversions(RunRecord(run)).all()
    assert made.title == "TensorFlow Lite, int8" and len(made.lines) == 3
    assert made.lines[1] == "Same decision: 100.0% (95% CI 80.0% to 100.0%, 6 patients, 6 images)."
    assert [path.name for path in made.files] == ["model-int8.tflite", "model-int8.tflite.easydl.json"]
    assert made.packed().getvalue().startswith(b"PK")
    os.utime(run / "model.keras")
    assert conversions.Conversions(RunRecord(run)).all() == [], "of another model"


def test_without_its_study_a_model_is_converted_unmeasured_and_that_is_said(run, asked_of):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"source": "/gone/scans.csv"}))
    home = done(run / "exports" / "onnx-float16", work="convert", ending=".onnx", weights="float16")
    assert asked_of[0][2] is None
    assert "The study of the run cannot be read: " in json.loads((home / "export.json").read_text())["lines"][-1]
    (home / "request.json").write_text(json.dumps({"work": "convert", "ending": ".onnx", "weights": "int8"}))
    work(home)
    assert json.loads((home / "status.json").read_text())["state"] == "failed"


@pytest.mark.everything
@pytest.mark.parametrize("ending", [".tflite", ".onnx", ".xml"])
def test_each_format_is_made(run, ending):
    if conversions.missing(ending):
        pytest.skip("its package is not installed")
    home = done(run / "exports" / "made", work="convert", ending=ending, weights="float32")
    found = json.loads((home / "export.json").read_text())
    assert any(one.startswith("Same decision: 100.0%") for one in found["lines"]) and len(found["files"]) >= 2
