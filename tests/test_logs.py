"""No log holds what another library says: its messages quote values, and those of a header name the patient."""

import io
import json
import logging
import os
import stat
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from made import dicom_slice

import easydl
from easydl import fileio, runs
from easydl.errors import InputError, frames_of
from easydl.images.headers import read_header
from easydl.images.quiet import quiet_libraries
from easydl.workspace import Workspace

NAME = "Musterfrau^Erika"


def fails():
    """An error as pydicom raises it, with the value in its message, below one of ours."""
    try:
        pydicom.valuerep.IS(NAME)
    except Exception as problem:
        raise InputError("The file a.dcm is damaged.", "another.", "Take it out.") from problem


def test_a_traceback_keeps_types_places_and_our_own_sentences():
    with pytest.raises(InputError) as caught:
        fails()
    assert NAME in repr(caught.value.__cause__)
    text = frames_of(caught.value)
    assert NAME not in text and "Musterfrau" not in text
    assert "The file a.dcm is damaged." in text
    assert "builtins.ValueError: (its message" in text and "valuerep.py" in text and "in fails" in text


def test_a_chain_that_bites_its_tail_ends():
    one, other = ValueError(NAME), KeyError(NAME)
    one.__cause__, other.__cause__ = other, one
    assert frames_of(one).count("Traceback") == 2 and NAME not in frames_of(one)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_error_and_log_are_for_this_user_alone_and_hold_no_value(tmp_path, monkeypatch):
    old = tmp_path / "home/error.txt"
    old.parent.mkdir()
    old.write_text("old\n")
    old.chmod(0o644)
    written = Workspace(tmp_path / "home").note_error(ValueError(NAME), "Data")

    def load(*_, **__):
        raise ValueError(NAME)

    monkeypatch.setattr("easydl.studies.load", load)
    with pytest.raises(InputError, match="does not know"):
        runs.run(runs.RunConfig(source="x"), tmp_path / "run", progress=lambda _: None)
    for path in (written, tmp_path / "run/log.txt"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "ValueError" in path.read_text() and "Musterfrau" not in path.read_text()
    assert written.read_text().startswith("old\n")
    assert "Musterfrau" not in json.dumps(runs.status(tmp_path / "run"))


def test_a_log_is_added_to(tmp_path):
    for word in ("one", "two"):
        with fileio.private_log(tmp_path / "log.txt") as log:
            log.write(word)
    assert (tmp_path / "log.txt").read_text() == "onetwo"


def odd(path):
    """A header whose age, date and UID break the rules of form: pydicom warns of each with its value."""
    dicom_slice(path, np.zeros((8, 8), np.uint16), PatientID="4711", PatientName=NAME)
    data = path.read_bytes().replace(b"061Y", b"Erik").replace(b"20200315", b"Musterfr")
    path.write_bytes(data)
    return path


def test_what_pydicom_logs_while_easydl_reads_is_not_heard(tmp_path):
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger().addHandler(handler)
    try:
        easydl.read(odd(tmp_path / "a.dcm"))
        read_header(tmp_path / "a.dcm")
        with quiet_libraries(), quiet_libraries():
            logging.getLogger("pydicom").warning(NAME)
        assert heard.getvalue() == ""
        logging.getLogger("pydicom").warning("heard again")
        assert "heard again" in heard.getvalue()
    finally:
        logging.getLogger().removeHandler(handler)


def test_a_command_that_meets_odd_headers_says_none_of_them(tmp_path):
    odd(tmp_path / "in/a.dcm")
    words = [sys.executable, "-W", "always", "-m", "easydl", "inspect", str(tmp_path / "in")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert "Musterfr" not in done.stdout + done.stderr and "Erik" not in done.stdout + done.stderr
