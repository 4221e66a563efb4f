"""What a run's model sees in its images, kept in the run folder, so that nearest cases are found without calling it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from easydl.exploration.neighbours import FeatureSpace, scale_of, unit_rows
from easydl.fileio import replacing

if TYPE_CHECKING:
    from easydl.studies import Study

FEATURES = "features.npz"
PARTS = ("train", "test")
"""Cases are compared with the training part; those of the test part are the ones that a run explains."""


@dataclass(frozen=True, eq=False)
class KeptFeatures:
    """The features of the training and test part of a run.

    Attributes:
        training: The training part, in which nearest cases are looked for.
        space: Of its images.
        rows: Positions in the whole study of those whose direction is known.
        directions: Of these rows.
    """

    training: Study
    space: FeatureSpace
    rows: np.ndarray
    directions: np.ndarray

    def direction(self, row: int) -> np.ndarray | None:
        """That of one row of the whole study, or None when it was not kept."""
        found = np.flatnonzero(self.rows == row)
        return self.directions[found[0]] if len(found) else None


def keep(folder: Path, study: Study, values: np.ndarray, rows: np.ndarray | None = None) -> None:
    """Keep the features of a split study's rows (of all when None), float16 on the scale of the training part.

    Only this user can read the file: features may tell who somebody is to whom the same model is at hand.
    """
    part = study.frame["split"].to_numpy(str)
    rows = np.arange(len(study)) if rows is None else rows
    kept = np.isin(part[rows], PARTS)
    rows, values = rows[kept], values[kept].astype(np.float32)
    training = values[part[rows] == "train"]
    if not len(training):
        return
    centre, spread = scale_of(training)
    scaled = np.clip((values - centre) / spread, -6e4, 6e4).astype(np.float16)
    with replacing(folder / FEATURES, mode=0o600) as path, open(path, "wb") as file:
        np.savez(file, rows=rows, scaled=scaled, centre=centre, spread=spread)


def forget(folder: Path) -> None:
    """Remove what is kept: the model is another one now."""
    (folder / FEATURES).unlink(missing_ok=True)


def kept(folder: Path, study: Study) -> KeptFeatures | None:
    """The features that are kept of a run, or None where there are none that fit its split study."""
    try:
        with np.load(folder / FEATURES, allow_pickle=False) as file:
            content: dict[str, Any] = {name: file[name] for name in file.files}
        rows, scaled = content["rows"], content["scaled"].astype(np.float32)
        part = study.frame["split"].to_numpy(str)
        learnt = part[rows] == "train"
    except (OSError, ValueError, KeyError, IndexError, BadZipFile):
        return None
    if set(rows[learnt].tolist()) != set(np.flatnonzero(part == "train").tolist()):
        return None  # of a part only, or of another study
    training = study.rows(study.frame.index[rows[learnt]], "train")
    space = FeatureSpace.scaled(scaled[learnt], training, content["centre"], content["spread"])
    return KeptFeatures(training, space, rows, unit_rows(scaled))
