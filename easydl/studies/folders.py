"""Folders become rows: one folder per class, or a folder of DICOM series. It decides nothing about splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from easydl.errors import InputError
from easydl.images.headers import header_errors, header_facts, no_image, read_header
from easydl.images.limits import folders_below, is_dicom, is_ignored, is_nifti, is_raster
from easydl.images.nifti import nifti_facts
from easydl.images.raster import raster_facts
from easydl.images.series import NAMED, Series, find_series, one_series
from easydl.studies.row_errors import many
from easydl.studies.subject_names import are_sequences
from easydl.studies.tables import SPLIT_NAMES


def class_folders(root: Path) -> tuple[dict[str, list[tuple[str, str, Path]]], list[str]]:
    """The files below class folders: ``root/class/...`` or ``root/train|val|test/class/...``; and what was not used.

    Returns:
        ``{class: [(class, split or "", file), ...]}``, empty when the folder has no class folders. Files that lie
        directly in a split folder (a demonstration image, say) have no class and are left out.
    """
    found: dict[str, list[tuple[str, str, Path]]] = {}
    notes = []
    children = visible_folders(root)
    splits = [p for p in children if p.name.lower() in SPLIT_NAMES]
    within = [child for split in splits for child in visible_folders(split)]
    loose = [p for p in root.iterdir() if p.is_file()]
    if splits and (within or len(splits) == len(children)):
        pairs = [(SPLIT_NAMES[child.parent.name.lower()], child) for child in within]
        others = {p.name: len(image_files(p)) for p in children if p not in splits}
        if any(others.values()):
            notes.append(
                f"{sum(others.values())} images in {', '.join(name for name, n in others.items() if n)} were not used: the "
                f"folder is read as {', '.join(split.name for split in splits)}"
            )
        loose += [p for split in splits for p in split.iterdir() if p.is_file()]
    else:
        pairs = [("", child) for child in children]
    other: list[Path] = []
    nested: list[str] = []
    for split, folder in pairs:
        images = image_files(folder)
        every = [Path(base) / name for base, _, names in _walk(folder) for name in names if not is_ignored(name)]
        used = set(images)
        other += [path for path in every if path not in used]
        if not images:
            notes.append(f"the folder {folder.name!r} holds no images and is not a class")
            continue
        if any(path.parent != folder and not is_dicom(path) for path in images):
            nested.append(folder.name)
        found.setdefault(folder.name, []).extend((folder.name, split, path) for path in images)
    images_loose = [p for p in loose if not is_ignored(p) and _is_image(p)]
    if found and images_loose:
        notes.append(
            f"{some(images_loose, 'image')} in no class folder {'was' if len(images_loose) == 1 else 'were'} not used"
        )
    if found and other:
        notes.append(
            f"{some(other, 'file')} in the class folders skipped: not {'an image' if len(other) == 1 else 'images'}"
        )
    if nested:
        notes.append(
            f"the class folders {', '.join(map(repr, nested[:5]))} hold folders themselves: all images below count as the "
            "outer folder's class"
        )
    return found, notes


def visible_folders(folder: Path) -> list[Path]:
    """The folders within a folder, sorted, without hidden ones and what an operating system left behind."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and not is_ignored(p))


def some(paths: Sequence[Path], what: str) -> str:
    """How many files, and the name of the first: ``"3 images (the first: a.png)"``."""
    first = f" ({'' if len(paths) == 1 else 'the first: '}{paths[0].name})" if paths else ""
    return many(len(paths), what) + first


def image_files(folder: Path) -> list[Path]:
    """Every file below a folder that easydl reads, sorted by path; hidden leftovers are passed over."""
    found = []
    for base, _, names in _walk(folder):
        found += [path for name in names if not is_ignored(path := Path(base) / name) and _is_image(path)]
    return found


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like `os.walk`, in order, without following links and without hidden folders and files."""
    for base, inner, names in folders_below(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and not is_ignored(name))
        yield base, inner, sorted(name for name in names if not name.startswith("."))


def _is_image(path: Path) -> bool:
    return is_raster(path) or is_nifti(path) or is_dicom(path)


def one_patient_each(root: Path, found: dict[str, list[tuple[str, str, Path]]]) -> bool:
    """Whether the sub-folders are those of patients, visits or series, as a PACS exports them, rather than classes.

    Nothing could be learnt from classes of one patient each, nor from series of the same patients. Where the headers
    name no patient, or the same one everywhere, an examination stands for a patient; when they do not tell that
    either, it is not known.
    """
    if len(found) < 2 or not all(is_dicom(entries[0][2]) for entries in found.values()):
        return False
    folder_of = {path: name for name, entries in found.items() for _, _, path in entries}
    series = [one for one in find_series(root).series if one.files[0] in folder_of]
    if len({folder_of[one.files[0]] for one in series}) < len(found):
        return False
    patients = {one.facts.get("patient", "") for one in series}
    held: dict[str, set[str]] = {name: set() for name in found}
    for one in series:
        who = one.facts.get("patient", "") if "" not in patients and len(patients) > 1 else one.study
        held[folder_of[one.files[0]]].add(who)
    if any("" in them for them in held.values()):
        return False
    same = len(set(map(frozenset, held.values()))) == 1
    return all(len(them) == 1 for them in held.values()) or (same and are_sequences(found))


def frame_from_classes(root: Path, found: dict[str, list[tuple[str, str, Path]]]) -> tuple[pd.DataFrame, list[str]]:
    """One row per file of the class folders; slices of one CT or MR series become one row."""
    rows, notes = [], []
    for label, entries in found.items():
        dicom = [path for _, _, path in entries if is_dicom(path)]
        single: dict[Path, Series] = {}
        joined: set[Path] = set()
        if dicom:
            for folder in sorted({_class_folder(root, label, path) for path in dicom}):
                content = find_series(folder)
                notes += [reason for _, reason in content.unused]
                for one in content.series:
                    single[one.files[0]] = one
                    joined.update(one.files[1:])
                joined.update(path for path, _ in content.unused)
        for _, split, path in entries:
            if path in joined:
                continue
            row = {"image": single[path].address if path in single else str(path), "label": label}
            if split:
                row["given_split"] = split
            rows.append(row)
    notes = _excluded(notes)
    return pd.DataFrame(rows, dtype=str).fillna(""), notes


def frame_from_dicom(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per DICOM series below a folder, with what its header tells.

    Raises:
        InputError: There is no readable DICOM image.
    """
    content = find_series(root)
    series, refused = content.series, content.unused
    if not series:
        why = f" {len(refused)} were refused, the first: {refused[0][1]}." if refused else ""
        images = image_files(root)
        raise InputError(
            f"{root} holds {some(images, 'image')} but no class folders, no masks and no DICOM series.{why}"
            if images
            else f"{root} holds no images that easydl reads.{why}",
            "class folders with images, DICOM files, or a table (CSV, Excel) that lists the images.",
            "Choose the folder that holds them.",
        )
    notes = _excluded([reason for _, reason in refused])
    return pd.DataFrame({"image": [one.address for one in series]}, dtype=str), notes


def _excluded(reasons: Sequence[str]) -> list[str]:
    """How many DICOM files were excluded, and why, the first five by name."""
    more = f"; and {len(reasons) - NAMED} more (easydl inspect names all)" if len(reasons) > NAMED else ""
    return [f"{many(len(reasons), 'file')} excluded: {'; '.join(reasons[:NAMED])}{more}"] if reasons else []


def file_facts(address: str) -> dict[str, str]:
    """What the file itself says, from its header: size, kind and, for DICOM, the safe fields and a pseudonym.

    Of a volume of which slices may be missing, ``unused`` says which files beside it were not used.

    Raises:
        InputError: The file is missing or is none that easydl reads.
    """
    file, _, number = address.rpartition("#")
    if file and number.isdigit() and os.path.isfile(file) and not os.path.exists(address):
        return file_facts(file)  # one frame or page of a file
    path = Path(address)
    exists = os.path.exists(path)  # unlike Path.exists, it takes any text for a name
    if path.is_dir() if exists else "#" in address:
        series = one_series(address)
        unused = {"unused": " ".join(series.notes)} if series.notes else {}
        return {**_dicom_facts(series.files[0]), "slices": str(len(series.files)), **unused}
    if not exists:
        raise InputError(f"The file {address} does not exist.", "a file at this path.", "Correct the path.")
    if is_nifti(address):
        return nifti_facts(path)
    if is_dicom(address):
        return _dicom_facts(path)
    return raster_facts(address)


def _dicom_facts(path: Path) -> dict[str, str]:
    header = read_header(path)
    with header_errors(path.name):
        if "Rows" not in header:
            raise no_image(header, path.name)
        return header_facts(header)


def _class_folder(root: Path, label: str, path: Path) -> Path:
    parts = path.relative_to(root).parts
    return root.joinpath(*parts[: parts.index(label) + 1])
