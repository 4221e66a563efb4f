"""The command ``easydl`` in this process, as a shell would run it: words in, exit code and output back."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from easydl import cli


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def command(*words: object) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["easydl", *map(str, words)]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        cli.main()
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def done(*words: object) -> str:
    """What a command that has to succeed prints."""
    result = command(*words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def trained(table: Path, folder: Path, *words: object) -> str:
    """A small whole run."""
    return done("train", table, "--folder", folder, "--model", "tiny", "--size", 32, *words)
