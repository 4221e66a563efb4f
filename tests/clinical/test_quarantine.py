"""Which images wait for a person: every rule by itself, burned-in text in a frame, release after a look."""

import json

import numpy as np
import pydicom
import pytest
from made import dicom_slice, film, lettered
from pydicom import uid

import easydl


def one(tmp_path, pixels=None, **changes):
    pixels = film() if pixels is None else pixels
    return dicom_slice(tmp_path / "in/a.dcm", pixels, **{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], **changes})


def decided(tmp_path, path):
    done = easydl.deidentify(path, tmp_path / "out")
    row = done.table.iloc[0]
    assert (tmp_path / "out" / row["file"]).is_file()
    assert row["file"].startswith("quarantine/" if row["state"] == "quarantined" else "images/")
    return row["state"], row["reason"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is not NO"),
        ({"BurnedInAnnotation": "MAYBE"}, "BurnedInAnnotation is not NO"),
        *[({"Modality": modality, "BurnedInAnnotation": "NO"}, f"modality {modality}") for modality in ("US", "SC", "ES", "XC", "OT")],
        ({"Modality": "", "BurnedInAnnotation": "NO"}, "Modality is missing"),
        ({"Modality": "DX"}, "BurnedInAnnotation is missing"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "BurnedInAnnotation is missing"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": "NO"}, "secondary or screen"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCREEN SAVE"]}, "secondary or screen"),
        ({"ConversionType": "WSD"}, "ConversionType"),
    ],
)  # fmt: skip
def test_every_rule_by_itself_quarantines_an_image(tmp_path, changes, why):
    state, reason = decided(tmp_path, one(tmp_path, **changes))
    assert state == "quarantined" and why in reason
    assert reason.count(";") == 0


@pytest.mark.parametrize("changes", [{}, {"Modality": "MR"}, {"BurnedInAnnotation": "NO", "Modality": "DX"}, {"ImageType": ["DERIVED", "PRIMARY"], "BurnedInAnnotation": "NO"}])  # fmt: skip
def test_what_no_rule_objects_to_is_written(tmp_path, changes):
    assert decided(tmp_path, one(tmp_path, **changes)) == ("written", "")


def test_a_secondary_capture_is_quarantined_by_its_class(tmp_path):
    path = one(tmp_path, BurnedInAnnotation="NO")
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    ds.save_as(path)
    assert decided(tmp_path, path) == ("quarantined", "it is a secondary capture")


def test_burned_in_text_quarantines_an_image(tmp_path):
    state, reason = decided(tmp_path, one(tmp_path, lettered(film())))
    assert state == "quarantined" and "burned-in text" in reason


def test_burned_in_text_in_one_of_many_frames_is_found(tmp_path):
    frames = np.stack([film(seed=k) for k in range(5)])
    frames[3] = lettered(frames[3])
    path = one(tmp_path, frames[0])
    ds = pydicom.dcmread(path)
    ds.NumberOfFrames, ds.PixelData = 5, frames.tobytes()
    ds.save_as(path)
    assert "burned-in text" in decided(tmp_path, path)[1]


def test_what_cannot_be_decoded_here_is_quarantined(tmp_path, monkeypatch):
    def fails(*a, **k):
        raise RuntimeError("no decoder")

    monkeypatch.setattr("easydl.clinical.pixeldata.frames", fails)
    assert "cannot be decoded here" in decided(tmp_path, one(tmp_path))[1]


def test_release_moves_what_a_person_has_looked_at(tmp_path):
    for number in range(3):
        dicom_slice(tmp_path / f"in/{number}.dcm", film(seed=number), Modality="DX", SOPInstanceUID=f"1.2.3.{number}")
    run = lambda **options: easydl.deidentify(tmp_path / "in", tmp_path / "out", **options)  # noqa: E731
    held = run()
    assert held.counts["quarantined"] == 3
    names = list(held.table["file"])
    done = run(release=[names[0], names[1].removeprefix("quarantine/").replace("/", "\\"), "quarantine/P-1/2/3.dcm"])
    assert (done.counts["written"], done.counts["quarantined"]) == (2, 1)
    assert "1 of the released names" in done.text
    moved = [tmp_path / "out" / name.replace("quarantine/", "images/") for name in names]
    assert [path.is_file() for path in moved] == [True, True, False]
    assert [(tmp_path / "out" / name).is_file() for name in names] == [False, False, True]
    assert pydicom.dcmread(moved[0]).BurnedInAnnotation == "NO"
    assert "BurnedInAnnotation" not in pydicom.dcmread(tmp_path / "out" / names[2])
    # A look once taken is remembered; a list in a file does the same.
    again = run()
    assert again.counts == {**done.counts, "already_there": 3}
    (tmp_path / "seen.txt").write_text(f"\ufeff{names[2]}\n\n", encoding="utf-8")
    assert run(release=tmp_path / "seen.txt").counts["written"] == 3
    report = json.loads((tmp_path / "out/deidentified.json").read_text())
    assert [row["released"] for row in report["files"]] == [True] * 3


def test_other_bands_write_the_files_again(tmp_path):
    path = one(tmp_path, lettered(film()))
    held = easydl.deidentify(path, tmp_path / "out")
    done = easydl.deidentify(path, tmp_path / "out", black_out=(30, 0, 0, 0))
    assert done.counts["already_there"] == 0
    assert "burned-in text" in held.table["reason"][0]
    assert done.table["reason"][0] == "its edges were blackened: look whether that was enough"
    assert (pydicom.dcmread(tmp_path / "out" / done.table["file"][0]).pixel_array[:30] == film().min()).all()
