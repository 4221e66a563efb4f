"""Ellipses and ellipsoids as centre and matrix: cut, rotated, and tested for points inside.

Coordinates are millimetres in the DICOM patient system (LPS): x to the patient's left, y to the back, z to
the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np


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
        """The ellipse rotated about the origin, then shifted: how the patient lies on the table."""
        rotation = _rotation(angle_deg)
        return Ellipse(rotation @ self.centre + shift_mm, rotation @ self.matrix @ rotation.T)

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """True where the points (x, y), in mm, are inside."""
        inverse = np.linalg.inv(self.matrix)
        dx, dy = x - self.centre[0], y - self.centre[1]
        return inverse[0, 0] * dx * dx + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy * dy <= 1.0

    def clearance(self, other: Ellipse) -> int:
        """1 when this ellipse is certainly inside the other, -1 when certainly outside, 0 when uncertain.

        A ball about this ellipse is compared with the other's surface, so 0 may be returned for a clear case.
        """
        x, y = (self.centre - other.centre).tolist()
        if math.hypot(x, y) > self.radius_mm + other.radius_mm:
            return -1
        (a, b), (_, d) = other.matrix.tolist()
        away = math.sqrt(max(d * x * x - 2 * b * x * y + a * y * y, 0.0)) / other.area
        reach = self.radius_mm * other.radius_mm / other.area
        return 1 if away + reach < 1 else -1 if away - reach > 1 else 0

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
        """Of points ``(..., 3)`` in mm: 0 at the centre, 1 on the surface, larger outside (in semi-axes)."""
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


def rod(centre: np.ndarray, along: np.ndarray, half_length: float, radius: float) -> Ellipsoid:
    """A long thin ellipsoid: middle (x, y, z), direction (any length), half its length and its radius in mm."""
    along = along / math.sqrt(along @ along)
    spread = (half_length**2 - radius**2) * np.outer(along, along)
    return Ellipsoid(np.asarray(centre, float), spread + radius**2 * np.eye(3))


def ellipsoid(centre: np.ndarray, axes: np.ndarray, angle_deg: float = 0.0) -> Ellipsoid:
    """An ellipsoid with semi-axes (a, b, c) in mm, rotated about the z axis."""
    rotation = np.eye(3)
    rotation[:2, :2] = _rotation(angle_deg)
    return Ellipsoid(np.asarray(centre, float), rotation @ np.diag(np.square(axes)) @ rotation.T)


def _rotation(angle_deg: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cosine, -sine], [sine, cosine]])
