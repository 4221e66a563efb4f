"""Whether two voxel grids coincide in the patient, and labels resampled from one grid to another. No files."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SAME_MM = 1e-3
SAME_DIRECTION = 1e-4


def difference(affine: np.ndarray, other: np.ndarray) -> str | None:
    """How the other grid differs from the first in spacing, direction or position, as text; None when it does not.

    Both affines are 4x4, voxel index to millimetres.
    """
    sizes = [np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (affine, other)]
    if np.abs(sizes[0] - sizes[1]).max() > SAME_MM:
        spacings = [" x ".join(f"{mm:.4g}" for mm in size) for size in sizes]
        return f"its spacing is {spacings[1]} mm instead of {spacings[0]} mm"
    rotation = np.abs(affine[:3, :3] / sizes[0] - other[:3, :3] / sizes[1]).max()
    if rotation > SAME_DIRECTION:
        return "its axes point in other directions"
    distance = float(np.linalg.norm(affine[:3, 3] - other[:3, 3]))
    return f"it begins {distance:.4g} mm away" if distance > SAME_MM else None


def moved(labels: np.ndarray, affine: np.ndarray, to: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels ``(depth, height, width)`` on the grid ``to`` by the nearest neighbour in millimetres; 0 beyond their edge.

    No new value can appear. Both affines are 4x4, voxel index to millimetres.
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


def aligned(affine: np.ndarray, to: np.ndarray) -> bool:
    """Whether the voxels of two grids coincide: rotated by right angles and shifted by whole voxels only."""
    steps = np.linalg.inv(affine) @ to
    rotation, shift = steps[:3, :3], steps[:3, 3]
    whole = np.rint(rotation)
    millimetres = np.abs(shift - np.rint(shift)) * np.linalg.norm(affine[:3, :3], axis=0)
    straight = bool((np.abs(whole).sum(axis=0) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all())
    return straight and np.abs(rotation - whole).max() < 10 * SAME_DIRECTION and millimetres.max() < 10 * SAME_MM


def with_thickness(affine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The affine of a single slice, whose distance to the next one is not known, with the distance of the other grid."""
    normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    sizes = np.linalg.norm(other[:3, :3], axis=0)
    step = sizes[np.abs(normal @ (other[:3, :3] / sizes)).argmax()]
    stretched = affine.copy()
    stretched[:3, 0] = normal * step
    return stretched
