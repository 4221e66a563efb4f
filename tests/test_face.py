"""The public face: its names, docstrings and lightness; the README's code and commands."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import easydl

ROOT = Path(__file__).parents[1]
FACE = [
    "EasyDLError", "RESEARCH_USE", "accept", "audit", "cascade", "classifier", "compare", "deidentify", "describe", "evaluate",
    "explain_as_tree", "export", "fit", "gallery", "importance", "inspect",
    "interval_width", "learning_curve", "load", "load_model", "models", "operating_point", "predict", "refer",
    "preset", "presets", "pretrain", "read", "report", "saliency", "save_model", "segmenter", "simulate", "image_to_image", "tune", "unet",
    "unet3d", "ablation", "explain", "fragility", "feature_maps", "features", "image_map", "nearest",
]  # fmt: skip


def test_the_names_are_these():
    assert easydl.__all__ == sorted(FACE)
    assert set(FACE) <= set(dir(easydl))
    with pytest.raises(AttributeError):
        _ = easydl.nothing


@pytest.mark.parametrize("name", [name for name in FACE if name not in ("RESEARCH_USE", "EasyDLError")])
def test_every_function_is_documented_and_keyword_only_beyond_a_handful(name):
    function = getattr(easydl, name)
    text = inspect.getdoc(function)
    assert len(text.splitlines()) > 3, name
    assert "Returns:" in text
    parameters = list(inspect.signature(function).parameters.values())
    assert sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters) <= 4
    if parameters:
        assert "Args:" in text
        for parameter in parameters:
            assert re.search(rf"\b{parameter.name}\b", text), f"{name}: {parameter.name} is not explained"


def test_public_names_are_no_module_names():
    modules = {path.stem for path in (ROOT / "easydl").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not modules & set(FACE)


def _loaded(code):
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import easydl",
        "import easydl; easydl.load; easydl.models(); easydl.report",
        "import easydl.runs, easydl.cli",
        "import easydl.evaluation, easydl.reporting, easydl.traps",
    ],
)
def test_looking_loads_no_tensorflow(code):
    loaded = _loaded(code)
    assert not loaded & {"tensorflow", "keras", "streamlit", "torch"}
    if code == "import easydl":
        assert not loaded & {"numpy", "pandas", "pydicom", "matplotlib"}


def test_wrong_paths_are_said_before_tensorflow_is_loaded(tmp_path):
    (tmp_path / "other.keras").write_text("not a model")
    commands = [
        "describe gone.keras x.png", "importance gone.keras x.csv", "explain-as-tree gone.keras x.csv",
        "predict gone.keras x.png", "predict other.keras x.png", "evaluate gone.keras x.csv", "saliency gone.keras x.png",
        "resume gone", "report gone", "train gone.csv", "audit gone.csv", "inspect gone",
    ]  # fmt: skip
    code = f"""
import os, sys
from easydl import cli
os.chdir({str(tmp_path)!r})
for words in {commands!r}:
    sys.argv = ["easydl", *words.split()]
    try:
        cli.main()
    except SystemExit as ended:
        assert ended.code == 1, words
import easydl
for call in (easydl.predict, easydl.saliency):
    try:
        call("gone.keras", "x.png")
    except easydl.EasyDLError:
        continue
    raise AssertionError(call)
"""
    assert not _loaded(code) & {"tensorflow", "keras"}


def test_help_loads_no_tables_and_no_pictures():
    assert not _loaded("import easydl.cli") & {"numpy", "pandas", "matplotlib", "pydicom"}


def test_a_command_loads_tensorflow_without_what_keras_imports_on_the_side():
    code = (
        "import sys; from easydl._tf import load_tensorflow_for_a_command as load; load(); "
        "assert not {'sklearn', 'matplotlib', 'IPython'} & set(sys.modules); import sklearn"
    )
    assert {"tensorflow", "sklearn"} <= _loaded(code)


def test_the_module_runs_as_a_command():
    out = subprocess.run([sys.executable, "-m", "easydl", "--help"], capture_output=True, text=True, cwd=ROOT)
    assert out.returncode == 0
    assert easydl.RESEARCH_USE.split(".")[0] in out.stdout
    for command in [
        "demo",
        "train",
        "resume",
        "evaluate",
        "compare",
        "tune",
        "predict",
        "saliency",
        "gallery",
        "audit",
        "report",
        "simulate",
        "explain-as-tree",
        "importance",
        "describe",
        "deidentify",
        "inspect",
        "app",
        "models",
        "presets",
        "doctor",
    ]:
        assert re.search(rf"^\s+{command}\b", out.stdout, re.MULTILINE), command


def _blocks():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_seven_lines_of_the_readme_run(tmp_path, monkeypatch):
    """To the letter; the weights are made here, because nothing may be downloaded."""
    import shutil

    table = easydl.simulate(tmp_path / "s", patients=24, seed=2)
    shutil.copytree(tmp_path / "s", tmp_path, dirs_exist_ok=True)
    shutil.copy(next((tmp_path / "s/images/nodule").iterdir()), tmp_path / "case.dcm")
    import pandas as pd

    pd.read_csv(table, dtype=str).drop(columns="mask").to_csv(tmp_path / "scans.csv", index=False)
    seen = {}

    def made(model, entry, start, build):
        seen["asked"] = entry.name
        return "made for this test"

    monkeypatch.setattr("easydl.networks.classifiers.transfer.apply", made)
    monkeypatch.setattr("easydl.networks.classifiers.sources.locate", lambda entry, pretrained: Path("made"))
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(compile(_blocks()[0], "README.md", "exec"), scope)
    assert seen["asked"] == "resnet"
    assert scope["test"].n_patients >= 4
    assert scope["model"].name
    assert len(scope["model"].layers) > 100


@pytest.mark.slow
def test_the_outline_lines_of_the_readme_run(tmp_path, monkeypatch):
    import shutil

    import pandas as pd

    table = easydl.simulate(tmp_path / "s", kind="volumes", patients=8, nodule_rate=1.0, seed=2)
    frame = pd.read_csv(table, dtype=str)
    frame = frame.assign(t1=frame["image"], t2=frame["image"], seg=frame["mask"])[["t1", "t2", "seg", "patient"]]
    frame.to_csv(tmp_path / "s/liver.csv", index=False)
    shutil.copytree(tmp_path / "s" / frame["t1"][0], tmp_path / "s/new_study/t1")
    monkeypatch.chdir(tmp_path / "s")
    # A narrower network: everything else to the letter.
    code = _blocks()[1].replace("easydl.fit(model, train, val)", "easydl.fit(model, train, val, epochs=1)")
    assert "channels=2)" in code
    code = code.replace("channels=2)", "channels=2, width=4)")
    exec(compile("import easydl\n" + code, "README.md", "exec"), {})
    assert (tmp_path / "s/seg.nii.gz").stat().st_size > 100
