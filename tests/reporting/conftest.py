"""Finished run folders for the tests of this room."""

import shutil
from pathlib import Path

import pytest
from finished_runs import make_classification, make_segmentation


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One run of each kind, made once; the tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    for name, make in (("classification", make_classification), ("segmentation", make_segmentation)):
        (folder / name).mkdir()
        make(folder / name)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A finished classification."""
    return Path(shutil.copytree(finished / "classification", tmp_path / "2026-11-20_1530_tiny"))


@pytest.fixture
def segmentation_run(finished, tmp_path):
    """A finished segmentation."""
    return Path(shutil.copytree(finished / "segmentation", tmp_path / "2026-11-20_1600_unet"))


@pytest.fixture
def drawn_only(monkeypatch):
    """Figures are drawn but not written out: writing takes most of the time of a page."""
    monkeypatch.setattr("easydl.reporting.figures.svg", lambda figure: "data:image/svg+xml;base64,")
