"""Names are compared in one Unicode form, and a path without a file gets the true reason."""

import unicodedata

import numpy as np
import pandas as pd
import pytest
from made import dicom_series, square
from PIL import Image

import easydl
from easydl.errors import InputError


def nfc(text):
    return unicodedata.normalize("NFC", text)


def nfd(text):
    return unicodedata.normalize("NFD", text)


def picture(path, k=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(square(k % 2 == 0, np.random.default_rng(k))).save(path)


def rows(names, **columns):
    count = len(names)
    label = ["ab"[k % 2] for k in range(count)]
    return pd.DataFrame({"image": names, "label": label, "patient": [f"p{k}" for k in range(count)], **columns})


@pytest.mark.parametrize(("on_disk", "in_table"), [(nfd, nfc), (nfc, nfd)])
@pytest.mark.parametrize("kind", ["csv", "xlsx", "frame", "below"])
def test_names_in_another_unicode_form_are_found(on_disk, in_table, kind, tmp_path):
    for k in range(4):
        picture(tmp_path / on_disk("Größe") / on_disk(f"Müller_{k}.png"), k)
    folder = "" if kind == "below" else "Größe/"
    frame = rows([in_table(f"{folder}Müller_{k}.png") for k in range(4)], **{in_table("Gefäß"): ["x", "y"] * 2})
    if kind == "frame":
        study = easydl.load(frame, root=tmp_path)
    elif kind == "xlsx":
        frame.to_excel(tmp_path / "t.xlsx", index=False)
        study = easydl.load(tmp_path / "t.xlsx")
    else:
        frame.to_csv(tmp_path / "t.csv", index=False)
        study = easydl.load(tmp_path / "t.csv", label=nfd("Gefäß"))
    assert [path.rsplit("/", 1)[-1] for path in study.frame["image"]] == [on_disk(f"Müller_{k}.png") for k in range(4)]
    assert not [note for note in study.notes if "in no row" in note]


def test_a_series_in_a_folder_of_another_form_is_found(tmp_path):
    series = dicom_series(tmp_path / nfd("Jürgen"), np.zeros((5, 16, 16), np.int16))
    key = easydl.inspect(series).series["address"].iloc[0].rsplit("#", 1)[1]
    frame = pd.DataFrame({"image": [nfc(f"Jürgen#{key}")], "patient": ["p"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert easydl.load(tmp_path / "t.csv").scan(0).shape == (5, 16, 16)


def test_masks_of_another_form_are_paired(tmp_path):
    for k in range(3):
        picture(tmp_path / "images" / nfd(f"Müller_{k}.png"), k)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 1
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(tmp_path / "masks" / nfc(f"Müller_{k}.png"))
    assert len(easydl.load(tmp_path)) == 3


@pytest.mark.parametrize(
    ("files", "named", "reason"),
    [
        (["Scan.png"], "scan.PNG", "but Scan.png does: in another case"),
        (["Films/a.png"], "films/a.png", "The folder .*films does not exist, but Films does: in another case"),
        (["a.png"], "a", "but a.png does: the ending is missing"),
        (["a.nii.gz"], "a", "but a.nii.gz does: the ending is missing"),
        (["a.png", "a.jpg"], "a", "but a.jpg and a.png do: the ending is missing"),
        (["a.png"], "a.dcm", "but a.png does: another ending"),
        (["x/a.png", "y/a.png"], "a.png", "'a.png' is there 2 times, as .*/a.png and .*/a.png"),
        (["b.png"], "a.png", r"a\.png does not exist(?!, but)"),
        ([], "nowhere/a.png", r"The folder .*nowhere does not exist(?!, but)"),
    ],
)
def test_a_path_without_a_file_gets_the_true_reason(files, named, reason, tmp_path):
    for k, name in enumerate(files):
        picture(tmp_path / name, k) if not name.endswith("gz") else (tmp_path / name).write_bytes(b"x")
    picture(tmp_path / "other.png")
    rows([named, "other.png"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=f"(?s)1 of 2 rows cannot be used: row 2: .*{reason}") as caught:
        easydl.load(tmp_path / "t.csv")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("form", [nfc, nfd])
def test_two_files_that_look_the_same_are_no_file(form, tmp_path):
    for k, written in enumerate((nfc, nfd)):
        picture(tmp_path / written("Müller.png"), k)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk keeps one form only")
    picture(tmp_path / "x.png")
    rows([form("Müller.png"), "x.png"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"row 2: .* is there 2 times") as caught:
        easydl.load(tmp_path / "t.csv")
    assert "two Unicode forms" in caught.value.do
