"""A process is known by its number and its start, so that a number given out again is a stranger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from easydl import processes
from easydl.runs import status, stop

pytestmark = pytest.mark.quick


@pytest.fixture
def stranger():
    """A program of somebody else that was given the number of a run that has ended."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield program
    program.kill()
    program.wait()


@pytest.mark.parametrize("noted", [{}, {"pid_started": None}, {"pid_started": "another boot 17"}])
def test_stop_never_ends_a_program_that_was_given_the_number_of_a_run(tmp_path: Path, stranger, noted) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "pid": stranger.pid, **noted}))
    assert status(tmp_path)["state"] == "interrupted"
    stop(tmp_path, wait_s=0.3)
    assert stranger.poll() is None
    assert not processes.end(stranger.pid, noted.get("pid_started"))
    assert stranger.poll() is None


def test_the_process_that_was_noted_down_is_ended(tmp_path: Path, stranger) -> None:
    noted = {"pid": stranger.pid, "pid_started": processes.mark(stranger.pid)}
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", **noted}))
    assert status(tmp_path)["state"] == "running"
    stop(tmp_path, wait_s=0.3)
    assert stranger.wait(20) < 0
    assert status(tmp_path)["state"] == "interrupted"


def test_a_mark_tells_processes_apart_and_stays(stranger) -> None:
    assert processes.mark(stranger.pid) == processes.mark(stranger.pid)
    assert processes.mark(stranger.pid) != processes.mark(os.getpid())
    assert not processes.end(os.getpid(), processes.mark(os.getpid())), "this process is not ended by itself"


@pytest.mark.parametrize("number", [None, 0, -1, "7", True, 2**22 - 7, 2**40])
def test_what_is_no_process_has_no_mark(number) -> None:
    assert processes.mark(number) is None
    assert not processes.same(number, None)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ps")
def test_where_there_is_no_proc_the_system_is_asked(monkeypatch: pytest.MonkeyPatch, stranger) -> None:
    monkeypatch.setattr(processes.Path, "exists", lambda self: False)
    assert processes.same(stranger.pid, processes.mark(stranger.pid))
    assert processes.mark(2**22 - 7) is None
