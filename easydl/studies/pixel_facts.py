"""What a study's files hold, told by their bytes: digests, notes and decoded pixels are worked out once for each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl import cache
from easydl.images.burned_in_text import has_text

if TYPE_CHECKING:
    from easydl.studies.study import Study

DECODER = 4
"""Counts up whenever the same file would be read as other pixels, or told otherwise, than before."""
COLOUR_DIFFERENCE = 12.0
"""Mean difference of red and blue, of 255, from which an image counts as coloured (grey films: up to 10)."""
AT_ONCE = 256
_known = cache.Facts(f"pixels_{DECODER}")


def keys(names: Iterable[str]) -> dict[str, str]:
    """A SHA-256 for each address (file, ``file#frame`` or ``folder#key``) that changes with the bytes behind it.

    Raises:
        InputError: A folder or series is not there.
        OSError: A file is not there.
    """
    behind = {address: _files(address) for address in names}
    contents = cache.contents({str(path) for paths in behind.values() for path in paths})
    found = {}
    for address, paths in behind.items():
        text = "|".join(sorted(contents[str(path)] for path in paths))
        frame = address.rpartition("#")[2] if len(paths) == 1 and str(paths[0]) != address else ""
        found[address] = hashlib.sha256(f"{text}|{frame}".encode()).hexdigest()
    return found


def row_keys(study: Study, rows: Iterable[int]) -> list[str]:
    """For each row a SHA-256 of what its images hold, in the order of their columns."""
    every = addresses(study)
    chosen = [every[row] for row in rows]
    found = keys({one for row in chosen for one in row})
    return [hashlib.sha256("|".join(found[one] for one in row).encode()).hexdigest() for row in chosen]


def addresses(study: Study) -> list[tuple[str, ...]]:
    """The paths (or ``folder#key``) of every row's images, one per channel column."""
    return list(zip(*(study.frame[column].astype(str) for column in study.image_columns), strict=True))


def facts(study: Study, rows: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """What the pixels of rows (all when None) tell, each image decoded once for all time.

    Returns:
        For each row ``digest`` (of the decoded pixels), ``notes``, ``spacing_mm``, ``units``, ``dimension``,
        ``coloured`` and ``lettering``.

    Raises:
        InputError: Images cannot be read; all are counted and five named.
    """
    store = study._shared.setdefault("contents", {})
    every = addresses(study)
    wanted = range(len(study)) if rows is None else rows
    missing = [row for row in wanted if every[row] not in store]
    names = dict(zip(missing, row_keys(study, missing), strict=True))
    known = _known.known(dict.fromkeys(names.values(), (0, 0)))

    def look(row: int) -> dict[str, Any]:
        if names[row] in known:
            return known[names[row]]
        scan = study.scan(row)
        spacing = None if scan.spacing_mm is None else [float(mm) for mm in scan.spacing_mm]
        found = {
            "digest": _digest(scan.pixels), "notes": list(scan.notes), "spacing_mm": spacing, "units": scan.units,
            "dimension": scan.dimension, "coloured": _coloured(scan.pixels),
            "burned_in_text": scan.dimension == 2 and has_text(scan.pixels),
        }  # fmt: skip
        with lock:
            fresh.append((names[row], (0, 0), found))
            if len(fresh) >= AT_ONCE:
                _known.keep(fresh)
                fresh.clear()
        return found

    fresh: list[tuple[str, tuple[int, int], Any]] = []
    lock = Lock()
    try:
        store.update(zip((every[row] for row in missing), study.each(look, missing), strict=True))
    finally:  # What was decoded before an interruption, or beside an unreadable image, is kept.
        _known.keep(fresh)
    return [store[every[row]] for row in wanted]


def remarks(study: Study) -> list[str]:
    """What was assumed or repaired while reading, with the number of images each applies to."""
    counts = Counter(note for one in facts(study) for note in set(one["notes"]))
    notes = [f"{count} of {len(study)} images: {note}" for note, count in sorted(counts.items())]
    colour = sum(bool(one["coloured"]) for one in facts(study))
    if 0 < colour < len(study):
        notes.append(f"{colour} of {len(study)} images are coloured and the others grey: they are brought to one kind")
    return notes


class Decoded:
    """The pixels of a study at one size and in one kind of units, decoded once and kept in the cache.

    Args:
        study: The images.
        settings: Everything the pixels depend on beside the files.
        make: Makes the array of a row.
    """

    def __init__(self, study: Study, settings: str, make: Callable[[int], np.ndarray]) -> None:
        self._make = make
        what = f"{version('easydl-med')}|{DECODER}|{settings}"
        self._keys = [
            hashlib.sha256(f"{name}|{what}".encode()).hexdigest() for name in row_keys(study, range(len(study)))
        ]

    def __len__(self) -> int:
        return len(self._keys)

    def row(self, row: int) -> np.ndarray:
        """The pixels of one row, memory-mapped from the cache."""
        return cache.array(self._keys[row], lambda: (self._make(row), {}))[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The pixels of some rows, chosen as an array's are, in memory."""
        chosen = np.arange(len(self))[rows]
        return self.row(int(chosen)) if np.ndim(chosen) == 0 else np.stack([self.row(int(one)) for one in chosen])

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that all rows would make."""
        return (len(self), *self.row(0).shape)


def _digest(pixels: np.ndarray) -> str:
    """SHA-256 of an image's decoded pixels and shape; grey stored as RGB equals the same grey."""
    if pixels.shape[-1] == 3 and np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
        pixels[..., 0], pixels[..., 2]
    ):  # fmt: skip
        pixels = pixels[..., :1]
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _coloured(pixels: np.ndarray) -> bool:
    """Whether an image is really coloured, and not grey stored as RGB."""
    return pixels.shape[-1] == 3 and float(np.abs(pixels[..., 0] - pixels[..., 2]).mean()) > COLOUR_DIFFERENCE


def _files(address: str) -> list[Path]:
    path = Path(address)
    if path.is_file():
        voxels = path.with_suffix(".img")
        return [path, voxels] if path.suffix.lower() == ".hdr" and voxels.is_file() else [path]
    file = address.rpartition("#")[0]
    if file and Path(file).is_file():
        return [Path(file)]
    from easydl.images.series import one_series

    return one_series(address).files
