"""Single lesions, or objects, of two masks: which are found, which are false, which are matched. It knows no patients."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import generate_binary_structure, label

from easydl.evaluation.surfaces import box_of

MATCHED = 0.5
"""The overlap over union above which two objects are the same; above a half each has one partner at most."""


def lesion_counts(predicted: np.ndarray, reference: np.ndarray) -> dict[str, int]:
    """Count the connected pieces of two boolean masks (diagonal neighbours are connected).

    Returns:
        ``lesions`` of the reference and how many of them the prediction touches (``lesions_found``); pieces of the
        prediction (``objects_predicted``), those that touch no lesion (``false_finds``), and those whose overlap over
        union with a lesion is above a half (``objects_matched``).

    Example:
        >>> truth = np.array([[1, 0, 1, 1, 0, 0]], bool)
        >>> lesion_counts(np.array([[0, 0, 1, 1, 0, 1]], bool), truth)
        {'lesions': 2, 'lesions_found': 1, 'objects_predicted': 2, 'false_finds': 1, 'objects_matched': 1}

    References:
        Maier-Hein L et al. Metrics reloaded. Nat Methods 2024;21:195-212 (object detection; panoptic matching).
    """
    box = box_of(predicted | reference)
    structure = generate_binary_structure(predicted.ndim, predicted.ndim)
    made, found = label(predicted[box], structure)
    true, lesions = label(reference[box], structure)
    sizes_made, sizes_true = (
        np.bincount(made.ravel(), minlength=found + 1),
        np.bincount(true.ravel(), minlength=lesions + 1),
    )
    common = (made > 0) & (true > 0)
    pairs, voxels = np.unique(np.stack([made[common], true[common]], axis=1), axis=0, return_counts=True)
    union = sizes_made[pairs[:, 0]] + sizes_true[pairs[:, 1]] - voxels
    return {
        "lesions": int(lesions),
        "lesions_found": len(np.unique(pairs[:, 1])),
        "objects_predicted": int(found),
        "false_finds": int(found) - len(np.unique(pairs[:, 0])),
        "objects_matched": int((voxels > MATCHED * union).sum()),
    }
