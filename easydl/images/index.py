"""What the headers of many DICOM files say: each is read once, in parallel, and remembered. It reads no pixels."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from easydl.cache import Facts
from easydl.errors import EasyDLError
from easydl.images.headers import HEADER_TAGS, header_facts, no_image, numbers, read_header, trusting
from easydl.images.limits import is_dicom, is_ignored

CHUNK = 400
PARALLEL_FROM = 3000
MOST_WORKERS = 8
SPLIT_TAGS = (
    "TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "InversionTime", "TriggerTime", "AcquisitionNumber",
    "ImageType", "ContentTime",
)  # fmt: skip
"""What tells the volumes of one series apart, in the order it is tried."""
VERSION = hashlib.sha256("|".join((*HEADER_TAGS, "4")).encode()).hexdigest()[:8]


class Entry(NamedTuple):
    """What one file's header says; identifiers only as hashes.

    Attributes:
        path: The file.
        refused: Why it is no image, or "".
        series: Hash of the series' identifier.
        study: Hash of the study's identifier.
        instance: Hash of the instance's identifier.
        modality: Such as ``"CT"``.
        image_type: The words of ImageType, upper case.
        rows: Height in pixels.
        columns: Width in pixels.
        frames: Number of frames.
        position: ImagePositionPatient in mm, or ().
        orientation: ImageOrientationPatient, or ().
        split: The values of `SPLIT_TAGS`.
        facts: The safe header, the pixel kind, and the patient's pseudonym as ``patient``.
    """

    path: str
    refused: str
    series: str
    study: str
    instance: str
    modality: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    frames: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    split: tuple[str, ...]
    facts: dict[str, str]


def walk(folder: str | Path) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Every ordinary file below a folder in the order of names; links to folders are not followed.

    Yields:
        The path, its (size, time of change in ns), and why it cannot be read ("" when it can).
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as problem:
        yield str(folder), (0, 0), f"the folder cannot be opened ({problem.strerror})"
        return
    for entry in entries:
        if is_ignored(entry.path):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
                continue
            facts = entry.stat()
        except OSError as problem:
            yield entry.path, (0, 0), f"it cannot be opened ({problem.strerror})"
            continue
        if stat.S_ISREG(facts.st_mode):
            why = "" if os.access(entry.path, os.R_OK) else "reading it is not allowed"
            yield entry.path, (facts.st_size, facts.st_mtime_ns), why


def entries(paths: dict[str, tuple[int, int]], progress: Callable[[int, int], None] | None = None) -> Iterator[Entry]:
    """What the headers of files say, in the files' order; those that are not DICOM are passed over.

    Headers once read are remembered in the cache folder until the file changes, in steps of some hundred files: a scan
    that was interrupted goes on where it stopped.

    Args:
        paths: (size, time of change in ns) of each file, as `walk` gives them.
        progress: Called with (done, total).

    Yields:
        One entry for each DICOM file.
    """
    store = Facts(f"headers_{VERSION}")
    names = list(paths)
    done = 0
    for begin in range(0, len(names), 50 * CHUNK):
        some = names[begin : begin + 50 * CHUNK]
        known = store.known({name: paths[name] for name in some})
        missing = [name for name in some if name not in known]
        for chunk, found in _read(missing):
            store.keep((name, paths[name], fact) for name, fact in zip(chunk, found, strict=True))
            known.update(zip(chunk, found, strict=True))
            if progress is not None:
                progress(done + len(known), len(names))
        done += len(some)
        for name in some:
            if known[name] is not None:
                yield _entry(name, known.pop(name))


def describe(path: str) -> dict[str, Any] | None:
    """What one file's header says as JSON values; None when it is not DICOM."""
    if not is_dicom(path):
        return None
    name = Path(path).name
    try:
        header = read_header(path)
        with trusting(name):
            return _described(header, name)
    except EasyDLError as problem:
        return {"refused": problem.found.rstrip(".")}


def _described(header: Any, name: str) -> dict[str, Any]:
    if "Rows" not in header:
        return {"refused": no_image(header, name).found.rstrip(".")}
    return {
        "series": _hash(header.get("SeriesInstanceUID")), "study": _hash(header.get("StudyInstanceUID")),
        "instance": _hash(header.get("SOPInstanceUID")), "modality": str(header.get("Modality") or ""),
        "image_type": [str(word).strip().upper() for word in (header.get("ImageType") or [])],
        "rows": int(header.get("Rows") or 0), "columns": int(header.get("Columns") or 0),
        "frames": int(header.get("NumberOfFrames") or 1),
        "position": numbers(header, "ImagePositionPatient", 3) or (),
        "orientation": numbers(header, "ImageOrientationPatient", 6) or (),
        "split": ["" if header.get(tag) is None else str(header.get(tag)) for tag in SPLIT_TAGS],
        "facts": header_facts(header),
    }  # fmt: skip


def work() -> None:
    """Answer lines of JSON paths on standard input with lines of JSON headers, until it is closed."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps([describe(path) for path in json.loads(line)]) + "\n")
        sys.stdout.flush()


def _read(paths: list[str]) -> Iterator[tuple[list[str], list[Any]]]:
    chunks = [paths[begin : begin + CHUNK] for begin in range(0, len(paths), CHUNK)]
    workers = min(
        MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if len(paths) < PARALLEL_FROM or workers < 2:
        for chunk in chunks:
            yield chunk, [describe(path) for path in chunk]
        return
    # Processes of our own: multiprocessing would run the user's script again, and threads share one interpreter lock.
    free: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
    helpers = [
        subprocess.Popen(
            [sys.executable, "-c", "from easydl.images.index import work; work()"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )
        for _ in range(workers)
    ]  # fmt: skip
    for helper in helpers:
        free.put(helper)

    def ask(chunk: list[str]) -> list[Any]:
        helper = free.get()
        try:
            assert helper.stdin is not None and helper.stdout is not None
            helper.stdin.write(json.dumps(chunk) + "\n")
            helper.stdin.flush()
            answer = json.loads(helper.stdout.readline())
        except (OSError, ValueError):
            answer = [describe(path) for path in chunk]  # The helper is gone; the work is not.
        free.put(helper)
        return answer

    try:
        with ThreadPoolExecutor(workers) as pool:
            yield from zip(chunks, pool.map(ask, chunks), strict=True)
    finally:
        for helper in helpers:
            helper.kill()
            helper.communicate()


def _entry(path: str, fact: dict[str, Any]) -> Entry:
    if "refused" in fact:
        return Entry(path, fact["refused"], "", "", "", "", (), 0, 0, 0, (), (), (), {})
    return Entry(
        path, "", fact["series"], fact["study"], fact["instance"], fact["modality"], tuple(fact["image_type"]),
        fact["rows"], fact["columns"], fact["frames"], tuple(fact["position"]), tuple(fact["orientation"]),
        tuple(fact["split"]), fact["facts"],
    )  # fmt: skip


def _hash(uid: Any) -> str:
    text = str(uid or "").strip()
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
