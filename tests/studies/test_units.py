"""CT in files that do not say their units: an argument or a column says it, and nothing guesses."""

import nibabel
import numpy as np
import pandas as pd
import pytest
from made import dicom_series
from PIL import Image
from typer.testing import CliRunner

import easydl
from easydl.errors import InputError, ModelError
from easydl.images.values import DECLARED_HU, UNKNOWN_UNITS


def volume(path, values):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), np.eye(4)), path)
    return path.name


@pytest.fixture
def crops(tmp_path):
    """Twelve crops of CT, half of which hold air (rordenlab/dcm2niix#482, nipy/nibabel#1015)."""
    rows = []
    for k in range(12):
        values = np.random.default_rng(k).normal(60, 40, (16, 16, 8))
        if k % 2:
            values[:3] = -1000
        rows.append({"image": volume(tmp_path / f"{k}.nii.gz", values), "label": "ab"[k // 2 % 2], "patient": k})
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def test_values_alone_do_not_make_a_ct(crops):
    study = easydl.load(crops)
    assert study.units == "0-255"
    assert f"some images: {UNKNOWN_UNITS}" in study.notes
    assert {study.scan(row).units for row in range(12)} == {"relative"}
    assert [UNKNOWN_UNITS in study.scan(row).notes for row in range(12)] == [False, True] * 6
    train, _, _ = study.split((0.5, 0.25, 0.25))
    assert any(note == f"6 of 12 images: {UNKNOWN_UNITS}" for note in train.parent.notes)


def test_an_argument_says_that_all_are_ct(crops):
    study = easydl.load(crops, units="HU")
    assert study.units == "HU" and not any(UNKNOWN_UNITS in note for note in study.notes)
    assert all(study.scan(row).units == "HU" and DECLARED_HU in study.scan(row).notes for row in range(12))
    np.testing.assert_array_equal(study.scan(1).pixels, easydl.load(crops).scan(1).pixels)
    assert study.rows([0, 1]).scan(1).units == "HU"
    train, _, _ = study.split((0.5, 0.25, 0.25))
    assert any(note == f"12 of 12 images: {DECLARED_HU}" for note in train.parent.notes)


@pytest.mark.parametrize("word", ["HU", " hu "])
def test_a_column_says_it_row_by_row(crops, word):
    frame = pd.read_csv(crops, dtype=str).assign(units=word)
    study = easydl.load(frame, root=crops.parent)
    assert study.units == "HU" and "units" not in study.summary.covariates
    mixed = frame.assign(units=["HU"] * 6 + [""] * 6)
    with pytest.raises(InputError, match="mixes CT in Hounsfield units"):
        easydl.load(mixed, root=crops.parent)
    with pytest.raises(InputError, match="in 1, the first in row 13"):
        easydl.load(frame.assign(units=["HU"] * 11 + ["mm"]), root=crops.parent)
    other = easydl.load(frame.assign(units=["mg/dl", "mmol/l"] * 6), root=crops.parent)
    assert other.units == "0-255"


def test_the_numbers_of_dicom_and_nifti_of_one_ct_are_one_study(crops):
    folder = crops.parent / "series"
    dicom_series(folder, np.random.default_rng(0).integers(0, 2000, (8, 16, 16)).astype(np.uint16))
    frame = pd.read_csv(crops, dtype=str)
    frame = pd.concat([frame, pd.DataFrame([{"image": "series", "label": "a", "patient": "9"}])], ignore_index=True)
    with pytest.raises(InputError, match='units="HU"'):
        easydl.load(frame, root=crops.parent)
    assert easydl.load(frame, root=crops.parent, units="HU").units == "HU"


def test_what_cannot_be_hounsfield_units_is_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="an image of 8 bits"):
        easydl.read(tmp_path / "a.png", units="HU")
    dicom_series(
        tmp_path / "mr", np.zeros((3, 8, 8), np.uint16), Modality="MR", RescaleSlope=None, RescaleIntercept=None
    )
    with pytest.raises(InputError, match="not a CT"):
        easydl.read(tmp_path / "mr", units="HU")
    with pytest.raises(InputError, match="`units` is 'mm'"):
        easydl.read(tmp_path / "a.png", units="mm")
    with pytest.raises(InputError, match="`units` is 'mm'"):
        easydl.load(pd.DataFrame({"image": [str(tmp_path / "a.png")], "patient": ["1"]}), units="mm")


def test_a_lost_offset_is_noted(tmp_path):
    values = np.random.default_rng(0).integers(0, 2000, (16, 16, 8))
    volume(tmp_path / "a.nii", values)
    notes = easydl.read(tmp_path / "a.nii", units="HU").notes
    assert any("offset of a CT may have been lost" in note for note in notes)
    volume(tmp_path / "b.nii", values - 1024)
    assert not any("offset" in note for note in easydl.read(tmp_path / "b.nii", units="HU").notes)


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory):
    from easydl.networks import save_model, set_window

    model = easydl.classifier("tiny3d", classes=["a", "b"], size=16)
    return save_model(set_window(model, (-160.0, 240.0), "HU"), tmp_path_factory.mktemp("m") / "ct.keras")


def test_a_model_of_ct_takes_a_nifti_for_ct_only_with_a_word(ct_model, tmp_path):
    air = np.random.default_rng(0).normal(60, 40, (16, 16, 16))
    volume(tmp_path / "no air.nii", air)
    with pytest.raises(ModelError, match='units="HU"'):
        easydl.predict(ct_model, tmp_path / "no air.nii")
    assert DECLARED_HU in easydl.predict(ct_model, tmp_path / "no air.nii", units="HU").notes
    air[:3] = -1000
    volume(tmp_path / "air.nii", air)
    assert any("taken as Hounsfield units" in note for note in easydl.predict(ct_model, tmp_path / "air.nii").notes)
    from easydl import cli

    words = ["predict", str(ct_model), str(tmp_path / "no air.nii")]
    said = CliRunner().invoke(cli.app, [*words, "--units", "HU"])
    assert said.exit_code == 0 and DECLARED_HU in said.output
