"""Every task as a run: the folder, the report, the commands, and what the app shows of it."""

import json

import pandas as pd
import pytest
from commands import command, done, trained
from made import mask_study
from made_tasks import GRADES, discs
from pydantic import ValidationError

import easydl
from easydl import runs
from easydl.options import LoadOptions
from easydl.reporting import RunRecord
from easydl.runs.cases import spread
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
FIGURES = {
    "multilabel": "AUC and average precision of every label",
    "regression": "Bland-Altman",
    "ordinal": "Confusion matrix",
    "multitask": "Confusion matrix of outcome",
}
VALUES = {"regression": [True, True], "multitask": [False, True]}
"""Whether each of the two heatmaps explains a value."""


@pytest.fixture(scope="session")
def table(once):
    return once("discs", lambda path: discs(path, n=60)) / "scans.csv"


def run_of(once, table, task, heatmaps=2):
    words = (*TASKS[task][0], "--epochs", 1, "--augment", "none", "--heatmaps", heatmaps)
    return once(f"run_of_{task}_{heatmaps}", lambda folder: trained(table, folder, *words))


@pytest.mark.parametrize(
    ("task", "heatmaps"),
    [
        ("multitask", 2),
        pytest.param("regression", 0, marks=pytest.mark.everything),
        *(pytest.param(task, 2, marks=pytest.mark.everything) for task in TASKS if task != "multitask"),
    ],
)
def test_a_run_of_every_task_ends_in_a_report(once, table, task, heatmaps):
    folder = run_of(once, table, task, heatmaps)
    record = RunRecord.open(folder)
    assert record.metrics.task == task and not record.problems
    page = (folder / "report.html").read_text()
    assert TASKS[task][1] in page
    assert "heatmap" in page.lower() and "Something went wrong" not in page
    assert FIGURES[task] in page
    assert ("with the covariates age, sex" in page) == (task == "multitask")
    assert ("(median " in page) == (task in ("regression", "multitask"))
    # The most confident wrong answers come first, whichever task they are of.
    assert sorted("value" in entry for entry in record.heatmaps) == sorted(VALUES.get(task, [False, False])[:heatmaps])
    assert list(record.split_table["part"]) == ["training", "validation", "test"]
    assert next(iter(record.curves)) == "Loss" and len(record.curves) >= 2
    compile(record.code, "code", "exec")


@pytest.mark.everything  # by default one of volumes is asked the same (test_life.py)
def test_a_run_with_masks_ends_in_a_report(once, tmp_path):
    table = mask_study(tmp_path / "s", cases=12)
    done("train", table, "--folder", tmp_path / "run", "--epochs", 1, "--heatmaps", 1, "--augment", "none")
    record = RunRecord.open(tmp_path / "run")
    assert record.metrics.task == "segmentation" and "easydl.segmenter('unet', study" in record.code
    assert "Dice of every test image" in (tmp_path / "run/report.html").read_text()
    assert len(record.heatmaps) == 1
    done("predict", tmp_path / "run/model.keras", table.parent / "image0.png", "-o", tmp_path / "mask.png")
    assert (tmp_path / "mask.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=() if task == "multitask" else pytest.mark.everything) for task in TASKS]
)
def test_the_commands_work_on_a_model_of_every_task(once, table, task, tmp_path):
    model = run_of(once, table, task) / "model.keras"
    options = [word for word in TASKS[task][0] if word not in ("--covariates", "age", "sex")]
    assert json.loads(done("evaluate", model, table, "--json", *options))["task"] == task
    image = table.parent / "3.png"
    covariates = ["--covariate", "age=61"] if task == "multitask" else []
    printed = done("predict", model, image, *covariates)
    assert ("sex was not given for 1 image" in printed) == (task == "multitask")
    assert ("value" in printed) == (task in ("regression", "multitask"))
    done("predict", model, table, "-o", tmp_path / "predictions.csv")
    assert len(pd.read_csv(tmp_path / "predictions.csv", skiprows=1)) == 60
    target = {"multilabel": "stripes", "ordinal": "large", "multitask": "outcome: yes"}.get(task)
    done("saliency", model, image, "-o", tmp_path / "h.png", *(["--target", target] if target else []), *covariates)
    assert (tmp_path / "h.png").read_bytes()[:4] == b"\x89PNG"


def test_heads_on_the_command_line(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(runs, "run", lambda config, folder, **_: asked.append(config.heads) or tmp_path)

    def heads(*given):
        words = [word for one in given for word in ("--heads", one)]
        return command("train", "t.csv", "--folder", tmp_path, *words)

    heads("cancer", "age")
    heads("cancer=no, yes", "age=1")
    assert asked == [["cancer", "age"], {"cancer": ["no", "yes"], "age": 1}]
    for wrong in (("cancer=no,yes", "age"), ("=a,b",), ("a=",)):
        assert "not a valid value of the option heads" in heads(*wrong).stderr
    assert len(asked) == 2


def test_the_first_heatmaps_are_of_values_far_apart(table):
    study = easydl.load(table, label="size_mm", task="regression")
    order = study.targets()[:, 0].argsort(kind="stable").tolist()
    chosen = spread(study)
    assert chosen[:3] == [order[0], order[-1], order[round(0.5 * 59)]]
    assert sorted(chosen) == list(range(60))
    both = easydl.load(table, label=["corner", "stripes"])
    assert len({both.frame["label"].iloc[row] for row in spread(both)[:4]}) == both.frame["label"].nunique()


def test_the_screen_counts_what_every_task_has(table):
    labels = easydl.load(table, label=["corner", "stripes"])
    counted = classes(labels).set_index("class")["images"]
    assert counted["corner"] == labels.targets()[:, 0].sum()
    sizes = easydl.load(table, label="size_mm", task="regression")
    assert classes(sizes).empty
    assert numbers(sizes)[0].startswith("size_mm: ")
    several = easydl.load(table, heads=["outcome", "size_mm"])
    assert classes(several)["class"].tolist() == ["outcome: no", "outcome: yes"]
    assert list(split(several.split(seed=0)).columns) == [
        "part", "patients", "images", "images of outcome: no", "images of outcome: yes",
    ]  # fmt: skip
    assert list(split(sizes.split(seed=0)).columns) == ["part", "patients", "images"]


def test_wrong_settings_of_several_tasks_are_refused():
    config = runs.RunConfig(source="t.csv", heads={"a": ["x", "y"], "n": 1})
    assert config.arguments(LoadOptions)["heads"] == {"a": ["x", "y"], "n": 1}
    for wrong in ({"heads": {"a": 3}}, {"task": "survival"}, {"covariates": "age"}):
        with pytest.raises(ValidationError):
            runs.RunConfig(source="t.csv", **wrong)
