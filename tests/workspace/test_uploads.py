"""Zips and uploads: what is refused, what is rewritten, and that a refusal leaves nothing behind."""

from __future__ import annotations

import doctest
import io
import random
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest

import easydl.workspace.uploads as uploads
from easydl.errors import InputError
from easydl.workspace.uploads import Limits, keep, safe_name, unpack

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 50


def make_zip(path: Path, members: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def files(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def assert_refused(path: Path, target: Path, word: str, **options) -> InputError:
    before = set(target.parent.rglob("*"))
    with pytest.raises(InputError, match=word) as caught:
        unpack(path, target, **options)
    assert set(target.parent.rglob("*")) == before, "a refusal must leave nothing behind"
    assert caught.value.expected
    assert caught.value.do
    return caught.value


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "workspace" / "files"


def test_class_folders_arrive_whole_without_the_wrapping_folder(tmp_path: Path, target: Path) -> None:
    rng = random.Random(0)
    members = {f"films/{kind}/{i}.png": rng.randbytes(3000) for kind in ("a", "b") for i in range(4)}
    got = unpack(make_zip(tmp_path / "a.zip", members, compression=zipfile.ZIP_DEFLATED), target)
    assert got == target / "films"
    assert {f"films/{name}" for name in files(got)} == set(members)
    for name, data in members.items():
        assert (target / name).read_bytes() == data


def test_files_of_the_system_that_made_the_zip_are_left_out(tmp_path: Path, target: Path) -> None:
    junk = ["__MACOSX/a/._1.png", "a/.DS_Store", "b/Thumbs.db", ".git/config", "a/desktop.ini"]
    path = make_zip(tmp_path / "a.zip", dict.fromkeys(["a/1.png", "b/1.png", *junk], PNG))
    assert files(unpack(path, target)) == {"a/1.png", "b/1.png"}


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png", "\\\\host\\e.png"],
)
def test_paths_that_lead_outside_are_refused(tmp_path: Path, target: Path, name: str) -> None:
    assert_refused(make_zip(tmp_path / "a.zip", {"a/1.png": PNG, name: PNG}), target, "outside")
    assert not list(tmp_path.rglob("*evil*"))


def test_links_are_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", target, "link")


def test_a_password_is_refused(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a/1.png": PNG})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 0x1
    path.write_bytes(data)
    assert_refused(path, target, "password")


def test_archives_within_archives_and_double_names_are_refused(tmp_path: Path, target: Path) -> None:
    assert_refused(make_zip(tmp_path / "a.zip", {"a/1.png": PNG, "b/more.ZIP": PNG}), target, "archive")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("a/1.png", PNG)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a/1.png", PNG + b"different")
    assert_refused(tmp_path / "b.zip", target, "same name")


def test_too_many_members_are_refused_before_they_are_listed(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"a/{i}.png": b"" for i in range(60)})
    error = assert_refused(path, target, "more than 50 files", limits=Limits(members=50))
    assert "folder" in error.do


def test_a_hundred_thousand_members_are_refused_within_seconds(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {f"{i}": b"" for i in range(100_000)})
    started = time.process_time()
    assert_refused(path, target, "50,000 files")
    assert time.process_time() - started < 5


def test_a_huge_table_of_contents_is_refused_by_its_size(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a/1.png": PNG})
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x05\x06") + 12, 0xF0000000)
    path.write_bytes(data)
    assert_refused(path, target, "damaged")
    long = make_zip(tmp_path / "b.zip", {f"{k:03}{'x' * 60_000}.png": b"" for k in range(40)})
    assert_refused(long, target, "more than 50 files", limits=Limits(members=50))


def test_a_bomb_is_refused_by_its_ratio_and_by_its_size(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/1.png", "w") as member:
        for _ in range(40):
            member.write(bytes(1 << 20))
    limits = Limits(ratio_from_bytes=10 << 20)
    assert_refused(path, target, "would grow", limits=limits)
    assert_refused(path, target, "would unpack to", limits=Limits(total_bytes=20 << 20))


def test_a_member_that_is_larger_than_it_says_is_stopped(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a/1.png": bytes(5_000_000)}, compression=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.index(b"PK\x03\x04") + 22, 10)
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, 10)
    path.write_bytes(data)
    assert_refused(path, target, "damaged|larger")


def test_packing_that_could_balloon_in_memory_is_refused(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a/1.png": PNG}, compression=zipfile.ZIP_LZMA)
    assert_refused(path, target, "packed in a way")


@pytest.mark.parametrize("junk", [b"", b"no zip", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(3)])
def test_what_is_no_zip_is_refused(tmp_path: Path, target: Path, junk: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(junk)
    assert_refused(tmp_path / "a.zip", target, "damaged")


def test_a_zip_cut_or_changed_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    whole = make_zip(tmp_path / "a.zip", {f"a/{i}.png": PNG for i in range(3)}).read_bytes()
    rng = random.Random(1)
    refused = 0
    for turn in range(200):
        data = bytearray(whole)
        if turn % 2:
            data = data[: rng.randrange(len(data))]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (tmp_path / "b.zip").write_bytes(data)
        try:
            unpack(tmp_path / "b.zip", tmp_path / "out" / str(turn))
        except InputError:
            refused += 1
            assert not (tmp_path / "out" / str(turn)).exists()
    assert refused > 120
    assert not list(tmp_path.rglob(".unpacking-*"))


def test_a_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, target: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"a/1.png": PNG})
    assert_refused(path, target, "free", limits=Limits(spare_bytes=1 << 60))


def test_a_folder_that_holds_files_is_never_written_into(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds"):
        unpack(make_zip(tmp_path / "a.zip", {"a/1.png": PNG}), tmp_path / "full")
    assert files(tmp_path / "full") == {"mine.txt"}


def test_names_are_made_safe_and_stay_apart(tmp_path: Path, target: Path) -> None:
    members = ["a/x<1>.png", "a/x_1_.png", "a/X_1_.PNG", "a/CON.png", "b/\u202egnp.exe"]
    got = files(unpack(make_zip(tmp_path / "a.zip", dict.fromkeys(members, PNG)), target))
    assert got == {"a/x_1_.png", "a/x_1_-2.png", "a/X_1_-3.PNG", "a/_CON.png", "b/gnp.exe"}


def test_safe_names_hold_for_any_text() -> None:
    rng = random.Random(2)
    for _ in range(2000):
        raw = "".join(chr(rng.randrange(1, rng.choice([128, 0x3000]))) for _ in range(rng.randrange(300)))
        name = safe_name(raw)
        assert name not in ("", ".", "..")
        assert len(name) <= 121
        assert not set(name) & set('<>:"/\\|?*\0')
        assert Path("root", name).parent == Path("root")
    assert safe_name("x" * 300 + ".nii.gz").endswith(".nii.gz")


def test_uploaded_files_are_kept_under_the_same_rules(tmp_path: Path) -> None:
    names = ["up/normal/1.png", "up/nodule/1.png", "up/.DS_Store"]
    got, left_out = keep([(name, io.BytesIO(PNG)) for name in names], tmp_path / "kept")
    assert (got.name, left_out) == ("up", 0)
    assert files(got) == {"normal/1.png", "nodule/1.png"}
    for name, word in (("../1.png", "outside"), ("a.zip", "archive"), (".hidden", "no file")):
        with pytest.raises(InputError, match=word):
            keep([(name, io.BytesIO(PNG))], tmp_path / "other")
    two = [("1.png", io.BytesIO(PNG)), ("2.png", io.BytesIO(PNG))]
    with pytest.raises(InputError, match="more than 1 files"):
        keep(two, tmp_path / "other", limits=Limits(members=1))
    with pytest.raises(InputError, match="larger than allowed"):
        keep([("1.png", io.BytesIO(PNG))], tmp_path / "other", limits=Limits(total_bytes=10))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"]


DICOM = b"\0" * 128 + b"DICM" + b"..."


@pytest.mark.parametrize("name", ["letter.pdf", "films.csv", "run.exe", "notes", "page.html", "1.png.js"])
def test_loose_files_are_images_or_refused_by_their_number(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="File 2 is not an image") as caught:
        keep([("1.png", io.BytesIO(PNG)), (name, io.BytesIO(b"%PDF-1.7 anything"))], tmp_path / "kept")
    assert name not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_images_are_known_by_their_name_and_dicom_by_its_first_bytes(tmp_path: Path) -> None:
    names = ["1.JPG", "2.nii.gz", "3.hdr", "3.img", "4.tiff", "IM000005", "1.2.840.10008.6", "7.dcm"]
    folder, left_out = keep([(name, io.BytesIO(DICOM)) for name in names], tmp_path / "kept")
    assert (len(files(folder)), left_out) == (8, 0)


def test_a_folder_keeps_images_and_tables_and_counts_the_rest(tmp_path: Path) -> None:
    names = ["up/a/1.png", "up/b/2.png", "up/films.csv", "up/letter.pdf", "up/a/notes.docx"]
    folder, left_out = keep([(name, io.BytesIO(PNG)) for name in names], tmp_path / "kept", tables=True)
    assert files(folder) == {"a/1.png", "b/2.png", "films.csv"}
    assert left_out == 2


def test_the_examples_run() -> None:
    result = doctest.testmod(uploads)
    assert result.attempted > 5
    assert result.failed == 0
