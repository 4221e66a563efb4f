"""The folder of decoded arrays: whole or not there, rebuilt when damaged, bounded, shared by processes."""

import os
import sqlite3
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from easydl import cache

KEY = "ab" + "0" * 62


def made(calls, value=7, shape=(50, 60)):
    def make():
        calls.append(value)
        return np.full(shape, value, np.int16), {"units": "HU"}

    return make


def entry(key=KEY):
    return cache.folder() / "arrays" / key[:2] / f"{key}.bin"


def test_an_array_is_made_once_and_mapped_afterwards():
    calls = []
    first, _ = cache.array(KEY, made(calls))
    again, facts = cache.array(KEY, made(calls, value=9))
    assert calls == [7]
    assert isinstance(again, np.memmap)
    assert facts == {"units": "HU"}
    np.testing.assert_array_equal(first, np.full((50, 60), 7))
    assert again.offset % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        again[0, 0] = 1


@pytest.mark.parametrize("damage", ["cut", "header", "pixels", "empty", "other"])
def test_a_damaged_file_is_made_again(damage):
    calls = []
    cache.array(KEY, made(calls))
    raw = bytearray(entry().read_bytes())
    if damage == "header":
        raw[20] ^= 255
    elif damage == "pixels":
        raw[-2] ^= 255
    changed = {"cut": raw[:-100], "empty": b"", "other": b"x" * len(raw)}.get(damage, raw)
    entry().write_bytes(bytes(changed))
    again, _ = cache.array(KEY, made(calls, value=9))
    assert calls == [7, 9]
    assert (again == 9).all()


def test_the_oldest_use_goes_when_the_limit_is_reached(monkeypatch):
    monkeypatch.setenv("EASYDL_CACHE_GB", "0.001")  # 1 MB; each array 100 kB
    keys = [f"{n:02x}" + "0" * 62 for n in range(40)]
    calls = []
    for n, key in enumerate(keys):
        cache.array(key, made(calls, shape=(50, 1000)))
        os.utime(entry(key), (1000 + n, 1000 + n))
        if n >= 2:
            cache.array(keys[1], made(calls, shape=(50, 1000)))  # In use all the time: it stays.
        assert cache.used_bytes(cache.folder()) <= 1_300_000
    assert not entry(keys[0]).exists()
    assert entry(keys[1]).exists()
    assert entry(keys[-1]).exists()


def test_off_and_unwritable_places_leave_everything_working(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setenv("EASYDL_CACHE", "off")
    assert cache.folder() is None
    for _ in range(2):
        assert (cache.array(KEY, made(calls))[0] == 7).all()
    assert calls == [7, 7]
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EASYDL_CACHE", str(tmp_path / "file/below"))
    assert cache.folder() is None
    facts = cache.Facts("t")
    facts.keep([("a", (1, 2), "x")])
    assert facts.known({"a": (1, 2)}) == {}


def test_facts_are_forgotten_when_the_file_changes_and_survive_a_damaged_database(tmp_path):
    facts = cache.Facts("t")
    facts.keep([("a", (1, 2), {"x": 1}), ("b", (1, 2), None)])
    assert facts.known({"a": (1, 2), "b": (1, 3), "c": (0, 0)}) == {"a": {"x": 1}}
    path = cache.folder() / "facts.sqlite"
    path.write_bytes(b"no database at all" * 100)
    assert facts.known({"a": (1, 2)}) == {}
    facts.keep([("a", (1, 2), 5)])
    facts.keep([("a", (1, 2), 5)])
    assert facts.known({"a": (1, 2)}) == {"a": 5}
    assert sqlite3.connect(path).execute("pragma quick_check").fetchone() == ("ok",)


def test_contents_follow_the_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    first = cache.contents([str(path)])
    os.utime(path, ns=(5, 5))
    assert cache.contents([str(path)]) == first
    path.write_bytes(b"two")
    assert cache.contents([str(path)]) != first


def test_only_this_user_may_look(tmp_path):
    cache.array(KEY, made([]))
    cache.Facts("t").keep([("a", (1, 2), 5)])
    assert cache.folder().stat().st_mode & 0o077 == 0
    assert (cache.folder() / "facts.sqlite").stat().st_mode & 0o077 == 0


def test_two_processes_share_it(tmp_path):
    """Both make the same 40 arrays at once and evict; every array either sees is whole."""
    program = textwrap.dedent("""
        import numpy as np
        from easydl import cache
        for turn in range(3):
            for n in range(40):
                key = f"{n:02x}" + "0" * 62
                found, facts = cache.array(key, lambda: (np.full((50, 1000), n, np.int16), {"n": n}))
                assert facts == {"n": n} and (found == n).all(), (n, facts)
                cache.Facts("t").keep([(key, (n, n), n)])
                assert cache.Facts("t").known({key: (n, n)}) == {key: n}
    """)
    environment = {**os.environ, "EASYDL_CACHE_GB": "0.002"}
    running = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for one in running:
        _, errors = one.communicate(timeout=120)
        assert one.returncode == 0, errors.decode()
    assert cache.used_bytes(cache.folder()) <= 2_600_000


def test_a_study_is_decoded_once_for_all_time(table, monkeypatch):
    """A second load, split and decode, as another process would do it, reads no pixels."""
    import easydl
    from easydl.studies import Study
    from easydl.studies.dataset import decode

    def prepared():
        train, _, _ = easydl.load(table).split(seed=1)
        units, channels = train.units, train.channels
        return decode(train, size=(16, 16), channels=channels, units=units), train

    first, _ = prepared()
    counted = []
    real = Study.scan
    monkeypatch.setattr(Study, "scan", lambda self, row: counted.append(row) or real(self, row))
    second, train = prepared()
    np.testing.assert_array_equal(first, second)
    assert counted == []
    other = decode(train, size=(20, 20), channels=1, units="0-255")
    assert other.shape == (len(train), 20, 20, 1)
    assert len(counted) >= len(train), "another size is another key"


def test_large_studies_stay_on_the_disk_and_are_trained_from_there(table, monkeypatch):
    import easydl
    from easydl.studies import dataset
    from easydl.studies.pixel_facts import Decoded

    train, _, _ = easydl.load(table).split(seed=1)
    small = dataset.decode(train, size=(16, 16), channels=1, units="0-255")
    monkeypatch.setattr(dataset, "IN_MEMORY_BYTES", 100)
    large = dataset.decode(train, size=(16, 16), channels=1, units="0-255")
    assert isinstance(large, Decoded)
    assert large.shape == small.shape
    np.testing.assert_array_equal(large[np.array([2, 0])], small[[2, 0]])
    np.testing.assert_array_equal(large[::3], small[::3])
    x, _ = next(iter(dataset.dataset(large, train.targets(), 4)))
    np.testing.assert_array_equal(x.numpy(), small[:4])


def test_a_nearly_full_disk_is_left_alone(monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda place: SimpleNamespace(total=10**12, free=10**10))
    calls = []
    assert (cache.array(KEY, made(calls))[0] == 7).all()
    assert not entry().exists()


def test_a_cache_that_is_deleted_while_it_is_in_use_grows_again():
    import shutil

    calls = []
    cache.array(KEY, made(calls))
    shutil.rmtree(cache.folder())
    assert (cache.array(KEY, made(calls))[0] == 7).all()
    assert entry().exists()
    facts = cache.Facts("t")
    facts.keep([("a", (1, 2), 5)])
    assert facts.known({"a": (1, 2)}) == {"a": 5}
