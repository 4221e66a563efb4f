"""Comparisons before a training: one at a time, stopped, kept; what they find is that of `compare` and `tune`, without the test part."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import easydl
from easydl import processes
from easydl.errors import RunError
from easydl.workspace import Workspace, background, conversions
from easydl.workspace.background_process import work

SPLIT = {"seed": 3}
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def entry(home: Workspace, tmp_path: Path):
    rng = np.random.default_rng(0)
    for label, grey in (("dark", 90), ("bright", 130)):
        (tmp_path / "films" / label).mkdir(parents=True)
        for number in range(20):
            pixels = rng.normal(grey, 30, (32, 32)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "films" / label / f"{label}{number}.png")
    return home.studies.open(tmp_path / "films", patient=None)


@pytest.fixture
def asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "command", lambda home: [sys.executable, "-c", SLEEP])


@pytest.mark.usefixtures("asleep")
def test_one_training_or_comparison_at_a_time_and_each_can_be_stopped(home: Workspace, entry) -> None:
    one = home.comparisons.networks(entry, ["forest", "tiny"], SPLIT, epochs=2)
    try:
        assert one.running and one.fraction == 0 and one.title == "Comparing forest, tiny"
        with pytest.raises(RunError, match="being compared already"):
            home.comparisons.rates(entry, "tiny", [0.001, 0.003], SPLIT)
        with pytest.raises(RunError, match="being compared already"):
            home.runs.start(entry, model="tiny")
        lines = [f"Fold {fold} of 5, {name}" for name in ("forest", "tiny") for fold in range(1, 6)]
        (one.folder / "log.txt").write_text("\n".join(lines[:7]))
        assert one.fraction == pytest.approx((5 * 0.05 + 1) / (5 * 0.05 + 5)) and one.message == "Fold 2 of 5, tiny"
    finally:
        one.stop()
    (kept,) = home.comparisons.of(entry.id)
    assert kept.state == "stopped" and home.comparisons.of("another") == []
    pid = kept.status["pid"]
    until = time.monotonic() + 20
    while processes.mark(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes.mark(pid) is None
    home.comparisons.forget(entry.id)
    assert not kept.folder.exists()


@pytest.mark.usefixtures("asleep")
def test_none_is_begun_while_a_training_is_in_progress(home: Workspace, entry) -> None:
    folder = home.runs.folder / "one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"source": entry.source}))
    (folder / "status.json").write_text(json.dumps({"state": "running", **processes.this()}))
    with pytest.raises(RunError, match="training is in progress"):
        home.comparisons.networks(entry, ["forest", "tiny"], SPLIT)
    assert home.comparisons.of(entry.id) == []
    with pytest.raises(RunError, match="folds"):
        home.comparisons.networks(entry, ["forest", "tiny"], SPLIT, folds=1)


def test_baselines_are_compared_without_the_test_part(home: Workspace, entry, capsys) -> None:
    place = home.comparisons.folder / ("0" * 16)
    place.mkdir(parents=True)
    options = {"folds": 3, "epochs": 1, "pretrained": False}
    asked = {"work": "compare", "compared": ["prevalence", "thumbnail"], "split": SPLIT, "options": options}
    (place / "request.json").write_text(json.dumps({**asked, "study": entry.id}))
    work(place)
    (found,) = home.comparisons.of(entry.id)
    assert found.state == "finished", found.status
    whole = home.studies.load(entry).split(seed=3)[0].parent
    expected = easydl.compare(whole, ["prevalence", "thumbnail"], **options)
    assert found.found["sentence"] == expected.sentence and "not the test" not in expected.sentence
    assert list(found.table["AUC (95% CI)"]) == [expected.value_text(row) for row in expected.rows]
    left = int((whole.frame["split"] != "test").sum())
    assert set(found.table["n"]) == {f"{left} images"} and left < len(whole)
    assert found.settings == {}, "a baseline is no network"
    assert found.figure is not None and found.figure.read_bytes().startswith(b"\x89PNG")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Fold ")]
    assert len(said) == 6 and said[0] == "Fold 1 of 3, prevalence"


@pytest.mark.everything
def test_learning_rates_are_chosen_and_become_settings(home: Workspace, entry) -> None:
    place = home.comparisons.folder / ("1" * 16)
    place.mkdir(parents=True)
    options = {"folds": 3, "epochs": 1, "pretrained": False, "size": 32}
    asked = {"work": "tune", "compared": [0.001, 0.01], "model": "tiny", "split": SPLIT, "options": options}
    (place / "request.json").write_text(json.dumps({**asked, "study": entry.id}))
    work(place)
    (found,) = home.comparisons.of(entry.id)
    assert found.state == "finished", found.status
    assert found.settings["model"] == "tiny" and found.settings["learning_rate"] in (0.001, 0.01)
    assert len(found.table) == 2 and "95% CI" in found.found["sentence"]


def test_all_packages_that_a_format_lacks_are_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib import util

    monkeypatch.setattr(util, "find_spec", lambda name: None)
    lacking = conversions.missing(".onnx")
    assert lacking is not None and conversions.missing(".tflite") is None
    assert (
        lacking.found == "Writing ONNX files needs the packages onnx, tf2onnx and onnxruntime, which are not installed."
    )
    assert lacking.do == "Run: python -m pip install onnx tf2onnx onnxruntime"
    assert "the package openvino, which is not" in str(conversions.missing(".xml"))
    (tmp_path / "model.keras").write_bytes(b"model")
    run = SimpleNamespace(folder=tmp_path, file=lambda name: tmp_path / name)
    with pytest.raises(type(lacking)):
        conversions.Conversions(run).begin(".xml", "int8")


@pytest.mark.usefixtures("asleep")
def test_a_conversion_is_begun_once_and_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"model")
    kept = conversions.Conversions(SimpleNamespace(folder=tmp_path, file=lambda name: tmp_path / name))
    one = kept.begin(".tflite", "float16")
    try:
        assert kept.begin(".tflite", "float16").status["pid"] == one.status["pid"]
        with pytest.raises(RunError, match="one at a time"):
            kept.begin(".tflite", "int8")
    finally:
        one.stop()
    assert kept.find(".tflite", "float16").state == "stopped" and kept.find(".tflite", "int8") is None
