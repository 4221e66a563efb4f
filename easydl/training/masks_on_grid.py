"""The scans and masks of a part on the working grid, and what all of its masks are like. It chooses no grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from easydl.errors import InputError
from easydl.images.resampling import resize_labels
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.training.patches import Scans, in_memory, on_working_grid
from easydl.training.workers import Team

MARK = 4


@dataclass(frozen=True)
class MaskFacts:
    """What all masks of a part are like, those of other workers too.

    Attributes:
        marks: int64 ``(masks, 4)``, SHA-256 of each mask.
        resized: How many had another grid than the working grid.
        classes: bool ``(masks, classes)``: which classes occur in each.
        shapes: int64 ``(masks, dimension)``, on the working grid.
    """

    marks: np.ndarray
    resized: int
    classes: np.ndarray
    shapes: np.ndarray


def read_share(part: Study, metadata: ModelMetadata, team: Team) -> tuple[Scans, list[np.ndarray], MaskFacts]:
    """The scans with a mask that this worker reads, the class indices of their masks, and what all masks of the part are like.

    Args:
        part: The training or validation part.
        metadata: Of the model: its classes and its working grid.
        team: The workers, each of which reads its share.

    Returns:
        Scans as `on_working_grid`, uint8 class indices of the same shapes, and the facts of all masks.
    """
    rows = [row for row in range(len(part)) if part.has_mask(row)]
    own = part.rows([rows[place] for place in team.rows(len(rows))])
    scans = on_working_grid(own, metadata)

    def on_grid(row: int) -> tuple[np.ndarray, int, bool]:
        pixels, labels = scans[row], own.reference(row)
        resized = labels.shape != pixels.shape[:-1]
        return resize_labels(labels, pixels.shape[:-1]).astype(np.uint8), pixels.nbytes, resized

    labels, sizes, resized = zip(*own.each(on_grid), strict=True)
    classes = np.arange(len(metadata.classes))
    numbers = [
        [*_mark(label), was, *np.isin(classes, np.unique(label)), *label.shape]
        for label, was in zip(labels, resized, strict=True)
    ]
    every = team.gathered(np.array(numbers, np.int64), len(rows))
    marks, changed, seen, shapes = np.split(every, np.cumsum([MARK, 1, len(classes)]), axis=1)
    facts = MaskFacts(marks, int(changed.sum()), seen.astype(bool), shapes)
    return in_memory(scans, sum(sizes)), list(labels), facts


def check_classes_seen(facts: MaskFacts, metadata: ModelMetadata) -> None:
    """A class that no training mask holds cannot be learned, whatever validation and test masks hold.

    Raises:
        InputError: There is such a class.
    """
    unseen = [name for k, name in enumerate(metadata.classes) if k and not facts.classes[:, k].any()]
    if unseen:
        raise InputError(
            f"No training mask holds the class {', '.join(map(repr, unseen))}; other masks of the study do, or the model "
            "was built for it.",
            "every class in at least one training mask.",
            "Split with another seed, or load the study with mask_labels= (--mask-labels) so that this value belongs to "
            "another class.",
        )


def _mark(label: np.ndarray) -> list[int]:
    digest = hashlib.sha256(f"{label.shape}".encode())
    digest.update(np.ascontiguousarray(label).data)
    return np.frombuffer(digest.digest(), np.int64).tolist()
