"""Thumbnails of the images of a study: 8 kB for each image, which stay on the disk until they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from easydl import cache
from easydl.images.glance import SIDE, Glance

AT_ONCE = 500
"""Images whose thumbnails are in memory together: 4 MB."""


@dataclass(frozen=True, slots=True)
class SmallImages:
    """The thumbnail and the peaks of one image (`easydl.images.glance`): in memory, or where they are found.

    Attributes:
        held: Both, one after the other, 8 kB; None where they are on the disk.
        key: Under which they are on the disk.
        store: Where they are on the disk.
        again: Makes them from the pixels, should somebody have deleted them.
    """

    held: bytes | None
    key: str = ""
    store: cache.Facts | None = None
    again: Callable[[], bytes] | None = None


class HasThumbnail(Protocol):
    """What is known of an image, with its small images."""

    @property
    def small(self) -> SmallImages:
        """Where they are."""


def packed(seen: Glance) -> bytes:
    """The thumbnail and the peaks, one after the other."""
    return seen.thumbnail.tobytes() + seen.peaks.tobytes()


def thumbnails(facts: Sequence[HasThumbnail], *, peaks: bool = False) -> np.ndarray:
    """uint8 ``(images, 64, 64)``, all in memory; `reduced` and `Thumbnails` have a few at a time."""
    found = np.empty((len(facts), SIDE, SIDE), np.uint8)
    for begin in range(0, len(facts), AT_ONCE):
        small = [one.small for one in facts[begin : begin + AT_ONCE]]
        stored = _stored(small)
        for place, one in enumerate(small, begin):
            both = stored[one.key] if one.held is None else one.held
            found[place] = np.frombuffer(both, np.uint8).reshape(2, SIDE, SIDE)[int(peaks)]
    return found


def in_parts(facts: Sequence[Any], *, peaks: bool = False) -> Iterator[tuple[Sequence[Any], np.ndarray]]:
    """Some facts at a time with their thumbnails; at least one part, which may be empty."""
    for begin in range(0, max(1, len(facts)), AT_ONCE):
        part = facts[begin : begin + AT_ONCE]
        yield part, thumbnails(part, peaks=peaks)


def reduced(
    facts: Sequence[HasThumbnail], make: Callable[[np.ndarray], np.ndarray], *, peaks: bool = False
) -> np.ndarray:
    """What ``make`` makes of thumbnails uint8 ``(some, 64, 64)``, one row for each, of all images."""
    return np.concatenate([make(images) for _, images in in_parts(facts, peaks=peaks)])


def in_units(facts: Sequence[Any], images: np.ndarray) -> np.ndarray:
    """Thumbnails in the grey levels of their own images, float32: a film that is brighter as a whole shows it."""
    low, high = (np.array([one.grey[place] for one in facts], np.float32)[:, None, None] for place in (0, 8))
    return np.asarray(low + images.astype(np.float32) / 255 * (high - low))


def local_means(images: np.ndarray, side: int) -> np.ndarray:
    """float32 ``(images, side * side)``: each image as so many local means; ``side`` divides 64."""
    step = SIDE // side
    means = images.reshape(len(images), side, step, side, step).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(means.reshape(len(images), -1))


class Thumbnails:
    """The thumbnails of many images, of which those that are asked for are in memory: an array's length and choice of rows.

    Args:
        facts: Of every image.
    """

    def __init__(self, facts: Sequence[HasThumbnail]) -> None:
        self._facts = facts

    def __len__(self) -> int:
        return len(self._facts)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """uint8 ``(chosen, 64, 64)``."""
        if isinstance(rows, slice):
            return thumbnails(self._facts[rows])
        chosen, place = np.unique(rows, return_inverse=True)
        return thumbnails([self._facts[int(row)] for row in chosen])[place]


def _stored(small: Sequence[SmallImages]) -> dict[str, bytes]:
    """By their keys those that are not held; what is not on the disk any more is made, and kept, again."""
    wanted = {one.key: one for one in small if one.held is None}
    if not wanted:
        return {}
    found: dict[str, bytes] = {}
    for store in {one.store.name: one.store for one in wanted.values() if one.store is not None}.values():
        found |= store.known(dict.fromkeys(wanted, (0, 0)))
    for key, one in wanted.items():
        if key not in found and one.again is not None:
            found[key] = one.again()
            if one.store is not None:
                one.store.keep([(key, (0, 0), found[key])])
    return found
