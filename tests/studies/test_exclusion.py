"""Findings can be left out with one argument, on the record; `inspect` recommends what works."""

import shlex

import numpy as np
import pandas as pd
import pytest
from made import dicom_slice, nifti_study

import easydl
from easydl.errors import InputError


def left(study):
    return {path.replace("\\", "/").rsplit("/", 2)[-1] for path in study.frame["image"]}


@pytest.mark.parametrize("form", ["row", "number", "path", "name", "whole path"])
def test_a_row_is_left_out_by_number_or_image(form, table):
    second = pd.read_csv(table, dtype=str)["image"][1]
    wanted = {
        "row": 3, "number": "3", "path": second, "name": second.rsplit("/", 1)[1], "whole path": str(table.parent / second),
    }[form]  # fmt: skip
    if form == "name":
        (table.parent / "disease/only.png").write_bytes((table.parent / second).read_bytes())
        frame = pd.read_csv(table, dtype=str)
        frame.loc[1, "image"] = "disease/only.png"
        frame.to_csv(table, index=False)
        (table.parent / second).unlink()
        wanted = "only.png"
    study = easydl.load(table, exclude=[wanted])
    assert len(study) == 15
    assert study.frame["patient"].tolist()[:2] == ["d000", "d002"]
    assert "1 row left out by hand (exclude): row 3" in study.notes
    assert not any("in no row" in note for note in study.notes)


def test_what_cannot_be_read_can_be_left_out(table):
    frame = pd.read_csv(table, dtype=str)
    (table.parent / frame["image"][4]).write_bytes(b"no image")
    frame.loc[7, ["image", "label"]] = ["gone.png", ""]
    frame.to_csv(table, index=False)
    with pytest.raises(InputError) as caught:
        easydl.load(table)
    assert "exclude=" in caught.value.do
    rows = [int(problem.split(":")[0].removeprefix("row ")) for problem in caught.value.problems]
    assert rows == [6, 9]
    study = easydl.load(table, exclude=rows)
    assert len(study) == 14
    assert "2 rows left out by hand (exclude): row 6, row 9" in study.notes


def test_images_of_a_finding_are_left_out_of_a_folder(table):
    study = easydl.load(table.parent)
    again = easydl.load(table.parent, exclude=study.frame["image"].iloc[[0, 5]].tolist())
    assert left(study) >= left(again)
    assert (len(study), len(again)) == (16, 14)


@pytest.mark.parametrize(
    ("exclude", "found", "do"),
    [
        (["diseas/001_0.png"], "no row and no image", "Did you mean 'disease/001_0.png'"),
        ([1], "no row and no image", "Correct"),
        (["001_0.png"], "the name of 2 images", "folder in front"),
        (list(range(2, 18)), "leaves no image", "Exclude fewer"),
    ],
)
def test_what_cannot_be_excluded_is_said(exclude, found, do, table):
    with pytest.raises(InputError, match=found) as caught:
        easydl.load(table, exclude=exclude)
    assert do in caught.value.do


def recommended(path):
    found = easydl.inspect(path)
    return shlex.split(found.task)[2:], found.notes


@pytest.mark.parametrize("kind", ["table", "table without patients", "folder", "masks", "blank in its name"])
def test_what_inspect_recommends_loads_and_can_be_split(kind, table, tmp_path):
    source = table
    if kind == "table without patients":
        pd.read_csv(table, dtype=str).drop(columns="patient").to_csv(table, index=False)
    elif kind == "folder":
        source = table.parent
        table.unlink()
    elif kind == "masks":
        source = nifti_study(tmp_path / "n", cases=8)
    elif kind == "blank in its name":
        source = table.rename(table.parent / "my scans.csv")
    (path, *flags), notes = recommended(source)
    assert path == str(source)
    assert flags == (["--no-patients"] if kind == "table without patients" else [])
    study = easydl.load(path, **({"patient": None} if flags else {}))
    assert all(len(part) for part in study.split())
    assert not any("refuse" in note for note in notes)


def test_inspect_recommends_nothing_that_is_refused(table, tmp_path):
    frame = pd.read_csv(table, dtype=str)
    frame.assign(label=["a"] * 14 + ["b"] * 2).to_csv(table, index=False)
    words, notes = recommended(table)
    assert words == []
    assert any("too few patients to split" in note for note in notes)
    frame.assign(label="a").to_csv(table, index=False)
    assert recommended(table)[0] == []
    (tmp_path / "one").mkdir()
    for k in range(3):
        dicom_slice(tmp_path / "one" / f"{k}.dcm", np.full((16, 16), k, np.int16), Modality="DX", PatientID=f"S{k}",
                    SeriesInstanceUID=f"1.2.{k}")  # fmt: skip
    words, notes = recommended(tmp_path / "one")
    assert words == []
    assert any("no labels" in note for note in notes)
    pd.DataFrame({"patient": ["S0", "S1"], "age": [1, 2]}).to_csv(tmp_path / "one" / "people.csv", index=False)
    assert recommended(tmp_path / "one")[0] == []
