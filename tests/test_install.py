"""The wheel: what is in it, and that it works far from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_the_app_inside_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "easydl",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }
    assert {f"easydl/app/{name}" for name in ("main.py", "serve.py", "arriving_files/place.js")} <= set(names)
    assert any(name.startswith("easydl/reporting/templates/") for name in names)
    shipped = "easydl/networks/pretrained/shipped"
    assert {f"{shipped}/LICENSE", f"{shipped}/NOTICE", f"{shipped}/efficientnet_lite0_notop_float16.h5"} <= set(names)
    assert any(name.endswith(f"dist-info/licenses/{shipped}/NOTICE") for name in names)
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in names)
    assert wheel.name.startswith("easydl_med-")
    metadata = zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert "License-Expression: Apache-2.0" in metadata


def test_the_installed_wheel_works_far_from_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import easydl, easydl.launch, pathlib; here = pathlib.Path(easydl.__file__).parent; "
        f"assert here.is_relative_to(r'{site}'), here; folder = easydl.launch.app_folder(); "
        "assert folder.is_relative_to(here), folder; print(len(easydl.models()), easydl.__version__)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert out.returncode == 0, out.stderr
    assert int(out.stdout.split()[0]) >= 8


@pytest.mark.quick
def test_the_app_imports_no_tensorflow_keras_or_pydicom():
    import ast

    found = set()
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    assert not found & {"tensorflow", "keras", "pydicom"}


@pytest.mark.quick
def test_no_message_sends_users_to_somebody_elses_package():
    import re

    for path in [
        *(ROOT / "easydl").rglob("*.py"),
        *(ROOT / "app").rglob("*.py"),
        ROOT / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]:
        assert not re.search(
            r"pip install (-U |--upgrade )?[\"']?easydl\b(?!-med)", path.read_text(encoding="utf-8")
        ), path
