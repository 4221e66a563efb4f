"""Every file of a folder is used or named with the reason, and a volume says of which files slices may be missing."""

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from made import dicom_series, dicom_slice
from PIL import Image
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

import easydl
from easydl.errors import InputError
from easydl.images import read
from easydl.images.index import walk
from easydl.images.series import find_series

VOLUME = np.random.default_rng(0).integers(0, 2000, (8, 16, 16)).astype(np.uint16)


def without_preamble(path, *, implicit, meta=False):
    """The elements alone, as treatment planning systems write them; with ``meta`` only the first 132 bytes are gone."""
    if meta:
        path.write_bytes(path.read_bytes()[132:])
        return
    bare, buffer = pydicom.Dataset(), DicomBytesIO()
    bare.update({element.tag: element for element in pydicom.dcmread(path)})
    buffer.is_little_endian, buffer.is_implicit_VR = True, implicit
    write_dataset(buffer, bare)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("how", [{"implicit": True}, {"implicit": False}, {"implicit": False, "meta": True}])
def test_dicom_without_preamble_is_read(tmp_path, how):
    expected = read(dicom_series(tmp_path / "whole", VOLUME))
    dicom_series(tmp_path / "bare", VOLUME)
    for path in list((tmp_path / "bare").iterdir())[:3]:
        without_preamble(path, **how)
    scan = read(tmp_path / "bare")
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    assert scan.notes == expected.notes
    study = easydl.load(tmp_path / "bare")
    assert list(study.frame["slices"]) == ["8"]


@pytest.mark.parametrize("start", [b"", b"\x08\x00", b"\x08\x00\x05\x00" + b"\xff" * 60, b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
                                   (348).to_bytes(4, "little") + b"\0" * 344, b"PK\x03\x04" + b"\0" * 60,
                                   b"\x02\x00 text that begins like an element but is none, whatever its ending"])  # fmt: skip
def test_what_only_begins_like_dicom_is_none(tmp_path, start):
    from easydl.images.limits import is_dicom

    (tmp_path / "a").write_bytes(start)
    assert not is_dicom(tmp_path / "a")


def bad_files(folder: Path) -> None:
    """Ten kinds of file that are no slice, beside eight slices."""
    dicom_series(folder, VOLUME)
    names = sorted(path.name for path in folder.iterdir())
    whole = (folder / names[0]).read_bytes()
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "cut.dcm").write_bytes(whole[:400])
    (folder / "meta only.dcm").write_bytes(whole[:132])
    (folder / "text.dcm").write_text("not DICOM")
    (folder / "thumbnail").write_bytes(b"%PDF-1.4")
    mosaic = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    dicom_slice(folder / "mosaic.dcm", VOLUME[0], Modality="MR", ImageType=mosaic, SeriesInstanceUID="1.2.9")
    path = dicom_slice(folder / "odd element.dcm", VOLUME[0], SOPInstanceUID="1.2.8")
    raw = path.read_bytes()
    at = raw.index(b"\x28\x00\x02\x00US")
    path.write_bytes(raw[:at] + b"\x18\x00\x87\x90FD\x04\x00\0\0\x80\x3f" + raw[at:])  # DiffusionBValue of 4 bytes
    os.mkfifo(folder / "pipe.dcm")
    (folder / "link").symlink_to(folder)
    report = dicom_slice(folder / "report.dcm", VOLUME[0], SeriesInstanceUID="1.2.7", Rows=None, PixelData=None)
    dataset = pydicom.dcmread(report)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    dataset.save_as(report)


@pytest.mark.timeout(60)
def test_files_are_used_or_named_whatever_is_wrong_with_them(tmp_path):
    folder = tmp_path / "s"
    bad_files(folder)
    content = find_series(folder)
    used = [path for series in content.series for path in series.files]
    named = dict(content.unused)
    assert len(used) == 8
    assert sorted([*used, *named]) == sorted(Path(path) for path, _, _ in walk(folder))
    assert len(named) == 10 and all(named.values())
    found = easydl.inspect(folder)
    assert found.counts["files"] == 18 == found.counts["DICOM"] + found.counts["refused"]
    assert len(found.refused) == 10
    note = next(note for note in easydl.load(folder).notes if "excluded" in note)
    assert note.startswith("10 files excluded: ") and "and 5 more" in note


@pytest.mark.timeout(60)
def test_a_volume_says_which_files_beside_it_were_not_used(tmp_path):
    folder = tmp_path / "s"
    bad_files(folder)
    (note,) = [note for note in read(folder).notes if "slices may be missing" in note]
    # Not the mosaic and the report: they are of other series.
    assert note.startswith("8 files beside its slices were not used")
    study = easydl.load(folder)
    assert sum("slices may be missing" in one for one in study.notes) == 1
    assert "slices may be missing" in " ".join(study.scan(0).notes)


def test_the_end_of_a_series_does_not_vanish_without_a_word(tmp_path):
    dicom_series(tmp_path / "s", VOLUME)
    last = max((tmp_path / "s").iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    last.write_bytes(last.read_bytes()[:300])
    scan = read(tmp_path / "s")
    assert scan.shape == (7, 16, 16)
    assert any(last.name in note for note in scan.notes)
    table = tmp_path / "t.csv"
    table.write_text("image,patient\ns,1\n")
    assert any(last.name in note for note in easydl.load(table).notes)
    shutil.copy(next(path for path in (tmp_path / "s").iterdir() if path != last), last)
    assert not any("missing" in note for note in read(tmp_path / "s").notes)


def test_a_gap_names_the_damaged_file_that_may_fill_it(tmp_path):
    dicom_series(tmp_path / "s", VOLUME)
    heights = {path: pydicom.dcmread(path).ImagePositionPatient[2] for path in (tmp_path / "s").iterdir()}
    middle = sorted(heights, key=heights.get)[4]
    middle.write_bytes(b"")
    with pytest.raises(InputError, match=f"a slice is missing(.|\n)*{middle.name} is empty"):
        read(tmp_path / "s")


def test_files_in_class_folders_that_are_no_images_are_named(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for k in range(2):
            Image.fromarray(np.full((8, 8), 40 * k, np.uint8)).save(tmp_path / label / f"{label}{k}.png")
    (tmp_path / "a/protocol.docx").write_bytes(b"PK\x03\x04")
    notes = easydl.load(tmp_path).notes
    assert any(note == "1 file (protocol.docx) in the class folders skipped: not an image" for note in notes)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["a.png", "a.nii", "a.nii.gz", "a.dcm", "a", "a.tif", "a.hdr"])
def test_a_pipe_is_one_sentence(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for use in (read, lambda path: read(path, labels=True), easydl.inspect):
        done = []
        thread = threading.Thread(
            target=lambda use=use, done=done: done.append(problem_of(use, tmp_path / name)), daemon=True
        )
        thread.start()
        thread.join(20)
        assert done and "not an ordinary file" in str(done[0]), (name, done)


def problem_of(use, path):
    try:
        return use(path)
    except InputError as problem:
        return problem.found


@pytest.mark.parametrize(
    ("error", "text"), [(MemoryError, "more memory than is free"), (RecursionError, "nested without end")]
)
@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_memory_and_depth_are_one_sentence(tmp_path, monkeypatch, error, text, name):
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
        monkeypatch.setattr("easydl.images.raster.settled", lambda *_, **__: (_ for _ in ()).throw(error))
    else:
        dicom_slice(path, VOLUME[0])
        monkeypatch.setattr("easydl.images.dicom.settled", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(InputError, match=text):
        read(path)


def test_an_element_that_the_pixels_need_is_looked_at_with_the_header(tmp_path):
    """BitsStored of three bytes: one file is refused, and the study has the others."""
    for k in range(3):
        dicom_slice(tmp_path / f"{k}.dcm", VOLUME[k], Modality="DX", SOPInstanceUID=f"1.2.{k}")
    odd = tmp_path / "1.dcm"
    raw = odd.read_bytes()
    tag = b"\x28\x00\x01\x01US"
    odd.write_bytes(raw.replace(tag + b"\x02\x00\x10\x00", tag + b"\x03\x00\x10\x00\x00"))
    assert odd.read_bytes() != raw
    study = easydl.load(tmp_path)
    assert [Path(path).name for path in study.frame["image"]] == ["0.dcm", "2.dcm"]
    assert any("1.dcm cannot be read" in note for note in study.notes)
    assert len(study.digests()) == 2


@pytest.mark.parametrize(
    "kind", [KeyError, RuntimeError, NotImplementedError, AssertionError, UnicodeError, ZeroDivisionError]
)
def test_any_exception_of_a_header_is_one_refusal_of_one_file(tmp_path, monkeypatch, kind):
    import easydl.images.index as index

    dicom_series(tmp_path / "s", VOLUME)
    odd = dicom_slice(tmp_path / "s/odd.dcm", VOLUME[0], SOPInstanceUID="1.2.8", BodyPartExamined="ODD")
    facts = index.header_facts

    def odd_facts(dataset):
        if dataset.get("BodyPartExamined") == "ODD":
            raise kind
        return facts(dataset)

    monkeypatch.setattr(index, "header_facts", odd_facts)
    content = find_series(tmp_path / "s")
    assert [len(series.files) for series in content.series] == [8]
    assert [path for path, _ in content.refused] == [odd]


def test_a_table_names_the_row_of_an_odd_element_or_a_pipe(tmp_path):
    """What `file_facts` reads by itself, without the index."""
    for k in range(3):
        dicom_slice(tmp_path / f"{k}.dcm", VOLUME[k], SOPInstanceUID=f"1.2.{k}")
    raw = (tmp_path / "1.dcm").read_bytes()
    (tmp_path / "1.dcm").write_bytes(raw.replace(b"\x10\x00\x40\x00CS\x02\x00F ", b"\x10\x00\x40\x00FD\x02\x00F "))
    assert (tmp_path / "1.dcm").read_bytes() != raw
    os.mkfifo(tmp_path / "3.png")
    (tmp_path / "t.csv").write_text("image,patient\n0.dcm,1\n1.dcm,2\n2.dcm,3\n3.png,4\n")
    with pytest.raises(InputError) as caught:
        easydl.load(tmp_path / "t.csv")
    assert [problem[:6] for problem in caught.value.problems] == ["row 3:", "row 5:"]
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="not an ordinary file"):
        easydl.load(tmp_path / "pipe.csv")


@pytest.mark.parametrize("levels", [300, 101])
def test_folders_in_one_another_without_end_are_refused(tmp_path, levels):
    top = tmp_path / "in"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)  # a path of that length cannot be named at once
    for _ in range(levels):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    for ask in (
        easydl.inspect,
        easydl.load,
        find_series,
        lambda folder: easydl.deidentify(folder, tmp_path / "out"),
    ):
        with pytest.raises(InputError, match="folders in one another, more than 100 levels deep"):
            ask(top)


def test_a_hundred_folders_in_one_another_are_read(tmp_path):
    inner = tmp_path.joinpath(*["d"] * 100)
    dicom_series(inner, VOLUME)
    assert len(find_series(tmp_path).series) == 1
    assert list(easydl.load(tmp_path).frame["slices"]) == ["8"]
