"""The image files of a study: each is decoded once, and what its pixels tell is kept under the hash of its bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd

from easydl import cache
from easydl.errors import EasyDLError, InputError
from easydl.images import Scan, read
from easydl.images.burned_in_text import has_text
from easydl.images.channels import stacked
from easydl.images.glance import glance
from easydl.images.limits import is_nifti, is_raster
from easydl.images.scan import SourceGrid
from easydl.images.values import in_hounsfield
from easydl.secret import computer_secret
from easydl.studies.near_copies import NearCopy, near_copies, together
from easydl.studies.thumbnails import SmallImages, Thumbnails, packed

DECODER = 11
"""Counts up whenever the same file would be read as other pixels, or described otherwise, than before."""
COLOUR_DIFFERENCE = 12.0
"""Mean difference of red and blue, of 255, from which an image counts as coloured (grey films: up to 10)."""
AT_ONCE = 256
_known = cache.Facts(f"pixel_facts_{DECODER}")
_small = cache.Facts(f"thumbnails_{DECODER}", pack=bytes, unpack=bytes)

Address = str
"""A file, ``file#frame`` or ``folder#key``."""
Row = tuple[Address, ...]
"""The images of one row, one per channel column."""


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the decoded pixels of one row tell.

    Attributes:
        digest: SHA-256 of pixels and shape; grey stored as RGB equals the same grey.
        notes: What was assumed or repaired while reading.
        spacing_mm: In the order of the axes, or None.
        units: As of a `Scan`.
        dimension: 2 or 3.
        coloured: Really coloured, not grey stored as RGB.
        burned_in_text: Whether text seems to be burned into the image.
        grey: What the grey levels are (`easydl.images.glance`).
        noise: How sharp and noisy it is.
        small: Where its thumbnail is found.
    """

    digest: str
    notes: Sequence[str]
    spacing_mm: Sequence[float] | None
    units: str
    dimension: int
    coloured: bool
    burned_in_text: bool
    grey: Sequence[float]
    noise: Sequence[float]
    small: SmallImages = field(repr=False, compare=False)


class ImageFiles:
    """The files of a study and all its parts. It remembers only what follows from the files themselves.

    Every image is decoded once: the same decode fills the cache, from which it is read from then on, and gives the
    facts. Without a cache on the disk an image is decoded whenever it is asked for, so that memory stays bounded.
    """

    def __init__(self, units: Mapping[Address, str] | None = None) -> None:
        """``units`` says ``"HU"`` of images whose files do not say it."""
        self._units = dict(units or {})
        self._keys: dict[Address, str | None] = {}
        self._facts: dict[Row, PixelFacts] = {}
        self._digests: dict[Row, str] = {}
        self._near: tuple[str, list[NearCopy]] = ("", [])

    def key(self, address: Address) -> str | None:
        """A SHA-256 that changes with the bytes behind an address; None when there is nothing."""
        if address not in self._keys:
            self._learn([address])
        return self._keys[address]

    def entry(self, address: Address, kind: str) -> str | None:
        """Where the cache keeps what is decoded of a file; None without a cache, or without the file."""
        key = self.key(address) if cache.folder() is not None else None
        # The ending decides how some files are read.
        return None if key is None else _entry(key, f"{kind}|{Path(address).name}")

    def keys(self, rows: Iterable[Row]) -> list[str]:
        """For each row a SHA-256 of what its images hold, in the order of their columns."""
        rows = list(rows)
        self._learn(address for row in rows for address in row)
        units = self._units
        return [_hash("|".join(f"{self._keys[one]}{units.get(one, '')}" for one in row)) for row in rows]

    def scan(self, row: Row) -> Scan:
        """The images of one row; several become channels.

        Raises:
            InputError: A file cannot be read, or the channels lie on different grids.
        """
        scans = [self._scan(address) for address in row]
        return scans[0] if len(scans) == 1 else stacked(scans)

    def facts(self, rows: Sequence[Row], each: Callable[[Callable[[int], Any], list[int]], Any]) -> list[PixelFacts]:
        """What the pixels of rows tell; ``each`` runs a function for the places of some rows, and collects errors.

        Raises:
            InputError: Images cannot be read; all are counted and five named.
        """
        missing = [place for place, row in enumerate(rows) if row not in self._facts]
        names = dict(zip(missing, self.keys(rows[place] for place in missing), strict=True))
        for begin in range(0, len(missing), AT_ONCE):
            some = missing[begin : begin + AT_ONCE]
            known = _known.known(dict.fromkeys((names[place] for place in some), (0, 0)))
            for place in some:
                if (name := names[place]) in known:
                    self._facts[rows[place]] = PixelFacts(**known[name], small=self._on_disk(name, rows[place]))
        fresh: list[tuple[int, dict[str, Any], bytes]] = []
        lock = Lock()

        def look(place: int) -> None:
            found, small = _look(self.scan(rows[place]))
            with lock:
                fresh.append((place, found, small))
                if len(fresh) >= AT_ONCE:
                    keep()

        def keep() -> None:
            if not fresh:
                return
            stored = _known.keep((names[place], (0, 0), found) for place, found, _ in fresh)
            stored = _small.keep((names[place], (0, 0), small) for place, _, small in fresh) and stored
            for place, found, small in fresh:
                where = self._on_disk(names[place], rows[place]) if stored else SmallImages(small)
                self._facts[rows[place]] = PixelFacts(**found, small=where)
            fresh.clear()

        try:
            each(look, [place for place in missing if rows[place] not in self._facts])
        finally:  # What was decoded before an interruption, or beside an unreadable image, is kept.
            with lock:
                keep()
        return [self._facts[row] for row in rows]

    def _on_disk(self, key: str, row: Row) -> SmallImages:
        """Where the thumbnail of a row is, and how it is made again."""
        return SmallImages(None, key, _small, partial(self._thumbnail, row))

    def _thumbnail(self, row: Row) -> bytes:
        return packed(glance(self.scan(row).pixels))

    def digests(self, rows: Sequence[Row], each: Callable[[Callable[[int], Any], list[int]], Any]) -> list[str]:
        """The digests of `facts` alone: looking for text in the pixels takes many times as long."""
        missing = [place for place, row in enumerate(rows) if row not in self._facts and row not in self._digests]
        names = dict(zip(missing, self.keys(rows[place] for place in missing), strict=True))
        known = _known.known(dict.fromkeys(names.values(), (0, 0)))

        def look(place: int) -> None:
            found = known.get(names[place])
            self._digests[rows[place]] = found["digest"] if found else digest_of(self.scan(rows[place]).pixels)

        each(look, missing)
        return [self._facts[row].digest if row in self._facts else self._digests[row] for row in rows]

    def near_copies(self, facts: Sequence[PixelFacts], persons: Sequence[str] | None) -> list[NearCopy]:
        """Nearly identical images of different persons; those of the last rows asked for are remembered."""
        digests = [one.digest for one in facts]
        key = _hash("|".join([*digests, *(persons if persons is not None else ())]))
        if key != self._near[0]:
            group = together(digests, persons if persons is not None else range(len(digests)))
            self._near = (key, near_copies(Thumbnails(facts), group))
        return self._near[1]

    def _learn(self, addresses: Iterable[Address]) -> None:
        """Hash the bytes behind addresses that are new."""
        behind: dict[Address, list[Path]] = {}
        beside: dict[Address, str] = {}
        for address in addresses:
            if address in self._keys or address in behind:
                continue
            try:
                files, beside[address] = _files(address)
                behind[address] = [path for path in files if path.stat()]
            except (OSError, ValueError, EasyDLError):  # whoever reads it says what is wrong
                self._keys[address] = None
        contents = cache.contents({str(path) for paths in behind.values() for path in paths})
        for address, paths in behind.items():
            text = "|".join(sorted(contents[str(path)] for path in paths))
            frame = address.rpartition("#")[2] if len(paths) == 1 and str(paths[0]) != address else ""
            self._keys[address] = _hash(f"{text}|{frame}{beside[address]}")

    def _scan(self, address: Address) -> Scan:
        scan = self._stored(address)
        return in_hounsfield(scan) if self._units.get(address) == "HU" else scan

    def _stored(self, address: Address) -> Scan:
        """As its file says, decoded once."""
        named = not (is_raster(address) or is_nifti(address))  # its header may name a patient, who gets a pseudonym
        entry = self.entry(address, f"scan {computer_secret().fingerprint}" if named else "scan")
        if entry is None:
            return read(address)
        pixels, facts = cache.array(entry, lambda: _packed(read(address)))
        affine = None if facts["affine"] is None else np.array(facts["affine"])
        spacing = None if facts["spacing_mm"] is None else tuple(facts["spacing_mm"])
        return Scan(
            np.array(pixels, np.float32),
            facts["units"],
            spacing,
            affine,
            facts["header"],
            facts["patient"],
            address,
            tuple(facts["notes"]),
            None if facts["grid"] is None else SourceGrid.from_json(facts["grid"]),
        )


class Decoded:
    """One array for each row of a study, made once and kept in the cache. Made by `Study.decoded`.

    Args:
        keys: Of the rows, from `ImageFiles.keys`.
        settings: Everything the arrays depend on beside the files.
        make: Makes the array of a row.
    """

    def __init__(self, keys: Sequence[str], settings: str, make: Callable[[int], np.ndarray]) -> None:
        self._make = make
        self._keys = [_entry(key, settings) for key in keys]

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


def declared_units(table: pd.DataFrame, image_columns: Sequence[str], units: str) -> dict[Address, str]:
    """The images that are declared to be in Hounsfield units: all of them, or those of a column ``units``.

    Raises:
        InputError: The column says HU in some rows and something unknown in others, or the argument does.
    """
    if units not in ("auto", "HU"):
        raise InputError(f"`units` is {units!r}.", '"auto" or "HU".', 'Say "HU" for CT, and nothing for other images.')
    said = table["units"].astype(str).str.strip().str.casefold() if "units" in table.columns else None
    if said is not None and (said == "hu").any():  # else the column is about something else
        wrong = table.index[~said.isin(["hu", "relative", "0-255", ""])]
        if len(wrong):
            raise InputError(
                f"The column 'units' holds HU in some rows and something else in {len(wrong)}, the first in row {wrong[0]}.",
                "HU for CT in Hounsfield units, relative or blank for other images.",
                "Correct the column.",
            )
    chosen = table if units == "HU" else table.iloc[:0] if said is None else table[said == "hu"]
    return dict.fromkeys((str(one) for column in image_columns for one in chosen[column]), "HU")


def remarks(facts: Sequence[PixelFacts]) -> list[str]:
    """What was assumed or repaired while reading, with the number of images each applies to."""
    notes = counted([one.notes for one in facts])
    colour = sum(one.coloured for one in facts)
    if 0 < colour < len(facts):
        notes.append(f"{colour} of {len(facts)} images are coloured and the others grey: they are brought to one kind")
    return notes


def counted(notes: Sequence[Sequence[str]]) -> list[str]:
    """The notes of images, each once with the number of images it applies to."""
    counts = Counter(note for one in notes for note in set(one))
    return [f"{count} of {len(notes)} images: {note}" for note, count in sorted(counts.items())]


def compact(pixels: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that holds them all: 8-bit films in a byte, CT in two."""
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    for kind in (np.uint8, np.int16, np.uint16):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            whole = pixels.astype(kind)
            return whole if np.array_equal(whole, pixels) else pixels
    return pixels


def _packed(scan: Scan) -> tuple[np.ndarray, dict[str, Any]]:
    """A scan as an entry of the cache."""
    return compact(scan.pixels), {
        "units": scan.units,
        "spacing_mm": None if scan.spacing_mm is None else [float(mm) for mm in scan.spacing_mm],
        "affine": None if scan.affine is None else scan.affine.tolist(),
        "header": scan.header,
        "patient": scan.patient,
        "notes": list(scan.notes),
        "grid": None if scan.grid is None else scan.grid.to_json(),
    }


def _look(scan: Scan) -> tuple[dict[str, Any], bytes]:
    """The facts but for the thumbnail, as JSON takes them, and the thumbnail."""
    seen = glance(scan.pixels)
    facts = {
        "digest": digest_of(scan.pixels),
        "notes": list(scan.notes),
        "spacing_mm": None if scan.spacing_mm is None else [float(mm) for mm in scan.spacing_mm],
        "units": scan.units,
        "dimension": scan.dimension,
        "coloured": _coloured(scan.pixels),
        "burned_in_text": bool(scan.dimension == 2 and has_text(scan.pixels)),
        "grey": seen.grey,
        "noise": seen.noise,
    }
    return facts, packed(seen)


def digest_of(pixels: np.ndarray) -> str:
    """SHA-256 of pixels and shape; grey stored as RGB equals the same grey."""
    if pixels.shape[-1] == 3 and (pixels[..., :1] == pixels[..., 1:]).all():
        pixels = pixels[..., :1]
    whole = np.ascontiguousarray(pixels) + np.float32(0)  # -0.0 is 0.0
    return hashlib.sha256(str(pixels.shape).encode() + whole.tobytes()).hexdigest()


def _coloured(pixels: np.ndarray) -> bool:
    return pixels.shape[-1] == 3 and float(np.abs(pixels[..., 0] - pixels[..., 2]).mean()) > COLOUR_DIFFERENCE


def _entry(key: str, settings: str) -> str:
    return _hash(f"{key}|{_version()}|{DECODER}|{settings}")


@lru_cache(1)
def _version() -> str:
    return version("easydl-med")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(address: Address) -> tuple[list[Path], str]:
    """The files behind an address, and what is noted of others beside them."""
    path = Path(address)
    if path.is_file():
        voxels = path.with_suffix(".img")
        return ([path, voxels] if path.suffix.lower() == ".hdr" and voxels.is_file() else [path]), ""
    file = address.rpartition("#")[0]
    if file and Path(file).is_file():
        return [Path(file)], ""
    from easydl.images.series import one_series

    series = one_series(address)
    return series.files, "".join(series.notes)
