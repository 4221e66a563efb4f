"""From a scan to a mask on its own grid: windows, resampling, post-processing. It opens no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from easydl.errors import InputError
from easydl.images import Scan
from easydl.images.resampling import resize
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.calling import check_dimension, compiled
from easydl.prediction.grid import scale_notes, window_size, working_grid
from easydl.prediction.sliding_window import mirrored, planes, resampled, slide
from easydl.tasks import Task

_OPTIONS = {
    "mirror": "averaged over mirror images",
    "largest_component": "only the largest piece of every structure kept",
    "fill_holes": "what a structure encloses filled",
}


def mask_options(task: str, **options: bool) -> dict[str, bool]:
    """Which options of a segmentation are on; refused for a model that makes no masks."""
    on = {name: True for name, given in options.items() if given}
    if on and not Task(task).has_masks:
        raise InputError(
            f"{', '.join(f'{name}=True' for name in on)} was given, and the model's task is {task}.",
            f"a segmentation model (easydl.segmenter): {', '.join(options)} are about masks.",
            "Leave it out.",
        )
    return on


def option_notes(on: dict[str, bool], what: str = "The mask was") -> list[str]:
    """What to say of the options that are on: a sentence or none."""
    return [f"{what} made with {', '.join(f'{name} ({_OPTIONS[name]})' for name in on)}."] if on else []


def segment_scan(
    model: Any, metadata: ModelMetadata, scan: Scan, notes: list[str] | None = None, **options: bool
) -> np.ndarray:
    """`segment` with a Keras model, compiled once; what must be known about the mask is added to ``notes``."""
    check_dimension(metadata, scan)
    if notes is not None:
        notes += [note for note in scale_notes(metadata, int(scan.spacing_mm is None)) if note not in notes]
    return segment(compiled(model), tuple(model.input_shape[1:-1]), metadata, scan, **options)


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
    """The most probable class of every pixel of a scan, int32 class indices on the scan's own grid.

    Probabilities are held for as many planes as a window is deep, not for the whole volume. ``fixed`` is the model's
    spatial input size.
    """
    pixels = working_grid(metadata, scan)
    patch = window_size(metadata, fixed, pixels.shape[:-1])

    def once(batch: np.ndarray) -> np.ndarray:
        return np.asarray(call(batch))

    probabilities = mirrored(once, mirror_axes(metadata)) if mirror else once
    if pixels.shape[:-1] == scan.shape:
        parts = planes(probabilities, pixels, patch)
    elif metadata.dimension == 2:
        parts = iter([resize(slide(probabilities, pixels, patch), scan.shape)])
    else:
        parts = resampled(planes(probabilities, pixels, patch), scan.shape, pixels.shape[0])
    labels = np.concatenate([part.argmax(axis=-1).astype(np.int32) for part in parts])
    return post_processed(labels, largest_component=largest_component, fill_holes=fill_holes)


def mirror_axes(metadata: ModelMetadata, option: str = "mirror=True") -> tuple[int, ...]:
    """The axes along which training mirrored: a network that never saw a mirror image takes it for other anatomy."""
    names = ("depth", "up-down", "left-right")[-metadata.dimension :]
    trained = metadata.training.get("mirrors", ())
    if not trained:
        raise InputError(
            f"{option} was given, but this model was trained without mirror images.",
            "a model whose augmentation mirrors: to others a mirror image is another anatomy.",
            "Leave it out, or train with a preset that mirrors (easydl.presets() tells).",
        )
    return tuple(names.index(name) for name in trained if name in names)


def post_processed(labels: np.ndarray, *, largest_component: bool = False, fill_holes: bool = False) -> np.ndarray:
    """A mask of class indices without small pieces and holes: right for single organs, wrong for scattered lesions.

    Pieces are connected by faces. Background that a structure encloses completely is a hole.
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
