"""`easydl.inspect`: what lies at a path, on one screen, before anything is loaded. It decodes no pixels of folders."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import pandas as pd

from easydl.errors import RESEARCH_USE, EasyDLError, InputError
from easydl.images.limits import is_nifti, is_raster
from easydl.images.patients import patient_key
from easydl.images.series import Series, find_series
from easydl.options import SplitOptions
from easydl.studies.folders import file_facts
from easydl.studies.tables import NAMES, TABLE_SUFFIXES, pick, read_table

SHOWN = 8
REFUSED_SHOWN = 5


@dataclass
class Inspection:
    """What lies at a path.

    Attributes:
        path: What was looked at.
        counts: Files by what they are; they add up to ``counts["files"]``.
        series: One row per DICOM series or single image: ``address``, ``modality``, ``files``, ``size``, ``part``,
            ``patient`` (a pseudonym), ``scanner``, ``excluded`` (why it is not used unless it is named).
        images: One row per kind of other image: ``kind``, ``size``, ``files``.
        table: Rows and recognised columns of a table, or None.
        patients: Different patients in the DICOM headers or the table's patient column; None when neither tells.
        refused: (file, reason) of everything that easydl does not read.
        notes: What was noticed in a single file or a table.
        task: What the next command would be.
    """

    path: str
    counts: dict[str, int]
    series: pd.DataFrame
    images: pd.DataFrame
    table: dict[str, Any] | None = None
    patients: int | None = None
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    task: str = ""

    @property
    def text(self) -> str:
        """Everything on one screen, as text."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items() if number and name != "files")
        lines = [f"{self.path}: {self.counts['files']} files" + (f" ({counts})" if counts else "")]
        if self.patients is not None:
            lines.append(f"Patients: {self.patients}")
        if self.table is not None:
            found = ", ".join(f"{role}: {name}" for role, name in self.table["columns"].items() if name)
            lines.append(f"Table: {self.table['rows']} rows; {found or 'no column recognised'}")
        if len(self.series):
            use = self.series[self.series["excluded"] == ""]
            lines.append(f"Series and single images: {len(use)} to use, {len(self.series) - len(use)} excluded")
            lines += _kinds(use)
            lines += [f"  excluded: {row['excluded']} ({row['files']} files)" for row in _reasons(self.series)]
        lines += _images(self.images)
        if self.refused:
            lines.append(f"Refused: {len(self.refused)} files")
            lines += [f"  {reason}" for _, reason in self.refused[:REFUSED_SHOWN]]
            if len(self.refused) > REFUSED_SHOWN:
                lines.append(f"  and {len(self.refused) - REFUSED_SHOWN} more (all of them with --json)")
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join([*lines, *([f"Next: {self.task}"] if self.task else [])])

    def __repr__(self) -> str:
        return f"{self.text}\n{RESEARCH_USE}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, every refused file included."""
        return {
            "path": self.path,
            "counts": self.counts,
            "patients": self.patients,
            "table": self.table,
            "series": json.loads(self.series.to_json(orient="records")),
            "images": json.loads(self.images.to_json(orient="records")),
            "refused": [{"file": file, "reason": reason} for file, reason in self.refused],
            "notes": self.notes,
            "next": self.task,
            "use": RESEARCH_USE,
        }


def inspect(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Say what lies at a path: kinds of files, patients, series, and what is refused and why. Nothing is loaded.

    Args:
        path: A folder, a table, an image, or ``folder#key`` of one series.
        progress: Called with (DICOM headers read, files) for folders.

    Returns:
        An `Inspection`; it prints as one screen, ``.to_dict()`` gives all of it.

    Raises:
        InputError: There is nothing at this path.

    Example:
        >>> from tempfile import mkdtemp
        >>> inspect(mkdtemp()).counts["files"]
        0
    """
    address = str(path)
    place = Path(address).expanduser()
    if place.is_dir():
        return _folder(place, progress)
    if place.is_file() and place.suffix.lower() in TABLE_SUFFIXES:
        return _table(place)
    if place.exists() or "#" in address:
        return _image(address)
    raise InputError(f"There is nothing at {address}.", "a folder, a table or an image.", "Correct the path.")


def _folder(place: Path, progress: Callable[[int, int], None] | None) -> Inspection:
    from easydl.images.index import walk

    found = find_series(place, progress)
    dicom = {str(file) for one in [*found.series, *found.excluded] for file in one.files}
    refused = [(str(file), reason) for file, reason in found.refused]
    known = dicom | {file for file, _ in refused}
    counts = Counter(files=0, DICOM=len(dicom))
    kinds: Counter[tuple[str, str]] = Counter()
    tables = []
    for file, _, why in walk(place.absolute()):
        counts["files"] += 1
        if why or file in known:
            continue
        if is_raster(file) or is_nifti(file):
            try:
                facts = file_facts(file)
            except EasyDLError as problem:
                refused.append((file, problem.found.rstrip(".")))
                continue
            counts["NIfTI" if is_nifti(file) else "images"] += 1
            kinds[facts["file_type"], _size(facts)] += 1
        elif Path(file).suffix.lower() in TABLE_SUFFIXES:
            counts["tables"] += 1
            tables.append(file)
        else:
            counts["other"] += 1
    counts["refused"] = len(refused)
    patients = {one.facts["patient"] for one in found.series if "patient" in one.facts}
    images = pd.DataFrame(
        [{"kind": kind, "size": size, "files": number} for (kind, size), number in kinds.most_common()],
        columns=["kind", "size", "files"],
    )
    notes = []
    if any("patient" not in one.facts for one in found.series):
        notes.append("some DICOM headers name no patient")
    listing = next((file for file in tables if Path(file).parent == place.absolute() and _lists_images(file)), None)
    task = f"easydl inspect {quote(listing)}" if listing else ""
    if (dicom or kinds) and not listing:
        task, more = _recommended(place)
        notes += more
    return Inspection(
        str(place),
        dict(counts),
        _series([*found.series, *found.excluded]),
        images,
        None,
        len(patients) or None,
        refused,
        notes,
        task,
    )


def _table(place: Path) -> Inspection:
    frame, notes = read_table(place)
    columns = {role: pick(frame, role, None) for role in NAMES}
    patient = columns.get("patient")
    missing: list[tuple[str, str]] = []
    if columns["image"]:
        for cell in frame[columns["image"]].str.strip():
            file = place.parent / Path(cell).expanduser()
            if cell and not file.exists() and "#" not in cell:
                missing.append((str(file), f"{cell} is listed and not there"))
    if not columns["label"] and not columns["mask"]:
        notes.append("no column of labels or masks is recognised: name it with --label or --mask")
    if not patient:
        notes.append("no column of patients is recognised: name it with --patient, or say --no-patients")
    task = ""
    if not missing and (columns["label"] or columns["mask"]):
        task, more = _recommended(place, "auto" if patient else None)
        notes += more
    return Inspection(
        str(place),
        {"files": 1, "listed and not there": len(missing)},
        _series([]),
        _no_images(),
        {"rows": len(frame), "columns": columns, "all": [str(name) for name in frame.columns]},
        int(frame[patient].map(patient_key).nunique()) if patient else None,
        missing,
        notes,
        task,
    )


def _lists_images(table: str) -> bool:
    """Whether a table has a column of images, unlike a list of patients."""
    try:
        return pick(read_table(table)[0], "image", None) is not None
    except EasyDLError:
        return False


def _recommended(place: Path, patient: str | None = "auto") -> tuple[str, list[str]]:
    """The command that trains on a study, tried as far as its split but for the pixels; or what stands in its way."""
    from easydl.studies import splits
    from easydl.studies.cohort import cohort
    from easydl.studies.loading import load

    words = ["easydl", "train", quote(str(place)), *([] if patient else ["--no-patients"])]
    try:
        study = load(place, patient=patient)
        if not (study.heads or study.task.has_masks or "label" in study.frame.columns):
            joined = [note for note in study.notes if "joined by its column" in note]
            return "", [
                *joined,
                "no labels and no masks are found: name them with --label or --mask, or load a table that has them",
            ]
        rows = cohort(study.frame, study.schema, list(map(str, study.frame.index)), patients_known=study.patients_known)
        splits.by_seed(rows, SplitOptions().sizes, 0)
    except EasyDLError as problem:
        return "", [f"easydl train would refuse it as it is. {problem.found} What to do: {problem.do}"]
    return " ".join(words), []


def _image(address: str) -> Inspection:
    """One image, read whole: the notes of its reader are what a user wants to know."""
    from easydl.images import read

    try:
        scan = read(address)
    except EasyDLError as problem:
        return Inspection(
            address,
            {"files": 1, "refused": 1},
            _series([]),
            _no_images(),
            refused=[(address, problem.found.rstrip("."))],
            notes=[problem.do],
        )
    size = " x ".join(map(str, scan.shape))
    notes = [f"{scan.units} values from {scan.pixels.min():g} to {scan.pixels.max():g}"]
    if scan.spacing_mm is not None:
        notes.append(f"spacing {' x '.join(f'{mm:.3g}' for mm in scan.spacing_mm)} mm")
    notes += [f"{name}: {value}" for name, value in scan.header.items()] + list(scan.notes)
    images = pd.DataFrame([{"kind": "volume" if scan.dimension == 3 else "image", "size": size, "files": 1}])
    return Inspection(address, {"files": 1}, _series([]), images, patients=1 if scan.patient else None, notes=notes)


def _series(found: list[Series]) -> pd.DataFrame:
    rows = [
        {
            "address": one.address,
            "modality": one.modality,
            "files": len(one.files),
            "size": _size(one.facts),
            "part": one.part,
            "patient": one.facts.get("patient", ""),
            "scanner": one.facts.get("scanner", ""),
            "excluded": one.excluded,
        }
        for one in found
    ]
    return pd.DataFrame(
        rows, columns=["address", "modality", "files", "size", "part", "patient", "scanner", "excluded"]
    )


def _no_images() -> pd.DataFrame:
    return pd.DataFrame(columns=["kind", "size", "files"])


def _kinds(use: pd.DataFrame) -> list[str]:
    """One line for each modality: how many, of how many slices, of what sizes."""
    lines = []
    grouped = list(use.groupby("modality", sort=False))
    for modality, rows in grouped[:SHOWN]:
        slices = "" if rows["files"].max() == 1 else f" of {_range(rows['files'])} slices"
        lines.append(f"  {len(rows)} x {str(modality) or 'no modality'}{slices}, {_ranges(rows['size'])}")
    return lines + ([f"  and {len(grouped) - SHOWN} more modalities"] if len(grouped) > SHOWN else [])


def _images(images: pd.DataFrame) -> list[str]:
    grouped = list(images.groupby("kind", sort=False))
    lines = [f"Images: {rows['files'].sum()} {kind!s}, {_ranges(rows['size'])}" for kind, rows in grouped[:SHOWN]]
    return lines + ([f"  and {len(grouped) - SHOWN} more kinds"] if len(grouped) > SHOWN else [])


def _ranges(sizes: pd.Series) -> str:
    """``512 x 385 to 652 pixels``: the smallest and largest of every axis."""
    axes = sizes.str.findall(r"\d+").map(tuple)
    return (
        "; ".join(
            " x ".join(
                _range(pd.Series([int(one[axis]) for one in axes if len(one) == count])) for axis in range(count)
            )
            for count in sorted(set(axes.map(len)))
        )
        + " pixels"
    )


def _range(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{low} to {high}"


def _reasons(series: pd.DataFrame) -> list[dict[Any, Any]]:
    """Each reason once."""
    excluded = series[series["excluded"] != ""]
    grouped = excluded.groupby("excluded", sort=False)["files"].sum().reset_index()
    return grouped.head(3).to_dict("records")


def _size(facts: dict[str, str]) -> str:
    sides = [facts.get(side, "") for side in ("width", "height", "slices")]
    return " x ".join(side for side in sides if side) + " pixels"
