"""A finished run, made once for all tests, and no pretrained weights anywhere."""

from pathlib import Path

import pytest
from commands import trained
from made import png_study

from easydl.networks.pretrained import sources

SHIPPED = sources.shipped


def hide_weights(patch):
    """Those that come with easydl too: runs here are small, and frozen features beside each would cost more than it."""
    patch.setenv("EASYDL_WEIGHTS", "/nowhere")
    patch.setattr(sources, "shipped", lambda: Path("/nowhere"))


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch):
    hide_weights(monkeypatch)


@pytest.fixture
def shipped_weights(monkeypatch, _no_weights):
    """Those that come with easydl, in a test of them."""
    monkeypatch.setattr(sources, "shipped", SHIPPED)


@pytest.fixture(scope="session")
def finished(once):
    """``study/scans.csv``, the folder ``run`` and ``output.txt`` of one small run. Copy what a test changes."""

    def make(place):
        table = png_study(place / "study", per_class=15)
        with pytest.MonkeyPatch.context() as patch:
            hide_weights(patch)
            (place / "output.txt").write_text(trained(table, place / "run", "--epochs", 12, "--heatmaps", 2))

    return once("finished_run", make)
