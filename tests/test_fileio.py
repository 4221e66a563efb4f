"""A full disk: the old file stays, no draft is left, and the error says which disk."""

import errno
import json
import os
import subprocess
from contextlib import suppress

import pytest

from easydl import fileio
from easydl.errors import DiskFullError, RunError
from easydl.fileio import DRAFT, is_disk_full, remove_drafts, replacing, write_status

pytestmark = pytest.mark.quick


def no_room():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_draft_without_room_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def half():
        with replacing(tmp_path / "a.txt") as draft:
            draft.write_text("half")
            no_room()

    with pytest.raises(DiskFullError, match="is full") as caught:
        half()
    assert isinstance(caught.value, RunError) and isinstance(caught.value, OSError)
    assert str(tmp_path) in caught.value.found and "a.txt" in caught.value.expected
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_another_error_is_not_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "no")
    hdf5 = OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')")
    assert is_disk_full(hdf5) and not is_disk_full(OSError("errno = 2")) and not is_disk_full(ValueError("errno = 28"))


def test_a_status_is_written_over_where_there_is_no_room_for_a_draft(tmp_path, monkeypatch):
    write_status(tmp_path, state="running", message="a long message that a shorter one replaces")
    monkeypatch.setattr(fileio.tempfile, "mkstemp", lambda *given, **more: no_room())
    write_status(tmp_path, message="full")
    assert json.loads((tmp_path / "status.json").read_text())["message"] == "full"
    with pytest.raises(DiskFullError):
        write_status(tmp_path, message="m" * 10**6)
    assert json.loads((tmp_path / "status.json").read_text())["message"] == "full"


def test_drafts_of_killed_processes_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "heatmaps").mkdir()
    left = [f"{DRAFT}abc.npz", f"heatmaps/{DRAFT}def.png", ".model.4711.tmp.keras"]
    kept = ["model.keras", "draft-1.txt", "heatmaps/case-000.png", ".lock"]
    for name in [*left, *kept]:
        (tmp_path / name).touch()
    assert remove_drafts(tmp_path) == 3
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 1 MB; skipped where none can be made."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small disk needs root")
    yield place
    subprocess.run(["umount", place], check=False)


def test_on_a_disk_that_is_really_full_the_status_can_still_be_read(small_disk):
    write_status(small_disk, state="running")
    with pytest.raises(DiskFullError, match="MB are free"), replacing(small_disk / "big") as draft:
        draft.write_bytes(b"1" * 2**20)
    filler = os.open(small_disk / "filler", os.O_CREAT | os.O_WRONLY)
    with suppress(OSError):
        while os.write(filler, b"0" * 4096):
            continue
    os.close(filler)
    write_status(small_disk, message="full")
    assert json.loads((small_disk / "status.json").read_text())["message"] == "full"
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "status.json"]
