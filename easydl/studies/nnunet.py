"""Folders in the format of nnU-Net become rows: channels by number, names from ``dataset.json``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from easydl.studies.folders import image_files
from easydl.studies.row_errors import many
from easydl.studies.subject_names import stem, subjects_named
from easydl.studies.subject_trees import RESERVED, Tree


def frame_from_nnunet(root: Path, image: Sequence[str]) -> Tree | None:
    """The rows of a folder in the format of nnU-Net: ``imagesTr/case_0000.nii.gz``, ``labelsTr/case.nii.gz``.

    Args:
        root: The folder.
        image: The channels that the user named; [] takes all.

    Returns:
        None when the images are not numbered by channel.
    """
    rows: list[dict[str, str]] = []
    channels: set[str] = set()
    incomplete = 0
    for images, labels, split in (("imagesTr", "labelsTr", "train"), ("imagesTs", "labelsTs", "test")):
        if not ((root / images).is_dir() and (root / labels).is_dir()):
            continue
        cases: dict[str, dict[str, Path]] = defaultdict(dict)
        for path in image_files(root / images):
            case, _, number = stem(path).rpartition("_")
            if len(number) != 4 or not number.isdigit() or not case:
                return None
            cases[case][number] = path
            channels.add(number)
        masks = {stem(path): path for path in image_files(root / labels)}
        for case, held in cases.items():
            if case in masks and set(held) == channels:
                row = {number: str(path) for number, path in held.items()}
                rows.append({**row, "mask": str(masks[case]), "case": case, "given_split": split})
            else:
                incomplete += 1
    if not rows:
        return None
    described = _description(root)
    given = described.get("channel_names") or described.get("modality") or {}
    names = {number: str(given.get(str(int(number)), f"channel {int(number)}")) for number in sorted(channels)}
    if len(set(names.values())) < len(names) or set(names.values()) & RESERVED:
        names = {number: f"{name} {int(number)}" for number, name in names.items()}
    frame = pd.DataFrame(rows, dtype=str).rename(columns=names if len(names) > 1 else {next(iter(names)): "image"})
    subjects = subjects_named([Path(case) for case in frame["case"]])
    if subjects is not None:
        frame["patient"] = subjects
    if frame["given_split"].nunique() < 2:
        frame = frame.drop(columns="given_split")
    notes = [f"read as nnU-Net's format: {many(len(frame), 'case')}, channels {', '.join(names.values())}"]
    if incomplete:
        notes.append(f"{many(incomplete, 'case')} without a mask or without one of the channels excluded")
    meaning = _mask_names(described, notes)
    return Tree(
        frame.drop(columns="case"), notes, [] if image or len(names) == 1 else list(names.values()), mask_labels=meaning
    )


def _description(root: Path) -> dict[str, Any]:
    """nnU-Net's ``dataset.json``; {} without one."""
    try:
        described = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _mask_names(described: dict[str, Any], notes: list[str]) -> dict[str, int | list[int]] | None:
    """The labels of ``dataset.json`` as ``mask_labels``; None where they are regions that overlap, or unclear."""
    labels = described.get("labels")
    if not isinstance(labels, dict) or not labels:
        return None
    pairs = [(str(name), value) for name, value in labels.items()]
    if all(key.isdigit() for key, _ in pairs):  # version 1 is the other way round
        pairs = [(str(name), int(key)) for key, name in pairs]
    if all(isinstance(value, int) for _, value in pairs) and "ignore" not in dict(pairs) and len(pairs) > 1:
        return dict(pairs)
    notes.append("the labels in dataset.json are regions or hold an ignored one: they were not used as names")
    return None
