"""Which pretrained weights are on this computer: listed, checked, and where they lie. It downloads nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from easydl.errors import WeightsError
from easydl.networks.pretrained.sources import (
    SUFFIXES,
    Published,
    check,
    check_sum,
    folders,
    here,
    mirror,
    published,
)
from easydl.networks.registry import ENTRIES, SOURCES, TITLES

if TYPE_CHECKING:
    import pandas as pd

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")


def available() -> pd.DataFrame:
    """The networks that have published weights, and whether these are on this computer.

    Returns:
        One row per network and source with the columns ``network``, ``source`` (``imagenet``, ``radimagenet``),
        ``megabytes`` (MB of the weights), ``here`` (whether the file is in one of the folders) and ``file``.

    Example:
        >>> available().query("source == 'radimagenet'")["network"].tolist()[:2]
        ['resnet50', 'densenet121']
    """
    import pandas as pd

    rows = [
        {
            "network": entry.name,
            "source": source,
            "megabytes": round(known.entry.megabytes, 1),
            "here": here(known.file) is not None,
            "file": known.file,
        }
        for entry in ENTRIES.values()
        for source in SOURCES
        if (known := published(entry, source))
    ]
    return pd.DataFrame(rows)


def verify() -> list[dict[str, str]]:
    """Check everything in the folders: checksums where they are known, and every array of the files we know.

    Returns:
        One dict per file with ``file``, ``folder``, ``state`` and ``sentence``. The states: ``good``; ``damaged``;
        ``unfinished``, what a killed download left; ``unknown``, a file of no network here, which is not looked into.
    """
    known = {one.file: one for entry in ENTRIES.values() for source in SOURCES if (one := published(entry, source))}
    rows = []
    for folder in folders():
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.is_file() and path.suffix.lower() in (*SUFFIXES, ".part"):
                state, sentence = _state(path, known.get(path.name))
                rows.append({"file": path.name, "folder": str(folder), "state": state, "sentence": sentence})
    return rows


def _state(path: Path, known: Published | None) -> tuple[str, str]:
    if path.suffix.lower() == ".part":
        return "unfinished", f"{path} is an unfinished download; it is never used and can be deleted."
    if known is not None:
        try:
            check(path, known, f"{path} is damaged or something else:")
        except WeightsError as problem:
            return "damaged", f"{problem.found} {problem.do}"
        right = "checksum and contents are right" if known.checksum else "the contents are right, no sum is published"
        return "good", f"{path.name} ({TITLES[known.source]}, {known.entry.name}): {right}."
    match check_sum(path):
        case True:
            return "good", f"{path.name}: the checksum is that of its address."
        case False:
            again = "Delete it; it is downloaded again when it is needed."
            return "damaged", f"{path} does not have the checksum in its name. {again}"
    return "unknown", f"{path.name} is not a published file of a network here, so it was not looked into."


def where() -> dict[str, Any]:
    """Where weights are looked for, how much is there, and which settings are in force.

    Returns:
        ``folders`` (in order: ``folder``, ``files``, ``megabytes``), ``mirror`` (an address or empty), ``proxies``
        (names of the variables that are set; their values may hold passwords) and ``text``, all of it as sentences.
    """
    places = []
    for folder in folders():
        inside = folder.iterdir() if folder.is_dir() else []
        files = [one for one in inside if one.suffix.lower() in SUFFIXES and one.is_file()]
        size = sum(one.stat().st_size for one in files)
        places.append({"folder": str(folder), "files": len(files), "megabytes": round(size / 1e6, 1)})
    proxies = [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    lines = [
        f"{number}. {place['folder']}: {place['files']} file(s), {place['megabytes']} MB"
        for number, place in enumerate(places, 1)
    ]
    text = [
        "Weights are looked for in these folders, in this order; downloads go to the first:",
        *lines,
        "Another first folder: set the environment variable EASYDL_WEIGHTS.",
        f"Mirror: {mirror() or 'none'} (EASYDL_WEIGHTS_URL, a web folder with the files under their official names).",
        f"Proxy: {', '.join(proxies) or 'none'} (the usual variables {', '.join(PROXIES)}).",
    ]
    return {"folders": places, "mirror": mirror(), "proxies": proxies, "text": "\n".join(text)}
