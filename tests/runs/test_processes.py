"""A process is known by its number and its start, so that a number given out again is a stranger."""

from __future__ import annotations

import ctypes
import json
import os
import signal
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


class Kernel:
    """Windows' calls on processes, as its documentation says they behave; ``programs`` maps number to (start, exit code)."""

    def __init__(self, programs: dict[int, tuple[int, int]]) -> None:
        self.programs, self.open = programs, []
        # Functions of a library take attributes such as restype, methods do not.
        self.OpenProcess = lambda access, inherit, pid: self.opened(access, pid)

    def opened(self, access: int, pid: int) -> int | None:
        if access != 0x1000 or pid not in self.programs:
            return None
        self.open.append(pid)
        return pid << 2

    def GetProcessTimes(self, handle, created, ended, kernel, user) -> int:
        start = self.programs[handle.value >> 2][0]
        if start:
            for place, value in ((created, start), (ended, 1), (kernel, 2), (user, 3)):
                ctypes.cast(place, ctypes.POINTER(ctypes.c_uint64))[0] = value
        return int(bool(start))

    def GetExitCodeProcess(self, handle, code) -> int:
        ctypes.cast(code, ctypes.POINTER(ctypes.c_uint32))[0] = self.programs[handle.value >> 2][1]
        return 1

    def CloseHandle(self, handle) -> int:
        self.open.remove(handle.value >> 2)
        return 1


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel({4: (0, 259), 70: (132_000_000_000_000_007, 259), 71: (132_000_000_000_000_008, 259), 72: (9, 0)})
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **options: {"kernel32": kernel}[name], raising=False)
    monkeypatch.setattr(processes.sys, "platform", "win32")
    monkeypatch.delattr(os, "WNOHANG", raising=False)
    monkeypatch.delattr(signal, "SIGKILL", raising=False)
    return kernel


def test_on_windows_the_time_of_creation_is_the_mark(windows: Kernel) -> None:
    assert processes.mark(70) == "132000000000000007"
    assert processes.mark(71) == "132000000000000008"
    assert processes.mark(72) is None, "it has ended, and somebody holds its number"
    assert processes.mark(73) is None, "there is no such process, or it belongs to another user"
    assert processes.mark(4) is None, "its times cannot be read"
    assert windows.open == [], "every handle was given back"


def test_on_windows_only_the_process_that_was_noted_down_is_ended(
    windows: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    monkeypatch.setattr(os, "kill", lambda pid, how: ended.append((pid, how)))
    noted = processes.mark(70)
    assert not processes.end(71, noted) and not processes.end(70, None) and ended == []
    assert processes.end(70, noted) and ended == [(70, signal.SIGTERM)]

    def gone(pid: int, how: int) -> None:
        del windows.programs[pid]
        raise OSError(22, "The parameter is incorrect")

    monkeypatch.setattr(os, "kill", gone)
    assert processes.end(70, noted), "it ended by itself in between"

    def denied(pid: int, how: int) -> None:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr(os, "kill", denied)
    with pytest.raises(PermissionError):
        processes.end(71, processes.mark(71))
