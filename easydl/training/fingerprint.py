"""What a segmentation study is like, and the grid, patch, batch and number of steps that follow from it, in words.

The rules are nnU-Net's, cut down to what a laptop can do. It trains nothing and needs no TensorFlow.

References:
    Isensee et al. 2021, nnU-Net, 10.1038/s41592-020-01008-z (fingerprint and rules, supplementary note 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from easydl.networks.metadata import ModelMetadata
from easydl.networks.pooling import UNEQUAL, strides_of
from easydl.studies import Study
from easydl.training.plan import Asked, Plan

# Pixels of a patch and of a step: what two cores work through in about half a second, and a GPU as well.
PATCH_PIXELS = {"CPU": {2: 256**2, 3: 64**3}, "GPU": {2: 512**2, 3: 128**3}}
STEP_PIXELS = {"CPU": 64**3, "GPU": 8 * 64**3}
LEAST_BATCH, MOST_BATCH = 2, 8
# Training goes on until so many pixels were seen, within bounds: small patches need more steps to see as much.
SEEN_PIXELS, LEAST_STEPS, MOST_STEPS, LEAST_STEPS_AN_EPOCH = 3.6e8, 1000, 2000, 25
LEAST_EPOCHS = 12
# Outputs of all layers are kept for the way back, and their gradients beside them; half of the memory is left alone.
KEPT, MEMORY_SHARE = 2.0, 0.5
ANISOTROPIC = 3.0


@dataclass(frozen=True)
class Fingerprint:
    """What decides the plan of a segmenter.

    Attributes:
        scans: Scans with a mask.
        shape: Median shape on the working grid.
        spacing_mm: The working grid's spacing, or None.
        device: ``"CPU"`` or ``"GPU"``.
        memory_gb: Memory of the machine (of the GPU where there is one), or None.
        bytes_per_pixel: Memory of all layers' outputs for one pixel of one patch.
    """

    scans: int
    shape: tuple[float, ...]
    spacing_mm: tuple[float, ...] | None
    device: str
    memory_gb: float | None
    bytes_per_pixel: float


def grid_spacing(spacings: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], str]:
    """The spacing of the grid that volumes are brought to, and why.

    Args:
        spacings: One per scan, in mm, in the order of its axes.

    Returns:
        The median; along an axis that is more than three times coarser than the finest, the 10th percentile, so
        that thick slices do not throw away what thin ones show.
    """
    every = np.asarray(spacings, float)
    median = np.median(every, axis=0)
    chosen = median.copy()
    for axis in range(len(median)):
        if median[axis] / median.min() > ANISOTROPIC:
            chosen[axis] = np.percentile(every[:, axis], 10)
    spacing = tuple(round(float(mm), 4) for mm in chosen)
    words = " x ".join(f"{mm:.2g}" for mm in spacing)
    if np.allclose(every, spacing, rtol=1e-3):
        return spacing, f"All scans have a spacing of {words} mm and keep it."
    if np.allclose(chosen, median):
        return spacing, f"Scans are resampled to their median spacing, {words} mm."
    return spacing, (
        f"Scans are resampled to {words} mm: the median, but along the axis of the thick slices the 10th percentile."
    )


def choose_patch(found: Fingerprint, multiples: Sequence[int], batch: int) -> tuple[tuple[int, ...], str]:
    """The patch that a step sees of each scan: as much of the median scan as the machine allows, and why.

    Args:
        found: The fingerprint.
        multiples: What every side is a multiple of, axis by axis.
        batch: Patches in a step, at least.

    Returns:
        The patch and a sentence. What is too long is cut where it is longest in millimetres.
    """
    dimension = len(found.shape)
    most, reason = PATCH_PIXELS[found.device][dimension], f"the {found.device}"
    if (room := _room(found)) is not None and room / batch < most:
        most, reason = int(room / batch), f"{found.memory_gb:.0f} GB of memory"
    patch = [
        max(step, -(-int(np.ceil(side)) // step) * step) for side, step in zip(found.shape, multiples, strict=True)
    ]
    length = np.asarray(found.spacing_mm or (1.0,) * dimension)
    whole = True
    while np.prod(patch) > most and any(side > step for side, step in zip(patch, multiples, strict=True)):
        longest = [side * mm if side > step else 0.0 for side, mm, step in zip(patch, length, multiples, strict=True)]
        axis = int(np.argmax(longest))
        patch[axis] -= multiples[axis]
        whole = False
    words, median = " x ".join(map(str, patch)), " x ".join(f"{side:g}" for side in found.shape)
    if whole:
        return tuple(patch), f"Patches of {words} hold the whole of the median scan ({median})."
    share = np.prod([min(1.0, one / side) for one, side in zip(patch, found.shape, strict=True)])
    return tuple(
        patch
    ), f"Patches of {words} hold {share:.0%} of the median scan ({median}): as much as {reason} allows."


def _room(found: Fingerprint) -> float | None:
    """How many pixels of patches the memory holds in one step, or None where nobody knows."""
    if found.memory_gb is None:
        return None
    return found.memory_gb * 1e9 * MEMORY_SHARE / (found.bytes_per_pixel * KEPT)


def _scales(metadata: ModelMetadata, patch: Sequence[int], found: Fingerprint) -> list[str]:
    """What the network makes of a patch, where it was chosen how often it halves."""
    if not (levels := metadata.arguments.get("levels")):
        return []
    steps = strides_of(levels, metadata.dimension)
    coarsest = " x ".join(str(side // step) for side, step in zip(patch, metadata.multiples, strict=True))
    later = ""
    if len(set(metadata.multiples)) > 1:
        thick = found.spacing_mm and max(found.spacing_mm) / min(found.spacing_mm) > UNEQUAL
        later = f", the {'axis of the thick slices' if thick else 'axis with few pixels'} later than the others"
    return [f"The network halves a patch {len(steps)} times{later}, to {coarsest}."]


def plan_segmenter(
    metadata: ModelMetadata,
    train: Study,
    found: Fingerprint,
    asked: Asked,
    window: tuple[tuple[float, float], str],
    grid: str = "",
) -> Plan:
    """The plan for a segmenter from its study's fingerprint, with the window and the grid that were chosen and why."""
    batch_size, preset = asked.batch_size, asked.preset
    if all(side is not None for side in metadata.size):
        patch = tuple(int(side) for side in metadata.size if side is not None)
        sentence = f"Patches of {' x '.join(map(str, patch))}: the size the model was built for."
    else:
        patch, sentence = choose_patch(found, metadata.multiples, batch_size or LEAST_BATCH)
    pixels = int(np.prod(patch))
    room = _room(found)
    holds = MOST_BATCH if room is None else int(room // pixels)
    batch = batch_size or max(LEAST_BATCH, min(STEP_PIXELS[found.device] // pixels, MOST_BATCH, holds))
    steps = max(LEAST_STEPS_AN_EPOCH, -(-found.scans // batch))
    wanted = float(np.clip(SEEN_PIXELS / (pixels * batch), LEAST_STEPS, MOST_STEPS))
    main = asked.epochs or max(LEAST_EPOCHS, round(wanted / steps))
    anisotropy = max(found.spacing_mm) / min(found.spacing_mm) if found.spacing_mm else 1.0
    why = [
        window[1], preset[1], *([grid] if grid else []), sentence, *_scales(metadata, patch, found),
        *([f"One axis is {anisotropy:.1f} times coarser than another."] if anisotropy > ANISOTROPIC else []),
        f"Half of the patches are drawn around a structure, each structure equally often; {batch} patches a step, {steps} "
        f"steps an epoch, at most {main} epochs.",
    ]  # fmt: skip
    return Plan(
        batch_size=batch, epochs=main, head_epochs=0, learning_rate=asked.learning_rate or 2e-3, fine_tune=False, copies=1,
        window=window[0], units=train.units, class_weight=None, preset=preset[0].name, spacing_mm=metadata.spacing_mm,
        max_side=metadata.max_side, patch=patch, steps=steps, why=tuple(why),
    )  # fmt: skip
