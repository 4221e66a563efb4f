"""The process that does a piece of work: however it ends, its status says so, and its log holds no value."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from easydl.errors import InputError
from easydl.reporting import status
from easydl.workspace.background import REQUEST
from easydl.workspace.background_process import WORKS, function_of, work

pytestmark = pytest.mark.quick


@pytest.fixture
def answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a case to a page that does this."""

    def ends(page) -> dict:
        asked = {"work": "case", "model": str(tmp_path / "m.keras"), "source": "case.dcm", "method": "rise"}
        (tmp_path / REQUEST).write_text(json.dumps(asked))
        monkeypatch.setitem(sys.modules, "easydl.reporting.case_page", SimpleNamespace(case_page=page))
        work(tmp_path)
        return status(tmp_path)

    return ends


def test_it_hands_over_the_model_the_source_and_its_folder(answered, tmp_path: Path) -> None:
    given: list = []
    assert answered(lambda *arguments, **how: given.extend([*arguments, how]))["state"] == "finished"
    assert given == [str(tmp_path / "m.keras"), "case.dcm", tmp_path / "result", {"method": "rise"}]


def test_an_error_of_easydl_keeps_its_three_parts(answered) -> None:
    def page(*_, **__):
        raise InputError("It is a film.", "CT.", "Choose a CT.")

    found = answered(page)
    assert found["state"] == "failed"
    assert found["error"] == {"found": "It is a film.", "expected": "CT.", "do": "Choose a CT."}


def test_what_nobody_expected_says_where_and_not_what(answered, capfd) -> None:
    def page(*_, **__):
        raise ValueError("PatientName is Smith^John")

    found = answered(page)
    assert found["state"] == "failed" and all(found["error"].values())
    said = capfd.readouterr().err
    assert "ValueError" in said and "test_background_process.py" in said
    assert "Smith" not in said.replace('raise ValueError("PatientName is Smith^John")', "")
    assert "Smith" not in json.dumps(found)


def test_every_work_has_its_function() -> None:
    assert all(callable(function_of(name)) for name in WORKS)
