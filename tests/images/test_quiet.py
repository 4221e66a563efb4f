"""What libraries warn of while a file is read is not shown, and the process is afterwards as it was."""

import subprocess
import sys
import threading
import warnings

import numpy as np
from made import dicom_slice

from easydl.images import read
from easydl.images.quiet import quiet_libraries

PROGRAM = """
import pkgutil, sys, warnings, os
environment = dict(os.environ)
import easydl.images
for module in pkgutil.iter_modules(easydl.images.__path__):
    __import__("easydl.images." + module.name)
quietened = [entry for entry in warnings.filters if entry[0] == "ignore" and "pydicom" in repr(entry[3])]
sys.exit(bool(quietened or environment != dict(os.environ)))
"""


def test_an_import_changes_neither_filters_nor_environment():
    assert subprocess.run([sys.executable, "-c", PROGRAM], check=False).returncode == 0


def test_a_value_that_breaks_a_rule_of_form_is_read_in_silence(tmp_path):
    path = dicom_slice(tmp_path / "a.dcm", np.zeros((6, 8), np.uint16))
    path.write_bytes(path.read_bytes().replace(b"061Y", b"61 Y").replace(b"20200315", b"2020-3-5"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scan = read(path)
    assert warned == []
    assert "age_years" not in scan.header


def test_readers_in_several_threads_restore_the_filters(tmp_path):
    before, inside, left = list(warnings.filters), threading.Barrier(2), threading.Event()

    def first():
        with quiet_libraries():
            inside.wait()
        left.set()

    thread = threading.Thread(target=first)
    thread.start()
    with quiet_libraries():
        inside.wait()
        left.wait()
        assert warnings.filters != before, "still quiet while one of them reads"
    thread.join()
    assert warnings.filters == before
