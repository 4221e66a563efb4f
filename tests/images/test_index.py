"""The index of many headers: read once, in parallel, resumable, without identifiers."""

import os
import shutil

import numpy as np
from made import dicom_series, dicom_slice

from easydl import cache
from easydl.images import index, worker
from easydl.images.series import find_series, one_series

STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50


def stats(folder):
    return {path: facts for path, facts, why in index.walk(folder) if not why}


def test_headers_are_read_once_until_a_file_changes(tmp_path, monkeypatch):
    dicom_series(tmp_path / "s", np.stack([STORED] * 5))
    (tmp_path / "s/notes.txt").write_text("no DICOM")
    read = []
    real = index.describe
    monkeypatch.setattr(index, "describe", lambda path: read.append(path) or real(path))
    assert len(list(index.entries(stats(tmp_path / "s")))) == 5
    assert len(read) == 6
    first = list(index.entries(stats(tmp_path / "s")))
    assert len(read) == 6
    path = sorted((tmp_path / "s").glob("*.dcm"))[0]
    dicom_slice(path, STORED[:4])
    changed = list(index.entries(stats(tmp_path / "s")))
    assert len(read) == 7
    assert sorted(one.rows for one in first) == [6] * 5
    assert sorted(one.rows for one in changed) == [4, 6, 6, 6, 6]


def test_parallel_and_single_reading_agree_and_a_lost_helper_is_survived(tmp_path, monkeypatch):
    dicom_series(tmp_path / "s", np.stack([STORED] * 12))
    (tmp_path / "s/broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 30)
    paths = stats(tmp_path / "s")
    monkeypatch.setenv("EASYDL_CACHE", "off")
    alone = list(index.entries(paths))
    monkeypatch.setattr(index, "PARALLEL_FROM", 1)
    monkeypatch.setattr(index, "CHUNK", 3)
    monkeypatch.setattr(index, "MAX_WORKERS", 2)
    assert list(index.entries(paths)) == alone
    monkeypatch.setattr(worker.sys, "executable", shutil.which("false"))
    assert list(index.entries(paths)) == alone
    assert sum(bool(one.refused) for one in alone) == 1


def test_an_interrupted_index_goes_on_where_it_stopped(tmp_path, monkeypatch):
    dicom_series(tmp_path / "s", np.stack([STORED] * 9))
    paths = stats(tmp_path / "s")
    monkeypatch.setattr(index, "CHUNK", 3)
    read = []
    real = index.describe

    def interrupted(path):
        read.append(path)
        if len(read) == 5:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(index, "describe", interrupted)
    try:
        list(index.entries(paths))
    except KeyboardInterrupt:
        read.append("stopped")
    assert read[-1] == "stopped"
    read.clear()
    monkeypatch.setattr(index, "describe", lambda path: read.append(path) or real(path))
    assert len(list(index.entries(paths))) == 9
    assert len(read) == 6, "the first three were kept"


def test_the_index_holds_no_identifier(tmp_path):
    dicom_slice(tmp_path / "s/a.dcm", STORED, SeriesInstanceUID="1.2.826.77.1", StudyInstanceUID="1.2.826.77.2",
                SOPInstanceUID="1.2.826.77.3")  # fmt: skip
    find_series(tmp_path / "s")
    raw = (cache.folder() / "facts.sqlite").read_bytes()
    assert b"P-" in raw
    for secret in (b"SECRET", b"Doe", b"Jane", b"19590101", b"20200315", b"1.2.826.77"):
        assert secret not in raw


def test_an_address_reaches_slices_in_sub_folders(tmp_path):
    series = dicom_series(tmp_path / "s", np.stack([STORED] * 6))
    for number, path in enumerate(sorted(series.glob("*.dcm"))):
        (series / str(number % 2)).mkdir(exist_ok=True)
        path.rename(series / str(number % 2) / path.name)
    address = find_series(series).series[0].address
    assert len(one_series(address).files) == 6


def test_a_folder_is_walked_again_when_it_changed(tmp_path):
    series = dicom_series(tmp_path / "s", np.stack([STORED] * 3))
    assert len(find_series(series).series[0].files) == 3
    dicom_slice(series / "more/new.dcm", STORED, ImagePositionPatient=[0, 0, 6.0])
    os.utime(series, ns=(1, 1))
    assert len(find_series(series).series[0].files) == 4
