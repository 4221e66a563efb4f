"""Whether a process is still the one that was noted down: its number and when it started. It stops nobody unknown."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def mark(pid: int) -> str | None:
    """What tells a process from every other that has had or will have its number; None when it does not run.

    It is the moment of its start: in ticks of this boot on Linux, in the system's own words elsewhere.
    """
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 2**31:
        return None
    # A child of ours that has ended keeps its number until it is asked for.
    with suppress(OSError):
        if hasattr(os, "WNOHANG") and os.waitpid(pid, os.WNOHANG)[0] == pid:
            return None
    if sys.platform == "win32":
        return _of_windows(pid)
    if not Path("/proc/self/stat").exists():
        return _of_ps(pid)
    try:
        # The name before the last bracket may hold anything; state is the first field after it, the start the 20th.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def this() -> dict[str, Any]:
    """This process as ``status.json`` notes it down."""
    return {"pid": os.getpid(), "pid_started": mark(os.getpid())}


def same(pid: Any, noted: Any) -> bool:
    """Whether the process that was noted down with its `mark` still runs; without a mark nobody can know, so no."""
    return bool(noted) and mark(pid) == noted


def end(pid: Any, noted: Any) -> bool:
    """End the process that was noted down, and never another one, nor this one; whether it was there."""
    if pid == os.getpid() or not same(pid, noted):
        return False
    try:
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    except OSError:  # it ended in between: each system has its own error for that
        if same(pid, noted):
            raise
    return True


def _of_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else " ".join(started.split())


def _of_windows(pid: int) -> str | None:
    if sys.platform != "win32":
        return None
    import ctypes

    query, still_active = 0x1000, 259
    system = ctypes.WinDLL("kernel32", use_last_error=True)
    system.OpenProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(system.OpenProcess(query, False, pid))
    if not handle:
        return None
    times, code = (ctypes.c_uint64 * 4)(), ctypes.c_uint32()
    try:
        places = [ctypes.byref(times, 8 * place) for place in range(4)]
        known = system.GetProcessTimes(handle, *places) and system.GetExitCodeProcess(handle, ctypes.byref(code))
        return str(times[0]) if known and code.value == still_active else None
    finally:
        system.CloseHandle(handle)
