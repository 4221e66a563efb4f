"""Going on with a run: its study has to be the same, and the report says how often it was taken up."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from easydl import cache
from easydl.errors import RunError
from easydl.fileio import read_status
from easydl.options import LoadOptions, SplitOptions

CHECKPOINT = "checkpoint.npz"
KEPT = ("resumed", "trained")
"""What of a status outlives the process that wrote it."""


def times_resumed(folder: Path) -> int:
    """How often the run that begins now in a folder was taken up; a finished one that is tested again is not."""
    known = read_status(folder).get("resumed")
    if not isinstance(known, int):
        return 0
    return known if (folder / "run.json").exists() else known + 1


def digest_of(study: Any) -> str:
    """SHA-256 of all rows of a split study, whatever their order: images and masks by their contents, the rest as text."""
    masks = ["mask"] if "mask" in study.frame.columns else []
    facts = study.frame.drop(columns=[*study.image_columns, *masks]).astype(str)
    columns = [study.digests(), *(facts[name] for name in sorted(facts.columns))]
    if masks:
        known = cache.contents(path for path in study.frame["mask"] if os.path.isfile(path))
        columns.append([known.get(path, "") for path in study.frame["mask"]])
    rows = sorted(json.dumps(row) for row in zip(*columns, strict=True))
    return hashlib.sha256("\n".join([*sorted(facts.columns), *rows]).encode()).hexdigest()


def check_same_rows(folder: Path, digest: str, rows: int) -> None:
    """Refuse to go on with another study than the one a run was trained on: its test part may hold what was trained on.

    Raises:
        RunError: Rows, labels, images or the split are not those that the run began with.
    """
    if not any((folder / name).exists() for name in ("model.keras", CHECKPOINT)):
        return
    try:
        known = json.loads((folder / "split.json").read_text(encoding="utf-8"))
        before, then = known["rows_digest"], known["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if before == digest:
        return
    counted = f": {then} images then, {rows} now" if then != rows else f": {rows} images, but not all are as they were"
    raise RunError(
        f"The study is not the one this run was trained on{counted}.",
        "the same images, labels, patients and split: otherwise images of the training may be in the test.",
        "Restore the table and the images, or train in a new run folder.",
    )


def study_of(folder: Path) -> Any:
    """The study of a run, read again and split as it was for it.

    Raises:
        RunError: It is not a run folder, or the study is not as it was.
        InputError: The study cannot be read any more.
    """
    from easydl.runs.config import RunConfig
    from easydl.studies import load

    config = RunConfig.open(folder)
    study = load(config.source, **config.arguments(LoadOptions))
    whole = study.split(**config.arguments(SplitOptions))[0].parent
    assert whole is not None
    check_same_rows(folder, digest_of(whole), len(whole))
    return whole
