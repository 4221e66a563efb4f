"""Every file of the public collection, one by one: pixels equal, no identifier left, no new error of the validator."""

import re
import shutil
import subprocess
import warnings

import numpy as np
import pandas as pd
import pydicom
import pytest
from identified import found_in

import easydl

pytestmark = pytest.mark.real
WHO = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber", "PatientComments", "ImageComments",
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate", "StudyInstanceUID",
    "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "AdditionalPatientHistory",
)  # fmt: skip


@pytest.fixture(scope="module")
def zoo(real, tmp_path_factory):
    """Path of every input, its row, and its output or None; each run into a folder of its own."""
    place = tmp_path_factory.mktemp("zoo")
    paths = [path for name in ("dicom_zoo", "nih_cxr_dicom") for path in sorted((real / name).rglob("*"))]
    found = []
    for number, path in enumerate(path for path in paths if path.is_file() and path.suffix != ".csv"):
        done = easydl.deidentify(path, place / str(number), secret=place / "secret")
        assert done.counts["written"] + done.counts["quarantined"] + done.counts["refused"] == 1
        row = done.table.iloc[0]
        found.append((path, row, place / str(number) / row["file"] if row["file"] else None))
    return found


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


def test_all_in_one_run_add_up_and_only_known_reasons_are_given(real, tmp_path):
    done = easydl.deidentify(real / "dicom_zoo", tmp_path / "out")
    n = done.counts
    assert n["written"] + n["quarantined"] + n["refused"] == n["files"] == len(done.table) > 100
    assert len(list((tmp_path / "out/images").rglob("*.dcm"))) == n["written"] > 20
    assert len(list((tmp_path / "out/quarantine").rglob("*.dcm"))) == n["quarantined"] > 20
    assert "does not know" not in done.text + "".join(done.table["reason"])
    again = easydl.deidentify(real / "dicom_zoo", tmp_path / "out")
    assert again.counts == {**n, "already_there": n["written"] + n["quarantined"]}


def syntax(dataset):
    return dataset.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)  # a file without its head


def test_pixels_are_equal_in_every_transfer_syntax(zoo):
    compared = set()
    for path, _, output in zoo:
        if output is None:
            continue
        before, after = read(path), read(output)
        assert syntax(before) == syntax(after), path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = before.pixel_array
        except Exception:
            continue
        np.testing.assert_array_equal(pixels, after.pixel_array, err_msg=path.name)
        compared.add(syntax(before).name)
    assert len(compared) >= 11


def test_only_incomplete_images_and_other_objects_are_refused(zoo):
    refused = {path.name: row["reason"] for path, row, output in zoo if output is None}
    assert all("does not know" not in reason for reason in refused.values())
    assert {"reportsi.dcm", "test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm", "DICOMDIR", "MR_truncated.dcm"} <= set(
        refused
    )
    assert len(refused) < 20


def test_no_identifying_value_of_the_input_is_in_the_output(zoo):
    searched = 0
    for path, _, output in zoo:
        if output is None:
            continue
        values = set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for element in read(path).iterall():
                if element.VR == "PN" or element.keyword in WHO:
                    listed = (
                        [element.value] if isinstance(element.value, str) or element.VR == "PN" else element.value or []
                    )
                    values |= {str(value).strip() for value in listed}
        # Four digits occur by chance in a file full of numbers; six and more do not.
        values = {value for value in values if len(value) >= (6 if re.fullmatch(r"[\d.]+", value) else 4)}
        assert found_in(str(output).encode() + output.read_bytes(), values) == [], path.name
        searched += len(values)
    assert searched > 400


def errors(path):
    """What dciodvfy calls an error, without the values it quotes."""
    output = subprocess.run(["dciodvfy", str(path)], capture_output=True)
    lines = (output.stdout + output.stderr).decode("latin-1").splitlines()
    return {re.sub(r"<[^<>]*\d[^<>]*>", "<>", line) for line in lines if line.startswith("Error")}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy (Debian: dicom3tools) is not installed")
def test_the_validator_finds_no_new_error(zoo):
    new = {path.name: errors(output) - errors(path) for path, _, output in zoo if output is not None}
    assert len(new) > 80
    assert {name: found for name, found in new.items() if found} == {}


def test_a_second_run_over_public_series_gives_the_same_files(real, tmp_path):
    source = real / "dicom_series/ct_head_with_seg"
    tables = [easydl.deidentify(source, tmp_path / name, secret=tmp_path / "key").table for name in ("a", "b")]
    pd.testing.assert_frame_equal(*tables)
    for file in filter(None, tables[0]["file"]):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
