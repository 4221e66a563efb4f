"""A workspace of its own for every test of the app, and the app's entry as a simulated session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import make_run
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

from easydl import runs
from easydl.runs import RunConfig

MAIN = Path(__file__).parents[2] / "app" / "main.py"


@pytest.fixture(scope="session", autouse=True)
def _packages_are_scanned_once():
    """Streamlit looks through all installed packages for components whenever a session begins: half a second each time."""
    found = manifest_scanner.scan_component_manifests()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", lambda: list(found))
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, and the app's own folder on the path as under ``streamlit run``."""
    folder = tmp_path / "workspace"
    (folder / "runs").mkdir(parents=True)
    monkeypatch.setenv("EASYDL_WORKSPACE", str(folder))
    monkeypatch.syspath_prepend(str(MAIN.parent))
    return folder


@pytest.fixture
def begun(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The settings of every run that a page began; each is then a running one that never ends."""
    settings: list[RunConfig] = []

    def started(config: RunConfig, folder: Path) -> int:
        settings.append(config)
        make_run(home / "elsewhere", "running", name=folder.name)
        for made in (home / "elsewhere" / folder.name).iterdir():
            made.rename(folder / made.name)
        return 1

    monkeypatch.setattr(runs, "start", started)
    return settings


@pytest.fixture
def session(home: Path) -> Callable[..., AppTest]:
    """Open the app on a step, as a browser with this address would."""

    def opened(step: str = "data", **address: str) -> AppTest:
        at = AppTest.from_file(MAIN, default_timeout=60)
        at.query_params.update(address)
        at.run()
        if step != "data":
            at.switch_page(f"steps/{step}.py").run()
        return at

    return opened
