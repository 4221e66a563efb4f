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


def iou(predicted: np.ndarray, reference: np.ndarray) -> float:
    """Overlap over union of two boolean masks (Jaccard), 0 to 1; NaN when the reference is empty.

    Example:
        >>> round(iou(np.array([True, True, False]), np.array([False, True, True])), 3)
        0.333
    """
    if not reference.any():
        return np.nan
    return int((predicted & reference).sum()) / int((predicted | reference).sum())


def surface_distances(
    predicted: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, ...] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """From each surface voxel of one mask the distance to the nearest of the other, both ways, in mm (or pixels).

    A surface is the mask's voxels that touch the outside over a face; the image's edge counts as outside. Both arrays are
    empty when one of the masks is.
    """
    if not predicted.any() or not reference.any():
        return np.zeros(0), np.zeros(0)
    box = box_of(predicted | reference)  # every surface voxel lies in it, so distances inside are those of the whole
    first, second = (mask[box] & ~binary_erosion(mask[box]) for mask in (predicted, reference))
    sampling = None if spacing_mm is None else tuple(float(step) for step in spacing_mm)
    there = distance_transform_edt(~second, sampling=sampling)[first]
    back = distance_transform_edt(~first, sampling=sampling)[second]
    return np.asarray(there), np.asarray(back)


def box_of(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds a mask; everything when it is empty."""
    if not mask.any():
        return tuple(slice(None) for _ in range(mask.ndim))
    others = [tuple(other for other in range(mask.ndim) if other != axis) for axis in range(mask.ndim)]
    inside = [np.flatnonzero(mask.any(axis=axes)) for axes in others]
    return tuple(slice(int(one[0]), int(one[-1]) + 1) for one in inside)


def hd95(predicted: np.ndarray, reference: np.ndarray, spacing_mm: tuple[float, ...] | None = None) -> float:
    """The 95th percentile Hausdorff distance between the surfaces of two boolean masks, in mm (pixels without a spacing).

    The larger of the two 95th percentiles of `surface_distances`; NaN when one of the masks is empty.

    Example:
        >>> mask = np.zeros((20, 20), bool)
        >>> mask[5:9, 5:9] = True
        >>> hd95(np.roll(mask, 3, axis=1), mask, (2.0, 0.5))
        1.5

    References:
        Huttenlocher DP et al. IEEE Trans Pattern Anal Mach Intell 1993;15:850-863.
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212.
    """
    return distances_summary(surface_distances(predicted, reference, spacing_mm))["hd95"]


def distances_summary(distances: tuple[np.ndarray, np.ndarray], tolerance: float = 2.0) -> dict[str, float]:
    """HD95, average symmetric surface distance and surface Dice from the distances both ways; NaN without any.

    ``surface_dice`` is the fraction of both surfaces that lies within ``tolerance`` of the other.

    References:
        Nikolov S et al. Clinically applicable segmentation of head and neck anatomy for radiotherapy. J Med Internet Res
        2021;23:e26151 (surface Dice).
    """
    there, back = distances
    if not len(there):
        return dict.fromkeys(("hd95", "assd", "surface_dice"), np.nan)
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(both.mean()),
        "surface_dice": float((both <= tolerance + 1e-9).mean()),
    }
