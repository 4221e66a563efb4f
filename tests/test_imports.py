"""Who imports whom, where import-linter cannot see it, and what an import changes in the process: nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    [module.strip() for module in layer.split("|")]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["type"] == "layers"
    for layer in contract["layers"]
]


def height(module: str) -> int | None:
    """The layer of a module, 0 for the roof; None outside the layers."""
    return next(
        (number for number, layer in enumerate(LAYERS) for room in layer if f"{module}.".startswith(f"{room}.")), None
    )


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported_by_name(tree: ast.AST) -> list[str]:
    """Modules that ``import_module`` or ``__import__`` is given as text; "?" where the name is computed."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                argument = node.args[0] if node.args else None
                found.append(argument.value if isinstance(argument, ast.Constant) else "?")
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "easydl").rglob("*.py")), ids=module_of)
def test_no_module_imports_a_higher_one_by_name(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if "import_module" not in text and "__import__" not in text:
        return
    own = height(module_of(path))
    for name in imported_by_name(ast.parse(text)):
        other = height(name)
        assert other is None or own is None or other >= own, f"{module_of(path)} reaches up to {name}"


def test_the_check_sees_a_hidden_import() -> None:
    assert imported_by_name(ast.parse('import_module("easydl.cli")\nimportlib.import_module(x)')) == ["easydl.cli", "?"]
    assert height("easydl.cli.commands") == 0
    assert height("easydl.errors") == len(LAYERS) - 1


@pytest.mark.parametrize("path", sorted((ROOT / "app").rglob("*.py")), ids=module_of)
def test_the_app_imports_no_tensorflow_and_reads_no_dicom(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"tensorflow", "keras", "pydicom"}
    assert not imported_by_name(tree)


STATE = """
import json, logging, os, sys, warnings
def state():
    loggers = {name: (one.level, one.disabled, len(one.handlers), len(one.filters))
               for name, one in logging.root.manager.loggerDict.items() if isinstance(one, logging.Logger)}
    return {"environment": dict(os.environ), "warnings": [str(one) for one in warnings.filters],
            "logging": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
            "loggers": loggers, "streams": [id(sys.stdout), id(sys.stderr), id(sys.excepthook)]}
"""


def test_importing_changes_nothing_in_the_process() -> None:
    # What other packages do when they are imported (pandas adds filters) is theirs: they are imported first.
    code = f"""
import numpy, pandas, PIL.Image, matplotlib, scipy, pydicom, highdicom, nibabel, skimage, sklearn, pydantic
{STATE}
before = state()
import easydl, easydl.images, easydl.studies, easydl.evaluation, easydl.reporting, easydl.cli
after = state()
new = set(after["loggers"]) - set(before["loggers"])
after["loggers"] = {{name: one for name, one in after["loggers"].items() if name not in new}}
print(json.dumps([key for key in before if before[key] != after[key]]))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(out.stdout.splitlines()[-1]) == []
