import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.errors import InputError, ModelError


@pytest.fixture
def frame(table):
    found = pd.read_csv(table, dtype=str)
    return found.assign(image=[str(table.parent / path) for path in found["image"]])


@pytest.fixture
def multilabel(frame):
    """One column of yes and no, one of 1 and 0."""
    return frame.assign(effusion=["yes", "No"] * 8, nodule=["1", "1", "0", "0"] * 4)


TRUE = [[1, 1], [0, 1], [1, 0], [0, 0]] * 4


def test_several_label_columns_are_multilabel(multilabel):
    study = easydl.load(multilabel, label=["effusion", "nodule"])
    assert study.task == "multilabel"
    assert list(study.classes) == ["effusion", "nodule"]
    assert study.targets().dtype == np.float32
    assert study.targets().tolist() == TRUE
    assert study.frame["label"].iloc[:4].tolist() == ["effusion; nodule", "nodule", "effusion", ""]
    assert "given_label" in study.frame.columns
    assert "effusion 8, nodule 8" in repr(study)
    assert "none of them" in study._repr_html_()


def test_several_labels_in_one_cell_are_the_same_study(multilabel):
    cells = [";".join(name for name, on in zip(("nodule", "effusion"), row[::-1], strict=True) if on) for row in TRUE]
    study = easydl.load(multilabel.assign(label=cells), label_separator=";")
    assert study.targets().tolist() == TRUE
    assert any("4 images with an empty label" in note for note in study.notes)
    ordered = easydl.load(multilabel.assign(label=cells), label_separator=";", classes=["nodule", "effusion"])
    assert ordered.targets()[:, ::-1].tolist() == TRUE


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        (["yes", "maybe"] * 8, {"label": ["effusion", "nodule"]}, "row 3: 'effusion' is 'maybe'"),
        (["yes", ""] * 8, {"label": ["effusion", "nodule"]}, "8 of 16 rows"),
        (["-1", "1"] * 8, {"label": ["effusion", "nodule"]}, "'effusion' is '-1'"),
        (["1"] * 16, {"label": ["effusion", "nodule"]}, "'effusion' is in none or in all of the 16"),
        (["a;b", "NA"] * 8, {"label": "effusion", "label_separator": ";"}, "'NA' is not a label"),
        (["a;b", "B"] * 8, {"label": "effusion", "label_separator": ";"}, "spaces or case"),
        (["a;b", "c"] * 8, {"label": "effusion", "label_separator": ";", "classes": ["a", "b"]}, "'c' is not one of the classes"),
        (["a;b", ""] * 8, {"label": "effusion", "label_separator": "|"}, "without a semicolon|called 'a;b'"),
        (["1", "0"] * 8, {"label": ["effusion", "nodule"], "task": "classification"}, "does not go with 2 label columns"),
        (["1", "0"] * 8, {"label": "effusion", "task": "multilabel"}, "does not go with 1 label columns"),
        (["1", "0"] * 8, {"label": "effusion", "task": "survival"}, "task='survival'"),
        (["1", "0"] * 8, {"label": "effusion", "task": "segmentation"}, "needs masks"),
        (["1", "x"] * 8, {"label": "effusion", "task": "regression"}, "8 of 16 rows"),
        (["1", "nan"] * 8, {"label": "effusion", "task": "regression"}, "'nan' in 'effusion' is not a number"),
        (["1", "inf"] * 8, {"label": "effusion", "task": "regression"}, "'inf' in 'effusion' is not a number"),
        (["1.5", "1,5"] * 8, {"label": "effusion", "task": "regression"}, "'1,5' in 'effusion' is not a number"),
        (["7"] * 16, {"label": "effusion", "task": "regression"}, "All 16 images have the label"),
        (["a", "b"] * 8, {"label": "effusion", "classes": ["a", "b", "c"]}, "No image is of the class 'c'"),
        (["a", "b"] * 8, {"label": "effusion", "classes": ["a"]}, "'b' is not one of the classes"),
        (["a", "b"] * 8, {"raters": ["effusion"]}, "raters="),
        (["a", "b"] * 8, {"raters": ["effusion", "nodule"], "classes": ["a", "b"]}, "not one of the classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_as_asked_is_refused(multilabel, cells, options, words):
    with pytest.raises(InputError, match=words) as caught:
        easydl.load(multilabel.assign(effusion=cells), **options)
    assert caught.value.expected
    assert caught.value.do


def test_numbers_are_a_regression_when_asked(frame):
    study = easydl.load(frame.assign(age=[f"{20 + k},5" for k in range(16)]), label="age", task="regression")
    assert study.targets()[:, 0].tolist() == [20.5 + k for k in range(16)]
    assert study.targets().dtype == np.float32
    assert list(study.classes) == ["age"]
    assert study.summary.channels == 1
    assert "age 20.5 to 35.5, median 28" in repr(study)
    assert any("decimal comma" in note for note in study.notes)
    assert "all" in set(study._repr_html_().replace("<td>", " ").replace("</td>", " ").split())


def test_batches_carry_the_targets_of_every_task(frame, multilabel):
    for study, shape in (
        (easydl.load(multilabel, label=["effusion", "nodule"]), (5, 2)),
        (easydl.load(frame.assign(label=[str(k) for k in range(16)]), task="regression"), (5, 1)),
        (easydl.load(frame), (5, 2)),
    ):
        x, y = next(iter(study.batches(5, size=(16, 16))))
        assert x.shape == (5, 16, 16, 1)
        assert y.shape == shape
        assert np.array_equal(y.numpy(), study.targets()[:5])


def test_a_keras_model_learns_from_such_batches(frame):
    import keras

    study = easydl.load(frame.assign(label=[str(k % 3) for k in range(16)]), task="regression")
    model = keras.Sequential([keras.layers.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    assert np.isfinite(model.fit(study.batches(8, size=(16, 16)), verbose=0).history["loss"][0])


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_what_holds_for_classes_only_is_said_to_be_untested(multilabel, task):
    options = {"label": ["effusion", "nodule"]} if task == "multilabel" else {"label": "number", "task": "regression"}
    study = easydl.load(multilabel.assign(number=[str(k / 2) for k in range(16)]), **options)
    found = easydl.audit(study)
    assert {one.id: one.severity for one in found.issues} == {"A1": "OK", "A2": "OK", "A4": "UNTESTED"}
    assert any(task in one.sentence for one in found.issues)


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_a_model_of_another_task_is_refused_in_three_parts(multilabel, task):
    options = {"label": ["effusion", "nodule"]} if task == "multilabel" else {"label": "number", "task": "regression"}
    study = easydl.load(multilabel.assign(number=[str(k / 2) for k in range(16)]), **options)
    train, val, test = study.split(seed=0)
    model = easydl.classifier("tiny", classes=["healthy", "disease"], size=32)
    for work in (lambda: easydl.fit(model, train, val), lambda: easydl.evaluate(model, test)):
        with pytest.raises(ModelError, match=f"task is classification; .* is {task}") as caught:
            work()
        assert caught.value.expected
        assert caught.value.do


def test_a_run_takes_classes_and_root(table, tmp_path):
    from easydl.runs.config import RunConfig
    from easydl.runs.pipeline import _Pipeline

    elsewhere = tmp_path / "tables"
    elsewhere.mkdir()
    (elsewhere / "scans.csv").write_bytes(table.read_bytes())
    config = RunConfig(source=str(elsewhere / "scans.csv"), root=str(table.parent), classes=["healthy", "disease"])
    study = _Pipeline(config, tmp_path, print, True)._load()
    assert list(study.classes) == ["healthy", "disease"]


def test_the_order_of_classes_is_kept_in_every_part(tmp_path):
    path = png_study(tmp_path / "s", per_class=11)
    frame = pd.read_csv(path, dtype=str)
    frame.assign(label=[str((k % 11) + 1) if k < 11 else "1" for k in range(22)]).to_csv(path, index=False)
    study = easydl.load(path)
    assert list(study.classes) == [str(k) for k in range(1, 12)]
    part = study.rows([0, 9])
    assert part.targets().argmax(axis=1).tolist() == [0, 9]
    ordered = easydl.load(path, classes=[str(k) for k in range(11, 0, -1)])
    assert ordered.rows([0, 9]).targets().argmax(axis=1).tolist() == [10, 1]
