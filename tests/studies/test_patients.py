"""One patient is one patient however it is written, and nobody is a patient called ANONYMOUS."""

import os

import numpy as np
import pandas as pd
import pytest
from made import dicom_series, dicom_slice, square
from PIL import Image
from pydicom.uid import generate_uid

import easydl
from easydl.errors import InputError
from easydl.images.headers import pseudonym
from easydl.images.patients import is_scientific, names_nobody

SPELLINGS = ["P01", "p01", "P 01", "P-01", "P01\u00a0", "P0\u200b1"]
NUMBERS = ["1", "01", "001", "1.0"]
PLACEHOLDERS = ["ANONYMOUS", "anonym", "Anonymized Patient", "unknown", "N/A", "de-identified", "???", " "]


def pictures(folder, patients, **columns):
    rng = np.random.default_rng(0)
    for k in range(len(patients)):
        Image.fromarray(square(k % 2 == 0, rng)).save(folder / f"{k}.png")
    rows = {"image": [f"{k}.png" for k in range(len(patients))], "label": ["ab"[k % 2] for k in range(len(patients))]}
    pd.DataFrame({**rows, "patient": patients, **columns}).to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def film(path, k, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(k).integers(0, 4000, (32, 32)).astype(np.uint16)
    changes = {"Modality": "DX", "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), **changes}
    return dicom_slice(path, pixels, **changes)


@pytest.mark.parametrize("spellings", [SPELLINGS, NUMBERS])
def test_spellings_of_one_patient_are_one_in_load_split_and_audit(spellings, tmp_path):
    others = [f"Q{k}" for k in range(20)]
    study = easydl.load(pictures(tmp_path, [*spellings, *others]))
    assert study.n_patients == 21
    assert study.frame["patient"].iloc[: len(spellings)].nunique() == 1
    assert sum("1 patient written in several ways" in note for note in study.notes) == 1
    for seed in range(5):
        split = study.split(seed=seed)[0].parent
        assert split.frame["split"].iloc[: len(spellings)].nunique() == 1
        assert split.frame.groupby("patient")["split"].nunique().max() == 1
    audit = easydl.audit(study)
    assert [one.value for one in audit.issues if "several ways" in one.sentence] == [1]
    assert [one.n for one in audit.issues if one.id == "A8"] == [21] * sum(one.id == "A8" for one in audit.issues)


def test_spellings_in_headers_give_one_pseudonym():
    assert len({pseudonym(text) for text in SPELLINGS}) == 1
    assert pseudonym("P01") != pseudonym("P10")
    assert not any(pseudonym(text) for text in [*PLACEHOLDERS, "", None, "1.23457E+15"])


@pytest.mark.parametrize("cell", ["1.23457E+15", "1,23457E+15", "1.234568e+15", "2E+10"])
def test_numbers_that_a_spreadsheet_shortened_are_refused(cell, tmp_path):
    assert is_scientific(cell)
    with pytest.raises(InputError, match=r"row 4: the patient is a number that a spreadsheet has shortened") as caught:
        easydl.load(pictures(tmp_path, ["a1", "a2", cell, "a3"]))
    assert "as text" in caught.value.do
    assert cell not in str(caught.value)


@pytest.mark.parametrize("name", ["1e5", "2E10", "e3b0c442", "P-1.5", "1.5"])
def test_other_identifiers_stay(name, tmp_path):
    assert not is_scientific(name)
    assert not names_nobody(name)
    assert easydl.load(pictures(tmp_path, [name, "b7"])).frame["patient"].iloc[0] == name


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_a_word_for_not_known_is_no_patient_of_a_table(name, tmp_path):
    table = pictures(tmp_path, [name, "b7", "b8", "b9"])
    with pytest.raises(InputError, match="row 2: the patient is"):
        easydl.load(table)
    study = easydl.load(table, patient=None)
    assert (study.n_patients, study.patients_known) == (4, False)


@pytest.mark.parametrize("name", ["ANONYMOUS", "anonym", "", "CASE-1"])
def test_one_name_in_all_headers_tells_no_patients(name, tmp_path):
    for k in range(12):
        film(tmp_path / "ab"[k % 2] / f"{k}.dcm", k, PatientID=name)
    study = easydl.load(tmp_path)
    assert (len(study), study.n_patients, study.patients_known, study.classes) == (12, 12, False, ["a", "b"])
    assert any("headers" in note and name not in note.split() for note in study.notes if "PatientID" in note)
    assert all(len(part) for part in study.split(seed=1))


def test_images_of_one_examination_stay_together_when_patients_are_not_known(tmp_path):
    for k in range(24):
        film(tmp_path / "ab"[k // 12] / f"{k}.dcm", k, PatientID="ANONYMOUS", StudyInstanceUID=f"1.2.{k // 2}")
    study = easydl.load(tmp_path)
    assert (study.n_patients, study.patients_known) == (12, False)
    split = study.split(seed=0)[0].parent.frame
    stem = split["image"].map(lambda path: int(os.path.basename(path).split(".")[0]) // 2)
    assert split.groupby(stem)["split"].nunique().max() == 1
    assert easydl.load(tmp_path, patient=None).n_patients == 24


def test_no_patients_acts_on_a_folder_whose_headers_name_them(tmp_path):
    for k in range(6):
        film(tmp_path / f"{k}.dcm", k, PatientID=f"S{k // 2}")
    assert easydl.load(tmp_path).n_patients == 3
    study = easydl.load(tmp_path, patient=None)
    assert (study.n_patients, study.patients_known) == (6, False)


def test_series_folders_of_one_patient_are_no_classes(tmp_path):
    for k, name in enumerate(("FLAIR", "T1")):
        uid = generate_uid()
        dicom_series(tmp_path / name, np.full((6, 16, 16), 900 + k, np.int16), SeriesInstanceUID=uid, Modality="MR")
    study = easydl.load(tmp_path)
    assert (len(study), "label" in study.frame) == (2, False)


@pytest.mark.parametrize("change", ["inspect", "other folder", "rewritten"])
def test_nothing_is_kept_between_calls(change, tmp_path, monkeypatch):
    place = tmp_path / "a" / "rel"
    for k in range(4):
        film(place / f"{k}.dcm", k, PatientID=f"S{k}")
    monkeypatch.chdir(tmp_path / "a")
    before = easydl.inspect("rel") if change == "inspect" else easydl.load("rel").frame
    if change == "other folder":
        film(tmp_path / "b" / "rel" / "0.dcm", 9)
        monkeypatch.chdir(tmp_path / "b")
        assert len(easydl.load("rel")) == 1
        return
    if change == "rewritten":
        for k in range(4):
            film(place / f"{k}.dcm", k, PatientID=f"S{k // 2}")
    study = easydl.load("rel")
    assert study.frame["image"].tolist() == [str(place / f"{k}.dcm") for k in range(4)]
    assert study.n_patients == (2 if change == "rewritten" else 4)
    assert len(before) if change != "inspect" else before.patients == 4
