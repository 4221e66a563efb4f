"""Which DICOM series a folder holds, by header and not by file name. Pixels are read of duplicated identifiers only."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from easydl.errors import EasyDLError, InputError
from easydl.images.index import SPLIT_TAGS, Entry, entries, walk
from easydl.images.limits import folders_below
from easydl.images.quiet import quiet_libraries
from easydl.images.slices import SAME_POSITION_MM, TURNED

MAX_FILES = 1_000_000
MASKS = {"SEG": "is a segmentation, a mask and not an image", "RTDOSE": "is a dose distribution and not an image"}
REMEMBERED = 8
NAMED = 5
STRAYS = 2
"""So few slices beside a stack of the same series are odd slices of it, more are a separate series."""
PROJECTION = {"CR", "DX", "DR", "MG", "XA", "RF", "US", "OT", "SC", "XC", "OP", "ES", "GM", "SM", "IO", "PX"}
"""Modalities in which every file is a separate image rather than a slice of a volume (PS3.3 C.7.3.1.1.1)."""


@dataclass
class Series:
    """The files of one series, or one projection image.

    Attributes:
        key: Eight hexadecimal digits made from the series UID (and the file for projection images).
        files: Its files.
        facts: The safe header of its first file, with the patient's pseudonym as ``patient``.
        modality: Such as ``"CT"``.
        study: Hash of the study's identifier.
        part: For one volume of a 4D series what distinguishes it from the others, such as ``"EchoTime 5"``; else "".
        excluded: Why it is excluded unless it is named, or "".
        derived: Whether it was computed from other images (ImageType).
        entries: The headers of its files, while series are being grouped.
        unused: Files beside its own that may be slices of it and could not be used, each with the reason.
    """

    key: str
    files: list[Path]
    facts: dict[str, str]
    modality: str
    study: str
    part: str = ""
    excluded: str = ""
    derived: bool = False
    entries: list[Entry] = field(default_factory=list, repr=False)
    unused: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What whoever uses the volume has to know: which files may be missing from it."""
        count = len(self.unused)
        what = "1 file beside its slices was" if count == 1 else f"{count} files beside its slices were"
        reasons = [why for _, why in self.unused[:NAMED]] + ([f"and {count - NAMED} more"] if count > NAMED else [])
        return [f"{what} not used, so that slices may be missing: {'; '.join(reasons)}"] if count else []

    @property
    def folder(self) -> Path:
        """The innermost folder that holds all its files."""
        parents = {str(path.parent) for path in self.files}
        return Path(parents.pop() if len(parents) == 1 else os.path.commonpath(parents))

    @property
    def address(self) -> str:
        """How the study table names it: the file when there is one, else ``folder#key``."""
        return str(self.files[0]) if len(self.files) == 1 else f"{self.folder}#{self.key}"


@dataclass
class SeriesFolder:
    """The DICOM content of a folder.

    Attributes:
        series: The series to use, in the order of their first file's path.
        excluded: Localizers and series derived from others: usable when they are named.
        refused: Files that are not images, with the reason.
    """

    series: list[Series]
    excluded: list[Series]
    refused: list[tuple[Path, str]]

    @property
    def unused(self) -> list[tuple[Path, str]]:
        """Every file that was refused or excluded, with the reason."""
        excluded = [(path, f"{path.name} {series.excluded}") for series in self.excluded for path in series.files]
        return [*self.refused, *excluded]


_remembered: dict[str, tuple[dict[str, int], SeriesFolder]] = {}


def find_series(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> SeriesFolder:
    """Group the DICOM files below a folder into series; projection images (CR, DX, MG, ...) stay single.

    Called again in the same process, the result is repeated while no folder and no file below has changed. Its paths are
    absolute, so that it does not depend on where the process was when it was first asked.

    Args:
        folder: Where to look, sub-folders included.
        progress: Called with (headers read, headers).
    """
    place = os.path.abspath(folder)
    if place in _remembered:
        stamps, result = _remembered[place]
        if all(_stamp(path) == stamp for path, stamp in stamps.items()):
            return result
    paths: dict[str, tuple[int, int]] = {}
    refused: list[tuple[Path, str]] = []
    for path, facts, why in walk(place):
        if why:
            refused.append((Path(path), f"{Path(path).name}: {why}"))
        else:
            paths[path] = facts
        if len(paths) > MAX_FILES:
            raise InputError(
                f"{folder} holds more than {MAX_FILES:,} files.", "fewer files.", "Choose a folder further down."
            )
    stamps = {base: _stamp(base) for base, _, _ in folders_below(place)}
    stamps.update((path, changed) for path, (_, changed) in paths.items())
    result = _grouped(entries(paths, progress), refused)
    # A file that was refused may be repaired in its place, which changes no folder.
    stamps |= {str(path): _stamp(str(path)) for path, _ in result.refused}
    while len(_remembered) >= REMEMBERED:
        _remembered.pop(next(iter(_remembered)))
    _remembered[place] = (stamps, result)
    return result


def one_series(address: str) -> Series:
    """The series behind ``folder#key``, or behind a folder that holds exactly one."""
    folder, _, key = address.rpartition("#") if "#" in address and not Path(address).exists() else (address, "", "")
    if not Path(folder).is_dir():
        raise InputError(f"The folder {folder} does not exist.", "a folder of DICOM files.", "Correct the path.")
    content = find_series(folder)
    usable = [*content.series, *content.excluded]
    chosen = [series for series in usable if series.key == key] if key else content.series or content.excluded
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        refused = content.refused
        why = f" {len(refused)} files were refused, the first: {refused[0][1]}." if refused else ""
        raise InputError(
            f"{Path(folder).name} holds no {'such ' if key else ''}DICOM series.{why}",
            "a folder with the slices of one series.",
            "Choose the folder that holds the slices.",
        )
    lines = "; ".join(
        f"{series.address} ({series.modality}, {len(series.files)} files{', ' + series.part if series.part else ''})"
        for series in chosen[:5]
    )
    more = f"; and {len(chosen) - 5} more" if len(chosen) > 5 else ""
    raise InputError(
        f"{Path(folder).name} holds {len(chosen)} series: {lines}{more}.",
        "one series, or the key of one.",
        "Name the series as folder#key.",
    )


def _grouped(headers: Iterator[Entry], refused: list[tuple[Path, str]]) -> SeriesFolder:
    groups: dict[tuple[str, ...], Series] = {}
    lost = [Entry(str(path), refused=why) for path, why in refused]
    planes: dict[tuple[str, ...], list[tuple[float, ...]]] = {}
    for entry in headers:
        path = Path(entry.path)
        if entry.refused:
            refused.append((path, entry.refused))
            lost.append(entry)
            continue
        single = entry.modality in PROJECTION or not entry.position
        # Orientation and size join the identity, so that a localizer or a reformat that shares the UID is separate.
        uid, file = entry.series or str(path.parent), entry.path if single else ""
        plane = _one_of(planes.setdefault((uid, file), []), entry.orientation)
        identity = (uid, str(entry.rows), str(entry.columns), *(f"{x:.2f}" for x in plane), file)
        if identity not in groups:
            key = hashlib.sha256("|".join(identity).encode()).hexdigest()[:8]
            groups[identity] = Series(key, [], entry.facts, entry.modality, entry.study)
            groups[identity].excluded = MASKS.get(entry.modality, "")
            if "LOCALIZER" in entry.image_type:
                groups[identity].excluded = "is a localizer"
            groups[identity].derived = "DERIVED" in entry.image_type[:1]
        groups[identity].files.append(path)
        groups[identity].entries.append(entry)
    whole = [part for series in _with_strays(groups) for part in _volumes(series)]
    _exclude_derived(whole)
    whole = _without_duplicates(whole, refused)
    _name_lost(whole, lost)
    for series in whole:
        series.entries = []
    return SeriesFolder(
        [series for series in whole if not series.excluded], [series for series in whole if series.excluded], refused
    )


def _one_of(known: list[tuple[float, ...]], orientation: tuple[float, ...]) -> tuple[float, ...]:
    """The first of the orientations met so far that is nearly this one; a new one joins them."""
    for one in known:
        if len(one) == len(orientation) and all(abs(a - b) <= TURNED for a, b in zip(one, orientation, strict=True)):
            return one
    known.append(orientation)
    return orientation


def _with_strays(groups: dict[tuple[str, ...], Series]) -> list[Series]:
    """Odd slices go back to the series they name: its reader then refuses it and says which they are."""
    stacks: dict[str, Series] = {}
    for (uid, *_), group in groups.items():
        largest = len(stacks[uid].files) if uid in stacks else 0
        if len(group.files) >= max(largest, STRAYS + 1) and not group.excluded:
            stacks[uid] = group
    kept = []
    for (uid, *_), group in groups.items():
        stack = stacks.get(uid)
        separate = len(group.files) > STRAYS or group.excluded or group.modality in PROJECTION
        if stack is None or group is stack or separate:
            kept.append(group)
        else:
            stack.files += group.files
            stack.entries += group.entries
    return kept


def _volumes(series: Series) -> list[Series]:
    """The volumes of a 4D series: split by time, echo or b-value so that every position occurs once in each."""
    if len(series.files) < 2 or not all(entry.orientation and entry.position for entry in series.entries):
        return [series]
    plane = series.entries[0].orientation
    normal = np.cross(plane[:3], plane[3:])
    # Copies of a file share their position and everything else; they are left to the reader of the series.
    distinct = {entry.instance or entry.path: entry for entry in series.entries}
    heights = _levels({name: float(np.dot(entry.position, normal)) for name, entry in distinct.items()})
    if len(set(heights.values())) == len(distinct):
        return [series]
    tags = range(len(SPLIT_TAGS))
    for chosen in [*((tag,) for tag in tags), *combinations(tags, 2)]:
        parts: dict[tuple[str, ...], list[str]] = {}
        for name, entry in distinct.items():
            parts.setdefault(tuple(entry.split[tag] for tag in chosen), []).append(name)
        if len(parts) > 1 and all(len({heights[name] for name in names}) == len(names) for names in parts.values()):
            return [_part(series, chosen, value) for value in sorted(parts, key=_numeric)]
    return [series]


def _levels(heights: dict[str, float]) -> dict[str, int]:
    """Heights in mm as numbers of levels, so that two are equal when they differ by rounding."""
    levels: dict[str, int] = {}
    level, before = 0, -np.inf
    for name in sorted(heights, key=lambda name: heights[name]):
        level += heights[name] - before >= SAME_POSITION_MM
        levels[name], before = level, heights[name]
    return levels


def _part(series: Series, tags: tuple[int, ...], value: tuple[str, ...]) -> Series:
    members = [entry for entry in series.entries if tuple(entry.split[tag] for tag in tags) == value]
    part = ", ".join(f"{SPLIT_TAGS[tag]} {text or 'not given'}" for tag, text in zip(tags, value, strict=True))
    key = hashlib.sha256(f"{series.key}|{part}".encode()).hexdigest()[:8]
    files = [Path(entry.path) for entry in members]
    return replace(series, key=key, files=files, facts=members[0].facts, part=part, entries=members)


def _exclude_derived(whole: list[Series]) -> None:
    """Reformats and projections are excluded where the original they were computed from is there."""
    candidates = [series for series in whole if not series.excluded and series.modality not in PROJECTION]
    originals = {(series.study, series.modality) for series in candidates if not series.derived}
    for series in candidates:
        if series.derived and (series.study, series.modality) in originals:
            kind = "/".join(series.entries[0].image_type[:4])
            series.excluded = (
                f"is of a series derived from another of its study ({kind}); to use it, name it: #{series.key}"
            )


def _without_duplicates(whole: list[Series], refused: list[tuple[Path, str]]) -> list[Series]:
    """Single images with one identifier: a copy is left out, two different images are both refused."""
    holders: dict[str, list[Path]] = {}
    for series in whole:
        if len(series.files) == 1 and series.entries[0].instance:
            holders.setdefault(series.entries[0].instance, []).append(series.files[0])
    out: set[Path] = set()
    for first, *others in holders.values():
        for path in others:
            if _same_pixels(first, path):
                refused.append((path, f"{path.name} repeats {first.name} and is counted once"))
                out.add(path)
            else:
                for file in {first, path} - out:
                    refused.append((file, f"{first.name} and {path.name} have one identifier and different pixels"))
                out |= {first, path}
    return [series for series in whole if len(series.files) > 1 or series.files[0] not in out]


@quiet_libraries()
def _same_pixels(first: Path, other: Path) -> bool:
    from easydl.images.decoding import decode
    from easydl.images.headers import open_dicom

    try:
        pixels, others = (decode(open_dicom(path), path.name).values for path in (first, other))
    except EasyDLError:
        return False
    return np.array_equal(pixels, others, equal_nan=True)


def _name_lost(whole: list[Series], lost: list[Entry]) -> None:
    """Tell each volume which refused files may be slices of it: of its series, or beside its slices and of none."""
    beside: dict[Path, list[Entry]] = {}
    for entry in lost:
        beside.setdefault(Path(entry.path).parent, []).append(entry)
    for series in whole:
        if series.modality in PROJECTION or not beside:
            continue
        ours = {entry.series for entry in series.entries} | {""}
        endings = {path.suffix.lower() for path in series.files} | {""}
        near = [entry for folder in sorted({path.parent for path in series.files}) for entry in beside.get(folder, [])]
        series.unused = [
            (Path(entry.path), entry.refused)
            for entry in near
            if entry.series in ours and (entry.series or Path(entry.path).suffix.lower() in endings)
        ]


def _numeric(value: tuple[str, ...]) -> list[tuple[int, float, str]]:
    def sortable(text: str) -> tuple[int, float, str]:
        try:
            return (0, float(text), text)
        except ValueError:
            return (1, 0.0, text)

    return [sortable(text) for text in value]


def _stamp(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return -1
