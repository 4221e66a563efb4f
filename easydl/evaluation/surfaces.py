"""Overlap and distances of two masks in millimetres. It knows nothing of patients, classes or intervals."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt


def dice(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Dice overlap of two boolean masks: twice the common part over the sum of both, 0 to 1.

    NaN when the reference is empty: there Dice has no meaning.

    Example:
        >>> dice(np.array([True, True, False]), np.array([False, True, True]))
        0.5

    References:
        Dice LR. Ecology 1945;26:297-302. Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    size = int(reference.sum())
    if not size:
        return np.nan
    return 2 * int((predicted & reference).sum()) / (int(predicted.sum()) + size)


def hd95(predicted: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, ...] | None = None) -> float:
    """The 95th percentile Hausdorff distance between the surfaces of two boolean masks, in mm (pixels without a spacing).

       A surface is the mask's voxels that touch the outside over a face; the image's edge counts as outside. The
       distances run from the voxels of each surface to the nearest voxel of the other; the result is the larger
       of the two 95th percentiles.
    NaN when one of the masks is empty.

       Example:
           >>> mask = np.zeros((20, 20), bool)
           >>> mask[5:9, 5:9] = True
           >>> hd95(np.roll(mask, 3, axis=1), mask, (2.0, 0.5))
           1.5

       References:
           Huttenlocher DP et al. IEEE Trans Pattern Anal Mach Intell 1993;15:850-863.
           Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    both = predicted | reference
    if not predicted.any() or not reference.any():
        return np.nan
    box = tuple(
        slice(inside[0], inside[-1] + 1)
        for axis in range(both.ndim)
        if len(inside := np.flatnonzero(both.any(axis=tuple(other for other in range(both.ndim) if other != axis))))
    )  # every surface voxel lies in the box, so the distances inside it are those of the whole image
    first, second = (mask[box] & ~binary_erosion(mask[box]) for mask in (predicted, reference))
    sampling = None if spacing_mm is None else tuple(float(step) for step in spacing_mm)
    there = distance_transform_edt(~second, sampling=sampling)[first]
    back = distance_transform_edt(~first, sampling=sampling)[second]
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))
