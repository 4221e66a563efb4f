"""From a scan to a mask on its own grid: working grid, windows, back again, tidied. It opens no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from easydl.errors import InputError
from easydl.images import Scan, prepare
from easydl.images.resampling import resize
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.sliding_window import mirrored, planes, resampled, slide

PATCH_2D, PATCH_3D = 256, 64
_DONE = {
    "mirror": "averaged over mirror images",
    "largest_component": "only the largest piece of every structure kept",
    "fill_holes": "what a structure encloses filled",
}


def working_grid(metadata: ModelMetadata, scan: Scan) -> np.ndarray:
    """A scan's pixels on the grid a segmenter works on: its spacing, or in 2D without one its longest side."""
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


def unknown_scale(metadata: ModelMetadata, unknown: int, scans: int = 1) -> list[str]:
    """What to say where the spacing of some scans is unknown and a segmenter works on a grid in mm: a sentence or none."""
    if metadata.spacing_mm is None or not unknown:
        return []
    which = "the scan" if scans == 1 else f"{unknown} of {scans} scans"
    grid = " x ".join(f"{mm:g}" for mm in metadata.spacing_mm)
    return [
        f"The spacing of {which} is not known and the model works at {grid} mm: check the scale, for pixels of another "
        "size make a structure look larger or smaller than any it was trained on."
    ]


def chosen(task: str, **options: bool) -> dict[str, bool]:
    """Which options of `outline` are on.

    Raises:
        InputError: One is, and the model does not outline.
    """
    on = {name: True for name, given in options.items() if given}
    if on and task != "segmentation":
        raise InputError(
            f"{', '.join(f'{name}=True' for name in on)} was given, and the model's task is {task}.",
            f"a model that outlines (easydl.segmenter): {', '.join(options)} are about masks.",
            "Leave it out.",
        )
    return on


def how_made(on: dict[str, bool], what: str = "The mask was") -> list[str]:
    """What to say of the options that `chosen` found on: a sentence or none."""
    return [f"{what} made with {', '.join(f'{name} ({_DONE[name]})' for name in on)}."] if on else []


def segment(
    call: Callable[[Any], Any],
    fixed: tuple[int | None, ...],
    metadata: ModelMetadata,
    scan: Scan,
    *,
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
) -> np.ndarray:
    """The most probable class of every pixel of a scan.

    Probabilities are held for as many planes as a window is deep, not for the whole volume.

    Args:
        call: The compiled model.
        fixed: Its spatial input size.
        recipe: Its recipe.
        scan: The scan.
        mirror: Average over the mirror images that the model was trained with (see
            `easydl.prediction.sliding_window.mirrored`).
        largest_component: See `tidied`.
        fill_holes: See `tidied`.

    Returns:
        int32 ``(*scan.shape)``, class indices.

    Raises:
        InputError: Mirror images are asked for, and the model was trained with none.
    """
    pixels = working_grid(metadata, scan)
    patch = window_size(metadata, fixed, pixels.shape[:-1])

    def answers(batch: np.ndarray) -> np.ndarray:
        return np.asarray(call(batch))

    every = mirrored(answers, _mirrors(metadata)) if mirror else answers
    if pixels.shape[:-1] == scan.shape:
        parts = planes(every, pixels, patch)
    elif metadata.dimension == 2:
        parts = iter([resize(slide(every, pixels, patch), scan.shape)])
    else:
        parts = resampled(planes(every, pixels, patch), scan.shape, pixels.shape[0])
    labels = np.concatenate([part.argmax(axis=-1).astype(np.int32) for part in parts])
    return tidied(labels, largest_component=largest_component, fill_holes=fill_holes)


def _mirrors(metadata: ModelMetadata) -> tuple[int, ...]:
    """The axes along which training mirrored: a network that never saw a mirror image takes it for other anatomy."""
    names = ("depth", "up-down", "left-right")[-metadata.dimension :]
    known = metadata.training.get("mirrors", ())
    if not known:
        raise InputError(
            "mirror=True was asked, but this model was trained without mirror images.",
            "a model whose augmentation mirrors: to others a mirror image is another anatomy.",
            "Leave mirror out, or train with a preset that mirrors (easydl.presets() tells).",
        )
    return tuple(names.index(name) for name in known if name in names)


def tidied(labels: np.ndarray, *, largest_component: bool = False, fill_holes: bool = False) -> np.ndarray:
    """A mask without crumbs and holes, when asked: right for single organs, wrong for scattered lesions.

    Args:
        labels: Class indices, 0 the background.
        largest_component: Keep only the largest connected piece of every structure (touching by faces).
        fill_holes: Background that a structure encloses completely becomes that structure.

    Returns:
        A mask of the same shape and type.
    """
    if not (largest_component or fill_holes):
        return labels
    out = labels.copy()
    for value in np.unique(labels[labels > 0]):
        inside = out == value
        if largest_component:
            pieces, count = ndimage.label(inside)
            if count > 1:
                sizes = np.bincount(pieces.ravel())
                sizes[0] = 0
                out[inside & (pieces != sizes.argmax())] = 0
                inside = pieces == sizes.argmax()
        if fill_holes:
            out[ndimage.binary_fill_holes(inside) & (out == 0)] = value
    return out
