"""What the headers of many DICOM files say: each is read once, in parallel, and cached. It reads no pixels."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from easydl.cache import Facts
from easydl.errors import EasyDLError
from easydl.images.file_errors import file_limits, unsupported
from easydl.images.headers import (
    HEADER_TAGS,
    header_errors,
    header_facts,
    no_image,
    numbers,
    read_header,
    refuse_mosaic,
)
from easydl.images.limits import MAX_DEPTH, is_dicom, is_ignored, is_nifti, is_raster, too_deep
from easydl.images.worker import Worker, WorkerError
from easydl.secret import computer_secret

CHUNK = 400
PARALLEL_FROM = 3000
MAX_WORKERS = 8
TEXTS = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".xlsm", ".xlsb", ".json", ".xml", ".md", ".img")
"""Endings of tables, of texts that come with images, and of the half of a NIfTI pair."""
SPLIT_TAGS = (
    "TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "InversionTime", "TriggerTime", "AcquisitionNumber",
    "ImageType", "ContentTime",
)  # fmt: skip
"""What distinguishes the volumes of one series, in the order it is tried."""
VERSION = hashlib.sha256("|".join((*HEADER_TAGS, "6")).encode()).hexdigest()[:8]


class Entry(NamedTuple):
    """What one file's header says; identifiers only as hashes.

    Attributes:
        path: The file.
        refused: Why it is not an image, or "".
        series: Hash of the series' identifier; `study` and `instance` likewise.
        study: See `series`.
        instance: See `series`.
        modality: Such as ``"CT"``.
        image_type: The values of ImageType, upper case.
        rows: Height in pixels.
        columns: Width in pixels.
        frames: Number of frames.
        position: ImagePositionPatient in mm, or ().
        orientation: ImageOrientationPatient, or ().
        split: The values of `SPLIT_TAGS`.
        facts: The safe header, the pixel kind, and the patient's pseudonym as ``patient``.
    """

    path: str
    refused: str = ""
    series: str = ""
    study: str = ""
    instance: str = ""
    modality: str = ""
    image_type: tuple[str, ...] = ()
    rows: int = 0
    columns: int = 0
    frames: int = 0
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    split: tuple[str, ...] = ()
    facts: dict[str, str] = {}  # noqa: RUF012  (never changed)


def walk(folder: str | Path) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Every file below a folder in the order of names; links to folders are not followed, and named.

    Yields:
        The path, its (size, time of change in ns), and why it cannot be read ("" when it can).

    Raises:
        InputError: Folders lie too deep in one another.
    """
    yield from _walk(folder, folder, 0)


def _walk(folder: str | Path, top: str | Path, level: int) -> Iterator[tuple[str, tuple[int, int], str]]:
    try:
        with os.scandir(folder) as items:
            entries = sorted(items, key=lambda entry: entry.name)
    except OSError as problem:
        yield str(folder), (0, 0), f"the folder cannot be opened ({problem.strerror})"
        return
    for entry in entries:
        if is_ignored(entry.path):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if level >= MAX_DEPTH:
                    raise too_deep(top)
                yield from _walk(entry.path, top, level + 1)
                continue
            facts = entry.stat()
        except OSError as problem:
            yield entry.path, (0, 0), f"it cannot be opened ({problem.strerror})"
            continue
        why = "" if os.access(entry.path, os.R_OK) else "no permission to read it"
        if stat.S_ISDIR(facts.st_mode):
            why = "a link to a folder, which is not followed"
        elif not stat.S_ISREG(facts.st_mode):
            why = "not an ordinary file but a pipe, a socket or a device"
        yield entry.path, (facts.st_size, facts.st_mtime_ns), why


def entries(paths: dict[str, tuple[int, int]], progress: Callable[[int, int], None] | None = None) -> Iterator[Entry]:
    """What the headers of files say, in the files' order, one entry for each DICOM file; others are skipped.

    Headers once read are cached until the file or this computer's secret changes, in steps of some hundred files: an
    interrupted scan goes on where it stopped.

    Args:
        paths: (size, time of change in ns) of each file, as `walk` gives them.
        progress: Called with (done, total).
    """
    secret = computer_secret()
    store = Facts(f"headers_{VERSION}_{secret.fingerprint}") if not secret.note else None
    names = list(paths)
    done = 0
    for begin in range(0, len(names), 50 * CHUNK):
        batch = names[begin : begin + 50 * CHUNK]
        known = store.known({name: paths[name] for name in batch}) if store else {}
        missing = [name for name in batch if name not in known]
        for chunk, facts in _read(missing):
            if store:
                store.keep((name, paths[name], fact) for name, fact in zip(chunk, facts, strict=True))
            known.update(zip(chunk, facts, strict=True))
            if progress is not None:
                progress(done + len(known), len(names))
        done += len(batch)
        for name in batch:
            if known[name] is not None:
                yield _entry(name, known.pop(name))


def describe(path: str) -> dict[str, Any] | None:
    """What one file's header says as JSON values; None when it is of another kind, by its ending."""
    name = Path(path).name
    try:
        with file_limits(path):
            if not is_dicom(path):
                if is_raster(path) or is_nifti(path) or Path(path).suffix.lower() in TEXTS:
                    return None
                raise unsupported(path)
            header = read_header(path)
            with header_errors(name):
                return _described(header, name)
    except EasyDLError as problem:
        return {"refused": problem.found.rstrip(".")}


def describe_all(paths: list[str]) -> list[Any]:
    """`describe` of each file; what a worker process runs."""
    return [describe(path) for path in paths]


def _described(header: Any, name: str) -> dict[str, Any]:
    series = _hash(header.get("SeriesInstanceUID"))
    try:
        if "Rows" not in header:
            raise no_image(header, name)
        refuse_mosaic(header, name)
        for tag in ("BitsStored", "SamplesPerPixel"):  # or the file would fail later, and a study with it
            int(header.get(tag) or 1)
    except EasyDLError as problem:
        return {"refused": problem.found.rstrip("."), "series": series}
    return {
        "series": series,
        "study": _hash(header.get("StudyInstanceUID")),
        "instance": _hash(header.get("SOPInstanceUID")),
        "modality": str(header.get("Modality") or ""),
        "image_type": [str(value).strip().upper() for value in (header.get("ImageType") or [])],
        "rows": int(header.get("Rows") or 0),
        "columns": int(header.get("Columns") or 0),
        "frames": int(header.get("NumberOfFrames") or 1),
        "position": numbers(header, "ImagePositionPatient", 3) or (),
        "orientation": numbers(header, "ImageOrientationPatient", 6) or (),
        "split": ["" if header.get(tag) is None else str(header.get(tag)) for tag in SPLIT_TAGS],
        "facts": header_facts(header),
    }


def _read(paths: list[str]) -> Iterator[tuple[list[str], list[Any]]]:
    """Chunks of the paths with what `describe` says of them, from several processes when there are many."""
    chunks = [paths[begin : begin + CHUNK] for begin in range(0, len(paths), CHUNK)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(MAX_WORKERS, cores)
    # A secret of this process alone would be another one in a worker.
    if len(paths) < PARALLEL_FROM or count < 2 or computer_secret().note:
        for chunk in chunks:
            yield chunk, describe_all(chunk)
        return
    workers = [Worker(describe_all) for _ in range(count)]
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def ask(chunk: list[str]) -> list[Any]:
        worker = free.get()
        try:
            return list(worker.ask(chunk))
        except WorkerError:
            return describe_all(chunk)  # The process is gone; the work is not.
        finally:
            free.put(worker)

    try:
        with ThreadPoolExecutor(count) as pool:
            yield from zip(chunks, pool.map(ask, chunks), strict=True)
    finally:
        for worker in workers:
            worker.close()


def _entry(path: str, fact: dict[str, Any]) -> Entry:
    """From JSON, in which tuples are lists."""
    fields: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in fact.items()}
    return Entry(path, **fields)


def _hash(uid: Any) -> str:
    text = str(uid or "").strip()
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
