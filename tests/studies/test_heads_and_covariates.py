import numpy as np
import pandas as pd
import pytest
from PIL import Image

import easydl
from easydl.errors import InputError


@pytest.fixture
def frame(table):
    """Sixteen films of sixteen patients with an age, a sex, a density and a grade."""
    found = pd.read_csv(table, dtype=str).assign(image=lambda one: [str(table.parent / path) for path in one["image"]])
    return found.assign(
        age=["", *(str(31 + k) for k in range(15))], sex=["F", "M", "F", "NA"] * 4, density=["b", "a", "a", ""] * 4,
        grade=[str(k % 2 + 1) for k in range(16)],
    )  # fmt: skip


def test_several_heads_are_read_with_their_classes_and_their_gaps(frame):
    study = easydl.load(frame, heads=["label", "density"])
    assert (study.task, dict(study.heads)) == ("multitask", {"label": ["disease", "healthy"], "density": ["a", "b"]})
    assert (study.summary.channels, study.summary.image_size, study.summary.dimension) == (1, (32, 32), 2)
    assert study.targets()["density"][:4].tolist() == [[0, 1], [1, 0], [1, 0], [0, 0]]
    assert study.target_weights()["density"][:4].tolist() == [1, 1, 1, 0]
    assert study.target_weights()["label"].all()
    assert any("density: 4 images without a label" in note for note in study.notes)
    assert "density (a 8, b 4)" in repr(study)
    x, y, weights = next(iter(study.batches(4, size=(8, 8))))
    assert (x.shape, y["label"].shape, weights["density"].numpy().tolist()) == ((4, 8, 8, 1), (4, 2), [1, 1, 1, 0])


def test_one_head_is_a_study(frame):
    study = easydl.load(frame, heads={"density": ["b", "a"], "age": 1})
    one, number = study.head("density"), study.head("age")
    assert (one.task, list(one.classes), len(one)) == ("classification", ["b", "a"], 12)
    assert (number.task, list(number.classes), len(number)) == ("regression", ["age"], 15)
    assert number.targets()[:, 0].tolist() == [31.0 + k for k in range(15)]
    assert study.targets()["age"][0, 0] == 0
    with pytest.raises(InputError, match="no head 'sex'"):
        study.head("sex")
    assert easydl.load(frame, heads=["density"]).target_weights() is not None
    assert easydl.load(frame, label="label").target_weights() is None


def test_rows_without_a_label_for_any_head_are_excluded(frame):
    study = easydl.load(frame, heads=["density"])
    assert len(study) == 12
    assert any("4 images without a label for any head excluded" in note for note in study.notes)


def test_many_different_numbers_are_a_measurement(frame):
    many = pd.concat([frame, frame]).assign(
        image=[*frame["image"], *(path.replace(".png", "_2.png") for path in frame["image"])],
        patient=[f"q{k}" for k in range(32)], size=[f"{k}.5" for k in range(32)],
    )  # fmt: skip
    for path in frame["image"]:
        Image.open(path).rotate(90).save(path.replace(".png", "_2.png"))
    study = easydl.load(many, heads=["label", "size"])
    assert study.heads["size"] == 1
    assert any("32 different numbers, taken for a measurement" in note for note in study.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": []}, "heads="),
        ({"heads": ["density", "density"]}, "heads="),
        ({"heads": ["nothing"]}, "no column 'nothing'"),
        ({"heads": ["patient"]}, "called 'patient'"),
        ({"heads": ["density"], "label": "label"}, "heads="),
        ({"heads": ["density"], "task": "ordinal"}, "task='ordinal'"),
        ({"task": "multitask"}, "task='multitask'"),
        ({"heads": {"density": ["a"]}}, "heads names"),
        ({"heads": {"density": ["a", "c"]}}, "not one of the classes"),
        ({"heads": {"density": 1}}, "is not a number"),
        ({"heads": ["constant"]}, "have the same label"),
    ],
)
def test_heads_that_cannot_be_read_are_refused(frame, options, words):
    with pytest.raises(InputError, match=words) as caught:
        easydl.load(frame.assign(constant="x"), **options)
    assert caught.value.do


def test_a_split_balances_the_first_head(frame):
    study = easydl.load(frame, heads=["label", "density"])
    for part in study.split(seed=3):
        assert set(part.frame["label"]) == {"disease", "healthy"}
    ages = easydl.load(frame, heads={"age": 1, "label": ["disease", "healthy"]})
    means = [part.head("age").targets().mean() for part in ages.split(seed=0)]
    assert max(means) - min(means) < 6  # of numbers from 31 to 45
    folds = study.folds(4)
    assert sorted(len(test) for _, _, test in folds) == [4, 4, 4, 4]


def test_ordinal_classes_keep_their_order_and_need_one(frame):
    study = easydl.load(frame, task="ordinal", label="label", classes=["healthy", "disease"])
    assert (study.task, study.targets()[0].tolist()) == ("ordinal", [0, 1])
    assert list(easydl.load(frame, task="ordinal", label="grade").classes) == ["1", "2"]
    assert [len(part) for part in study.split(seed=0)] == [8, 4, 4]
    with pytest.raises(InputError, match="order of the classes"):
        easydl.load(frame, task="ordinal", label="label")
    with pytest.raises(InputError, match="No image is of the class 'severe'"):
        easydl.load(frame, task="ordinal", label="label", classes=["healthy", "disease", "severe"])


def test_covariates_are_numbers_and_few_words_and_nothing_that_gives_the_label_away(frame):
    more = frame.assign(
        copy=frame["label"].str[0], record_id=range(16), scan_date=["2024-01-01", "2024-02-01"] * 8, site="one",
        free=[f"words {k}" for k in range(16)],
    )  # fmt: skip
    known = easydl.load(more).summary.covariates
    assert known == {"age": None, "sex": ("F", "M"), "density": ("a", "b"), "grade": None}
    assert easydl.load(more, heads=["label", "density"]).summary.covariates == {
        "age": None, "sex": ("F", "M"), "grade": None,
    }  # fmt: skip


def test_nothing_of_the_file_is_a_covariate(frame):
    sizes = easydl.load(frame).frame
    assert {"width", "height", "file_type"} <= set(sizes.columns)
    assert not {"width", "height", "file_type", "image", "patient", "label"} & set(
        easydl.load(frame).summary.covariates
    )


def test_targets_of_a_regression_are_float32(frame):
    study = easydl.load(frame.iloc[1:], label="age", task="regression")
    assert study.targets().dtype == np.float32
    assert study.targets().shape == (15, 1)
