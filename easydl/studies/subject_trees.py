"""Trees of volumes become rows of patients: BIDS, and one folder for each patient. It reads headers only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import EasyDLError, InputError
from easydl.images.limits import is_nifti
from easydl.images.nifti import nifti_facts
from easydl.images.patients import patient_key
from easydl.studies.folders import image_files
from easydl.studies.row_errors import many
from easydl.studies.subject_names import (
    Volume,
    are_numbered,
    are_persons,
    are_sequences,
    are_sessions,
    bids_volume,
    could_be_grades,
    is_sequence,
    kind_of,
    session_of,
    stem,
    subjects_named,
    without_kind,
)  # fmt: skip
from easydl.studies.tables import SPLIT_NAMES, read_table, tables_in

ALIKE = 0.6
"""Fraction of the folders that hold the same kinds of files, from which they are those of subjects."""
RESERVED = {"image", "mask", "label", "patient", "split", "session", "given_split", "given_label"}


@dataclass(frozen=True)
class Tree:
    """What was read from a folder.

    Attributes:
        frame: One row per image, or per examination whose images are channels.
        notes: What was assumed.
        images: The columns with images, where they are not found by their names.
        masks: The columns with the masks that were named.
        mask_labels: Names of the mask values that came with the data, or None.
    """

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    mask_labels: dict[str, int | list[int]] | None = None


def frame_from_bids(root: Path, image: Sequence[str], mask: Sequence[str]) -> Tree | None:
    """The rows of a BIDS folder; as `frame_from_subjects`.

    Returns:
        None when fewer than half of the volumes name a subject.
    """
    volumes = [path for path in image_files(root) if is_nifti(path)]
    found = [one for path in volumes if (one := bids_volume(path, root)) is not None]
    if not found or 2 * len(found) < len(volumes):
        return None
    found = [one for one in found if "sourcedata" not in one.path.relative_to(root).parts]
    return _tree(found, "subjects of a BIDS folder", image, mask, root, len(volumes))


def frame_from_subjects(root: Path, image: Sequence[str], mask: Sequence[str]) -> Tree | None:
    """The rows of a folder with one folder of volumes for each patient, below class folders or not.

    Args:
        root: The folder.
        image: The kinds of image that the user named, such as ``["t1", "flair"]``; [] takes those that lie on one grid.
        mask: The structures that the user named; [] takes the mask when there is one kind only.

    Returns:
        None when the folder is of another kind.

    Raises:
        InputError: The kinds of image lie on different grids and none was named, or one that was named is not there.
    """
    files = image_files(root)
    if not files or not all(map(is_nifti, files)):
        return None
    return _tree(_by_folders(root, files), "folders of patients", image, mask, root, len(files))


def with_subjects(frame: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """Patients from the names of files (``sub-07_...``) or of their folders (``patient_07/...``), when all tell them."""
    paths = [Path(address) for address in frame["image"]]
    if "patient" in frame.columns or any("#" in path.name for path in paths):
        return frame, notes
    folders = sorted({path.parent.name for path in paths})
    subjects = subjects_named(paths) or ([path.parent.name for path in paths] if are_persons(folders) else None)
    if subjects is None or len(set(subjects)) < 2:
        return frame, notes
    return frame.assign(patient=subjects), [*notes, "patients were taken from the names of the files or their folders"]


def _tree(
    found: Sequence[Volume], how: str, image: Sequence[str], mask: Sequence[str], root: Path, files: int
) -> Tree | None:
    if all(one.mask for one in found):
        return None
    tree = _rows(found, image, mask, root)
    people = many(tree.frame["patient"].nunique(), "patient")
    notes = [f"read as {how}, not of classes: {people}, {many(len(tree.frame), 'row')}", *tree.notes]
    if len(found) < files:
        notes.append(f"{many(files - len(found), 'volume')} of no patient not used")
    frame, joined = _with_table(root, tree.frame)
    return replace(tree, frame=frame, notes=[*notes, *joined])


def _by_folders(root: Path, volumes: Sequence[Path]) -> list[Volume]:
    """The volumes of a tree with one folder for each patient, or with a folder for each sequence; [] for other trees."""
    folders = {path: list(path.relative_to(root).parts[:-1]) for path in volumes}
    splits = dict.fromkeys(volumes, "")
    if all(parts and parts[0].lower() in SPLIT_NAMES for parts in folders.values()):
        splits = {path: SPLIT_NAMES[parts[0].lower()] for path, parts in folders.items()}
        folders = {path: parts[1:] for path, parts in folders.items()}
    level = _subject_level(folders)
    if level is None:
        found = _by_sequence(folders) or _by_name(folders)
    else:
        common = Counter(
            folder
            for unit in _units(folders, level).values()
            for folder in {f for p in unit for f in folders[p][level:]}
        )
        found = [_in_folder(path, parts, level, common, len(_units(folders, level))) for path, parts in folders.items()]
        found = [one for one in found if one.subject]
        exams = _grouped(found).values()
        held = Counter(kind for group in exams for kind in {one.kind for one in group if not one.mask})
        if held and 2 * max(held.values()) < len(exams):  # names that say nothing
            found = [one if one.mask else replace(one, kind="image") for one in found]
    if len({one.label for one in found}) < 2:
        found = [replace(one, label="") for one in found]
    return [replace(one, split=splits[one.path]) for one in found]


def _in_folder(path: Path, parts: list[str], level: int, common: Counter[str], subjects: int) -> Volume:
    if len(parts) < level:
        return Volume(path, "")
    session, words, inside = session_of(parts[level:], common, subjects)
    kind, mask = kind_of(stem(path), parts[level - 1], session)
    kind = "_".join([*words, *([kind] if kind != "image" or not words else [])])
    if inside and not mask:
        kind, mask = kind if kind != "image" else "mask", True
    return Volume(path, parts[level - 1], session, kind, mask, parts[level - 2] if level > 1 else "")


def _units(folders: dict[Path, list[str]], level: int) -> dict[tuple[str, ...], list[Path]]:
    """The files below each folder of a level."""
    units: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path, parts in folders.items():
        if len(parts) >= level:
            units[tuple(parts[:level])].append(path)
    return units


def _subject_level(folders: dict[Path, list[str]]) -> int | None:
    """Which folders, counted from the root, are those of patients; None when none seem to be."""
    if min(map(len, folders.values())) == 0:
        return None
    for level in range(1, max(map(len, folders.values())) + 1):
        units = _units(folders, level)
        names = [unit[-1] for unit in units]
        if len(units) < 2 or (level == 1 and are_sequences(names)):
            continue
        if level > 1 and are_sessions(names) and not are_numbered(names):
            return level - 1
        kinds = Counter(
            frozenset(("/".join(folders[path][level:]), *kind_of(stem(path), unit[-1])) for path in paths)
            for unit, paths in units.items()
        )
        most, count = kinds.most_common(1)[0]
        telling = [kind for inner, kind, _ in most if (inner, kind) != ("", "image")]
        if could_be_grades(names):  # "1" and "2" are patients when each holds a T1 and a mask
            telling = [kind for _, kind, masked in most if masked or is_sequence(kind)]
        alike = count >= ALIKE * len(units) and count > 1 and bool(telling)
        alone = len(units) > 2 and all(len(paths) == 1 for paths in units.values())
        few = level > 1 and len(_units(folders, 1)) >= 6 and len(units) <= 3 * len(_units(folders, 1))
        if are_persons(names) or are_numbered(names) or alike or alone:
            return 1 if few else level
    return None


def _by_sequence(folders: dict[Path, list[str]]) -> list[Volume]:
    """``FLAIR/001.nii.gz``, ``T1/001.nii.gz``: a folder for each sequence, with the same patients in each."""
    if not all(len(parts) == 1 for parts in folders.values()):
        return []
    names = {parts[0] for parts in folders.values()}
    sequences = {name for name in names if not kind_of(name, "")[1]}
    found = [
        Volume(path, without_kind(stem(path)), "", *((kind_of(name, "")) if name not in sequences else (name, False)))
        for path, (name,) in folders.items()
    ]
    held = [{one.subject for one in found if one.path.parent.name == name} for name in sequences]
    if len(sequences) < 2 or not are_sequences(sequences):
        return []
    shared = set.intersection(*held)
    return found if 2 * len(shared) >= max(map(len, held)) else []


def _by_name(folders: dict[Path, list[str]]) -> list[Volume]:
    """``BraTS_001_t1.nii.gz``, ``BraTS_001_flair.nii.gz`` in one folder, or in one for each class."""
    found = []
    for path, parts in folders.items():
        subject = without_kind(stem(path))
        kind, mask = kind_of(stem(path), subject)
        words = [word for word in stem(path).replace("-", "_").replace(".", "_").split("_") if word not in subject]
        kind = kind if mask or not words else "_".join(words).lower()
        found.append(Volume(path, subject, "", kind, mask, parts[-1] if parts else ""))
    kinds = Counter(frozenset((one.kind, one.mask) for one in group) for group in _grouped(found).values())
    most, count = kinds.most_common(1)[0]
    several = sum(not mask for _, mask in most) > 1 or any(mask for _, mask in most)
    return found if several and count >= ALIKE * sum(kinds.values()) and count > 1 else []


def _grouped(found: Iterable[Volume]) -> dict[tuple[str, str, str, str], list[Volume]]:
    """The files of every examination."""
    groups: dict[tuple[str, str, str, str], list[Volume]] = defaultdict(list)
    for one in sorted(found, key=lambda one: str(one.path)):
        groups[one.split, one.label, one.subject, one.session].append(one)
    return groups


def _rows(found: Sequence[Volume], image: Sequence[str], mask: Sequence[str], root: Path) -> Tree:
    """One row for each examination, its kinds of image in columns; of a single kind, one for each volume."""
    groups = _grouped(found)
    kinds = _kinds(found, groups, image)
    masks = _chosen([one for one in found if one.mask], mask, "mask")
    notes = []
    columns = ["image"] if len(kinds) == 1 else [_column(kind) for kind in kinds]
    mask_columns = ["mask"] if len(masks) == 1 and not mask else [_column(name) for name in masks]
    rows, lacking, further = [], 0, 0
    for (split, label, subject, session), group in groups.items():
        held = [[one.path for one in group if not one.mask and one.kind == kind] for kind in kinds]
        drawn = [[one.path for one in group if one.mask and one.kind == name] for name in masks]
        if not all(held):
            lacking += 1
            continue
        count = len(held[0]) if len({len(paths) for paths in held}) == 1 else 1
        further += sum(len(paths) - count for paths in held)
        known = {"patient": subject, "session": session, "label": label, "given_split": split}
        for place in range(count):
            row = {column: str(paths[place]) for column, paths in zip(columns, held, strict=True)}
            for column, paths in zip(mask_columns, drawn, strict=True):
                row[column] = str(paths[place]) if len(paths) == count else ""
            rows.append({**row, **known})
    if lacking:
        notes.append(f"{many(lacking, 'examination')} without {' or '.join(kinds[:8])} excluded")
    if further:
        notes.append(f"{many(further, 'repeated volume')} beside the first of its kind not used")
    if not rows:
        raise InputError(
            f"No examination in {root.name} has {' and '.join(kinds[:8]) or 'an image'}.",
            "every kind of image that is used in some examinations at least.",
            "Name fewer kinds with image= (--image).",
        )
    frame = pd.DataFrame(rows, dtype=str)
    frame = frame.drop(columns=[name for name in ("session", "label", "given_split") if not (frame[name] != "").any()])
    notes += _said(found, kinds, masks, mask)
    return Tree(frame, notes, columns, mask_columns if mask else [])


def _said(found: Sequence[Volume], kinds: Sequence[str], masks: Sequence[str], named: Sequence[str]) -> list[str]:
    """Which kinds of image and of mask are used, and which are there beside them."""
    notes = [f"channels: {', '.join(kinds)}"] if len(kinds) > 1 else []
    others = sorted({one.kind for one in found if not one.mask} - set(kinds))
    if others:
        notes.append(f"not used, but can be named with image= (--image): {', '.join(others[:20])}")
    structures = sorted({one.kind for one in found if one.mask})
    if len(structures) > 1 and not named:
        listing = ", ".join(structures[:20]) + (f" and {len(structures) - 20} more" if len(structures) > 20 else "")
        notes.append(f"{len(structures)} kinds of mask, of which none is used until mask= (--mask) names it: {listing}")
    elif not masks and structures:
        notes.append(f"masks that mask= (--mask) can name: {structures[0]}")
    return notes


def _kinds(found: Sequence[Volume], groups: dict[Any, list[Volume]], named: Sequence[str]) -> list[str]:
    """The kinds of image to use: those named, or those that most examinations have, if they lie on one grid."""
    images = [one for one in found if not one.mask]
    usual = [one for one in images if one.usual] or images
    counts = Counter(kind for group in groups.values() for kind in {one.kind for one in group if one in usual})
    kinds = sorted(kind for kind, count in counts.items() if 2 * count >= max(counts.values()))
    kinds = _chosen(images, named, "image") if named else kinds
    apart = _grids(groups, kinds) if len(kinds) > 1 else []
    if len(apart) > 1:
        raise InputError(
            f"The patients' images are of {len(kinds)} kinds on different grids: {'; '.join(map(' with '.join, apart[:8]))}.",
            "one kind of image, or several on one grid (co-registered), which become channels.",
            f"Pass image= (--image) the kind or kinds to use, such as {kinds[0]}.",
        )
    return kinds


def _grids(groups: dict[Any, list[Volume]], kinds: Sequence[str]) -> list[list[str]]:
    """The kinds of image that lie on one grid in every examination, by grid."""
    together = {kind: set(kinds) for kind in kinds}
    for group in groups.values():
        first = {one.kind: one.path for one in reversed(group) if one.kind in kinds and not one.mask}
        grids = {kind: grid for kind, path in first.items() if (grid := _grid(path)) is not None}
        for kind, grid in grids.items():
            together[kind] -= {other for other, its in grids.items() if not _same(grid, its)}
    return [list(one) for one in sorted({tuple(sorted(one)) for one in together.values()})]


def _grid(path: Path) -> tuple[tuple[int, ...], np.ndarray] | None:
    """Shape and affine of a volume; None for a header that cannot be read, which whoever reads it will say."""
    import nibabel

    try:
        nifti_facts(path)  # within its limits
        image: Any = nibabel.load(path)
        return tuple(image.shape), np.asarray(image.affine)
    except Exception:
        return None


def _same(grid: tuple[tuple[int, ...], np.ndarray], other: tuple[tuple[int, ...], np.ndarray]) -> bool:
    """Whether no corner of two volumes lies further apart than a tenth of a voxel."""
    shape, affine = grid
    if shape != other[0]:
        return False
    corners = np.array([[*corner, 1] for corner in product(*((0, side - 1) for side in shape[:3]))])
    if corners.shape[1] != 4:
        return True
    apart = np.linalg.norm((corners @ (affine - other[1]).T)[:, :3], axis=1).max()
    return bool(apart <= 0.1 * np.linalg.norm(affine[:3, :3], axis=0).min())


def _chosen(found: Sequence[Volume], named: Sequence[str], role: str) -> list[str]:
    """The kinds that were named, as they are written; without names the only one, or none.

    Raises:
        InputError: There is no such kind.
    """
    kinds = sorted({one.kind for one in found})
    if not named:
        return kinds if len(kinds) == 1 else []
    written = {kind.lower(): kind for kind in kinds} | ({role: kinds[0]} if len(kinds) == 1 else {})
    missing = [name for name in named if name.lower() not in written]
    if missing:
        raise InputError(
            f"The folder has no {role} {missing[0]!r} of its patients.",
            f"one of {', '.join(kinds[:20]) or 'none'}.",
            f"Correct {role}= (--{role}).",
        )
    return [written[name.lower()] for name in named]


def _column(kind: str) -> str:
    return f"{kind}_" if kind in RESERVED else kind


def _with_table(root: Path, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The columns of the first table in the folder in which most patients have one row, such as ``participants.tsv``."""
    people = {_person(name) for name in frame["patient"]}
    for place in sorted(tables_in(root), key=lambda path: (path.name != "participants.tsv", path.name)):
        try:
            table, _ = read_table(place)
        except EasyDLError:
            continue
        for column in table.columns:
            keys = table[column].map(_person)
            if keys.duplicated().any() or 2 * len(people & set(keys)) < len(people):
                continue
            rows = table.drop(columns=column).set_axis(keys)
            rows = rows[
                [
                    name
                    for name in rows.columns
                    if name not in frame.columns and name.lower() not in RESERVED - {"label"}
                ]
            ]
            joined = rows.reindex(frame["patient"].map(_person)).fillna("").set_axis(frame.index)
            blank = len(people - set(keys))
            notes = [
                f"{place.name} joined by its column {column!r}: {', '.join(map(str, rows.columns)) or 'nothing new'}"
            ]
            notes += [f"{many(blank, 'patient')} not in {place.name}: blank there"] if blank else []
            return pd.concat([frame, joined], axis=1), notes
    return frame, []


def _person(name: str) -> str:
    return patient_key(name.strip().removeprefix("sub-"))
