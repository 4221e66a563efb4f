"""One image of one simulated patient: chest, nodule, projection, noise, reconstruction, mask. It writes no files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from easydl.simulation import anatomy, cohort, physics
from easydl.simulation.shapes import Ellipse

DOSE = 20_000.0
SLICE_MM = 3.0
VOLUME_MM = 160.0
DIAMETER_MM = {"slices": (6.0, 20.0), "volumes": (12.0, 30.0)}
NODULE_HU = (-150.0, 60.0)
_REACH_MM = 60.0
_COUCH_MM, _COUCH_HU = 134.0, -200.0


@dataclass(frozen=True)
class Settings:
    """The arguments of `easydl.simulate`, checked; see there."""

    kind: str
    images: int
    size: int
    depth: int
    dose: float
    traps: tuple[str, ...]
    seed: int

    @property
    def thickness_mm(self) -> float:
        """Slice thickness; slices of a volume touch."""
        return SLICE_MM if self.kind == "slices" else VOLUME_MM / self.depth


@dataclass(frozen=True)
class Image:
    """A simulated image and its truth.

    Attributes:
        pixels_hu: int16 ``(depth, height, width)`` in HU; depth 1 for a slice.
        mask: bool, of the same shape: True where at least half of the voxel is nodule.
        heights_mm: Position of each slice along the table, from head to feet.
        nodule_mm: Mean diameter of the nodule, 0 without.
    """

    pixels_hu: np.ndarray
    mask: np.ndarray
    heights_mm: list[float]
    nodule_mm: float


def make_image(acquisition: cohort.Acquisition, plan: Settings) -> Image:
    """The image of one row of the study; the same row always gives the same pixels."""
    person, number = acquisition.source
    chest = anatomy.chest(_stream(plan, person, 3), person.sex)
    table_mm = round(_stream(plan, person, 4).uniform(-900, -300), 1)
    levels = _levels(_stream(plan, person, 5), plan)
    # Each image has its own nodule; a neighbour's may reach into the slice, and is then in the mask too.
    nodules = [
        anatomy.nodule(_stream(plan, person, 6, index), chest, level, DIAMETER_MM[plan.kind], NODULE_HU)
        for index, level in enumerate(levels)
        if person.nodule and (plan.kind == "slices" or index == number - 1)
    ]
    own = nodules[number - 1 if plan.kind == "slices" else 0].diameter_mm if nodules else 0.0
    position = _stream(plan, person, 7, number, acquisition.exposure)
    angle, shift = position.uniform(-5, 5), position.uniform(-5, 5, 2)
    noise = _stream(plan, person, 8, number, acquisition.exposure)
    thickness = plan.thickness_mm
    centres = [((plan.depth - 1) / 2 - index) * thickness for index in range(plan.depth)]
    if plan.kind == "slices":
        centres = [levels[number - 1]]
    cuts = max(1, round(thickness / 3))  # a thick slice is the mean of thin ones
    parts = (np.arange(cuts) + 0.5) / cuts
    scanner = cohort.SCANNERS[person.scanner]
    couch = Ellipse(np.array([0.0, _COUCH_MM]), np.diag(np.square(scanner.couch_mm)))
    images, masks = [], []
    for z in centres:
        inside = [z + thickness * (part - 0.5) for part in parts]
        clean = [
            physics.sinogram([(couch, 1000.0 + _COUCH_HU, None), *_moved(chest, nodules, at, angle, shift)], plan.size)
            for at in inside
        ]
        pixels = physics.reconstruct(physics.expose(np.mean(clean, axis=0), plan.dose, noise), scanner.kernel)
        if "marker" in plan.traps and person.nodule:
            _stamp(pixels)
        images.append(pixels)
        masks.append(_covered(nodules, inside, angle, shift, plan.size))
    coverage = np.stack(masks)
    mask = coverage >= min(0.5, coverage.max()) if nodules else np.zeros(coverage.shape, bool)
    return Image(np.stack(images), mask, [round(table_mm + z, 6) for z in centres], own)


def _moved(
    chest: anatomy.Chest, nodules: list[anatomy.Nodule], z: float, angle: float, shift: np.ndarray
) -> Iterator[physics.Term]:
    for shape, hu, limit in anatomy.slice_parts(chest, nodules, z):
        yield shape.moved(angle, shift), hu, limit.moved(angle, shift) if limit is not None else None


def _covered(
    nodules: list[anatomy.Nodule], heights: list[float], angle: float, shift: np.ndarray, size: int
) -> np.ndarray:
    """The fraction of each voxel of a slice that is nodule."""
    fractions = []
    for z in heights:
        cuts = [item.shape.cut(z) for item in nodules]
        fractions.append(physics.coverage([c.moved(angle, shift) for c in cuts if c is not None], size))
    return np.mean(fractions, axis=0)


def _levels(rng: np.random.Generator, plan: Settings) -> np.ndarray:
    """The height of each image (slices) or of each image's nodule (volumes): one in each of as many bands."""
    band = 2 * _REACH_MM / plan.images
    return -_REACH_MM + band * (np.arange(plan.images) + rng.uniform(0.1, 0.9, plan.images))


def _stream(plan: Settings, person: cohort.Patient, *purpose: int) -> np.random.Generator:
    """Random numbers of one patient for one purpose, so that the label changes nothing but the nodule."""
    return np.random.default_rng([plan.seed, person.number, *purpose])


_LETTER = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]], bool)


def _stamp(pixels: np.ndarray) -> None:
    """Burn a bright R into the upper left corner, where there is only air."""
    scale = max(1, pixels.shape[0] // 64)
    letter = np.kron(_LETTER, np.ones((scale, scale), bool))
    pixels[scale : scale + letter.shape[0], scale : scale + letter.shape[1]][letter] = 2000
