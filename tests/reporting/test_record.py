"""The one reader of run folders, on folders as they are found: half written, broken, tampered with."""

import json

import numpy as np
import pandas as pd
import pytest
from finished_runs import write
from PIL import Image

from easydl.reporting import RunRecord, figures, report
from easydl.reporting.curves import followed
from easydl.reporting.page import page

RUBBISH = [
    *(b"", b"{", b"[]", b"null", b"3", b'"text"', b"\xff\xfe\x00", b"[" * 100_000),
    b'{"issues": 3, "table": {}, "train": [1]}',
    b'[{"verdict": "PASS", "file": null}, 7, {"file": "../config.json"}]',
    b'{"a": {"b": [NaN, Infinity, "\\ud800"]}, "versions": [], "error": [], "seconds": {"x": "y"}}',
]
STRANGE = (None, -1.5, "text", [1, "a"], {"x": [1]}, True)
FILES = ["config.json", "status.json", "audit.json", "split.json", "run.json", "metrics.json", "history.csv",
         "table.csv", "heatmaps/index.json", "heatmaps/case-000.png"]  # fmt: skip


def without_figures(run, needed=""):
    """Drawing takes most of the time of a page."""
    for name in {"metrics.json", "history.csv"} - {needed}:
        (run / name).unlink()


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize("file", FILES)
def test_no_content_of_any_file_breaks_the_page(run, file):
    without_figures(run, file)
    for rubbish in RUBBISH:
        (run / file).write_bytes(rubbish)
        assert "</html>" in report(run).read_text(encoding="utf-8"), rubbish[:40]


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize("file", ["config.json", "status.json", "audit.json", "split.json", "run.json"])
def test_no_wrong_type_in_any_field_breaks_the_page(run, file):
    without_figures(run)
    content = json.loads((run / file).read_text())
    for name in content:
        for strange in STRANGE:
            write(run / file, content | {name: strange})
            assert "</html>" in report(run).read_text(encoding="utf-8"), (name, strange)


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize("which", ["run", "segmentation_run"])
def test_no_wrong_type_in_any_metric_breaks_the_page(request, which):
    folder = request.getfixturevalue(which)
    (folder / "history.csv").unlink()
    content = json.loads((folder / "metrics.json").read_text())
    for field in content:
        for strange in STRANGE:
            write(folder / "metrics.json", content | {field: strange})
            assert "</html>" in page(RunRecord.open(folder)), (field, strange)


@pytest.mark.usefixtures("drawn_only")
@pytest.mark.parametrize(("file", "key"), [("audit.json", "issues"), ("heatmaps/index.json", None)])
def test_no_wrong_type_in_any_entry_breaks_the_page(run, file, key):
    without_figures(run)
    content = json.loads((run / file).read_text())
    entries = content[key] if key else content
    for field in list(entries[0]):
        for strange in STRANGE:
            entries[0] |= {field: strange}
            write(run / file, content)
            assert "</html>" in page(RunRecord.open(run)), (field, strange)


def test_a_map_of_images_is_shown_where_there_is_one_that_makes_sense(run):
    points = {"x": [0.0, 1.0], "y": [0.0, 1.0], "island": [0, 1], "label": ["a", "b"]}
    known = {
        "images": 2,
        "of": 9,
        "islands": ["Island 1: <2> images."],
        "columns": ["island", "label"],
        "points": points,
    }
    write(run / "image_map.json", known)
    assert "takes for alike" not in page(RunRecord.open(run))  # without its picture
    Image.new("RGB", (4, 4)).save(run / "image_map.png")
    record = RunRecord.open(run)
    assert record.image_map["table"]["label"].tolist() == ["a", "b"]
    text = page(record)
    assert "takes for alike" in text and "(2 of 9)" in text and "Island 1: &lt;2&gt; images." in text
    for strange in ({"x": [1.0]}, {"x": [1], "y": [1, 2], "island": [1]}, 3, None):
        write(run / "image_map.json", {**known, "points": strange})
        record = RunRecord.open(run)
        assert record.image_map == {} and "image_map.json does not hold what it should." in record.problems
        assert "takes for alike" not in page(record)


def test_broken_files_are_named(run):
    (run / "audit.json").write_text("{")
    (run / "metrics.json").write_text('{"classes": 3}')
    (run / "split.json").write_text("[]")
    record = RunRecord.open(run)
    assert record.problems == [
        "split.json does not hold what it should.",
        "audit.json could not be read.",
        "metrics.json does not hold what it should.",
    ]
    page = report(run).read_text(encoding="utf-8")
    assert all(problem in page for problem in record.problems)


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("../secret.png", "not in the folder"),
        ("/etc/hostname", "not in the folder"),
        ("link.png", "not in the folder"),
        ("case-999.png", "missing"),
        ("", "not in the folder"),
        ("text.png", "not a PNG"),
        ("large.png", "too large"),
        ("a\x00b.png", "missing"),
    ],
)
def test_a_heatmap_index_reaches_only_for_images_in_its_folder(run, file, problem):
    image = (run / "heatmaps" / "case-000.png").read_bytes()
    (run / "secret.png").write_bytes(image)
    (run / "heatmaps" / "link.png").symlink_to(run / "secret.png")
    (run / "heatmaps" / "text.png").write_text("GIF89a")
    (run / "heatmaps" / "large.png").write_bytes(image + bytes(9 * 2**20))
    write(run / "heatmaps" / "index.json", [{"file": file}, {"file": "case-000.png"}])
    first, second = RunRecord.open(run).heatmaps
    assert first["path"] is None
    assert problem in first["problem"]
    assert (second["path"].read_bytes(), second["problem"]) == (image, "")


def test_very_many_heatmaps_are_counted_not_carried(run):
    write(run / "heatmaps" / "index.json", [{"file": "case-000.png"}] * 60)
    assert len(RunRecord.open(run).heatmaps) == 60
    shown = report(run).read_text(encoding="utf-8")
    assert "12 more heatmaps are in the run folder" in shown
    assert shown.count('class="card"') == 48


def test_patients_are_unknown_when_any_file_says_so(run):
    assert RunRecord.open(run).patients_known is True
    split = json.loads((run / "split.json").read_text())
    write(run / "split.json", {name: value for name, value in split.items() if name != "patients_known"})
    metrics = json.loads((run / "metrics.json").read_text())
    write(run / "metrics.json", metrics | {"patients_known": False})
    assert RunRecord.open(run).patients_known is False
    (run / "metrics.json").unlink()
    assert RunRecord.open(run).patients_known is None
    write(run / "config.json", {"source": "x", "patient": None})
    assert RunRecord.open(run).patients_known is False


@pytest.mark.parametrize(
    ("facts", "config", "expected"),
    [
        ({"command": "easydl demo"}, {}, "easydl demo"),
        ({"command": "easydl resume 1"}, {"source": "a b.csv", "model": "tiny", "seed": 3, "augment": "ct"},
         "easydl train 'a b.csv' --seed 3 --augment ct --model tiny"),
        ({}, {"source": "x", "image": ["t1", "t2"], "mask": "seg", "patient": "id", "merge_labels": True},
         "easydl train x --image t1 --image t2 --mask seg --patient id --merge-labels"),
        ({}, {"source": "x", "patient": None, "pretrained": True, "override": "it's a pilot"},
         "easydl train x --no-patients --override 'it'\"'\"'s a pilot' --pretrained"),
        ({}, {}, ""),
    ],
)  # fmt: skip
def test_the_command_repeats_the_run(tmp_path, facts, config, expected):
    write(tmp_path / "run.json", facts)
    write(tmp_path / "config.json", config)
    assert RunRecord.open(tmp_path).command == expected


@pytest.mark.parametrize(
    ("metric", "names"), [("auc", ["loss", "auc"]), ("dice", ["loss", "dice"]), ("mae", ["loss", "mae"])]
)
def test_the_curve_follows_the_loss_and_one_metric(metric, names):
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1, 0.5], "val_loss": [1, np.nan], "accuracy": [0.1, 0.2],
                            metric: [0.5, 0.6], f"val_{metric}": [0.5, 0.7]})  # fmt: skip
    assert followed(history) == names
    assert figures.best_epoch(history) == (1, 1.0)
    panels = figures.training_curve(history).axes
    assert len(panels) == 2
    drawn = {line.get_label(): line.get_ydata().tolist() for line in panels[1].lines}
    assert drawn == {"training": [0.5, 0.6], "validation": [0.5, 0.7]}


def test_stages_are_marked_where_they_begin():
    history = pd.DataFrame({"stage": ["a", "a", "$b$"], "loss": [3, 2, 1], "val_loss": [3, 2, 1]})
    (ax,) = figures.training_curve(history).axes
    assert [text.get_text() for text in ax.texts] == ["a", r"\$b\$"]
    (shade,) = ax.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (2.5, 3.5)


def test_nothing_to_draw_is_no_figure():
    assert figures.training_curve(pd.DataFrame()) is None
    assert figures.training_curve(pd.DataFrame({"loss": [1.0], "val_loss": [np.nan]})) is None
