"""The secret of this computer: made once, whole, for this user alone; pseudonyms and caches follow it, splits do not."""

import hashlib
import hmac
import os
import subprocess
import sys

import numpy as np
import pytest
from made import dicom_slice

import easydl
from easydl.errors import InputError
from easydl.images import index
from easydl.images.headers import pseudonym
from easydl.secret import computer_secret, default_secret, read_secret

PIXELS = np.random.default_rng(0).integers(0, 900, (8, 16, 16)).astype(np.uint16)


def test_a_pseudonym_is_the_keyed_digest_and_not_a_bare_hash():
    key = default_secret()
    name = pseudonym(" 4711 ")
    assert name == "P-" + hmac.new(key.read_bytes().strip(), b"easydl patient 4711", hashlib.sha256).hexdigest()[:10]
    assert name != "P-" + hashlib.sha256(b"easydl patient 4711").hexdigest()[:10]
    assert os.name == "nt" or key.stat().st_mode & 0o777 == 0o600
    assert pseudonym("4711") == name != pseudonym("4712")
    assert pseudonym("") is pseudonym(None) is None


def test_another_computer_gives_another_pseudonym(tmp_path, monkeypatch):
    here = pseudonym("4711")
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "another"))
    assert pseudonym("4711") != here


def test_caches_do_not_keep_the_pseudonyms_of_another_secret(tmp_path, monkeypatch):
    path = dicom_slice(tmp_path / "a.dcm", PIXELS[0], PatientID="4711")
    files = {str(path): (path.stat().st_size, path.stat().st_mtime_ns)}
    study = easydl.load(tmp_path, patient="auto")
    for workspace in ("one", "two"):
        monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / workspace))
        expected = pseudonym("4711")
        assert next(index.entries(files)).facts["patient"] == expected
        assert study.scan(0).patient == expected == easydl.read(path).patient


def cannot_be_kept(tmp_path, monkeypatch):
    """A workspace whose place is taken by a file: nobody can make a folder there, root neither."""
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / "taken"))


def test_images_are_read_where_the_secret_cannot_be_kept(tmp_path, monkeypatch):
    for number, pixels in enumerate(PIXELS[:2]):
        dicom_slice(tmp_path / f"in/{number}.dcm", pixels, PatientID=f"471{number}", SeriesInstanceUID=f"1.2.{number}")
    cannot_be_kept(tmp_path, monkeypatch)
    assert computer_secret().note and len(computer_secret().key) >= 32
    assert easydl.read(tmp_path / "in/0.dcm").patient == pseudonym("4710")
    study = easydl.load(tmp_path / "in")
    assert sorted(study.frame["patient"]) == sorted(map(pseudonym, ("4710", "4711")))
    assert sum("for this process only" in note for note in study.notes) == 1
    with pytest.raises(InputError, match="cannot be read or made"):
        read_secret(default_secret())


def test_the_secret_of_a_process_is_kept_in_no_cache(tmp_path, monkeypatch):
    path = dicom_slice(tmp_path / "a.dcm", PIXELS[0], PatientID="4711")
    files = {str(path): (path.stat().st_size, path.stat().st_mtime_ns)}
    cannot_be_kept(tmp_path, monkeypatch)
    assert next(index.entries(files)).facts["patient"] == pseudonym("4711")
    facts = tmp_path / "cache/facts.sqlite"
    assert not facts.exists() or pseudonym("4711").encode() not in facts.read_bytes()


def test_processes_that_start_together_share_one_secret(tmp_path):
    code = "from easydl.images.headers import pseudonym; print(pseudonym('4711'))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {one.communicate(timeout=120)[0] for one in started} == {f"{pseudonym('4711')}\n"}
    assert [path.name for path in default_secret().parent.iterdir()] == ["easydl.secret"]


def test_a_split_by_header_patients_is_the_same_on_every_computer(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    for number in range(24):
        label = "ab"[number % 2]
        pixels = rng.integers(0, 900, (12, 12)).astype(np.uint16)
        dicom_slice(tmp_path / f"in/{label}/{number}.dcm", pixels, PatientID=f"MRN-{number % 12}", SeriesInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.3.{number}")  # fmt: skip
    splits, folds, patients = [], [], []
    for workspace in ("one", "two", "three"):
        monkeypatch.setenv("EASYDL_WORKSPACE", str(tmp_path / workspace))
        study = easydl.load(tmp_path / "in")
        assert study.patients_known
        patients.append(tuple(study.frame["patient"]))
        splits.append([tuple(sorted(part.frame["image"])) for part in study.split(seed=7)])
        folds.append([tuple(sorted(test.frame["image"])) for _, _, test in study.folds(3, seed=7)])
    assert len(set(patients)) == 3
    assert splits[0] == splits[1] == splits[2]
    assert folds[0] == folds[1] == folds[2]
