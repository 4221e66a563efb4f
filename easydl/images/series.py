"""Which DICOM series lie in a folder, by header and not by file name. It reads no pixels."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from easydl.errors import EasyDLError, InputError
from easydl.images.dicom import PROJECTION, read_header
from easydl.images.limits import is_dicom, is_ignored

MAX_FILES = 1_000_000


@dataclass
class Series:
    """The files of one series, or one projection image.

    Attributes:
        key: Eight hexadecimal digits made from the series UID (and the file for projection images).
        folder: The folder of its first file.
        files: Its files.
        header: The header of its first file.
    """

    key: str
    folder: Path
    files: list[Path] = field(default_factory=list)
    header: Any = None

    @property
    def address(self) -> str:
        """What the study table calls it: the file when there is one, else ``folder#key``."""
        return str(self.files[0]) if len(self.files) == 1 else f"{self.folder}#{self.key}"


def find_series(folder: str | Path) -> tuple[list[Series], list[tuple[Path, str]]]:
    """Group the DICOM files below a folder into series; projection images (CR, DX, MG, ...) stay single.

    Args:
        folder: Where to look, sub-folders included.

    Returns:
        The series in the order of their first file's path, and the refused files with the reason.
    """
    groups: dict[tuple[str, ...], Series] = {}
    refused: list[tuple[Path, str]] = []
    for path in dicom_files(folder):
        try:
            header = read_header(path)
        except EasyDLError as problem:
            refused.append((path, problem.found))
            continue
        if "Rows" not in header:
            kind = getattr(header.get("SOPClassUID"), "name", None) or "no image"
            refused.append((path, f"{path.name} holds no image: {kind}"))
            continue
        if "LOCALIZER" in [str(word).upper() for word in (header.get("ImageType") or [])]:
            refused.append((path, f"{path.name} is a localizer"))
            continue
        uid = str(header.get("SeriesInstanceUID") or path.parent)
        single = str(header.get("Modality") or "") in PROJECTION or "ImagePositionPatient" not in header
        # Orientation and size join the identity so that a localizer or a reformat that shares the UID stands apart.
        shape = (str(header.get("Rows")), str(header.get("Columns")))
        plane = tuple(f"{float(x):.2f}" for x in header.get("ImageOrientationPatient") or ())
        identity = (uid, *shape, *plane, str(path) if single else "")
        if identity not in groups:
            key = hashlib.sha256("|".join(identity).encode()).hexdigest()[:8]
            groups[identity] = Series(key, path.parent, header=header)
        groups[identity].files.append(path)
    return list(groups.values()), refused


def dicom_files(folder: str | Path) -> list[Path]:
    """All DICOM files below a folder, sorted by path; links to folders are not followed."""
    found: list[Path] = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(root) / name
            if not is_ignored(path) and is_dicom(path):
                found.append(path)
        if len(found) > MAX_FILES:
            raise InputError(
                f"{folder} holds more than {MAX_FILES:,} DICOM files.",
                "fewer files.",
                "Choose a folder further down.",
            )
    return found


def series_files(address: str) -> list[Path]:
    """The files behind ``folder#key`` or behind a folder that holds exactly one series.

    Raises:
        InputError: The folder is missing, holds no series of this key, or several and no key was given.
    """
    folder, _, key = address.rpartition("#") if "#" in address and not Path(address).exists() else (address, "", "")
    if not Path(folder).is_dir():
        raise InputError(f"The folder {folder} does not exist.", "a folder of DICOM files.", "Correct the path.")
    series, refused = find_series(folder)
    chosen = [one for one in series if not key or one.key == key]
    if len(chosen) == 1:
        return chosen[0].files
    if not chosen:
        why = f" {len(refused)} files were refused, the first: {refused[0][1]}." if refused else ""
        raise InputError(
            f"{Path(folder).name} holds no {'such ' if key else ''}DICOM series.{why}",
            "a folder with the slices of one series.",
            "Choose the folder that holds the slices.",
        )
    lines = "; ".join(f"{one.address} ({len(one.files)} files)" for one in chosen[:5])
    raise InputError(
        f"{Path(folder).name} holds {len(chosen)} series: {lines}.",
        "one series, or the key of one.",
        "Name the series as folder#key.",
    )
