"""Identities: 59 of them in one file, none in what comes out; pseudonyms, dates, ages, refusals, the secret, the report."""

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from identified import SEEDED, everything_below, found_in, identified_ct
from made import dicom_series, dicom_slice, segmented_series

import easydl
from easydl.clinical import deidentification
from easydl.errors import RESEARCH_USE, InputError
from easydl.fileio import DRAFT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")
NOISE = np.random.default_rng(3).integers(0, 2000, (24, 24)).astype(np.uint16)
NAMES = [word for key in ("PatientName", "ReferringPhysicianName", "OperatorsName") for word in SEEDED[key].split("^")]


def ct(path, **changes):
    return dicom_slice(path, NOISE, **{"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], **changes})


def several(folder, count=3, **changes):
    for number in range(count):
        ct(folder / f"{number}.dcm", SOPInstanceUID=f"1.2.3.{number + 1}", **changes)
    return folder


def run(source, output, **options):
    return easydl.deidentify(source, output, **options)


def first(done, state="written"):
    row = done.table[done.table["state"] == state].iloc[0]
    return pydicom.dcmread(done.folder / row["file"])


def test_the_search_finds_every_seeded_identifier_in_the_input(tmp_path):
    path = identified_ct(tmp_path / "in")
    assert len(SEEDED) >= 41
    assert len(set(SEEDED.values())) == len(SEEDED)
    assert found_in(everything_below(tmp_path / "in"), SEEDED.values()) == list(SEEDED.values())
    assert found_in("Quandtbauer".encode("utf-16-be"), ["quandtbauer"])
    assert "Kilovolt" in str(pydicom.dcmread(path)["KVP"])


@pytest.mark.parametrize("dates", ["shift", "remove"])
def test_of_all_seeded_identifiers_none_comes_out(tmp_path, dates, caplog, capfd):
    source = identified_ct(tmp_path / "in")
    cut = source.read_bytes()
    source.with_name("cut.dcm").write_bytes(cut[: len(cut) // 2])
    source.with_name("notes.txt").write_text("Quandtbauer, Liselotte")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        done = run(tmp_path / "in", tmp_path / "out", dates=dates)
    assert done.counts == {"files": 3, "written": 1, "quarantined": 0, "refused": 2, "already_there": 0, "patients": 1}
    said = capfd.readouterr()
    texts = [done.text, repr(done), done._repr_html_(), json.dumps(done.to_dict()), caplog.text, said.out, said.err]
    leaks = everything_below(tmp_path / "out") + everything_below(tmp_path / "workspace")
    leaks += "\n".join([*texts, *(str(one.message) for one in warned)]).encode()
    assert found_in(leaks, [*SEEDED.values(), *NAMES, "Quandt", "Unterfelden"]) == []
    assert source.read_bytes() == cut
    assert not logging.getLogger("pydicom").filters
    written = first(done)
    np.testing.assert_array_equal(written.pixel_array, pydicom.dcmread(source).pixel_array)
    assert "BodyPartExamined" not in written
    assert written.SeriesDescription == "axial soft 5mm"
    assert written.AnatomicRegionSequence[0].CodeMeaning == "Code of a local scheme"


def test_every_logger_of_pydicom_is_silenced():
    """A filter does not see the records of a logger's children, so each has to be on the list."""
    import importlib
    import pkgutil

    from easydl.clinical.deidentification import PYDICOM_LOGGERS

    for module in pkgutil.walk_packages(pydicom.pixels.__path__, "pydicom.pixels."):
        with contextlib.suppress(ImportError):
            importlib.import_module(module.name)
    known = logging.root.manager.loggerDict
    loggers = {name for name in known if name.startswith("pydicom") and isinstance(known[name], logging.Logger)}
    assert loggers <= set(PYDICOM_LOGGERS)


def test_log_lines_and_warnings_are_silent_in_a_run_and_come_back_after_it(tmp_path, monkeypatch, caplog):
    """Whatever pydicom says in this thread may quote a header; what another thread says is none of the run's."""
    monkeypatch.setattr(deidentification, "SAY_EVERY", 1)
    logger, said = logging.getLogger("pydicom"), []

    def speak(text):
        said.append(text)
        logger.critical("Quandtbauer")
        warnings.warn("Quandtbauer", stacklevel=1)
        other = threading.Thread(target=logger.critical, args=["from another thread"])
        other.start()
        other.join()

    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        run(several(tmp_path / "in", 2), tmp_path / "out", progress=speak)
        logger.critical("heard again")
    assert said and "Quandtbauer" not in caplog.text
    assert "from another thread" in caplog.text and "heard again" in caplog.text
    assert not [one for one in warned if "Quandtbauer" in str(one.message)]


def test_the_command_says_the_same_and_leaks_nothing(tmp_path):
    identified_ct(tmp_path / "in")
    command = [sys.executable, "-m", "easydl", "deidentify", str(tmp_path / "in"), str(tmp_path / "out")]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found_in((output.stdout + output.stderr).encode(), [*SEEDED.values(), *NAMES]) == []
    assert "1 written, 0 quarantined, 0 refused" in output.stdout
    assert "look at every image before you share it" in output.stdout
    assert RESEARCH_USE in output.stdout
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["counts"]["already_there"] == 1
    wrong = subprocess.run([*command, "--dates", "maybe"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "What to do" in wrong.stderr and "Traceback" not in wrong.stderr


def test_the_header_says_what_was_done(tmp_path):
    done = run(identified_ct(tmp_path / "in"), tmp_path / "out")
    path = tmp_path / "out" / done.table["file"][0]
    written = pydicom.dcmread(path)
    assert path.read_bytes()[:128] == b"\0" * 128
    assert written.PatientIdentityRemoved == "YES"
    assert "PS3.15" in written.DeidentificationMethod[1]
    codes = [(c.CodeValue, c.CodingSchemeDesignator) for c in written.DeidentificationMethodCodeSequence]
    assert codes == [(code, "DCM") for code in ("113100", "113105", "113107", "113108")]
    assert written.LongitudinalTemporalInformationModified == "MODIFIED"
    assert written.PatientAge == "090Y"
    assert written.PatientSex == "F"
    assert written.PatientID == str(written.PatientName) == done.table["patient"][0]
    assert re.fullmatch(r"P-[0-9A-F]{16}", written.PatientID)
    assert written.file_meta.MediaStorageSOPInstanceUID == written.SOPInstanceUID
    assert written.SOPClassUID == pydicom.uid.CTImageStorage
    for uid in (written.SOPInstanceUID, written.StudyInstanceUID, written.FrameOfReferenceUID):
        assert uid.is_valid and uid.startswith("2.25.") and len(uid) <= 64
    assert (
        done.table["file"][0] == f"images/{written.PatientID}/{written.SeriesInstanceUID}/{written.SOPInstanceUID}.dcm"
    )
    kept = {"RescaleSlope", "PixelSpacing", "SliceThickness", "Manufacturer", "ImageType", "Modality"}
    assert all(name in written for name in kept)
    assert not any(element.tag.is_private or element.tag.group >> 8 in (0x50, 0x60) for element in written.iterall())


def test_the_methods_of_removed_dates_claim_no_shift(tmp_path):
    written = first(
        run(ct(tmp_path / "in/a.dcm", AcquisitionDateTime="20200315101010"), tmp_path / "out", dates="remove")
    )
    assert [c.CodeValue for c in written.DeidentificationMethodCodeSequence] == ["113100", "113105", "113108"]
    assert written.LongitudinalTemporalInformationModified == "REMOVED"
    assert written.StudyDate == written.StudyTime == ""
    assert written.AcquisitionDateTime == "19000101000000"


def test_one_secret_gives_one_set_of_pseudonyms_and_another_secret_others(tmp_path):
    several(tmp_path / "in")
    done = [
        run(tmp_path / "in", tmp_path / name, secret=tmp_path / key)
        for name, key in (("a", "k1"), ("b", "k1"), ("c", "k2"))
    ]
    same, other = (everything_below(tmp_path / name / "images") for name in ("b", "c"))
    assert everything_below(tmp_path / "a/images") == same
    assert same != other
    assert not set(done[0].table["file"]) & set(done[2].table["file"])
    assert first(done[0]).StudyInstanceUID != first(done[2]).StudyInstanceUID
    assert first(done[0]).StudyDate != "20200315"


def test_the_pseudonym_follows_the_patient_over_studies_and_runs(tmp_path):
    ct(
        tmp_path / "one/a.dcm",
        PatientID="SECRET-7 ",
        PatientName="Doe^Jane",
        SeriesInstanceUID="1.2.1",
        SOPInstanceUID="1.1",
    )
    ct(
        tmp_path / "two/a.dcm",
        PatientID="SECRET-7",
        PatientName="Doe^J",
        SeriesInstanceUID="1.2.2",
        SOPInstanceUID="1.2",
    )
    ct(tmp_path / "two/b.dcm", PatientID="SECRET-8", SeriesInstanceUID="1.2.3", SOPInstanceUID="1.3")
    one, two = run(tmp_path / "one", tmp_path / "o1"), run(tmp_path / "two", tmp_path / "o2")
    assert one.table["patient"][0] == two.table["patient"][0] != two.table["patient"][1]
    assert two.counts["patients"] == 2


def test_without_a_patient_id_it_is_said_how_patients_were_distinguished(tmp_path):
    ct(tmp_path / "in/a.dcm", PatientID="", SeriesInstanceUID="1.2.1", SOPInstanceUID="1.1")
    ct(tmp_path / "in/b.dcm", PatientID="", PatientName="", SeriesInstanceUID="1.2.2", SOPInstanceUID="1.2")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.counts["patients"] == 2
    assert "2 pseudonyms rest on no PatientID" in done.text


@pytest.mark.parametrize(("name", "how"), [("Doe^Jane", "by name and birth date"), ("", "by study")])
def test_the_report_says_what_patients_were_distinguished_by(tmp_path, name, how):
    path = ct(tmp_path / "in/a.dcm", PatientID="", PatientName=name)
    (note,) = [note for note in run(path, tmp_path / "out").notes if "PatientID" in note]
    assert note.endswith(f"distinguished {how}.")


def test_only_pet_without_times_loses_its_uptake_values(tmp_path):
    path = ct(tmp_path / "in/a.dcm", Modality="PT")
    texts = {dates: run(path, tmp_path / dates, dates=dates).text for dates in ("shift", "remove")}
    assert "uptake values" in texts["remove"] and "uptake values" not in texts["shift"]


def test_shifted_dates_keep_intervals_and_times_within_a_patient(tmp_path):
    days = ["20200227", "20200315", "20210101"]
    for number, day in enumerate(days):
        ct(
            tmp_path / f"in/{number}.dcm", StudyDate=day, SeriesDate="2020.03.01", StudyTime="093015", AcquisitionDateTime=f"{day}120000.5+0100",
            SeriesInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.1.{number}",
        )  # fmt: skip
    ct(tmp_path / "in/z.dcm", PatientID="OTHER", StudyDate=days[0], SeriesInstanceUID="1.2.9", SOPInstanceUID="1.1.9")
    done = run(tmp_path / "in", tmp_path / "out")
    written = [pydicom.dcmread(tmp_path / "out" / file) for file in done.table["file"]]
    moved = pd.to_datetime([one.StudyDate for one in written])
    before = pd.to_datetime([*days, days[0]])
    shifts = (before - moved).days
    assert len(set(shifts[:3])) == 1 and shifts[3] != shifts[0]
    assert all(365 <= shift <= 3652 for shift in shifts)
    assert [one.StudyTime for one in written] == ["093015"] * 3 + ["120000"]
    for one in written[:3]:
        assert one.AcquisitionDateTime == f"{one.StudyDate}120000.5"
        assert (pd.Timestamp("2020-03-01") - pd.Timestamp(one.SeriesDate)).days == shifts[0]
        assert one.PatientBirthDate == ""


def test_an_invalid_date_is_not_copied(tmp_path):
    written = first(run(ct(tmp_path / "in/a.dcm", StudyDate="Friday", SeriesDate="20209999"), tmp_path / "out"))
    assert written.StudyDate == "" and written.SeriesDate == "19000101"


@pytest.mark.parametrize(
    ("age", "born", "expected"),
    [
        ("089Y", "", "089Y"), ("090Y", "", "090Y"), ("101Y", "", "090Y"), ("006M", "", "006M"), ("old", "", None),
        ("", "19200101", "090Y"), ("", "19591231", "060Y"), ("", "20191001", "005M"), ("", "20200310", "005D"), ("", "x", None),
    ],
)  # fmt: skip
def test_ages_above_89_become_90_and_a_missing_age_comes_from_the_birth_date(tmp_path, age, born, expected):
    written = first(run(ct(tmp_path / "in/a.dcm", PatientAge=age, PatientBirthDate=born), tmp_path / "out"))
    assert written.get("PatientAge") == expected
    assert written.PatientBirthDate == ""


def test_a_segmentation_still_refers_to_its_ct(tmp_path):
    segmented_series(tmp_path / "in/ct").to_dicom(tmp_path / "in/seg.dcm")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.counts["files"] - done.counts["refused"] == 5
    objects = [pydicom.dcmread(tmp_path / "out" / file) for file in done.table["file"]]
    seg = next(one for one in objects if one.Modality == "SEG")
    slices = {one.SOPInstanceUID: one for one in objects if one.Modality == "CT"}
    series = {one.SeriesInstanceUID for one in slices.values()}
    assert {item.SeriesInstanceUID for item in seg.ReferencedSeriesSequence} == series
    named = {e.value for e in seg.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    assert named and named <= set(slices)
    assert {e.value for e in seg.iterall() if e.keyword == "ReferencedSOPClassUID"} == {pydicom.uid.CTImageStorage}
    one = next(iter(slices.values()))
    assert (seg.PatientID, seg.StudyInstanceUID) == (one.PatientID, one.StudyInstanceUID)
    assert seg.FrameOfReferenceUID == one.FrameOfReferenceUID
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["lung", "nodule"]
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    import highdicom

    assert highdicom.seg.segread(tmp_path / "out" / done.table["file"][4]).number_of_segments == 2


def structured_report(tmp_path, kind):
    path = ct(tmp_path / "in/report.dcm")
    ds = pydicom.dcmread(path)
    del ds.PixelData
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = kind
    ds.TextValue = "The liver of Jane Doe is normal."
    ds.save_as(path)
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (pydicom.uid.BasicTextSRStorage, "text cannot be cleaned"),
        (pydicom.uid.Comprehensive3DSRStorage, "text cannot be cleaned"),
        (pydicom.uid.EncapsulatedPDFStorage, "text cannot be cleaned"),
        (pydicom.uid.RTStructureSetStorage, "not an image"),
        (pydicom.uid.GrayscaleSoftcopyPresentationStateStorage, "not an image"),
        ("1.2.3.4.5.6", "does not say what it is"),
        (pydicom.uid.CTImageStorage, "holds no pixels"),
    ],
)
def test_reports_and_whatever_is_not_an_image_are_refused(tmp_path, kind, why):
    structured_report(tmp_path, kind)
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.counts["refused"] == done.counts["files"] == 1
    assert why in done.table["reason"][0] and why in done.text
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_an_unreadable_file_is_refused_for_its_own_reason(tmp_path):
    whole = ct(tmp_path / "in/a.dcm").read_bytes()
    (tmp_path / "in/b.dcm").write_bytes(whole[:142])
    (tmp_path / "in/c.txt").write_text("no image")
    reasons = list(run(tmp_path / "in", tmp_path / "out").table["reason"])
    assert reasons[0] == ""
    assert "damaged, cut short" in reasons[1]
    assert "not a DICOM file" in reasons[2]


def test_a_series_of_two_patients_is_refused_whole(tmp_path):
    several(tmp_path / "in")
    ct(tmp_path / "in/other.dcm", PatientID="SOMEBODY-ELSE", SOPInstanceUID="1.2.3.99")
    ct(tmp_path / "in/z.dcm", SeriesInstanceUID="1.9.9", SOPInstanceUID="1.2.3.100")
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.counts["written"], done.counts["refused"]) == (1, 4)
    assert "more than one patient" in done.text


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_without_its_uids_a_file_is_refused(tmp_path, name):
    path = ct(tmp_path / "in/a.dcm")
    ds = pydicom.dcmread(path)
    delattr(ds, name)
    ds.save_as(path)
    assert "UID is missing" in run(path, tmp_path / "out").text


def test_the_same_instance_twice_is_written_once(tmp_path):
    several(tmp_path / "in", 2)
    shutil.copy(tmp_path / "in/0.dcm", tmp_path / "in/copy.dcm")
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.counts["written"], done.counts["refused"]) == (2, 1)
    assert "same SOP Instance UID" in done.text


def test_a_deflate_bomb_and_nesting_without_end_are_refused(tmp_path):
    import struct
    import zlib

    path = ct(tmp_path / "in/a.dcm")
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    raw = path.read_bytes()
    end = 144 + struct.unpack("<I", raw[140:144])[0]
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(raw[:end] + pack.compress(bytes(200_000_000)) + pack.flush())
    deep = struct.pack("<HH2sHI", 0x0008, 0x1115, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    other = ct(tmp_path / "in/b.dcm")
    raw = other.read_bytes()
    at = raw.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    other.write_bytes(raw[:at] + deep * 4000 + raw[at:])
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.counts["refused"] == 2


def test_a_second_run_writes_nothing_and_a_broken_one_is_resumed(tmp_path):
    several(tmp_path / "in", 4)
    done = run(tmp_path / "in", tmp_path / "out")
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    whole = everything_below(tmp_path / "out/images")
    times = [file.stat().st_mtime_ns for file in files]
    again = run(tmp_path / "in", tmp_path / "out")
    assert again.counts == {**done.counts, "already_there": 4}
    assert "4 were there already" in again.text
    assert [file.stat().st_mtime_ns for file in files] == times
    pd.testing.assert_frame_equal(again.table.drop(columns="already_there"), done.table.drop(columns="already_there"))
    # What a killed run leaves: one file missing, one half written, no report but that of its start.
    files[0].unlink()
    files[1].with_name(".draft-half.dcm").write_bytes(b"half")
    (tmp_path / "out/deidentified.csv").unlink()
    third = run(tmp_path / "in", tmp_path / "out")
    assert third.counts["already_there"] == 3 and third.counts["written"] == 4
    assert everything_below(tmp_path / "out/images") == whole


def test_files_are_complete_dicom_of_easydl_and_others_may_read_them(tmp_path):
    done = run(ct(tmp_path / "in/a.dcm"), tmp_path / "out")
    meta = first(done).file_meta
    assert meta.ImplementationClassUID == deidentification.IMPLEMENTATION_UID
    assert meta.ImplementationVersionName == "EASYDL"
    assert "FileMetaInformationGroupLength" in meta and "FileMetaInformationVersion" in meta
    assert os.name == "nt" or (done.folder / done.table["file"][0]).stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    source = ct(tmp_path / "in/a.dcm")

    def disk_full(*a, **k):
        raise OSError("No space left")

    monkeypatch.setattr(pydicom.Dataset, "save_as", disk_full)
    with pytest.raises(InputError) as caught:
        run(source, tmp_path / "out")
    assert "cannot be written (OSError)" in caught.value.found
    files = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [name for name in files if name.startswith(DRAFT) or name.endswith(".dcm")]


def test_progress_comes_after_every_so_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(deidentification, "SAY_EVERY", 2)
    said = []
    run(several(tmp_path / "in", 5), tmp_path / "out", progress=said.append)
    assert said == ["2 of 5 headers read", "4 of 5 headers read", "2 of 5 files done", "4 of 5 files done"]


def test_the_report_adds_up_and_opens_in_a_spreadsheet(tmp_path):
    several(tmp_path / "in", 2)
    (tmp_path / "in/x.txt").write_text("no image")
    done = run(tmp_path / "in", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/deidentified.csv", comment="#")
    assert (tmp_path / "out/deidentified.csv").read_text().startswith("# Burned-in text")
    report = json.loads((tmp_path / "out/deidentified.json").read_text())
    counts = table["state"].value_counts()
    assert len(table) == report["counts"]["files"] == 3 and report["finished"]
    assert counts["written"] == report["counts"]["written"] == 2
    assert counts["refused"] == report["counts"]["refused"] == 1
    assert report["research_use"] == RESEARCH_USE
    assert list(table["number"]) == [1, 2, 3]
    assert len(done.text.splitlines()) < 25


def test_the_secret_is_for_this_user_alone_and_elsewhere(tmp_path):
    source = several(tmp_path / "in", 1)
    run(source, tmp_path / "out")
    secret = tmp_path / "workspace/easydl.secret"
    assert secret.stat().st_mode & 0o777 == 0o600 or os.name == "nt"
    assert len(secret.read_text().strip()) == 64
    assert found_in(everything_below(tmp_path / "out"), [secret.read_text().strip()]) == []
    for wrong in (tmp_path / "out2/key", tmp_path / "out2/deep/er/key", tmp_path / "in/key"):
        with pytest.raises(InputError, match="secret would lie"):
            run(source, tmp_path / "out2", secret=wrong)
        assert not wrong.exists()
    secret.chmod(0o640)
    with pytest.raises(InputError, match="can be read by other users"):
        run(source, tmp_path / "out3")
    short = tmp_path / "short"
    short.write_text("1234")
    short.chmod(0o600)
    with pytest.raises(InputError, match="4 characters"):
        run(source, tmp_path / "out3", secret=short)


def test_the_key_is_kept_only_when_asked_and_elsewhere(tmp_path):
    source = several(tmp_path / "in/=Doe", 2).parent
    run(source, tmp_path / "out")
    key = tmp_path / "workspace/easydl.secret.key.csv"
    assert not key.exists()
    done = run(source, tmp_path / "out", keep_key=True)
    run(source, tmp_path / "other", keep_key=True)
    assert key.stat().st_mode & 0o777 == 0o600 or os.name == "nt"
    table = pd.read_csv(key, dtype=str)
    assert len(table) == 4
    assert sorted(table["original"].map(lambda path: Path(path).name)) == ["0.dcm", "0.dcm", "1.dcm", "1.dcm"]
    assert set(done.table["file"]) <= set(table["file"])
    assert found_in(everything_below(tmp_path / "out"), ["=Doe"]) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [("in", "lies in the source"), ("in/out", "lies in the source"), (".", "lies in the source"), ("full", "other files"), ("full/x.txt", "is a file")],
)  # fmt: skip
def test_impossible_outputs_are_refused_before_anything_is_written(tmp_path, place, why):
    source = several(tmp_path / "in", 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x.txt").write_text("mine")
    before = everything_below(tmp_path)
    with pytest.raises(InputError, match=why) as caught:
        run(source, tmp_path / place)
    assert everything_below(tmp_path) == before
    assert len(str(caught.value).splitlines()) == 3


def test_other_wrong_arguments_are_three_sentences(tmp_path):
    source = several(tmp_path / "in", 1)
    run(source, tmp_path / "out")
    for wrong, why in (
        ({"dates": "keep"}, "dates"), ({"black_out": (1, 2)}, "black_out"), ({"black_out": (1, 2, 3, -1)}, "black_out"),
        ({"release": "nowhere.txt"}, "does not exist"), ({"dates": "remove"}, "treatment of dates"),
        ({"secret": tmp_path / "another"}, "another secret"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=why):
            run(source, tmp_path / "out", **wrong)
    with pytest.raises(InputError, match="source does not exist"):
        run(tmp_path / "nothing", tmp_path / "out2")


def test_what_the_list_keeps_is_nothing_that_the_standard_wants_removed():
    """Table E.1-1 against the list, but for what the named options allow."""
    from pydicom.datadict import tag_for_keyword

    from easydl.clinical.profile import _actions, _table

    keep = _table()["keep"]
    removed = {tag for tag, action in _actions().items() if action in ("X", "Z", "D", "X/Z", "X/D", "Z/D", "X/Z/D")}
    for group in ("numbers", "coded", "tables", "uids", "text"):
        assert not {name for name in keep[group] if tag_for_keyword(name) in removed}, group
    assert all(tag_for_keyword(name) for names in keep.values() for name in names)
    assert len(_actions()) > 600


@pytest.mark.parametrize("nested", [False, True])
def test_no_text_of_any_public_attribute_comes_out(tmp_path, nested):
    """Every attribute of the dictionary that holds text, an UID or a date, with a value of its own."""
    from pydicom.datadict import DicomDictionary
    from pydicom.sequence import Sequence

    from easydl.clinical.profile import _table

    path = ct(tmp_path / "in/a.dcm")
    ds = pydicom.dcmread(path)
    needed = {int(element.tag) for element in ds} | {0x00080005}
    kept = set(_table()["keep"]["text"])
    target = pydicom.Dataset() if nested else ds
    seeded = []
    for number, (tag, entry) in enumerate(sorted(DicomDictionary.items())):
        if tag in needed or tag >> 16 < 8 or entry[4] in kept:
            continue
        text = {"UI": f"1.2.840.99999.{number}.7", "DA": f"{1300 + number % 500}0229", "DT": f"19{number % 90 + 10}0229131{number % 9}"}.get(
            entry[0], f"Zq-{number:05}-leak" if entry[0] in ("LO", "SH", "ST", "LT", "UT", "UC", "PN", "AE", "UR", "CS") else ""
        )  # fmt: skip
        if text:
            target.add_new(tag, entry[0], text)
            seeded.append(text)
    if nested:
        ds.AnatomicRegionSequence = Sequence([target])
    ds.save_as(path)
    assert len(seeded) > 1500
    raw = path.read_bytes().decode("latin-1")
    assert all(text in raw for text in seeded)
    done = run(path, tmp_path / "out")
    assert done.counts["refused"] == 0
    data = everything_below(tmp_path / "out").decode("latin-1").lower()
    assert [text for text in seeded if text.lower() in data] == []


def test_a_volume_is_the_same_volume_afterwards(tmp_path):
    volume = np.random.default_rng(0).integers(0, 2000, (5, 16, 12)).astype(np.uint16)
    dicom_series(tmp_path / "in", volume, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    for number, file in enumerate(sorted((tmp_path / "in").iterdir())):
        ds = pydicom.dcmread(file)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        ds.save_as(file)
    run(tmp_path / "in", tmp_path / "out")
    before, after = easydl.read(tmp_path / "in"), easydl.read(tmp_path / "out/images")
    np.testing.assert_array_equal(before.pixels, after.pixels)
    np.testing.assert_allclose(before.affine, after.affine)
    assert (before.units, before.spacing_mm) == (after.units, after.spacing_mm)


def test_dates_are_shifted_or_removed_and_nothing_else(tmp_path):
    with pytest.raises(InputError) as refused:
        easydl.deidentify(ct(tmp_path / "in/a.dcm"), tmp_path / "out", dates="keep", secret=tmp_path / "secret")
    assert "dates" in refused.value.found and not (tmp_path / "out").exists()


def test_an_output_folder_that_is_there_is_written_into(tmp_path):
    (tmp_path / "out").mkdir()
    assert first(run(ct(tmp_path / "in/a.dcm"), tmp_path / "out")) is not None
