"""Every task as a run: the folder, the report, the command, and what the app shows of it."""

import json
import shlex

import pandas as pd
import pytest
from easydl.study_options import _questions
from made_tasks import GRADES, discs
from typer.testing import CliRunner

import easydl
from easydl import runs
from easydl.cli import app
from easydl.errors import InputError
from easydl.reporting.reproduce import command, python
from easydl.runs.pipeline import _spread
from easydl.workspace import RunView
from easydl.workspace.tables import classes, numbers, split

TASKS = {
    "multilabel": (["--label", "corner", "--label", "stripes"], "AUC, mean over labels"),
    "regression": (["--label", "size_mm", "--task", "regression"], "mean absolute error"),
    "ordinal": (["--label", "grade", "--task", "ordinal", *(w for g in GRADES for w in ("--classes", g))], "kappa"),
    "multitask": (
        ["--heads", "outcome", "--heads", "size_mm", "--covariates", "age", "--covariates", "sex"],
        "outcome: AUC",
    ),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return discs(tmp_path_factory.mktemp("discs") / "s", n=60)


def called(*words):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("task", list(TASKS))
def test_a_run_of_every_task_ends_in_a_report(table, task, tmp_path):
    options, headline = TASKS[task]
    folder = tmp_path / "run"
    called(
        "train", table, "--folder", folder, "--model", "tiny", "--size", 32, "--epochs", 1, "--augment", "none",
        "--heatmaps", 2, *options,
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["task"] == task
    page = (folder / "report.html").read_text()
    assert headline in page
    assert "heatmap" in page.lower() and "Something went wrong" not in page
    told = {
        "multilabel": "AUC and average precision of every finding", "regression": "Bland-Altman",
        "ordinal": "Confusion matrix", "multitask": "Confusion matrix of outcome",
    }  # fmt: skip
    assert told[task] in page
    assert ("told age, sex beside the image" in page) == (task == "multitask")
    assert ("(median " in page) == (task in ("regression", "multitask"))
    heatmaps = json.loads((folder / "heatmaps/index.json").read_text())
    assert [("value" in entry) for entry in heatmaps] == {
        "regression": [True, True], "multitask": [False, True],
    }.get(task, [False, False])  # fmt: skip
    view = RunView(folder)
    assert view.metrics.task == task
    assert list(view.split["part"]) == ["training", "validation", "test"]
    first = list(view.curves)[:2]
    assert first[0] == "Loss" and len(first) == 2
    compile(view.code, "code", "exec")
    assert f"task={task!r}" in view.code or task in ("multitask", "multilabel")
    # What the command says gives the same settings again.
    words = shlex.split(command(json.loads((folder / "config.json").read_text())))
    for word in options:
        assert word in words
    model = folder / "model.keras"
    options = [word for word in options if word not in ("--covariates", "age", "sex")]
    said = json.loads(called("evaluate", model, table, "--json", *options))
    assert said["task"] == task
    image = table.parent / "3.png"
    beside = ["--covariate", "age=61"] if task == "multitask" else []
    printed = called("predict", model, image, *beside)
    assert ("sex was not given for 1 image" in printed) == (task == "multitask")
    assert ("value" in printed) == (task in ("regression", "multitask"))
    called("predict", model, table, "-o", tmp_path / "predictions.csv")
    assert len(pd.read_csv(tmp_path / "predictions.csv", skiprows=1)) == 60
    target = {"multilabel": "stripes", "ordinal": "large", "multitask": "outcome: yes"}.get(task)
    asked = ["--target", target] if target else []
    called("saliency", model, image, "-o", tmp_path / "h.png", *asked, *beside)
    assert (tmp_path / "h.png").read_bytes()[:4] == b"\x89PNG"


def test_the_code_of_every_task_builds_the_right_model():
    lines = {
        "classes=study.classes, task='ordinal', pretrained": {"task": "ordinal", "label": "grade"},
        "classes=study.classes, task='multilabel', pretrained": {"label": ["a", "b"]},
        "classes=study.classes, task='regression', covariates=['age'], pretrained": {
            "task": "regression", "covariates": ["age"],
        },
        "heads=study.heads, pretrained": {"heads": {"cancer": ["no", "yes"], "age": 1}},
        "classes=study.classes, pretrained": {"label": "a"},
    }  # fmt: skip
    for line, config in lines.items():
        assert line in python({"source": "t.csv", **config}, "classifier", "tiny")
    words = shlex.split(
        command({"source": "t.csv", "heads": {"cancer": ["no", "yes"], "age": 1}, "covariates": ["sex"]})
    )
    assert words[3:] == ["--heads", "cancer=no,yes", "--heads", "age=1", "--covariates", "sex"]


def test_questions_on_the_command_line():
    assert _questions(["cancer", "age"]) == ["cancer", "age"]
    assert _questions(["cancer=no, yes", "age=1"]) == {"cancer": ["no", "yes"], "age": 1}
    for wrong in (["cancer=no,yes", "age"], ["=a,b"], ["a="]):
        with pytest.raises(InputError, match="no column with its classes"):
            _questions(wrong)


def test_a_covariate_without_a_value_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "m.keras"), "x.png", "--covariate", "age"])
    assert result.exit_code
    assert isinstance(result.exception, Exception)


def test_the_first_heatmaps_are_of_numbers_far_apart(table):
    study = easydl.load(table, label="size_mm", task="regression")
    order = study.targets()[:, 0].argsort(kind="stable").tolist()
    chosen = _spread(study)
    assert chosen[:3] == [order[0], order[-1], order[round(0.5 * 59)]]
    assert sorted(chosen) == list(range(60))
    both = easydl.load(table, label=["corner", "stripes"])
    assert len({both.frame["label"].iloc[row] for row in _spread(both)[:4]}) == both.frame["label"].nunique()


def test_the_screen_counts_what_every_task_has(table):
    issues = easydl.load(table, label=["corner", "stripes"])
    counted = classes(issues).set_index("class")["images"]
    assert counted["corner"] == issues.targets()[:, 0].sum()
    sizes = easydl.load(table, label="size_mm", task="regression")
    assert classes(sizes).empty
    assert numbers(sizes)[0].startswith("size_mm: ")
    several = easydl.load(table, heads=["outcome", "size_mm"])
    assert classes(several)["class"].tolist() == ["outcome: no", "outcome: yes"]
    assert list(split(several.split(seed=0)).columns) == [
        "part", "patients", "images", "images of outcome: no", "images of outcome: yes",
    ]  # fmt: skip
    assert list(split(sizes.split(seed=0)).columns) == ["part", "patients", "images"]


def test_wrong_settings_of_questions_are_refused(tmp_path):
    from pydantic import ValidationError

    assert runs.RunConfig(source="t.csv", heads={"a": ["x", "y"], "n": 1}).reading()["heads"] == {
        "a": ["x", "y"],
        "n": 1,
    }
    for wrong in ({"heads": {"a": 3}}, {"task": "survival"}, {"covariates": "age"}):
        with pytest.raises(ValidationError):
            runs.RunConfig(source="t.csv", **wrong)
