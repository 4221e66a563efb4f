"""One classification and one segmentation, from loading to the report, by the command and in this process."""

import json
import sys

import pandas as pd
import pytest
from made import nifti_study

import easydl
from easydl.cli import main
from easydl.errors import RESEARCH_USE
from easydl.reporting import RunRecord
from easydl.simulation import simulate

pytestmark = pytest.mark.quick


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["easydl", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def check(folder, headline):
    """A run folder that a person can read, and whose numbers carry n, an interval and the research-use sentence."""
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    table, split = pd.read_csv(folder / "table.csv", dtype=str), json.loads((folder / "split.json").read_text())
    assert table.groupby("patient")["split"].nunique().max() == 1
    assert {"train", "val", "test"} <= set(split)
    metrics = json.loads((folder / "metrics.json").read_text())
    text = json.dumps(metrics)
    assert headline in text and "low" in text and "high" in text
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert RESEARCH_USE.split(".")[0] in report and headline in report and "95% CI" in report
    assert (folder / "predictions.csv").read_text(encoding="utf-8").startswith(f"# {RESEARCH_USE}")


def test_a_classification_from_the_table_to_the_report(tmp_path, monkeypatch, capfd):
    table = simulate(tmp_path / "study", patients=24, images_per_patient=1, seed=2)
    folder = tmp_path / "run"
    words = ["--model", "tiny", "--size", 32, "--epochs", 2, "--heatmaps", 1, "--label", "label", "--seed", 1]
    run(monkeypatch, "train", table, *words, "--folder", folder)
    check(folder, "AUC")
    assert len(json.loads((folder / "heatmaps" / "index.json").read_text())) == 1
    capfd.readouterr()
    run(monkeypatch, "predict", folder / "model.keras", next((tmp_path / "study").rglob("*.dcm")))
    assert RESEARCH_USE in capfd.readouterr().out


def test_a_segmentation_from_the_table_to_the_report(tmp_path, monkeypatch):
    source = nifti_study(tmp_path / "study", cases=8)
    folder = tmp_path / "run"
    monkeypatch.setattr("easydl.training.patch_plan.LEAST_STEPS_AN_EPOCH", 2)  # what it learns is not asked
    run(monkeypatch, "train", source, "--model", "unet3d", "--epochs", 1, "--heatmaps", 1, "--folder", folder)
    check(folder, "Dice")
    record = RunRecord.open(folder)
    assert record.metrics.task == "segmentation" and len(record.heatmaps) == 1 and not record.problems
    assert "easydl.segmenter('unet3d', study" in record.code
    assert "Dice of every test image" in (folder / "report.html").read_text(encoding="utf-8")
    run(monkeypatch, "predict", folder / "model.keras", source.parent / "image0.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert easydl.read(tmp_path / "mask.nii.gz").shape == easydl.read(source.parent / "image0.nii.gz").shape
