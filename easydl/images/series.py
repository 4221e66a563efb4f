"""Which DICOM series lie in a folder, by header and not by file name. It reads no pixels but of doubled identifiers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from easydl.errors import EasyDLError, InputError
from easydl.images.index import SPLIT_TAGS, Entry, entries, walk

MAX_FILES = 1_000_000
MASKS = {"SEG": "is a segmentation, a mask and no image", "RTDOSE": "is a dose distribution and no image"}
REMEMBERED = 8
STRAYS = 2
"""So few slices beside a stack of the same series are odd slices of it, more are a series of their own."""
PROJECTION = {"CR", "DX", "DR", "MG", "XA", "RF", "US", "OT", "SC", "XC", "OP", "ES", "GM", "SM", "IO", "PX"}
"""Modalities in which every file is an image of its own rather than a slice of a volume (PS3.3 C.7.3.1.1.1)."""


@dataclass
class Series:
    """The files of one series, or one projection image.

    Attributes:
        key: Eight hexadecimal digits made from the series UID (and the file for projection images).
        files: Its files.
        facts: The safe header of its first file, with the patient's pseudonym as ``patient``.
        modality: Such as ``"CT"``.
        study: Hash of the study's identifier.
        part: For one volume of a 4D series what tells it from the others, such as ``"EchoTime 5"``; else "".
        aside: Why it is set aside unless it is named, or "".
    """

    key: str
    files: list[Path]
    facts: dict[str, str]
    modality: str
    study: str
    part: str = ""
    aside: str = ""
    derived: bool = False
    entries: list[Entry] = field(default_factory=list, repr=False)

    @property
    def folder(self) -> Path:
        """The innermost folder that holds all its files."""
        parents = {str(path.parent) for path in self.files}
        return Path(parents.pop() if len(parents) == 1 else os.path.commonpath(parents))

    @property
    def address(self) -> str:
        """What the study table calls it: the file when there is one, else ``folder#key``."""
        return str(self.files[0]) if len(self.files) == 1 else f"{self.folder}#{self.key}"


@dataclass
class Found:
    """What lies in a folder.

    Attributes:
        series: The series to use, in the order of their first file's path.
        aside: Localizers and series derived from others: usable when they are named.
        refused: Files that are no images, with the reason.
    """

    series: list[Series]
    aside: list[Series]
    refused: list[tuple[Path, str]]


def find_series(
    folder: str | Path, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Series], list[tuple[Path, str]]]:
    """Group the DICOM files below a folder into series; projection images (CR, DX, MG, ...) stay single.

    Args:
        folder: Where to look, sub-folders included.
        progress: Called with (headers read, headers).

    Returns:
        The series in the order of their first file's path; and the files that were refused or set aside (localizers,
        series derived from another of the same study), with the reason.
    """
    found = look(folder, progress)
    aside = [(path, f"{path.name} {one.aside}") for one in found.aside for path in one.files]
    return found.series, [*found.refused, *aside]


_remembered: dict[str, tuple[dict[str, int], Found]] = {}


def look(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> Found:
    """Everything `find_series` knows, with what is set aside still in series.

    Asked again in the same process, the answer is repeated while no folder below has changed.

    Raises:
        InputError: More files than `MAX_FILES`.
    """
    place = str(Path(folder).resolve())
    if place in _remembered:
        stamps, found = _remembered[place]
        if all(_stamp(one) == stamp for one, stamp in stamps.items()):
            return found
    paths: dict[str, tuple[int, int]] = {}
    refused: list[tuple[Path, str]] = []
    for path, facts, why in walk(folder):
        if why:
            refused.append((Path(path), f"{Path(path).name}: {why}"))
        else:
            paths[path] = facts
        if len(paths) > MAX_FILES:
            raise InputError(
                f"{folder} holds more than {MAX_FILES:,} files.", "fewer files.", "Choose a folder further down."
            )
    stamps = {one: _stamp(one) for one in {place, *(os.path.dirname(path) for path in paths)}}
    found = _grouped(entries(paths, progress), refused)
    while len(_remembered) >= REMEMBERED:
        _remembered.pop(next(iter(_remembered)))
    _remembered[place] = (stamps, found)
    return found


def series_files(address: str) -> list[Path]:
    """The files behind ``folder#key`` or behind a folder that holds exactly one series.

    Raises:
        InputError: The folder is missing, holds no series of this key, or several and no key was given.
    """
    return one_series(address).files


def one_series(address: str) -> Series:
    """The series behind ``folder#key`` or behind a folder that holds exactly one.

    Raises:
        InputError: See `series_files`.
    """
    folder, _, key = address.rpartition("#") if "#" in address and not Path(address).exists() else (address, "", "")
    if not Path(folder).is_dir():
        raise InputError(f"The folder {folder} does not exist.", "a folder of DICOM files.", "Correct the path.")
    found = look(folder)
    chosen = [one for one in [*found.series, *found.aside] if one.key == key] if key else found.series or found.aside
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        why = f" {len(found.refused)} files were refused, the first: {found.refused[0][1]}." if found.refused else ""
        raise InputError(
            f"{Path(folder).name} holds no {'such ' if key else ''}DICOM series.{why}",
            "a folder with the slices of one series.",
            "Choose the folder that holds the slices.",
        )
    lines = "; ".join(
        f"{one.address} ({one.modality}, {len(one.files)} files{', ' + one.part if one.part else ''})"
        for one in chosen[:5]
    )
    more = f"; and {len(chosen) - 5} more" if len(chosen) > 5 else ""
    raise InputError(
        f"{Path(folder).name} holds {len(chosen)} series: {lines}{more}.",
        "one series, or the key of one.",
        "Name the series as folder#key.",
    )


def _grouped(found: Iterator[Entry], refused: list[tuple[Path, str]]) -> Found:
    groups: dict[tuple[str, ...], Series] = {}
    for entry in found:
        path = Path(entry.path)
        if entry.refused:
            refused.append((path, entry.refused))
            continue
        single = entry.modality in PROJECTION or not entry.position
        # Orientation and size join the identity so that a localizer or a reformat that shares the UID stands apart.
        plane = tuple(f"{x:.2f}" for x in entry.orientation)
        identity = (
            entry.series or str(path.parent), str(entry.rows), str(entry.columns), *plane, entry.path if single else ""
        )  # fmt: skip
        if identity not in groups:
            key = hashlib.sha256("|".join(identity).encode()).hexdigest()[:8]
            groups[identity] = Series(key, [], entry.facts, entry.modality, entry.study)
            groups[identity].aside = MASKS.get(entry.modality, "")
            if "LOCALIZER" in entry.image_type:
                groups[identity].aside = "is a localizer"
            groups[identity].derived = "DERIVED" in entry.image_type[:1]
        groups[identity].files.append(path)
        groups[identity].entries.append(entry)
    whole = [part for one in _with_strays(groups) for part in _volumes(one)]
    _set_derived_aside(whole)
    whole = _without_doubles(whole, refused)
    for one in whole:
        one.entries = []
    return Found([one for one in whole if not one.aside], [one for one in whole if one.aside], refused)


def _with_strays(groups: dict[tuple[str, ...], Series]) -> list[Series]:
    """Odd slices go back to the series they name: its reader then refuses it and says which they are."""
    stacks: dict[str, Series] = {}
    for identity, one in groups.items():
        if len(one.files) > STRAYS and not one.aside and len(one.files) > len(stacks.get(identity[0], one).files) - 1:
            stacks[identity[0]] = one
    kept = []
    for identity, one in groups.items():
        stack = stacks.get(identity[0])
        if stack is None or one is stack or len(one.files) > STRAYS or one.aside or one.modality in PROJECTION:
            kept.append(one)
        else:
            stack.files += one.files
            stack.entries += one.entries
    return kept


def _volumes(one: Series) -> list[Series]:
    """The volumes of a 4D series: split by time, echo or b-value so that every place occurs once in each."""
    if len(one.files) < 2 or not all(entry.orientation and entry.position for entry in one.entries):
        return [one]
    plane = one.entries[0].orientation
    normal = np.cross(plane[:3], plane[3:])
    # Copies of a file share their place and everything else; they are left to the reader of the series.
    distinct = {entry.instance or entry.path: entry for entry in one.entries}
    heights = {name: round(float(np.dot(entry.position, normal)), 2) for name, entry in distinct.items()}
    if len(set(heights.values())) == len(distinct):
        return [one]
    tags = range(len(SPLIT_TAGS))
    for chosen in [*((tag,) for tag in tags), *combinations(tags, 2)]:
        parts: dict[tuple[str, ...], list[str]] = {}
        for name, entry in distinct.items():
            parts.setdefault(tuple(entry.split[tag] for tag in chosen), []).append(name)
        if len(parts) > 1 and all(len({heights[name] for name in names}) == len(names) for names in parts.values()):
            return [_part(one, chosen, value) for value in sorted(parts, key=_numeric)]
    return [one]


def _part(one: Series, tags: tuple[int, ...], value: tuple[str, ...]) -> Series:
    members = [entry for entry in one.entries if tuple(entry.split[tag] for tag in tags) == value]
    words = ", ".join(f"{SPLIT_TAGS[tag]} {text or 'not given'}" for tag, text in zip(tags, value, strict=True))
    key = hashlib.sha256(f"{one.key}|{words}".encode()).hexdigest()[:8]
    return Series(key, [Path(entry.path) for entry in members], members[0].facts, one.modality, one.study, words,
                  one.aside, one.derived, members)  # fmt: skip


def _set_derived_aside(whole: list[Series]) -> None:
    """Reformats and projections leave the field to the original they were computed from, when it is there."""
    originals = {
        (one.study, one.modality) for one in whole
        if not one.aside and not one.derived and one.modality not in PROJECTION
    }  # fmt: skip
    for one in whole:
        if one.derived and not one.aside and (one.study, one.modality) in originals and one.modality not in PROJECTION:
            words = "/".join(one.entries[0].image_type[:4])
            one.aside = f"is of a series derived from another of its study ({words}); to use it, name it: #{one.key}"


def _without_doubles(whole: list[Series], refused: list[tuple[Path, str]]) -> list[Series]:
    """Single images with one identifier: a copy is left out, two different images are both refused."""
    holders: dict[str, list[Series]] = {}
    for one in whole:
        if len(one.files) == 1 and one.entries[0].instance:
            holders.setdefault(one.entries[0].instance, []).append(one)
    out: set[str] = set()
    for group in (group for group in holders.values() if len(group) > 1):
        first = group[0].files[0]
        for other in group[1:]:
            path = other.files[0]
            if _same_pixels(first, path):
                refused.append((path, f"{path.name} repeats {first.name} and is counted once"))
                out.add(str(path))
            else:
                for file in {first, path} - {Path(p) for p in out}:
                    refused.append((file, f"{first.name} and {path.name} have one identifier and different pixels"))
                out |= {str(first), str(path)}
    return [one for one in whole if len(one.files) > 1 or str(one.files[0]) not in out]


def _same_pixels(one: Path, other: Path) -> bool:
    from easydl.images.decoding import decode
    from easydl.images.headers import open_dicom

    try:
        first, second = (decode(open_dicom(path), path.name).values for path in (one, other))
    except EasyDLError:
        return False
    return np.array_equal(first, second)


def _numeric(value: tuple[str, ...]) -> list[tuple[int, float, str]]:
    def sortable(text: str) -> tuple[int, float, str]:
        try:
            return (0, float(text), text)
        except ValueError:
            return (1, 0.0, text)

    return [sortable(text) for text in value]


def _stamp(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return -1
