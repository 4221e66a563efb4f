"""How far two voxel grids lie apart in the patient, and arrays brought from one to the other. No files.

Every affine is 4x4 and maps a voxel index to millimetres. An ``order`` is nibabel's orientation array: for each axis of
an array the axis that it becomes, and 1, or -1 where its direction is reversed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import ndimage

SAME_VOXEL = 0.25
"""Fraction of a voxel by which two grids may lie apart and are one: each voxel's nearest one is its namesake."""
Order = Sequence[Sequence[int]]


class Displacement(NamedTuple):
    """The largest distance between the places that two grids give to one voxel.

    Attributes:
        mm: In millimetres.
        voxels: Along an axis of the first grid, as a fraction of its voxels.
    """

    mm: float
    voxels: float

    @property
    def same(self) -> bool:
        """Whether the two grids are one."""
        return self.voxels <= SAME_VOXEL


def corners(shape: Sequence[int]) -> np.ndarray:
    """The indices of an array's corner voxels, homogeneous: ``(2**n, n + 1)``."""
    return np.array([[*corner, 1] for corner in product(*((0, side - 1) for side in shape))], dtype=float)


def displacement(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> Displacement:
    """How far apart two affines place the voxels of an array; the largest distance of any is at one of its corners."""
    return apart(affine, corners(shape) @ (other - affine).T)


def apart(affine: np.ndarray, offsets: np.ndarray) -> Displacement:
    """The largest of some offsets in mm ``(n, 3 or 4)``, measured in the voxels of a grid."""
    steps = offsets[:, :3] @ np.linalg.inv(affine[:3, :3]).T
    return Displacement(float(np.linalg.norm(offsets[:, :3], axis=1).max()), float(np.abs(steps).max()))


def difference(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> str | None:
    """How the other grid differs from the first in spacing, direction or position, as text; None when it does not."""
    far = displacement(affine, other, shape)
    if far.same:
        return None
    sizes, others = (np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (affine, other))
    if (np.abs(others - sizes) * (np.asarray(shape) - 1) / sizes).max() > SAME_VOXEL:
        have, want = unlike(others, sizes)
        return f"its spacing is {have} mm instead of {want} mm"
    turned_only = affine.copy()
    turned_only[:3, :3] = other[:3, :3] / others * sizes
    if displacement(affine, turned_only, shape).voxels > SAME_VOXEL:
        cosine = np.clip((affine[:3, :3] / sizes * (other[:3, :3] / others)).sum(axis=0), -1, 1)
        return f"its axes point in other directions, by up to {np.degrees(np.arccos(cosine.min())):.2g} degrees"
    return f"it lies {far.mm:.3g} mm away"


def unlike(values: Sequence[float] | np.ndarray, others: Sequence[float] | np.ndarray) -> tuple[str, str]:
    """Two groups of numbers as text, such as ``0.976562 x 1``, with as many digits as it takes to tell them apart."""
    texts = ("", "")
    for digits in range(3, 18):
        first, second = (" x ".join(f"{value:.{digits}g}" for value in group) for group in (values, others))
        texts = (first, second)
        if first != second:
            break
    return texts


def orientation(affine: np.ndarray, to: np.ndarray) -> list[list[int]]:
    """The order that brings an array's axes closest to those of another grid."""
    from nibabel.orientations import io_orientation

    directions = to[:3, :3] / np.linalg.norm(to[:3, :3], axis=0)
    relative = np.eye(4)
    relative[:3, :3] = np.linalg.inv(directions) @ affine[:3, :3]
    return [[int(axis), int(way)] for axis, way in io_orientation(relative)]


def turned(array: np.ndarray, order: Order) -> np.ndarray:
    """An array with its spatial axes in this order; further axes stay the last."""
    from nibabel.orientations import apply_orientation

    return apply_orientation(array, np.asarray(order))


def turned_affine(affine: np.ndarray, order: Order, shape: Sequence[int]) -> np.ndarray:
    """The affine of an array of this shape once it is `turned`."""
    from nibabel.orientations import inv_ornt_aff

    return affine @ inv_ornt_aff(np.asarray(order), tuple(shape))


def along(array: np.ndarray, affine: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An array and its affine with the axes in the order of another grid, the first three spatial. It moves no voxel."""
    order = orientation(affine, to)
    return turned(array, order), turned_affine(affine, order, array.shape[:3])


def inverse(order: Order) -> list[list[int]]:
    """The order that takes a turned array back."""
    back = [[0, 1] for _ in order]
    for axis, (to, way) in enumerate(order):
        back[to] = [axis, way]
    return back


def after(first: Order, then: Order) -> list[list[int]]:
    """One order for two, one after the other."""
    return [[then[axis][0], way * then[axis][1]] for axis, way in first]


def whole_steps(affine: np.ndarray, to: np.ndarray, shape: Sequence[int]) -> np.ndarray | None:
    """From an index of the grid ``to`` (of this shape) to one of the first, in whole voxels; None when none fits."""
    whole = np.rint(np.linalg.inv(affine) @ to)
    rotation = np.abs(whole[:3, :3])
    straight = bool((rotation.sum(axis=0) == 1).all() and (rotation.sum(axis=1) == 1).all())
    return whole if straight and displacement(to, affine @ whole, shape).same else None


def moved(labels: np.ndarray, affine: np.ndarray, to: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels ``(depth, height, width)`` on the grid ``to`` by the nearest neighbour in millimetres; 0 beyond their edge.

    No new value can appear.
    """
    steps = np.linalg.inv(affine) @ to
    # Rounding noise in an affine must not push a voxel that lies exactly on another one beyond the edge.
    steps = np.where(np.abs(steps - np.rint(steps)) < 1e-4, np.rint(steps), steps)
    return ndimage.affine_transform(
        labels,
        steps[:3, :3],
        offset=steps[:3, 3],
        output_shape=shape,
        order=0,
        mode="grid-constant",
        cval=0,
        prefilter=False,
    )


def with_thickness(affine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The affine of a single slice, whose distance to the next one is not known, with the distance of the other grid."""
    normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    sizes = np.linalg.norm(other[:3, :3], axis=0)
    step = sizes[np.abs(normal @ (other[:3, :3] / sizes)).argmax()]
    stretched = affine.copy()
    stretched[:3, 0] = normal * step
    return stretched
