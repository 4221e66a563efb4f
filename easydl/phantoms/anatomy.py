"""The simulated chest: ellipsoids with HU values, varied by patient and sex. It projects and writes nothing.

Coordinates are millimetres in the DICOM patient system (LPS): x to the patient's left, y to the back, z to the
head; the origin is the middle of the chest. Every shape is an ellipsoid, so every slice is a set of ellipses
whose X-ray projections are known exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MUSCLE_HU = 45.0
VESSEL_HU = 50.0


@dataclass(frozen=True)
class Ellipse:
    """A filled ellipse in a slice: the points u with ``(u - centre)^T matrix^-1 (u - centre) <= 1``.

    Attributes:
        centre: (x, y) in mm.
        matrix: 2x2, symmetric and positive: ``R diag(a**2, b**2) R^T`` for semi-axes a and b in mm.
    """

    centre: np.ndarray
    matrix: np.ndarray

    def moved(self, angle_deg: float, shift_mm: np.ndarray) -> Ellipse:
        """The ellipse turned about the origin, then shifted: how the patient lies on the table."""
        turn = _turn(angle_deg)
        return Ellipse(turn @ self.centre + shift_mm, turn @ self.matrix @ turn.T)

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """True where the points (x, y), in mm, lie inside."""
        inverse = np.linalg.inv(self.matrix)
        dx, dy = x - self.centre[0], y - self.centre[1]
        return inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy <= 1.0

    @cached_property
    def radius_mm(self) -> float:
        """The longest semi-axis in mm: the root of the matrix's larger eigenvalue."""
        (a, b), (_, d) = self.matrix.tolist()
        return math.sqrt((a + d) / 2 + math.hypot((a - d) / 2, b))

    @cached_property
    def area(self) -> float:
        """The area divided by pi, in mm2: the product of the semi-axes."""
        (a, b), (_, d) = self.matrix.tolist()
        return math.sqrt(max(a * d - b * b, 0.0))


@dataclass(frozen=True)
class Ellipsoid:
    """A filled ellipsoid, in the same form as `Ellipse`, in three dimensions.

    Attributes:
        centre: (x, y, z) in mm.
        matrix: 3x3, symmetric and positive: ``R diag(a**2, b**2, c**2) R^T``.
    """

    centre: np.ndarray
    matrix: np.ndarray

    def cut(self, z: float) -> Ellipse | None:
        """The ellipse in the plane at height z (mm), or None where the plane misses the ellipsoid.

        Cutting an ellipsoid is conditioning a Gaussian: the cut of a leaning vessel moves as z rises.
        """
        low, high = self.heights_mm
        if not low < z < high:
            return None
        lean, flat = self._conditional
        height = z - float(self.centre[2])
        left = 1.0 - height * height / self.matrix[2, 2]
        return Ellipse(self.centre[:2] + lean * height, flat * left)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """0 at the centre, 1 on the surface, larger outside (in units of the semi-axes).

        Args:
            points: ``(..., 3)`` in mm.

        Returns:
            Array of the shape ``(...)``.
        """
        offset = points - self.centre
        return np.sqrt(np.einsum("...i,ij,...j->...", offset, self._inverse, offset))

    @cached_property
    def heights_mm(self) -> tuple[float, float]:
        """The lowest and the highest z."""
        reach = math.sqrt(self.matrix[2, 2])
        return float(self.centre[2]) - reach, float(self.centre[2]) + reach

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.matrix)

    @cached_property
    def _conditional(self) -> tuple[np.ndarray, np.ndarray]:
        lean = self.matrix[:2, 2] / self.matrix[2, 2]
        return lean, self.matrix[:2, :2] - np.outer(lean, self.matrix[:2, 2])

    @cached_property
    def thinnest_mm(self) -> float:
        """The shortest semi-axis in mm."""
        return float(np.sqrt(np.linalg.eigvalsh(self.matrix)[0]))


@dataclass(frozen=True)
class Part:
    """A contribution to the picture: `hu` is added inside `shape` (and, if given, only inside `within` too).

    Attributes:
        shape: Where.
        hu: What is added to the HU of what lies underneath (air is -1000).
        within: A second shape that limits the first.
    """

    shape: Ellipsoid
    hu: float
    within: Ellipsoid | None = None


@dataclass(frozen=True)
class Chest:
    """One patient's chest.

    Attributes:
        parts: Everything but the vessels of the lungs and the nodules.
        lungs: Right and left.
        obstacles: What bulges into the lungs, where no nodule and no vessel may lie.
        vessels: Vessels of the lungs, with the lung that each lies in.
        lung_hu: HU of the lungs' tissue.
    """

    parts: tuple[Part, ...]
    lungs: tuple[Ellipsoid, Ellipsoid]
    obstacles: tuple[Ellipsoid, ...]
    vessels: tuple[tuple[Ellipsoid, Ellipsoid], ...]
    lung_hu: float


@dataclass(frozen=True)
class Nodule:
    """A nodule in a lung.

    Attributes:
        shape: Its ellipsoid.
        diameter_mm: Mean of its three diameters.
        hu: HU of its tissue.
    """

    shape: Ellipsoid
    diameter_mm: float
    hu: float


def chest(rng: np.random.Generator, sex: str) -> Chest:
    """Draws one patient's chest.

    Args:
        rng: Where the patient's own shape comes from.
        sex: ``"F"`` or ``"M"``: sets the size of the body and the fat under the skin.

    Returns:
        The chest, without nodules.
    """
    size = (0.93 if sex == "F" else 1.0) * rng.uniform(0.94, 1.07)
    wide, deep = size * rng.uniform(0.97, 1.03), size * rng.uniform(0.95, 1.05)
    fat = rng.uniform(10, 18) + (4 if sex == "F" else 0)
    lung_hu = rng.uniform(-890, -830)

    def place(x, y, z, a, b, c, turn=None):
        scale = np.array([wide, deep, size])
        return _ellipsoid(np.array([x, y, z]) * scale, np.array([a, b, c]) * scale, turn)

    muscle = place(0, 0, 0, 142, 98, 900)
    body = place(0, 0, 0, 142 + fat, 98 + fat, 900)
    right = place(-75, 2, 0, rng.uniform(53, 57), rng.uniform(67, 72), rng.uniform(115, 130))
    left = place(75, 2, 0, rng.uniform(51, 55), rng.uniform(67, 72), rng.uniform(115, 130))
    lungs = (right, left)
    heart = place(22, -26, rng.uniform(-45, -25), rng.uniform(50, 60), rng.uniform(36, 43), rng.uniform(55, 68))
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
    rng: np.random.Generator, chest: Chest, z: float, diameter_mm: tuple[float, float], hu: tuple[float, float]
) -> Nodule:
    """Draws a nodule that lies wholly in a lung, with its middle near the plane at height z.

    Args:
        rng: Where its size, shape, tissue and place come from.
        chest: The patient.
        z: Height in mm.
        diameter_mm: Smallest and largest mean diameter in mm, drawn evenly.
        hu: Lowest and highest HU of its tissue, drawn evenly.

    Returns:
        The nodule. It may touch a vessel, as real ones do.
    """
    axes = rng.uniform(*diameter_mm) / 2 * rng.uniform(0.85, 1.15, 3)
    radius, tissue = float(axes.mean()), rng.uniform(*hu)
    height = z + rng.uniform(-0.2, 0.2) * radius
    turn = _turn3(rng.uniform(0, 180))
    choices = (_inside(rng, chest.lungs[rng.integers(2)], height, radius, chest.obstacles) for _ in range(400))
    point = next((p for p in choices if p is not None), None)
    if point is None:  # the middle of the right lung is always free
        point = np.array([*chest.lungs[0].centre[:2], height])
    return Nodule(_ellipsoid(point, axes, turn), 2 * radius, tissue)


def slice_parts(
    chest: Chest, nodules: list[Nodule], z: float
) -> Iterator[tuple[Ellipse, float, Ellipse | None]]:
    """The ellipses of one slice: each with the HU it adds and the ellipse that limits it.

    Where two vessels cross, or a vessel runs into a nodule, the shared part is taken away once, so that tissue is
    never counted twice.

    Args:
        chest: The patient.
        nodules: The patient's nodules.
        z: Height of the slice in mm.

    Yields:
        (ellipse, HU to add, limiting ellipse or None).
    """
    for part in chest.parts:
        cut = part.shape.cut(z)
        limit = part.within.cut(z) if part.within is not None else None
        if cut is not None and (part.within is None or limit is not None):
            yield cut, part.hu, limit
    step = VESSEL_HU - chest.lung_hu
    seen: list[Ellipse] = []
    for item in nodules:
        cut = item.shape.cut(z)
        if cut is not None:
            yield cut, item.hu - chest.lung_hu, None
            seen.append(cut)
    for shape, lung in chest.vessels:
        cut = shape.cut(z)
        limit = lung.cut(z) if cut is not None else None
        if cut is None or limit is None:
            continue
        yield cut, step, limit
        for other in seen:
            if math.dist(other.centre, cut.centre) < other.radius_mm + cut.radius_mm:
                yield cut, -step, other
        seen.append(cut)


def _over_lungs(shape: Ellipsoid, hu: float, lungs: tuple[Ellipsoid, ...], lung_hu: float) -> list[Part]:
    """A shape painted over muscle and, where it bulges into a lung, over the lung."""
    return [Part(shape, hu - MUSCLE_HU)] + [Part(shape, MUSCLE_HU - lung_hu, lung) for lung in lungs]


def _ribs(rng: np.random.Generator, wide: float, deep: float, size: float) -> Iterator[Ellipsoid]:
    """Ribs as short leaning rods along the chest wall, so that each slice cuts some of them aslant."""
    start = rng.uniform(0, 26)
    for level in np.arange(-130 + start, 130, 26):
        for side in (-1, 1):
            for degrees in (-58, -25, 8, 40, 68):
                where = np.deg2rad(degrees + rng.uniform(-5, 5))
                x, y = side * 135 * wide * np.cos(where), 88 * deep * np.sin(where)
                along = np.array([-side * 135 * np.sin(where), 88 * np.cos(where), 45.0])
                yield _rod(np.array([x, y, level + 0.25 * y]) * [1, 1, size], along, 21 * size, 3.6 * size)


def _vessels(
    rng: np.random.Generator, lung: Ellipsoid, obstacles: tuple[Ellipsoid, ...], count: int = 110
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
        radius = min(max(4.2 - 0.033 * far + rng.normal(0, 0.5), 0.9), 4.2)
        yield _rod(point, along, rng.uniform(9, 24), radius)


def _inside(
    rng: np.random.Generator, lung: Ellipsoid, z: float, radius: float, obstacles: tuple[Ellipsoid, ...]
) -> np.ndarray | None:
    """A random point of a lung at height z with room for a ball of this radius, or None if the draw had none."""
    point = lung.centre + np.sqrt(np.diag(lung.matrix)) * np.append(rng.uniform(-1, 1, 2), 0.0)
    point[2] = z
    room = radius * 1.15 + 2.0
    free = lung.distance(point) < 1 - room / lung.thinnest_mm
    free = free and all(item.distance(point) > 1 + room / item.thinnest_mm for item in obstacles)
    return point if free else None


def _rod(centre: np.ndarray, along: np.ndarray, half_length: float, radius: float) -> Ellipsoid:
    """A long thin ellipsoid in a given direction."""
    along = along / math.sqrt(along @ along)
    spread = (half_length**2 - radius**2) * np.outer(along, along)
    return Ellipsoid(np.asarray(centre, float), spread + radius**2 * np.eye(3))


def _ellipsoid(centre: np.ndarray, axes: np.ndarray, turn: np.ndarray | None = None) -> Ellipsoid:
    turn = np.eye(3) if turn is None else turn
    return Ellipsoid(np.asarray(centre, float), turn @ np.diag(np.square(axes)) @ turn.T)


def _turn(angle_deg: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cosine, -sine], [sine, cosine]])


def _turn3(angle_deg: float) -> np.ndarray:
    turn = np.eye(3)
    turn[:2, :2] = _turn(angle_deg)
    return turn
