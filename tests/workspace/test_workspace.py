"""The workspace: studies remembered and forgotten, runs that begin once, code that tells them again."""

from __future__ import annotations

import ast
import io
import json
import stat
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from easydl import processes
from easydl import runs as pipeline
from easydl.errors import InputError, RunError
from easydl.fileio import locked
from easydl.options import LoadOptions
from easydl.reporting import RunRecord, progress
from easydl.reporting.reproduce import command, python
from easydl.workspace import Workspace, columns_of


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def films(folder: Path, each: int = 4) -> Path:
    for number, label in enumerate(("normal", "nodule")):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            (folder / label / f"{i}.png").write_bytes(png(10 * number + i))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_a_study_on_this_computer_is_remembered_where_it_lies(home: Workspace, tmp_path: Path) -> None:
    folder = films(tmp_path / "my films")
    before = sorted(folder.rglob("*"))
    entry = home.studies.open(f'  "{folder}" ')
    assert (entry.source, entry.kind, entry.name) == (str(folder), "path", "my films")
    assert len(home.studies.load(entry)) == 8
    assert sorted(folder.rglob("*")) == before, "nothing is written beside the images"
    again = Workspace(home.folder)
    assert [one.id for one in again.studies.all()] == [entry.id]
    home.studies.forget(entry.id)
    assert again.studies.all() == []
    assert sorted(folder.rglob("*")) == before, "forgetting does not touch the images"


@pytest.mark.parametrize("path", ["", "   ", "/nowhere/at/all", '"C:\\films"'])
def test_a_path_with_nothing_at_it_is_one_clear_error(home: Workspace, path: str) -> None:
    with pytest.raises(InputError, match=r"nothing at|empty") as caught:
        home.studies.open(path)
    assert caught.value.do
    assert home.studies.all() == []


def test_a_zip_is_unpacked_at_once_and_leaves_with_the_study(home: Workspace) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, label in enumerate(("a", "b")):
            for i in range(3):
                archive.writestr(f"films/{label}/{i}.png", png(10 * number + i))
    packed.seek(0)
    entry = home.studies.receive_zip("../../Smith^John.zip", packed)
    assert home.studies.folder in Path(entry.source).parents
    assert list(home.studies.load(entry).classes) == ["a", "b"]
    assert not list(home.folder.rglob("*.zip")), "the zip itself is not kept"
    assert not list(home.folder.rglob("*Smith*")), "names of uploads are never paths"
    home.studies.forget(entry.id)
    assert list(home.studies.folder.iterdir()) == []


def test_a_table_in_a_zip_is_what_is_loaded(home: Workspace) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        rows = ["image,label,patient"]
        for i in range(6):
            archive.writestr(f"images/{i}.png", png(i))
            rows.append(f"images/{i}.png,{'ab'[i % 2]},{i}")
        archive.writestr("films.csv", "\n".join(rows))
    packed.seek(0)
    study = home.studies.load(home.studies.receive_zip("films.zip", packed))
    assert (len(study), study.n_patients, study.patients_known) == (6, 6, True)


def test_a_refused_upload_leaves_nothing(home: Workspace) -> None:
    for upload in (b"no zip", b""):
        with pytest.raises(InputError):
            home.studies.receive_zip("a.zip", io.BytesIO(upload))
    with pytest.raises(InputError, match="no name"):
        home.studies.receive_class("  ", [("1.png", io.BytesIO(png(1)))])
    with pytest.raises(InputError, match="outside"):
        home.studies.receive_folder([("../1.png", io.BytesIO(png(1)))])
    assert list(home.studies.folder.iterdir()) == []


def test_classes_can_be_added_one_after_the_other(home: Workspace) -> None:
    entry = None
    for number, label in enumerate(("normal", "<img src=x onerror=alert(1)>", "normal")):
        entry = home.studies.receive_class(
            label, [(f"/any/{i}.png", io.BytesIO(png(10 * number + i))) for i in range(2)], entry=entry
        )
    assert entry is not None
    assert home.studies.class_counts(entry) == {"_img src=x onerror=alert(1)_": 2, "normal": 4}
    assert len(home.studies.load(entry)) == 6


def test_an_id_is_never_a_path(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "workspace" / "study.json").write_text("{}")
    for wrong in ("..", "../x", "", "a" * 16, "/etc", "0123456789abcdeg"):
        with pytest.raises(RunError, match="not remembered"):
            home.studies.one(wrong)
        with pytest.raises(RunError, match="not remembered"):
            home.studies.forget(wrong)
        with pytest.raises(RunError, match="no such run"):
            home.runs.one(wrong)


def test_a_workspace_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written") as caught:
        Workspace(tmp_path / "file" / "within")
    assert "EASYDL_WORKSPACE" in caught.value.do


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no permission bits")
def test_uploads_and_errors_are_for_this_user_only(home: Workspace) -> None:
    entry = home.studies.receive_folder([("a/1.png", io.BytesIO(png(1))), ("b/1.png", io.BytesIO(png(2)))])
    private = [home.studies.folder, home.runs.folder, home.studies.folder / entry.id]
    private.append(home.note_error(ValueError("x"), "Data"))
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in private] == [0] * len(private)
    assert "ValueError: (its message is not kept" in private[-1].read_text()


def slow_start(begun: list[Path]):
    """In place of the pipeline's start: takes a while, and leaves a run that is in progress."""

    def start(config, folder):
        time.sleep(0.2)
        config.save(folder)
        status = {"state": "running", **processes.this(), "started": "2026-01-01T00:00:00+00:00"}
        (folder / "status.json").write_text(json.dumps(status))
        begun.append(folder)
        return 1

    return start


def test_ten_clicks_at_once_begin_one_run(home: Workspace, tmp_path: Path, monkeypatch) -> None:
    begun: list[Path] = []
    monkeypatch.setattr(pipeline, "start", slow_start(begun))
    entry = home.studies.open(films(tmp_path / "films"))
    with ThreadPoolExecutor(10) as clicks:
        given = list(clicks.map(lambda _: home.runs.start(entry, model="tiny", seed=7), range(10)))
    assert len(begun) == 1
    assert set(given) == set(begun), "every click is shown the one run"
    assert [run.id for run in home.runs.all()] == [begun[0].name]
    assert home.runs.all()[0].config["source"] == entry.source
    with pytest.raises(RunError, match="in progress already"):
        home.runs.start(entry, model="tiny", seed=8)
    assert len(begun) == 1


def test_how_a_study_is_read_is_remembered_and_goes_to_its_runs(home: Workspace, tmp_path: Path, monkeypatch) -> None:
    begun: list[Path] = []
    monkeypatch.setattr(pipeline, "start", slow_start(begun))
    how = {"resample_masks": True, "collapse_instances": True}
    entry = home.studies.change(home.studies.open(films(tmp_path / "films")), **how)
    home.runs.start(Workspace(home.folder).studies.one(entry.id))
    load = pipeline.RunConfig.open(begun[0]).arguments(LoadOptions)
    assert {name: load[name] for name in how} == how


def test_a_start_that_fails_leaves_no_run(home: Workspace, tmp_path: Path, monkeypatch) -> None:
    def broken(config, folder):
        raise OSError("no process")

    monkeypatch.setattr(pipeline, "start", broken)
    entry = home.studies.open(films(tmp_path / "films"))
    with pytest.raises(OSError, match="no process"):
        home.runs.start(entry, model="tiny")
    assert list(home.runs.folder.iterdir()) == []


def test_only_a_living_process_holds_the_workspace(home: Workspace, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "start", lambda config, folder: config.save(folder))
    monkeypatch.setattr("easydl.workspace.jobs._PATIENCE_SECONDS", 0.3)
    lock = home.folder / ".starting"
    lock.touch()  # left by a process that died
    entry = home.studies.open(films(tmp_path / "films"))
    assert home.runs.start(entry).is_dir()
    with locked(lock), pytest.raises(RunError, match="another window"):
        home.runs.start(entry)
    assert home.runs.start(entry).is_dir()


def test_the_columns_of_a_table_are_listed_before_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").write_text("picture;finding\na.png;x\nb.png;y\n")
    assert columns_of(f' "{tmp_path / "scans.csv"}" ') == ["picture", "finding"]
    (tmp_path / "broken.csv").write_bytes(b"\x00")
    for nothing in ("", tmp_path, tmp_path / "gone.csv", tmp_path / "broken.csv"):
        assert columns_of(nothing) == []


def test_a_wrong_way_of_reading_is_refused(home: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="task"):
        home.studies.open(films(tmp_path / "films"), task="guess")
    assert home.studies.all() == []


CONFIG = {
    "source": '/films/it\'s "mine"/$(touch evil)',
    "model": "mobilenet",
    "pretrained": True,
    "augment": "chest_xray",
    "epochs": 5,
    "batch_size": 4,
    "learning_rate": 0.002,
    "strategy": "features",
    "loss": "focal",
    "seed": 3,
    "label": "finding\nimport os",
    "image": ["t1", "t2"],
    "patient": None,
    "merge_labels": True,
    "override": "known and accepted",
}


LABELS = {
    "source": "scans.xlsx",
    "label": ["edema", "mass"],
    "task": "multilabel",
    "label_separator": ";",
    "raters": ["ann", "bob b."],
    "classes": ["edema", "NA"],
    "root": "/films",
    "patient": "subject",
}
MASKS = {
    "source": "scans.csv",
    "mask": "seg",
    "task": "segmentation",
    "model": "unet",
    "encoder": "mobilenet_025",
    "pretrained": "radimagenet",
    "loss": "tversky",
    "size": 64,
    "spacing_mm": (5.0, 1.0, 1.0),
    "resample_masks": True,
    "collapse_instances": True,
    "mask_labels": {"background": 0, "the tumour's core": [1, 4]},
}


def test_the_code_is_python_and_says_the_same_as_the_settings() -> None:
    calls = calls_of(CONFIG)
    assert calls["load"][0] == [CONFIG["source"]]
    assert calls["load"][1] == {key: CONFIG[key] for key in ("image", "label", "merge_labels", "patient", "override")}
    assert calls["classifier"] == (["mobilenet"], {"pretrained": True, "seed": 3})
    assert calls["fit"][1] == {
        "augment": "chest_xray",
        "epochs": 5,
        "batch_size": 4,
        "learning_rate": 0.002,
        "strategy": "features",
        "loss": "focal",
        "override": "known and accepted",
        "seed": 3,
    }
    assert calls["split"][1] == {"override": "known and accepted", "seed": 3}
    segmentation = calls_of(MASKS, builder="unet")
    assert segmentation["unet"] == (
        [], {"encoder": "mobilenet_025", "pretrained": "radimagenet", "size": 64, "seed": 0},
    )  # fmt: skip
    assert segmentation["fit"][1] == {"spacing_mm": (5.0, 1.0, 1.0), "loss": "tversky", "seed": 0}


@pytest.mark.parametrize("config", [LABELS, MASKS])
def test_the_code_says_how_the_study_is_read(config) -> None:
    settings = pipeline.RunConfig(**config).model_dump()
    load = {key: value for key, value in config.items() if key in LoadOptions.model_fields}
    assert calls_of(settings)["load"] == ([config["source"]], load)


def calls_of(config, builder="classifier") -> dict:
    """The calls in the code of a run: for each function its positional arguments and its keyword arguments."""
    calls = {}
    for node in ast.walk(ast.parse(python(config, builder, "mobilenet"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
            positional = [ast.literal_eval(arg) for arg in node.args if isinstance(arg, ast.Constant)]
            calls[node.func.attr] = (positional, keywords)
    return calls


@pytest.mark.parametrize("config", [CONFIG, LABELS, MASKS])
def test_the_command_is_understood_by_the_command_line_as_the_same_settings(config, tmp_path, monkeypatch) -> None:
    import shlex

    from easydl.cli import app

    asked = []
    monkeypatch.setattr(pipeline, "run", lambda config, folder, **_: asked.append(config) or tmp_path)
    words = shlex.split(command(pipeline.RunConfig(**config).model_dump()))
    assert words[:2] == ["easydl", "train"]
    result = CliRunner().invoke(app, [*words[1:], "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert asked[0] == pipeline.RunConfig(**config)


def test_a_record_of_anything_broken_is_empty_and_never_an_error(tmp_path: Path) -> None:
    names = (
        "config.json",
        "audit.json",
        "split.json",
        "metrics.json",
        "run.json",
        "history.csv",
    )
    for content in (b"", b"{", b"[]", b"null", b"\xff\xfe"):
        for name in names:
            (tmp_path / name).write_bytes(content)
        (tmp_path / "status.json").write_bytes(content[:1])
        record = RunRecord(tmp_path)
        assert (record.progress, progress.seconds(record.status), progress.seconds_left(record.status)) == (
            0.0,
            None,
            None,
        )
        assert record.metrics is None
        assert record.history.empty
        assert record.split_table.empty
        assert (record.issues, record.heatmaps, record.curves) == ([], [], {})
        assert record.sentence == "Interrupted"
        assert record.title
        assert "easydl.load" in record.code
