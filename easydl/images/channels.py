"""Several volumes of one patient become the channels of one, voxel by voxel. It resamples nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from easydl.errors import InputError
from easydl.images.geometry import along, difference
from easydl.images.scan import Scan


def stacked(scans: Sequence[Scan]) -> Scan:
    """The first channel of every scan on the grid of the first one, whatever the orders of axes in their files.

    Raises:
        InputError: They have different sizes, or volumes lie on different grids.
    """
    first = scans[0]
    planes = [first.pixels[..., :1]]
    for number, scan in enumerate(scans[1:], 2):
        plane = scan.pixels[..., :1]
        both = scan.affine is not None and first.affine is not None and first.dimension == scan.dimension == 3
        place = None
        if both:
            assert scan.affine is not None and first.affine is not None
            plane, place = along(plane, scan.affine, first.affine)
        if plane.shape[:-1] != first.shape:
            sizes = ", ".join(str(size) for size in sorted({first.shape, plane.shape[:-1]}))
            raise _refused(f"The images of one row have different sizes: {sizes}.")
        if place is not None and first.affine is not None and (how := difference(first.affine, place, first.shape)):
            raise _refused(
                f"The images of one row lie on different grids: beside the first one, of image {number} {how}."
            )
        planes.append(plane)
    return replace(first, pixels=np.concatenate(planes, axis=-1))


def _refused(found: str) -> InputError:
    return InputError(
        found,
        "image columns that lie on one grid (co-registered).",
        "Resample them to one grid first, or use one image column.",
    )
