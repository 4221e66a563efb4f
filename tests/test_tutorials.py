"""Every notebook runs from its first to its last cell, on real films where there are some."""

import json
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "tutorials"
TUTORIALS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
BY_DEFAULT = "01_chest_or_abdomen"


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a busy machine is no fault
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.everything] if name != BY_DEFAULT else []) for name in TUTORIALS],
)
def test_the_notebook_runs(name, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    if os.environ.get("EASYDL_REAL_DATA"):
        monkeypatch.setenv("EASYDL_FILMS", str(Path(os.environ["EASYDL_REAL_DATA"]).resolve() / "openi_abd_vs_cxr"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = json.dumps(notebook)
    assert "95% CI" in shown
    assert "Research use only" in shown
    assert "image/png" in shown


def test_one_notebook_runs_by_default():
    assert BY_DEFAULT in TUTORIALS


@pytest.mark.quick
@pytest.mark.parametrize("name", TUTORIALS)
def test_the_notebook_is_stored_without_outputs(name):
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
