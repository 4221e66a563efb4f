"""The grid a model works on, when it takes scans of any size: spacing, side, window. It calls no model."""

from __future__ import annotations

import numpy as np

from easydl.images import Scan, prepare
from easydl.images.resampling import resize
from easydl.networks.metadata import ModelMetadata

PATCH_2D, PATCH_3D = 256, 64


def working_grid(metadata: ModelMetadata, scan: Scan) -> np.ndarray:
    """A scan's pixels on the grid a model works on: its spacing, or in 2D without one its longest side."""
    pixels = prepare(scan, channels=metadata.channels, units=metadata.units, normalise=metadata.normalise)
    return resize(pixels, shape) if (shape := working_shape(metadata, scan)) != scan.shape else pixels


def working_shape(metadata: ModelMetadata, scan: Scan) -> tuple[int, ...]:
    """The spatial shape of `working_grid`."""
    if metadata.spacing_mm is not None and scan.spacing_mm is not None:
        return tuple(
            max(1, round(side * have / want))
            for side, have, want in zip(scan.shape, scan.spacing_mm, metadata.spacing_mm, strict=True)
        )
    if metadata.dimension == 3 or metadata.max_side is None or max(scan.shape) <= metadata.max_side:
        return scan.shape
    return tuple(max(2, round(side * metadata.max_side / max(scan.shape))) for side in scan.shape)


def window_size(metadata: ModelMetadata, fixed: tuple[int | None, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Size of the sliding window: the network's own, else the training patch, no larger than the scan needs."""
    if all(side is not None for side in fixed):
        return tuple(int(side) for side in fixed if side is not None)
    most = metadata.patch or ((PATCH_2D,) * 2 if metadata.dimension == 2 else (PATCH_3D,) * 3)
    return tuple(
        min(-(-side // step), -(-have // step)) * step
        for side, have, step in zip(most, shape, metadata.multiples, strict=True)
    )


def scale_notes(metadata: ModelMetadata, unknown: int, scans: int = 1) -> list[str]:
    """What to say where the spacing of some scans is unknown and a model works on a grid in mm: a sentence or none."""
    if metadata.spacing_mm is None or not unknown:
        return []
    which = "the scan" if scans == 1 else f"{unknown} of {scans} scans"
    grid = " x ".join(f"{mm:g}" for mm in metadata.spacing_mm)
    return [
        f"The spacing of {which} is not known and the model works at {grid} mm: check the scale, for pixels of another "
        "size make a structure look larger or smaller than any it was trained on."
    ]
