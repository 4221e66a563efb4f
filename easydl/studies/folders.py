"""Folders become rows: one folder per class, or a folder of DICOM series. It decides nothing about splits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.errors import InputError
from easydl.images.dicom import pseudonym, read_header, safe_header
from easydl.images.limits import is_dicom, is_ignored, is_nifti, is_raster
from easydl.images.raster import raster_facts
from easydl.images.series import Series, find_series

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


def class_folders(root: Path) -> dict[str, list[tuple[str, str, Path]]]:
    """The files below class folders: ``root/class/...`` or ``root/train|val|test/class/...``.

    Args:
        root: The folder to look in.

    Returns:
        ``{class: [(class, split or "", file), ...]}``; empty when the folder has no class folders. Files that lie
        directly in a split folder (a demonstration image, say) have no class and are left out.
    """
    found: dict[str, list[tuple[str, str, Path]]] = {}
    children = sorted(p for p in root.iterdir() if p.is_dir() and not is_ignored(p))
    splits = [p for p in children if p.name.lower() in SPLIT_NAMES]
    if splits and len(splits) == len(children):
        pairs = [
            (SPLIT_NAMES[split.name.lower()], child)
            for split in splits
            for child in sorted(split.iterdir())
            if child.is_dir() and not is_ignored(child)
        ]
    else:
        pairs = [("", child) for child in children]
    for split, folder in pairs:
        for path in image_files(folder):
            found.setdefault(folder.name, []).append((folder.name, split, path))
    return found


def image_files(folder: Path) -> list[Path]:
    """Every file below a folder that easydl reads, sorted by path; hidden leftovers are passed over."""
    found = []
    for base, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names):
            path = Path(base) / name
            if not is_ignored(path) and (is_raster(path) or is_nifti(path) or is_dicom(path)):
                found.append(path)
    return found


def frame_from_classes(root: Path, found: dict[str, list[tuple[str, str, Path]]]) -> tuple[pd.DataFrame, list[str]]:
    """One row per file of the class folders; slices of one CT or MR series become one row."""
    rows, notes = [], []
    for label, entries in found.items():
        dicom = [path for _, _, path in entries if is_dicom(path)]
        single: dict[Path, Series] = {}
        joined: set[Path] = set()
        if dicom:
            for folder in sorted({_class_folder(root, label, path) for path in dicom}):
                series, refused = find_series(folder)
                notes += [reason for _, reason in refused]
                for one in series:
                    single[one.files[0]] = one
                    joined.update(one.files[1:])
                joined.update(path for path, _ in refused)
        for _, split, path in entries:
            if path in joined:
                continue
            row = {"image": single[path].address if path in single else str(path), "label": label}
            if split:
                row["given_split"] = split
            rows.append(row)
    if notes:
        notes = [f"{len(notes)} DICOM files were set aside, the first: {notes[0]}"]
    return pd.DataFrame(rows, dtype=str).fillna(""), notes


def frame_from_dicom(root: Path) -> tuple[pd.DataFrame, list[str]]:
    """One row per DICOM series below a folder, with what its header tells.

    Raises:
        InputError: There is no readable DICOM image.
    """
    series, refused = find_series(root)
    if not series:
        why = f" {len(refused)} were refused, the first: {refused[0][1]}." if refused else ""
        raise InputError(
            f"{root} holds no images that easydl reads.{why}",
            "class folders with images, DICOM files, or a table (CSV, Excel) that lists the images.",
            "Choose the folder that holds them.",
        )
    notes = [f"{len(refused)} files were set aside, the first: {refused[0][1]}"] if refused else []
    return pd.DataFrame({"image": [one.address for one in series]}, dtype=str), notes


def file_facts(address: str) -> dict[str, str]:
    """What the file itself says, from its header: size, kind and, for DICOM, the safe fields and a pseudonym.

    Raises:
        InputError: The file is missing or is none that easydl reads.
    """
    path = Path(address)
    if "#" in address and not path.exists():
        from easydl.images.series import series_files

        files = series_files(address)
        return {**_dicom_facts(files[0]), "slices": str(len(files))}
    if path.is_dir():
        from easydl.images.series import series_files

        files = series_files(address)
        return {**_dicom_facts(files[0]), "slices": str(len(files))}
    if not path.exists():
        raise InputError(f"The file {address} does not exist.", "a file at this path.", "Correct the path.")
    if is_nifti(address):
        return _nifti_facts(path)
    if is_dicom(address):
        return _dicom_facts(path)
    return raster_facts(address)


def _dicom_facts(path: Path) -> dict[str, str]:
    header = read_header(path)
    if "Rows" not in header:
        kind = getattr(header.get("SOPClassUID"), "name", None) or "object without pixels"
        raise InputError(f"{path.name} holds no image: {kind}.", "a DICOM image.", "Leave it out of the study.")
    facts = {
        "width": str(header.get("Columns") or ""),
        "height": str(header.get("Rows") or ""),
        "file_type": f"DICOM {header.get('PhotometricInterpretation') or ''}".strip(),
        **safe_header(header),
    }
    patient = pseudonym(header.get("PatientID"))
    return {**facts, "patient": patient} if patient else facts


def _nifti_facts(path: Path) -> dict[str, str]:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        shape = image.shape
    except Exception as problem:
        raise InputError(
            f"{path.name} cannot be read as NIfTI.", "a whole .nii or .nii.gz file.", "Export it again."
        ) from problem
    sizes = dict(zip(("width", "height", "slices"), map(str, shape), strict=False))
    return {**sizes, "file_type": "NIfTI"}


def _class_folder(root: Path, label: str, path: Path) -> Path:
    parts = path.relative_to(root).parts
    return root.joinpath(*parts[: parts.index(label) + 1])
