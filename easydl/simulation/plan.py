"""What is to be simulated: the kinds of study, the checked settings, the random streams. It draws nothing itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from easydl.simulation.cohort import Patient

DOSE = 20_000.0


@dataclass(frozen=True)
class Kind:
    """A kind of study.

    Attributes:
        region: ``"chest"`` or ``"pelvis"``.
        volumes: A series per image, not a slice.
        classes: The class with what is looked for (True), and the other.
        organs: What a mask can show; the first is the lesion.
        lesion_mm: Smallest and largest mean diameter of the lesion.
        levels_mm: Lowest and highest middle of a slice, or of the lesion of a volume.
        extent_mm: Height of a volume; its middle lies between the levels.
        field_mm: Width of the image.
        size: Pixels across when not given.
        images: Images per patient when not given.
    """

    region: str
    volumes: bool
    classes: dict[bool, str]
    organs: tuple[str, ...]
    lesion_mm: tuple[float, float]
    levels_mm: tuple[float, float]
    extent_mm: float
    field_mm: float
    size: int
    images: int


_NODULE = {True: "nodule", False: "no nodule"}
_MASS = {True: "malignant", False: "benign"}
_CHEST = ("nodule", "lungs", "heart", "aorta", "spine")
_PELVIS = ("mass", "gland", "bladder", "rectum", "femurs")
KINDS = {
    "slices": Kind("chest", False, _NODULE, _CHEST, (6, 20), (-60, 60), 160, 340, 128, 2),
    "volumes": Kind("chest", True, _NODULE, _CHEST, (12, 30), (-60, 60), 160, 340, 64, 1),
    "pelvis": Kind("pelvis", False, _MASS, _PELVIS, (20, 42), (-2, 22), 120, 400, 128, 2),
    "pelvis_volumes": Kind("pelvis", True, _MASS, _PELVIS, (24, 44), (-15, 40), 120, 400, 64, 1),
}
"""The kinds of study by name."""
SLICE_MM = 3.0


@dataclass(frozen=True)
class Settings:
    """The arguments of `easydl.simulate`, checked; see there. ``masks`` empty means the lesion."""

    kind: str
    images: int
    size: int
    depth: int
    dose: float
    traps: tuple[str, ...]
    seed: int
    masks: tuple[str, ...] = ()
    sealed: bool = False

    @property
    def shows(self) -> Kind:
        """The kind of study."""
        return KINDS[self.kind]

    @property
    def organs(self) -> tuple[str, ...]:
        """What the masks show, in the order of their values."""
        return self.masks or self.shows.organs[:1]

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel, rounded so that every header and file says exactly the same number."""
        return round(self.shows.field_mm / self.size, 6)

    @property
    def thickness_mm(self) -> float:
        """Slice thickness; slices of a volume touch."""
        return self.shows.extent_mm / self.depth if self.shows.volumes else SLICE_MM

    def levels(self, rng: np.random.Generator) -> np.ndarray:
        """The height of each image (slices) or of each image's lesion (volumes): one in each of as many bands."""
        low, high = self.shows.levels_mm
        band = (high - low) / self.images
        return low + band * (np.arange(self.images) + rng.uniform(0.1, 0.9, self.images))

    def centres(self, level: float) -> list[float]:
        """The heights of the slices of one image, from head to feet."""
        if not self.shows.volumes:
            return [level]
        middle = sum(self.shows.levels_mm) / 2
        return [middle + ((self.depth - 1) / 2 - index) * self.thickness_mm for index in range(self.depth)]

    def cuts(self, centre: float) -> list[float]:
        """Heights whose mean is a slice: a thick slice is the mean of thin ones."""
        number = max(1, round(self.thickness_mm / SLICE_MM))
        return [centre + self.thickness_mm * (part - 0.5) for part in (np.arange(number) + 0.5) / number]

    def stream(self, person: Patient, *purpose: int) -> np.random.Generator:
        """Random numbers of one patient for one purpose, so that the label changes nothing but the lesion."""
        return np.random.default_rng([self.seed, person.number, *purpose])


@dataclass(frozen=True)
class Image:
    """A simulated image and its truth.

    Attributes:
        pixels: int16 ``(depth, height, width)``; depth 1 for a slice. HU (chest) or grey levels 0 to 4095 (pelvis).
        masks: For each organ that was asked for, bool of the same shape: True where at least half of the voxel is it.
        heights_mm: Position of each slice along the table, from head to feet.
        lesion_mm: Mean diameter of the lesion, 0 without.
    """

    pixels: np.ndarray
    masks: dict[str, np.ndarray]
    heights_mm: list[float]
    lesion_mm: float


def halves(fraction: np.ndarray) -> np.ndarray:
    """True where at least half of the voxel is covered; of a thing smaller than that, its most covered voxels."""
    return (fraction >= min(0.5, fraction.max())) & (fraction > 0)


_LETTER = np.array([[1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 1]], bool)


def stamp(pixels: np.ndarray, value: int) -> None:
    """Burn a bright R into the upper left corner, where there is only air."""
    scale = max(1, pixels.shape[0] // 64)
    letter = np.kron(_LETTER, np.ones((scale, scale), bool))
    pixels[scale : scale + letter.shape[0], scale : scale + letter.shape[1]][letter] = value
