"""Files of a folder on their way from the browser: whole, bounded, in no other place, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from easydl.errors import InputError
from easydl.workspace.incoming import Incoming
from easydl.workspace.uploads import Limits, keep

pytestmark = pytest.mark.quick
BATCH = "0123456789abcdef" * 2


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 7):
        yield content[start : start + 7]


def send(incoming: Incoming, number: int, content: bytes, batch: str = BATCH) -> None:
    asyncio.run(incoming.receive(batch, number, pieces(content)))


def test_a_batch_arrives_in_any_order_and_is_kept_under_its_names(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path / "incoming")
    names = [f"films/{label}/{n}.png" for label in ("a", "b") for n in range(600)]
    for number in reversed(range(1200)):
        send(incoming, number, names[number].encode())
    folder, left_out = keep(incoming.files(BATCH, names), tmp_path / "kept", tables=True)
    assert (len(list(folder.rglob("*.png"))), left_out) == (1200, 0)
    assert all((folder.parent / name).read_text() == name for name in names)
    incoming.drop(BATCH)
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("batch", ["", "..", "../../runs", "0" * 31, "0" * 33, "G" * 32, "0" * 32 + "\n", None])
def test_a_batch_is_never_a_path(tmp_path: Path, batch) -> None:
    incoming = Incoming(tmp_path / "incoming")
    for work in (lambda: send(incoming, 0, b"x", batch), lambda: list(incoming.files(batch, ["a"]))):
        with pytest.raises(InputError, match="no upload"):
            work()
    with pytest.raises(InputError, match="no upload"):
        incoming.drop(batch)
    assert list(tmp_path.iterdir()) == []


def test_too_many_too_large_or_missing_files_are_refused(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path / "incoming", Limits(members=2, total_bytes=20))
    for number in (2, -1):
        with pytest.raises(InputError, match="more than 2 files"):
            send(incoming, number, b"x")
    with pytest.raises(InputError, match="larger than allowed"):
        send(incoming, 0, b"x" * 21)
    send(incoming, 0, b"x")
    with pytest.raises(InputError, match="File 2 of 2 has not arrived"):
        list(incoming.files(BATCH, ["a.png", "b.png"]))


def test_what_was_left_behind_a_day_ago_goes_with_the_next(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path / "incoming")
    other, old = "1" * 32, "2" * 32
    for batch in (BATCH, other, old):
        send(incoming, 0, b"x", batch)
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / "incoming" / old, (long_ago, long_ago))
    incoming.drop(BATCH)
    assert [place.name for place in (tmp_path / "incoming").iterdir()] == [other]
