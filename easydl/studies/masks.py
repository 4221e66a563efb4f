"""Mask files become class indices on the image's grid. Values that are no mask's are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.images.grid import match_channels

if TYPE_CHECKING:
    from easydl.studies.study import Study

MOST_VALUES = 255


def stored_values(study: Study) -> list[int]:
    """The values that occur in any mask of the study, in ascending order, 0 (background) always first.

    Raises:
        InputError: A mask holds fractions or more values than labels can have, or no mask holds anything.
    """

    def values(row: int) -> set[int]:
        path = str(study.frame["mask"].iloc[row])
        return {int(v) for v in np.unique(_labels(read(path), path))} if path else set()

    found: set[int] = set().union(*study.each(values)) | {0}
    if len(found) < 2:
        raise InputError("Every mask is empty.", "something outlined in at least one mask.", "Check the mask column.")
    return sorted(found)


def read_labels(path: str, values: tuple[int, ...] | None, scan: Scan) -> np.ndarray:
    """Read one mask as class indices on the grid of its image.

    Args:
        path: The mask file.
        values: The stored value of each class, background first.
        scan: The image it belongs to.

    Returns:
        int32 array of the scan's spatial shape.

    Raises:
        InputError: Another shape or another position in space than the image's, or a value of no class.
    """
    mask = read(path)
    labels = _labels(mask, path)
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if labels.shape != scan.shape:
        raise InputError(
            f"The mask {name} has the shape {labels.shape}, its image {scan.shape}.",
            "a mask on the grid of its image.",
            "Export the mask on the image's grid, or correct the table if it is another image's mask.",
        )
    if mask.affine is not None and scan.affine is not None and not np.allclose(mask.affine, scan.affine, atol=1e-2):
        raise InputError(
            f"The mask {name} lies elsewhere in space than its image.",
            "the same position, spacing and orientation as the image.",
            "Export the mask on the image's grid, or correct the table if it is another image's mask.",
        )
    known = np.asarray(values or sorted({0, *np.unique(labels).tolist()}))
    index = np.searchsorted(known, labels).clip(0, len(known) - 1)
    if not np.array_equal(known[index], labels):
        strange = sorted({int(v) for v in np.unique(labels)} - set(known.tolist()))
        raise InputError(
            f"The mask {name} holds the value {strange[0]}.",
            f"only {', '.join(map(str, known.tolist()))}.",
            "Correct the mask.",
        )
    return index.astype(np.int32)


def _labels(mask: Scan, path: str) -> np.ndarray:
    pixels = match_channels(mask.pixels, 1)[..., 0]
    rounded = np.rint(pixels)
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    if np.abs(pixels - rounded).max() > 1e-3:
        raise InputError(f"The mask {name} holds fractions.", "whole numbers.", "Export it as a label map.")
    if len(np.unique(rounded)) > MOST_VALUES or rounded.min() < 0:
        raise InputError(
            f"The mask {name} holds {len(np.unique(rounded))} values from {rounded.min():g} to {rounded.max():g}.",
            f"a few whole numbers from 0 to {MOST_VALUES}.",
            "Check that the image and mask columns are not exchanged.",
        )
    return rounded.astype(np.int64)
