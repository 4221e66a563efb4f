"""The app as `easydl app` serves it, in a process of its own, for the tests that need a real server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]


@dataclass
class Served:
    url: str
    """With its token."""
    workspace: Path
    process: subprocess.Popen[str]
    words: Path

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serve(workspace: Path, port: int | None = None) -> Iterator[Served]:
    """Run ``easydl app`` until the block is left, then close it as Ctrl-C does."""
    port = port or unused_port()
    workspace.mkdir(parents=True, exist_ok=True)
    words = workspace.parent / f"{workspace.name}-words.txt"
    command = [sys.executable, "-m", "easydl", "app", "--port", str(port), "--workspace", str(workspace)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    with open(words, "w") as out:
        process = subprocess.Popen(
            [*command, "--no-browser"], cwd=workspace, env=environment, stdout=out, stderr=out, text=True,
            preexec_fn=_hear_ctrl_c,
        )  # fmt: skip
    try:
        url = wait_for_url(words, process)
        yield Served(url, workspace, process, words)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _hear_ctrl_c() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and their children inherit it: the tests would hang there."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for_url(words: Path, process: subprocess.Popen[str], seconds: float = 90) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        for line in words.read_text().splitlines():
            if line.startswith("easydl is open at "):
                url = line.removeprefix("easydl is open at ")
                with urllib.request.urlopen(url.replace("/?", "/_stcore/health?"), timeout=10) as answer:
                    assert answer.status == 200
                return url
        time.sleep(0.2)
    raise AssertionError(f"the app did not start: {words.read_text()}")
