"""The simulated chest: ellipsoids with HU values, varied by patient and sex. It computes no projections.

Coordinates are millimetres in the DICOM patient system (LPS): x to the patient's left, y to the back, z to
the head; the origin is the middle of the chest. Every shape is an ellipsoid, so every slice is a set of
ellipses, whose X-ray projections are known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from easydl.simulation.shapes import Ellipse, Ellipsoid, ellipsoid, rod

MUSCLE_HU = 45.0
VESSEL_HU = 50.0


@dataclass(frozen=True)
class Part:
    """Adds `hu` to the HU underneath (air is -1000) inside `shape`, and where given only inside `within`."""

    shape: Ellipsoid
    hu: float
    within: Ellipsoid | None = None


@dataclass(frozen=True)
class Chest:
    """One patient's chest; nodules and vessels stay clear of the obstacles, which bulge into the lungs.

    `parts` is everything but nodules and the vessels of the lungs; `lungs` are right and left; each of the `vessels` has
    the lung that it lies in.
    """

    parts: tuple[Part, ...]
    lungs: tuple[Ellipsoid, Ellipsoid]
    obstacles: tuple[Ellipsoid, ...]
    vessels: tuple[tuple[Ellipsoid, Ellipsoid], ...]
    lung_hu: float


@dataclass(frozen=True)
class Nodule:
    """A nodule in a lung; its diameter is the mean of its three diameters."""

    shape: Ellipsoid
    diameter_mm: float
    hu: float


def chest(rng: np.random.Generator, sex: str) -> Chest:
    """Draw one patient's chest without nodules; the sex sets the size of the body and the fat under the skin."""
    size = (0.87 if sex == "F" else 0.92) * rng.uniform(0.94, 1.07)
    wide, deep = size * rng.uniform(0.97, 1.03), size * rng.uniform(0.95, 1.05)
    fat = rng.uniform(8, 16) + (3 if sex == "F" else 0)
    lung_hu = rng.uniform(-890, -830)

    def place(x: float, y: float, z: float, a: float, b: float, c: float) -> Ellipsoid:
        scale = np.array([wide, deep, size])
        return ellipsoid(np.array([x, y, z]) * scale, np.array([a, b, c]) * scale)

    muscle = place(0, 0, 0, 142, 98, 900)
    body = place(0, 0, 0, 142 + fat, 98 + fat, 900)
    right = place(-75, 2, 0, rng.uniform(53, 57), rng.uniform(67, 72), rng.uniform(115, 130))
    left = place(75, 2, 0, rng.uniform(51, 55), rng.uniform(67, 72), rng.uniform(115, 130))
    lungs = (right, left)
    heart_axes = (rng.uniform(50, 60), rng.uniform(36, 43), rng.uniform(55, 68))
    heart = place(22, -26, rng.uniform(-45, -25), *heart_axes)
    aorta = place(27, 40, 0, 12, 12, 600)
    spine = place(0, 64, 0, 18, 15, 900)
    parts = [Part(body, 1000.0 - 95.0), Part(muscle, MUSCLE_HU + 95.0)]
    parts += [Part(lung, lung_hu - MUSCLE_HU) for lung in lungs]
    for shape, hu in ((heart, 55.0), (aorta, 55.0), (spine, rng.uniform(150, 260))):
        parts += _over_lungs(shape, hu, lungs, lung_hu)
    parts.append(Part(place(0, 17, 95, 8, 9, 80), -1000.0 - MUSCLE_HU))  # trachea
    parts.append(Part(place(0, 88, 0, 4, 8, 900), 350.0 - MUSCLE_HU))  # spinous processes
    parts.append(Part(place(0, -90, 10, 17, 4, 70), 200.0 - MUSCLE_HU))  # sternum
    for rib in _ribs(rng, wide, deep, size):
        parts += _over_lungs(rib, rng.uniform(450, 750), lungs, lung_hu)
    obstacles = (heart, aorta, spine)
    vessels = tuple((v, lung) for lung in lungs for v in _vessels(rng, lung, obstacles))
    return Chest(tuple(parts), lungs, obstacles, vessels, lung_hu)


def nodule(
    rng: np.random.Generator,
    chest: Chest,
    z: float,
    diameter_mm: tuple[float, float],
    hu: tuple[float, float],
) -> Nodule:
    """Draw a nodule that lies wholly in a lung, with its middle near the plane at height z (mm).

    Large diameters are drawn more often, HU evenly. It may touch a vessel, as real ones do.
    """
    low, high = diameter_mm
    radius = (low + (high - low) * math.sqrt(rng.uniform())) / 2
    axes = rng.uniform(0.85, 1.15, 3)
    axes *= radius / axes.mean()
    tissue = rng.uniform(*hu)
    height = z + rng.uniform(-0.2, 0.2) * radius
    angle = rng.uniform(0, 180)
    point = np.append(chest.lungs[0].centre[:2], height)  # always free, should every draw fail
    for _ in range(400):
        drawn = _inside(rng, chest.lungs[rng.integers(2)], height, radius, chest.obstacles)
        if drawn is not None:
            point = drawn
            break
    return Nodule(ellipsoid(point, axes, angle), 2 * radius, tissue)


def slice_parts(chest: Chest, nodules: list[Nodule], z: float) -> Iterator[tuple[Ellipse, float, Ellipse | None]]:
    """The ellipses of the slice at height z (mm): each with the HU it adds and the ellipse that limits it, or None.

    Where two vessels cross, or one runs into a nodule, the shared part is subtracted once, so that no tissue is counted
    twice.
    """
    for part in chest.parts:
        yield from _cut(part.shape, part.hu, part.within, z)
    seen: list[Ellipse] = []
    inside = [(item.shape, item.hu, None) for item in nodules]
    for shape, hu, lung in [*inside, *((vessel, VESSEL_HU, lung) for vessel, lung in chest.vessels)]:
        for cut, step, limit in _cut(shape, hu - chest.lung_hu, lung, z):
            yield cut, step, limit
            for other in seen:
                if cut.clearance(other) >= 0:
                    yield cut, -step, other
            seen.append(cut)


def _cut(
    shape: Ellipsoid, hu: float, within: Ellipsoid | None, z: float
) -> Iterator[tuple[Ellipse, float, Ellipse | None]]:
    """The cut of one part, if there is any; a limit that changes nothing is dropped, as it costs time."""
    cut = shape.cut(z)
    if cut is None or within is None:
        if cut is not None:
            yield cut, hu, None
        return
    limit = within.cut(z)
    if limit is not None and (known := cut.clearance(limit)) >= 0:
        yield cut, hu, None if known else limit


def _over_lungs(shape: Ellipsoid, hu: float, lungs: tuple[Ellipsoid, ...], lung_hu: float) -> list[Part]:
    """A shape drawn over muscle and, where it bulges into a lung, over the lung."""
    return [Part(shape, hu - MUSCLE_HU)] + [Part(shape, MUSCLE_HU - lung_hu, lung) for lung in lungs]


def _ribs(rng: np.random.Generator, wide: float, deep: float, size: float) -> Iterator[Ellipsoid]:
    """Ribs as short oblique rods along the chest wall, so that each slice cuts some of them obliquely."""
    start = rng.uniform(0, 26)
    for level in np.arange(-130 + start, 130, 26):
        for side in (-1, 1):
            for degrees in (-58, -25, 8, 40, 68):
                where = np.deg2rad(degrees + rng.uniform(-5, 5))
                x, y = side * 135 * wide * np.cos(where), 88 * deep * np.sin(where)
                along = np.array([-side * 135 * np.sin(where), 88 * np.cos(where), 45.0])
                yield rod(np.array([x, y, level + 0.25 * y]) * [1, 1, size], along, 21 * size, 3.6 * size)


def _vessels(
    rng: np.random.Generator, lung: Ellipsoid, obstacles: tuple[Ellipsoid, ...], count: int = 80
) -> Iterator[Ellipsoid]:
    """Vessels fan out from the hilum and taper; cut across, a thick one looks like a small nodule."""
    hilum = lung.centre * [0.62, 1.0, 1.0] + [0, 8, 0]
    points = lung.centre + np.sqrt(np.diag(lung.matrix)) * rng.uniform(-1, 1, (8 * count, 3))
    free = lung.distance(points) < 0.94
    for item in obstacles:
        free &= item.distance(points) > 1.12
    for point in points[free][:count]:
        away = point - hilum
        far = math.sqrt(away @ away)
        along = away / max(far, 1.0) + rng.normal(0, 0.45, 3)
        radius = min(max(2.7 - 0.015 * far + rng.normal(0, 0.35), 0.8), 2.7)
        yield rod(point, along, rng.uniform(9, 24), radius)


def _inside(
    rng: np.random.Generator, lung: Ellipsoid, z: float, radius: float, obstacles: tuple[Ellipsoid, ...]
) -> np.ndarray | None:
    """A random point of a lung at height z, or None if a ball of this radius has no room there."""
    point = lung.centre + np.sqrt(np.diag(lung.matrix)) * np.append(rng.uniform(-1, 1, 2), 0.0)
    point[2] = z
    room = radius * 1.2 + 2.0
    free = bool(lung.distance(point) < 1 - room / lung.thinnest_mm)
    free = free and all(item.distance(point) > 1 + room / item.thinnest_mm for item in obstacles)
    return point if free else None
