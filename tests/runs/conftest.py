"""A finished run, made once for all tests, and no pretrained weights anywhere."""

import pytest
from commands import trained
from made import png_study


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    monkeypatch.setenv("EASYDL_WEIGHTS", "/nowhere")


@pytest.fixture(scope="session")
def finished(once):
    """``study/scans.csv``, the folder ``run`` and ``output.txt`` of one small run. Copy what a test changes."""

    def make(place):
        table = png_study(place / "study", per_class=15)
        (place / "output.txt").write_text(trained(table, place / "run", "--epochs", 12, "--heatmaps", 2))

    return once("finished_run", make)
