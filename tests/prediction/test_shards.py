"""Predictions by several processes are those of one, to the bit, and what was finished is not made again."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.errors import InputError, RunError
from easydl.prediction import shards
from easydl.prediction.answers import answers_of, joined


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("s"), per_class=20))


@pytest.fixture(scope="module")
def model(study):
    return easydl.classifier("tiny", study, size=32, seed=3)


@pytest.fixture
def killed(monkeypatch):
    """Each process's work is done in this one; those whose numbers are put in here end before it."""
    numbers = set()

    def start(command, env):
        own, number = command[-2:]
        code = 137 if number in numbers else 0
        if not code:
            shards._work(Path(own), int(number))
        return SimpleNamespace(wait=lambda: code, poll=lambda: code)

    monkeypatch.setattr(shards.subprocess, "Popen", start)
    monkeypatch.setattr(shards, "IN_A_PART", 16)
    return numbers


def test_parts_are_the_whole_to_the_bit_and_are_kept_when_a_process_is_killed(study, model, tmp_path, killed):
    whole = easydl.predict(model, study)
    killed.add("1")
    with pytest.raises(RunError) as caught:
        easydl.predict(model, study, processes=2, parts=tmp_path / "parts")
    assert "exit code 137" in caught.value.found and "2 finished parts are kept" in caught.value.do
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    killed.clear()
    parted = easydl.predict(model, study, processes=2, parts=tmp_path / "parts")
    assert len(kept) == 2 and len(list((tmp_path / "parts").iterdir())) == 3
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not made again
    pd.testing.assert_frame_equal(whole.frame, parted.frame, check_exact=True)
    assert whole.notes == parted.notes and whole.thresholds == parted.thresholds
    # Of another model nothing is taken up.
    other = easydl.classifier("tiny", study, size=32, seed=4)
    again = easydl.predict(other, study, processes=2, parts=tmp_path / "parts")
    pd.testing.assert_frame_equal(again.frame, easydl.predict(other, study).frame, check_exact=True)
    assert len(list((tmp_path / "parts").iterdir())) == 6


def test_answers_of_rows_are_those_of_all(study, model):
    whole = answers_of(model, study)
    parts = joined([answers_of(model, study, rows=list(rows)) for rows in (range(32), range(32, len(study)))])
    np.testing.assert_array_equal(whole.stack, parts.stack)
    assert whole.strange == parts.strange


def test_several_processes_are_refused_for_one_image_and_for_dropout(study, model):
    for given in ({"processes": 2}, {"parts": "x"}):
        with pytest.raises(InputError, match="single image"):
            easydl.predict(model, study.scan(0), **given)
    with pytest.raises(InputError, match="which process draws the dropout"):
        easydl.predict(model, study, processes=2, uncertainty="mc_dropout")


@pytest.mark.everything
def test_real_processes_and_the_command_give_the_same_table(study, model, tmp_path):
    easydl.save_model(model, tmp_path / "m.keras")
    table = study.frame["image"].iloc[0].rsplit("/", 2)[0] + "/scans.csv"
    tables = []
    for processes in (1, 2):
        output = tmp_path / f"{processes}.csv"
        command = [sys.executable, "-m", "easydl", "predict", tmp_path / "m.keras", table, "-o", output]
        subprocess.run([*command, "--processes", str(processes)], check=True, capture_output=True)
        tables.append(output.read_bytes())
    assert tables[0] == tables[1]
    assert not (tmp_path / "2.csv.parts").exists()
