"""Scans on one working grid, and patches drawn from them: half of them around a structure, so that it is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from easydl.networks.metadata import ModelMetadata
from easydl.prediction.grid import working_grid
from easydl.studies import Study
from easydl.studies.dataset import IN_MEMORY_BYTES
from easydl.studies.pixel_facts import Decoded
from easydl.training.workers import Share

Scans = Sequence[np.ndarray] | Decoded
CENTRES = 2000


class Turn(NamedTuple):
    """What one share draws for a step: with which generator, the number of its first patch in the epoch, and its scans."""

    rng: np.random.Generator
    begin: int
    cases: list[int]


def on_working_grid(study: Study, metadata: ModelMetadata) -> Decoded:
    """Every scan on the model's working grid, float32 ``(*shape, channels)``, decoded once and kept in the cache."""
    settings = (metadata.channels, metadata.units, metadata.normalise, metadata.spacing_mm, metadata.max_side)
    return study.decoded(
        f"working grid|{settings}", lambda row: working_grid(metadata, study.scan(row)).astype(np.float32)
    )


def in_memory(scans: Decoded, size: int) -> Scans:
    """In memory when they are small (``size`` in bytes), else as they are, in the cache."""
    return [np.array(scans[case]) for case in range(len(scans))] if size <= IN_MEMORY_BYTES else scans


def sample_of(scans: Scans) -> np.ndarray:
    """Some pixel values of the first scans, from which a window can be chosen."""
    cases = range(min(20, len(scans)))
    return np.concatenate([scans[case][::2, ::2].ravel()[:100_000] for case in cases])


@dataclass
class Patches:
    """Draws patches from scans of different sizes.

    Attributes:
        images: float32 or uint8 ``(*shape, channels)`` each, on the working grid.
        labels: Integer ``(*shape)`` each.
        patch: Patch size.
        classes: Number of classes.
    """

    images: Scans
    labels: list[np.ndarray]
    patch: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.centres: list[dict[int, np.ndarray]] = []
        for labels in self.labels:
            self.centres.append({})
            for value in np.unique(labels[labels > 0]):
                inside = np.flatnonzero(labels == value)
                inside = rng.choice(inside, CENTRES, replace=False) if len(inside) > CENTRES else inside
                self.centres[-1][int(value)] = np.stack(np.unravel_index(np.sort(inside), labels.shape), axis=-1)

    @classmethod
    def without_masks(cls, images: Scans, patch: tuple[int, ...]) -> Patches:
        """Patches with no structure to look for: the masks are empty and take no memory."""
        empty = [np.broadcast_to(np.uint8(0), images[case].shape[:-1]) for case in range(len(images))]
        return cls(images, empty, patch, 1)

    def turns(self, seed: int, epoch: int, steps: int, shares: Sequence[Share]) -> Iterator[tuple[Turn, ...]]:
        """For each step of an epoch the turn of every share; each scan of a share comes up equally often."""
        return zip(*(_turns(np.random.default_rng([seed, epoch, *one.key]), one, steps) for one in shares), strict=True)

    def draw(self, case: int, rng: np.random.Generator, around: bool) -> tuple[np.ndarray, np.ndarray]:
        """One patch, ``around`` a structure or anywhere: float32 ``(*patch, channels)`` and int32 ``(*patch)``."""
        size = np.asarray(self.patch)
        if around and self.centres[case]:
            # A structure first, then a place in it: a small lesion comes up as often as a large organ.
            places = self.centres[case][list(self.centres[case])[rng.integers(len(self.centres[case]))]]
            centre = places[rng.integers(len(places))]
            jitter = rng.integers(-size // 4, size // 4 + 1)
            return self.cut(case, centre + jitter - size // 2)
        room = np.asarray(self.labels[case].shape) - size
        return self.cut(case, rng.integers(np.minimum(0, room), np.maximum(0, room) + 1))

    def drawn(self, turn: Turn) -> list[tuple[np.ndarray, np.ndarray]]:
        """The patches of a turn, every other one around a structure."""
        # Counted through the epoch: in batches of one, all of them would be drawn around a structure.
        return [self.draw(case, turn.rng, (turn.begin + k) % 2 == 0) for k, case in enumerate(turn.cases)]

    def middle(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        """The patch around the middle of the structure, or of the scan: the same in every epoch."""
        known = list(self.centres[case].values())
        centre = np.median(np.concatenate(known), axis=0) if known else np.asarray(self.labels[case].shape) / 2
        return self.cut(case, np.rint(centre).astype(int) - np.asarray(self.patch) // 2)

    def cut(self, case: int, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The patch at a corner, moved to lie inside the scan; a smaller scan lies inside it, padded by its edge."""
        room = np.asarray(self.labels[case].shape) - self.patch
        corner = np.clip(corner, np.minimum(0, room), np.maximum(0, room))
        view = tuple(slice(max(0, start), start + side) for start, side in zip(corner, self.patch, strict=True))
        image, label = self.images[case][view], self.labels[case][view]
        before = np.maximum(0, -corner)
        missing = list(zip(before, self.patch - before - label.shape, strict=True))
        if np.any(missing):
            image, label = np.pad(image, [*missing, (0, 0)], mode="edge"), np.pad(label, missing)
        return np.asarray(image, np.float32), np.asarray(label, np.int32)


def _turns(rng: np.random.Generator, share: Share, steps: int) -> Iterator[Turn]:
    scans, total = len(share.cases), share.batch * steps
    order = np.concatenate([rng.permutation(scans) for _ in range(-(-total // scans))])
    cases = np.asarray(share.cases)[order]
    for begin in range(0, total, share.batch):
        yield Turn(rng, begin, cases[begin : begin + share.batch].tolist())
