"""`easydl inspect`: what is here, how many patients, what is refused and why; the counts add up."""

import json

import numpy as np
import pytest
from made import dicom_series, dicom_slice, png_study
from typer.testing import CliRunner

import easydl
from easydl.cli import app
from easydl.errors import InputError

STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "scans"
    dicom_series(place / "ct", np.stack([STORED] * 4), SeriesInstanceUID="1.2.3")
    for k in range(2):
        dicom_slice(place / f"film{k}.dcm", STORED, Modality="DX", PatientID=f"SECRET-{k}", SOPInstanceUID=f"1.2.{k}")
    dicom_slice(place / "scout.dcm", STORED, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.5")
    (place / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 30)
    (place / "letter.txt.bak").write_text("no image")
    png_study(place / "png", per_class=2)
    (place / "png/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 9)
    return place


def test_a_folder_is_described_on_one_screen(folder):
    found = easydl.inspect(folder)
    assert found.counts == {
        "files": 4 + 2 + 1 + 1 + 1 + 4 + 1 + 1, "DICOM": 7, "images": 4, "tables": 1, "refused": 3,
    }  # fmt: skip
    assert sum(number for name, number in found.counts.items() if name != "files") == found.counts["files"]
    assert found.patients == 3
    use = found.series[found.series["excluded"] == ""]
    assert sorted(use["files"]) == [1, 1, 4]
    text = found.text
    assert len(text.splitlines()) <= 24
    for words in ("Patients: 3", "1 x CT of 4 slices, 8 x 6 pixels", "2 x DX", "is a localizer", "4 PNG L, 32 x 32",
                  "Refused: 3 files", "cut.dcm cannot be read", "broken.png",
                  "letter.txt.bak is not in a format that easydl reads"):  # fmt: skip
        assert words in text
    assert "SECRET" not in json.dumps(found.to_dict())
    assert "Research use only" in repr(found)


def test_a_table_tells_its_columns_and_what_is_missing(table):
    found = easydl.inspect(table)
    assert found.table["rows"] == 16
    assert (found.table["columns"]["image"], found.table["columns"]["patient"]) == ("image", "patient")
    assert found.patients == 16
    assert found.task == f"easydl train {table}"
    next(table.parent.rglob("*.png")).unlink()
    missing = easydl.inspect(table)
    assert missing.counts["listed and not there"] == 1
    assert missing.task == ""


def test_one_image_is_read_and_described(tmp_path):
    path = dicom_slice(tmp_path / "a.dcm", STORED, LossyImageCompression="01")
    found = easydl.inspect(path)
    assert "HU values from -1024 to 1326" in found.notes
    assert any("lossy" in note for note in found.notes)
    assert "SECRET" not in found.text
    assert "Doe" not in found.text


def test_an_unreadable_image_is_an_answer_and_nothing_is_an_error(tmp_path):
    path = dicom_slice(tmp_path / "a.dcm", STORED, RescaleSlope=0)
    found = easydl.inspect(path)
    assert "RescaleSlope" in found.refused[0][1]
    with pytest.raises(InputError, match="nothing at"):
        easydl.inspect(tmp_path / "no such thing")


def test_the_command_prints_words_and_json(folder):
    words = CliRunner().invoke(app, ["inspect", str(folder)])
    assert words.exit_code == 0
    assert "Patients: 3" in words.output
    assert "Research use only" in words.output
    answer = json.loads(CliRunner().invoke(app, ["inspect", str(folder), "--json"]).output)
    assert answer["patients"] == 3
    assert len(answer["refused"]) == 3
    assert {one["modality"] for one in answer["series"]} == {"CT", "DX"}


@pytest.mark.real
def test_the_zoo_is_described_within_a_screen(real):
    found = easydl.inspect(real / "dicom_zoo")
    assert found.counts["files"] == sum(number for name, number in found.counts.items() if name != "files")
    assert len(found.text.splitlines()) < 30
    assert any("Basic Text SR" in reason for _, reason in found.refused)
