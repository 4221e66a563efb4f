"""What every test shares: where the public images are, a workspace of its own, a small table of films."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A process to a core: threads of one that wait for the other's cost a twentieth of the time.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest
from made import png_study


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    # With --dist loadgroup the tests of a file stay in one process, where they share fixtures, unless a mark says more.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    # Long groups first, those of one network last, or one process waits at the end for the other's longest.
    items.sort(key=lambda item: 2 if item.get_closest_marker("xdist_group") else item.path not in slow)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    if not os.environ.get("EASYDL_REAL_DATA"):
        skip = pytest.mark.skip(reason="EASYDL_REAL_DATA does not point to the public images")
        for item in items:
            if "real" in item.keywords:
                item.add_marker(skip)


def pytest_collection_finish(session):
    # Some pairs of pytest and pytest-xdist ignore the groups in silence: every shared fixture is then built many times.
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("This pytest-xdist does not keep the groups of --dist loadgroup: see pyproject.toml.")


@pytest.fixture(scope="session")
def real() -> Path:
    return Path(os.environ["EASYDL_REAL_DATA"]).resolve()


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("EASYDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path) -> Path:
    return png_study(tmp_path / "study")
