"""Whether two grids are the same places in the patient, and labels moved from one grid to another. No files."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SAME_MM = 1e-3
SAME_DIRECTION = 1e-4


def difference(one: np.ndarray, other: np.ndarray) -> str | None:
    """In words, how the second grid differs from the first in spacing, direction or position; None when it does not.

    Args:
        one: 4x4 affine, voxel index to millimetres.
        other: The same of the other grid.
    """
    sizes = [np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other)]
    if np.abs(sizes[0] - sizes[1]).max() > SAME_MM:
        words = [" x ".join(f"{mm:.4g}" for mm in size) for size in sizes]
        return f"its spacing is {words[1]} mm instead of {words[0]} mm"
    turned = np.abs(one[:3, :3] / sizes[0] - other[:3, :3] / sizes[1]).max()
    if turned > SAME_DIRECTION:
        return "its axes point in other directions"
    apart = float(np.linalg.norm(one[:3, 3] - other[:3, 3]))
    return f"it begins {apart:.4g} mm away" if apart > SAME_MM else None


def moved(labels: np.ndarray, affine: np.ndarray, to: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Labels on another grid by the nearest neighbour in millimetres; no new value can appear.

    Args:
        labels: Integer ``(depth, height, width)``.
        affine: Their 4x4 affine, voxel index to millimetres.
        to: The affine of the other grid.
        shape: The spatial shape of the other grid.

    Returns:
        Integer array of that shape; 0 where the labels do not reach.
    """
    steps = np.linalg.inv(affine) @ to
    # Rounding noise in an affine must not push a voxel that lies exactly on another one beyond the edge.
    steps = np.where(np.abs(steps - np.rint(steps)) < 1e-4, np.rint(steps), steps)
    return ndimage.affine_transform(
        labels, steps[:3, :3], offset=steps[:3, 3], output_shape=shape, order=0, mode="grid-constant", cval=0,
        prefilter=False,
    )  # fmt: skip


def aligned(affine: np.ndarray, to: np.ndarray) -> bool:
    """Whether the voxels of two grids fall on each other: turned by right angles and moved by whole voxels only."""
    steps = np.linalg.inv(affine) @ to
    turn, shift = steps[:3, :3], steps[:3, 3]
    whole = np.rint(turn)
    millimetres = np.abs(shift - np.rint(shift)) * np.linalg.norm(affine[:3, :3], axis=0)
    straight = bool((np.abs(whole).sum(axis=0) == 1).all() and (np.abs(whole).sum(axis=1) == 1).all())
    return straight and np.abs(turn - whole).max() < 10 * SAME_DIRECTION and millimetres.max() < 10 * SAME_MM


def with_thickness(affine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The affine of a single slice, whose step to the next slice is not known, with the step that the other grid has."""
    normal = affine[:3, 0] / np.linalg.norm(affine[:3, 0])
    sizes = np.linalg.norm(other[:3, :3], axis=0)
    step = sizes[np.abs(normal @ (other[:3, :3] / sizes)).argmax()]
    stretched = affine.copy()
    stretched[:3, 0] = normal * step
    return stretched
