"""The simulated pelvis: ellipsoids of tissue painted over each other, varied by patient, sex and age. It makes no image.

Coordinates are millimetres in the DICOM patient system (LPS): x to the patient's left, y to the back, z to the head; the
origin is the middle of the prostate gland. Men have a gland and seminal vesicles, women a vagina and a uterus; size of the
body and fat differ a little. The gland grows with age.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from easydl.simulation import mr
from easydl.simulation.mr import Tissue
from easydl.simulation.shapes import Ellipsoid, ellipsoid, rod


@dataclass(frozen=True)
class Structure:
    """One tissue in one shape, painted over what was there; ``organ`` is its name in a mask, or empty."""

    shape: Ellipsoid
    tissue: Tissue
    organ: str = ""


@dataclass(frozen=True)
class Mass:
    """A mass of several structures; the diameter is the mean of its main one."""

    structures: tuple[Structure, ...]
    diameter_mm: float


class _Builder:
    """Collects structures, scaled to the patient; pairs are mirrored, and nothing is quite symmetrical."""

    def __init__(self, rng: np.random.Generator, scale: np.ndarray) -> None:
        self.rng, self.scale = rng, scale
        self.structures: list[Structure] = []

    def add(
        self,
        tissue: Tissue,
        centre: tuple,
        axes: tuple,
        angle: float = 0.0,
        *,
        organ: str = "",
        rim: tuple | None = None,
    ) -> None:
        """One ellipsoid; ``rim`` is a tissue and the thickness in mm of a layer around it."""
        middle = (np.array(centre) + self.rng.normal(0, 0.8, 3)) * self.scale
        size = np.array(axes) * self.scale * self.rng.uniform(0.94, 1.06, 3)
        if rim is not None:
            self.structures.append(Structure(ellipsoid(middle, size + rim[1], angle), rim[0], organ))
        self.structures.append(Structure(ellipsoid(middle, size, angle), tissue, organ))

    def pair(self, tissue: Tissue, centre: tuple, axes: tuple, angle: float = 0.0, **more: Any) -> None:
        """The same on the left (as given) and on the right."""
        x, y, z = centre
        self.add(tissue, (x, y, z), axes, angle, **more)
        self.add(tissue, (-x, y, z), axes, -angle, **more)

    def rods(
        self, tissue: Tissue, start: tuple, end: tuple, radius: float, *, organ: str = "", rim: tuple | None = None
    ) -> None:
        """A rod between two points on the left, and its mirror image."""
        for side in (1, -1):
            a, b = (np.array(point) * [side, 1, 1] * self.scale for point in (start, end))
            half = float(np.linalg.norm(b - a)) / 2
            if rim is not None:
                self.structures.append(
                    Structure(rod((a + b) / 2, b - a, half + rim[1], radius + rim[1]), rim[0], organ)
                )
            self.structures.append(Structure(rod((a + b) / 2, b - a, half, radius), tissue, organ))


def pelvis(rng: np.random.Generator, sex: str, age_years: int) -> tuple[Structure, ...]:
    """Draw one patient's pelvis without a mass, in the order of painting."""
    size = (1.02 if sex == "F" else 1.05) * rng.uniform(0.95, 1.04)
    scale = np.array([size * rng.uniform(0.98, 1.02), size * rng.uniform(0.95, 1.05), size])
    fat = rng.uniform(8, 20) + (4 if sex == "F" else 0)
    build = _Builder(rng, scale)
    _wall(build, fat)
    _muscles(build)
    _bones(build)
    _vessels(build)
    _organs(build, sex)
    if sex == "M":
        _gland(build, age_years)
    else:
        _female(build)
    return tuple(build.structures)


def _wall(build: _Builder, fat: float) -> None:
    """Skin over fat: the trunk, the hips, and the buttocks with the cleft between them."""
    skin = (mr.WALL, 1.8)
    for inner in (False, True):  # the skin of one part must not lie inside another
        less = skin[1] if inner else 0.0
        tissue = mr.FAT if inner else skin[0]
        state = build.rng.bit_generator.state
        build.add(tissue, (0, -14, 0), (148 + fat - less, 74 + fat - less, 900))
        build.pair(tissue, (72, 38, 0), (76 + fat - less, 58 + fat - less, 900), -18)
        if not inner:
            build.rng.bit_generator.state = state  # the same shapes again, a little smaller


def _muscles(build: _Builder) -> None:
    build.pair(mr.MUSCLE, (74, 57, 0), (62, 21, 120), -24)  # gluteus maximus
    build.pair(mr.MUSCLE, (118, -22, 30), (17, 36, 70), 14)  # gluteus medius and minimus
    build.pair(mr.MUSCLE, (131, -45, -5), (9, 20, 60), 30)  # tensor fasciae latae
    build.pair(mr.MUSCLE, (103, -68, -5), (14, 11, 90))  # rectus femoris
    build.pair(mr.MUSCLE, (84, -78, 0), (15, 8, 120), -15)  # sartorius
    build.pair(mr.MUSCLE, (76, -48, 20), (22, 19, 90))  # iliopsoas
    build.pair(mr.MUSCLE, (40, -58, -25), (22, 9, 22), 25)  # pectineus
    build.pair(mr.MUSCLE, (19, -76, 45), (21, 6, 70))  # rectus abdominis
    build.pair(mr.MUSCLE, (53, 6, 0), (8, 38, 42), -8)  # obturator internus
    build.pair(mr.MUSCLE, (88, 34, -22), (26, 9, 14), 10)  # quadratus femoris, gemelli
    build.pair(mr.MUSCLE, (33, 22, -12), (3, 26, 30), -14)  # levator ani


def _bones(build: _Builder) -> None:
    cortex = (mr.CORTEX, 1.8)
    build.pair(mr.RED_MARROW, (62, -24, 12), (14, 11, 22), -35, rim=cortex)  # anterior column
    build.pair(mr.RED_MARROW, (72, 30, 4), (13, 17, 30), 20, rim=cortex)  # posterior column, ischium
    build.pair(mr.RED_MARROW, (64, 2, 14), (5, 25, 24), rim=cortex)  # floor of the acetabulum
    build.rods(mr.RED_MARROW, (8, -54, -6), (64, -26, 16), 8, rim=cortex)  # superior ramus of the pubis
    build.pair(mr.RED_MARROW, (15, -53, -10), (13, 10, 18), 20, rim=cortex)  # body of the pubis
    build.add(mr.CARTILAGE, (0, -54, -10), (3, 11, 17))  # symphysis
    build.pair(mr.CARTILAGE, (92, -1, 16), (28, 28, 28))
    build.rods(mr.YELLOW_MARROW, (92, 0, 14), (130, 12, -6), 13, organ="femurs", rim=cortex)  # neck
    build.pair(mr.YELLOW_MARROW, (130, 14, -2), (15, 19, 26), 12, organ="femurs", rim=cortex)  # trochanter
    build.rods(mr.YELLOW_MARROW, (128, 8, -20), (118, 4, -160), 12, organ="femurs", rim=(mr.CORTEX, 5))  # shaft
    build.pair(mr.YELLOW_MARROW, (92, -1, 16), (23.5, 23.5, 23.5), organ="femurs", rim=(mr.CORTEX, 1.5))  # head
    build.add(mr.RED_MARROW, (0, 64, 30), (14, 6, 42), rim=cortex)  # coccyx
    build.add(mr.RED_MARROW, (0, 70, 70), (42, 13, 32), rim=cortex)  # sacrum


def _vessels(build: _Builder) -> None:
    """Femoral vessels: flowing blood gives no signal."""
    build.pair(mr.AIR, (60, -72, 0), (4.5, 4.5, 300), rim=(mr.WALL, 1.2))
    build.pair(mr.AIR, (48, -69, 0), (5.5, 5, 300), rim=(mr.WALL, 0.8))
    build.pair(mr.MUCOSA, (52, 34, 20), (2.5, 2.5, 60))  # slow veins and nerves of the side wall


def _organs(build: _Builder, sex: str) -> None:
    rng = build.rng
    full = rng.uniform(0.8, 1.2)
    front = -24 if sex == "M" else -27
    wide = (42 * full, 27 * full, 34 * full)
    build.add(mr.URINE, (rng.normal(0, 2), front, 5 + wide[2]), wide, organ="bladder", rim=(mr.WALL, 4 - 1.5 * full))
    width = rng.uniform(13, 19)
    left = rng.normal(0, 3)
    build.add(mr.STOOL, (left, 38, 20), (width, rng.uniform(11, 14), 110), organ="rectum", rim=(mr.WALL, 3.2))
    build.add(mr.AIR, (left, 34, 20), (0.62 * width, rng.uniform(4, 7), 90), organ="rectum")  # gas lies in front


def _gland(build: _Builder, age_years: int) -> None:
    """The prostate: a bright peripheral zone around a darker, nodular transition zone; seminal vesicles above."""
    rng = build.rng
    grown = np.cbrt(1 + max(0.0, age_years - 40) / 40 * rng.uniform(0.4, 1.5))
    a, b, c = 23.5 * grown, 17.5 * min(grown, 1.25), 21 * grown
    y = 19 - b  # the back of the gland rests on the rectum
    build.add(mr.VESICLES, (0, 12, c + 3), (5, 4, 7))
    build.pair(mr.VESICLES, (15, 14, c + 4), (14, 5, 6), -12)
    build.add(mr.PERIPHERAL_ZONE, (0, y, 0), (a, b, c), organ="gland", rim=(mr.CORTEX, 1.2))
    inner = (0.74 * a, 0.62 * b, 0.8 * c)
    build.add(mr.TRANSITION_ZONE, (0, y - 0.33 * b, 0.1 * c), inner, organ="gland", rim=(mr.MUSCLE, 0.8))
    for _ in range(rng.integers(3, 7)):
        spot = rng.uniform(-0.55, 0.55, 3) * inner + [0, y - 0.33 * b, 0.1 * c]
        t2 = float(rng.choice([55, 70, 130, 170]))
        build.add(replace(mr.TRANSITION_ZONE, t2_ms=t2), tuple(spot), (rng.uniform(3, 6),) * 3, organ="gland")
    build.add(mr.MUCOSA, (0, y - 0.1 * b, 0), (2.2, 1.8, 0.9 * c), organ="gland")  # urethra


def _female(build: _Builder) -> None:
    """Urethra, vagina, cervix and uterus."""
    build.add(mr.WALL, (0, -8, -12), (7, 7, 20))
    build.add(mr.MUCOSA, (0, -8, -12), (3, 3, 19))
    build.add(mr.WALL, (0, 13, 2), (20, 6, 34))
    build.add(mr.MUCOSA, (0, 13, 2), (14, 1.6, 30))
    build.add(mr.MYOMETRIUM, (0, 14, 42), (17, 12, 18), rim=(mr.MUSCLE, 1))
    build.add(mr.MYOMETRIUM, (build.rng.normal(0, 6), 2, 72), (27, 21, 26))
    build.add(mr.MUCOSA, (0, 6, 64), (8, 3.5, 26))


_SITES = ((72, 57), (104, 44), (118, -22), (78, -50), (36, 40), (92, 62), (104, -56))
"""Where a mass lies (x, y), on either side: in the muscles of the buttock, hip and groin and in the fat beside them."""


def mass(rng: np.random.Generator, z: float, diameter_mm: tuple[float, float], malignant: bool) -> Mass:
    """Draw a mass with its middle near the plane at height z (mm); both classes have the same sites and sizes.

    A malignant one is lobed, uneven, of intermediate signal; a benign one is a cyst: smooth, even, and as bright as urine.
    """
    low, high = diameter_mm
    radius = rng.uniform(low, high) / 2
    site = np.array(_SITES[rng.integers(len(_SITES))]) * [rng.choice([-1, 1]), 1] + rng.uniform(-6, 6, 2)
    centre = np.append(site, z + rng.uniform(-0.2, 0.2) * radius)
    axes = rng.uniform(0.85, 1.15, 3)
    axes *= radius / axes.mean()
    angle, drawn = rng.uniform(0, 180), rng.uniform()
    structures = list(_malignant(rng, centre, axes, angle, drawn) if malignant else _benign(centre, axes, angle, drawn))
    return Mass(tuple(structures), 2 * radius)


def _malignant(
    rng: np.random.Generator, centre: np.ndarray, axes: np.ndarray, angle: float, drawn: float
) -> Iterator[Structure]:
    tissue = Tissue(0.85, (1100, 1500), 75 + 30 * drawn)
    for _ in range(4):  # lobes reach over the edge
        out = rng.normal(size=3) * [1, 1, 0.4]
        where = centre + 0.75 * axes * out / np.linalg.norm(out)
        yield Structure(ellipsoid(where, 0.45 * axes), tissue, "mass")
    yield Structure(ellipsoid(centre, axes, angle), tissue, "mass")
    for t2 in (60, 200):  # a solid and a necrotic part
        where = centre + rng.uniform(-0.4, 0.4, 3) * axes
        yield Structure(ellipsoid(where, axes * rng.uniform(0.25, 0.4)), replace(tissue, t2_ms=t2), "mass")


def _benign(centre: np.ndarray, axes: np.ndarray, angle: float, drawn: float) -> Iterator[Structure]:
    yield Structure(ellipsoid(centre, axes + 1.2, angle), mr.CORTEX, "mass")  # a capsule
    yield Structure(ellipsoid(centre, axes, angle), Tissue(0.9, (1200, 1600), 250 + 250 * drawn), "mass")
