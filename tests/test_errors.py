"""What an error looks like in a notebook: its three lines, and nothing is registered or imported for it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest

from easydl import errors

CODE = """
import io, json, sys
from contextlib import redirect_stdout
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="NoColor")
out = []
for cell in sys.argv[1:]:
    printed = io.StringIO()
    with redirect_stdout(printed):
        result = shell.run_cell(cell)
    out.append([type(result.error_in_exec).__name__, printed.getvalue().strip().splitlines()])
print(json.dumps(out))
"""


def shown(*cells: str) -> list[tuple[str, list[str]]]:
    done = subprocess.run([sys.executable, "-c", CODE, *cells], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.quick
def test_an_error_in_a_notebook_ends_in_three_lines():
    pytest.importorskip("IPython")
    ours, chained, others = shown(
        "import easydl; easydl.load('gone.csv')",
        "from easydl.runs import RunConfig\nRunConfig.checked(source='x', augment='mix')",
        "1 / 0",
    )
    assert ours[0] == "InputError" and len(ours[1]) == 3
    assert "gone.csv" in ours[1][0] and ours[1][1].startswith("Expected: ") and ours[1][2].startswith("What to do: ")
    assert len(chained[1]) == 3 and "mixup" in chained[1][2]
    assert others[0] == "ZeroDivisionError" and len(others[1]) > 3


@pytest.mark.quick
def test_easydl_imports_no_ipython():
    code = "import easydl, sys; easydl.EasyDLError; print('IPython' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.quick
@pytest.mark.parametrize(
    "error",
    [
        errors.InputError("found", "expected", "do"),
        errors.DiskFullError("found", "expected", "do"),
        errors.MissingPackageError("onnx", "onnx", "the export to ONNX"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_from_another_process(error):
    error.problems = ("one", "two")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
    assert (again.found, again.expected, again.do) == (error.found, error.expected, error.do)
    assert again.problems == ("one", "two")
