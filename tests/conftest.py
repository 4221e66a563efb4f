"""What every test shares: tiers, processes, what is built once, a workspace of its own, a small table of films."""

from __future__ import annotations

import gc
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A process to a core: threads of one that wait for the other's cost a twentieth of the time.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import pytest
from made import png_study

from easydl.fileio import locked

# Networks are millions of objects that live for a test: looking for cycles after every 700 new ones takes a tenth of the time.
gc.set_threshold(100_000, 20, 20)

MOST_PROCESSES = 4
"""Each loads TensorFlow: about 1.5 GB."""
WITHOUT_TENSORFLOW = {
    "bad_inputs", "clinical", "comparison", "evaluation", "images", "reporting", "simulation", "studies", "traps", "workspace",
}  # fmt: skip
"""Folders whose tests are quick unless a mark says otherwise."""


def pytest_addoption(parser):
    parser.addoption("--everything", action="store_true", help="also the tests marked everything: an hour, not minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    # The whole suite runs in a process for each core; what is named on the command line runs in this one.
    # A worker comes this way too, and must not start workers.
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS and "PYTEST_XDIST_WORKER" not in os.environ
    if whole and getattr(config.option, "numprocesses", 0) is None and not config.option.usepdb:
        config.option.numprocesses, config.option.dist = min(MOST_PROCESSES, os.cpu_count() or 1), "loadgroup"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if not config.getoption("--everything"):
        left_out = [item for item in items if item.get_closest_marker("everything")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("everything")]
    for item in items:
        slow = any(item.get_closest_marker(name) for name in ("slow", "everything", "browser"))
        if item.path.parent.name in WITHOUT_TENSORFLOW and not slow:
            item.add_marker(pytest.mark.quick)
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


def pytest_terminal_summary(terminalreporter):
    seconds = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                seconds[report.nodeid.partition("::")[0]] += report.duration
    if sum(seconds.values()) > 60:
        terminalreporter.section("ten slowest files")
        for name, spent in seconds.most_common(10):
            terminalreporter.write_line(f"{spent:7.1f} s  {name}")


@pytest.fixture(scope="session")
def real() -> Path:
    return Path(os.environ["EASYDL_REAL_DATA"]).resolve()


@pytest.fixture(scope="session", autouse=True)
def _workspace_of_the_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASYDL_WORKSPACE", str(tmp_path_factory.mktemp("workspace")))
        patch.setenv("EASYDL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("EASYDL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """``once(name, make)``: a file or folder that ``make(path)`` writes once for all processes of a session.

    Nothing may change what it returns: copy it first.
    """
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    home.mkdir(exist_ok=True)

    def build(name: str, make: Callable[[Path], object]) -> Path:
        path, whole = home / name, home / f"{name}.whole"
        with locked(home / f"{name}.lock", timeout_s=900):
            if not whole.exists():
                shutil.rmtree(path, ignore_errors=True)
                make(path)
                whole.touch()
        return path

    return build


@pytest.fixture
def table(tmp_path) -> Path:
    return png_study(tmp_path / "study")
