"""What is not here is never another's numbers; every study and run can be reached; deleting asks first."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from pages import assert_calm, films, press, text
from run_folders import make_run

from easydl.workspace import Workspace

NOWHERE = "0123456789abcdef"


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("train", "2020-01-01_0000_tiny"),
        ("results", "../other"),
        ("heatmaps", "<b>x</b>"),
        ("export", "../other"),
        *(
            pytest.param(step, wrong, marks=pytest.mark.everything)
            for step, wrong in product(
                ("train", "results", "heatmaps", "export"), ("2020-01-01_0000_tiny", "../other", "<b>x</b>")
            )
        ),
    ],
)
def test_an_unknown_run_is_not_here_and_never_anothers_numbers(session, home: Path, step: str, wrong: str) -> None:
    make_run(home / "runs", "finished")
    make_run(home / "runs", "running", name="20260103-101500-ab12")
    at = session(step, run=wrong)
    assert_calm(at)
    assert "This run is not here any more." in text(at)
    main = [one.value for kind in ("subheader", "markdown") for one in getattr(at.main, kind)]
    assert not any("AUC" in words or "epoch" in words or "mage 1" in words for words in main)
    assert not at.get("download_button") and not at.get("progress") and not at.table
    assert at.session_state["run"] == wrong
    press(at, "Choose another run")
    assert "run" not in at.session_state or at.session_state["run"] != wrong
    assert "not here any more" not in text(at)


@pytest.mark.parametrize("step", ["data", "check", "train"])
def test_an_unknown_study_is_not_here_and_another_can_be_chosen(session, home: Path, tmp_path: Path, step: str) -> None:
    Workspace(home).studies.open(films(tmp_path / "films"))
    at = session(step, study=NOWHERE)
    assert_calm(at)
    assert "This study is not here any more." in text(at)
    assert not at.metric
    press(at, "Choose another study")
    assert "study" not in at.query_params


def test_every_study_that_was_opened_is_in_the_list(session, home: Path, tmp_path: Path) -> None:
    folder = films(tmp_path / "films", each=1)
    for number in range(30):
        Workspace(home).studies.open(folder, name=f"study {number}")
    at = session()
    assert sum(button.label.startswith("study ") for button in at.button) == 30
    press(at, next(button.label for button in at.button if button.label.startswith("study 0,")))
    assert "study 0" in text(at)


def test_starts_that_failed_do_not_hide_a_run_that_finished(session, home: Path) -> None:
    make_run(home / "runs", "finished", name="2026-01-01_good")
    for number in range(20):
        make_run(home / "runs", "failed", name=f"2026-02-02_bad{number:02}", stage="loading")
    at = session("results")
    assert_calm(at)
    assert "95% CI" in at.main.subheader[0].value, "the finished run is shown first"
    keys = [button.key for button in at.sidebar.button]
    assert keys[0] == "run-2026-01-01_good"
    assert len(keys) == 21, "and every other one can be reached"
    assert at.sidebar.get("expander")[0].label == "Not finished (20)"


def test_forgetting_asks_first(session, home: Path, tmp_path: Path) -> None:
    entry = Workspace(home).studies.open(films(tmp_path / "films"))
    at = session(study=entry.id)
    press(at, "Forget this study")
    assert "cannot be undone" in at.warning[0].value
    assert Workspace(home).studies.find(entry.id) is not None
    press(at, "No, keep it")
    assert not at.warning
    press(at, "Forget this study")
    press(at, "Yes, forget it")
    assert Workspace(home).studies.all() == []
    assert "study" not in at.query_params
