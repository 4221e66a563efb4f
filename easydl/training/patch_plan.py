"""The grid, patch, batch and number of steps that follow from what a segmentation study is like, with the reasons.

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
from easydl.training.plan import Plan, Settings, Window

# Pixels of a patch and of a step: what two cores work through in about half a second, and a GPU as well.
PATCH_PIXELS = {"CPU": {2: 256**2, 3: 64**3}, "GPU": {2: 512**2, 3: 128**3}}
STEP_PIXELS = {"CPU": 64**3, "GPU": 8 * 64**3}
LEAST_BATCH, MOST_BATCH = 2, 8
# Training goes on until so many pixels were seen, within bounds: small patches need more steps to see as much.
SEEN_PIXELS, LEAST_STEPS, MOST_STEPS, LEAST_STEPS_AN_EPOCH = 3.6e8, 1000, 2000, 25
LEAST_EPOCHS = 12
# The longest side of a 2D working grid; longer images keep theirs where what is thin would not survive (`full_resolution`).
SIDE_2D = 640
# Outputs of all layers are kept for the backward pass, and their gradients too; half of the memory is left alone.
KEPT, MEMORY_FRACTION = 2.0, 0.5
ANISOTROPIC = 3.0


@dataclass(frozen=True)
class Fingerprint:
    """What decides the plan of a segmentation model.

    Attributes:
        scans: Scans with a mask.
        shape: Median shape on the working grid.
        spacing_mm: The working grid's spacing, or None.
        device: ``"CPU"`` or ``"GPU"``.
        memory_gb: Memory of the machine (of the GPU where there is one), or None.
        bytes_per_pixel: Memory of all layers' outputs for one pixel of one patch.
        replicas: Devices and workers that share a step, each of which needs a patch.
    """

    scans: int
    shape: tuple[float, ...]
    spacing_mm: tuple[float, ...] | None
    device: str
    memory_gb: float | None
    bytes_per_pixel: float
    replicas: int = 1

    @property
    def pixels_that_fit(self) -> float | None:
        """Pixels of patches that the memory holds in one step, or None where nobody knows."""
        if self.memory_gb is None:
            return None
        return self.memory_gb * 1e9 * MEMORY_FRACTION / (self.bytes_per_pixel * KEPT)

    @property
    def anisotropy(self) -> float:
        """How many times coarser one axis is than another."""
        return max(self.spacing_mm) / min(self.spacing_mm) if self.spacing_mm else 1.0


def by(sides: Sequence[object]) -> str:
    """``16 x 32 x 32``."""
    return " x ".join(f"{side:g}" if isinstance(side, float) else str(side) for side in sides)


def grid_spacing(spacings: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], str]:
    """The spacing (mm) of the grid that volumes are resampled to, from those of the scans, and why.

    It is the median; along an axis that is more than three times coarser than the finest, the 10th percentile, so that
    thick slices do not throw away what thin ones show.
    """
    every = np.asarray(spacings, float)
    median = np.median(every, axis=0)
    chosen = median.copy()
    for axis in range(len(median)):
        if median[axis] / median.min() > ANISOTROPIC:
            chosen[axis] = np.percentile(every[:, axis], 10)
    spacing = tuple(round(float(mm), 4) for mm in chosen)
    text = " x ".join(f"{mm:.2g}" for mm in spacing)
    if np.allclose(every, spacing, rtol=1e-3):
        return spacing, f"All scans have a spacing of {text} mm and keep it."
    if np.allclose(chosen, median):
        return spacing, f"Scans are resampled to their median spacing, {text} mm."
    return spacing, (
        f"Scans are resampled to {text} mm: the median, but along the axis of the thick slices the 10th percentile."
    )


def choose_patch(fingerprint: Fingerprint, multiples: Sequence[int], batch_size: int) -> tuple[tuple[int, ...], str]:
    """The patch of a scan that a step sees: as much of the median scan as the machine allows, and why.

    Every side is a multiple of ``multiples``. What is too long is cut where it is longest in millimetres.
    """
    dimension = len(fingerprint.shape)
    most, reason = PATCH_PIXELS[fingerprint.device][dimension], f"the {fingerprint.device}"
    fit = fingerprint.pixels_that_fit
    if fit is not None and fit / batch_size < most:
        most, reason = int(fit / batch_size), f"{fingerprint.memory_gb:.0f} GB of memory"
    whole = [
        max(step, -(-int(np.ceil(side)) // step) * step)
        for side, step in zip(fingerprint.shape, multiples, strict=True)
    ]
    patch, mm = list(whole), fingerprint.spacing_mm or (1.0,) * dimension
    while np.prod(patch) > most and any(side > step for side, step in zip(patch, multiples, strict=True)):
        lengths = [side * one if side > step else 0.0 for side, one, step in zip(patch, mm, multiples, strict=True)]
        axis = int(np.argmax(lengths))
        patch[axis] -= multiples[axis]
    median = by(fingerprint.shape)
    if patch == whole:
        return tuple(patch), f"Patches of {by(patch)} hold the whole of the median scan ({median})."
    fraction = np.prod([min(1.0, side / full) for side, full in zip(patch, fingerprint.shape, strict=True)])
    return tuple(patch), (
        f"Patches of {by(patch)} hold {fraction:.0%} of the median scan ({median}): as much as {reason} allows."
    )


def downsampling(metadata: ModelMetadata, patch: Sequence[int], fingerprint: Fingerprint) -> list[str]:
    """How often the network downsamples a patch, for networks where this was chosen."""
    if not (levels := metadata.arguments.get("levels")):
        return []
    times = len(strides_of(levels, metadata.dimension))
    coarsest = by([side // step for side, step in zip(patch, metadata.multiples, strict=True)])
    later = ""
    if len(set(metadata.multiples)) > 1:
        thick = fingerprint.anisotropy > UNEQUAL
        later = f", the {'axis of the thick slices' if thick else 'axis with few pixels'} later than the others"
    return [f"The network downsamples a patch {times} times{later}, to {coarsest}."]


def plan_segmenter(
    metadata: ModelMetadata,
    train: Study,
    fingerprint: Fingerprint,
    settings: Settings,
    window: Window,
    grid_reason: str = "",
) -> Plan:
    """The plan for a segmentation model, with the window and the grid that were chosen and why."""
    fixed = [int(side) for side in metadata.size if side is not None]
    if len(fixed) == len(metadata.size):
        patch, reason = tuple(fixed), f"Patches of {by(fixed)}: the size the model was built for."
    else:
        patch, reason = choose_patch(fingerprint, metadata.multiples, settings.batch_size or LEAST_BATCH)
    planned = settings.batch_size or _batch_size(fingerprint, int(np.prod(patch)))
    batch = max(planned, fingerprint.replicas)
    steps = max(LEAST_STEPS_AN_EPOCH, -(-fingerprint.scans // batch))
    wanted = float(np.clip(SEEN_PIXELS / (int(np.prod(patch)) * batch), LEAST_STEPS, MOST_STEPS))
    epochs = settings.epochs or max(LEAST_EPOCHS, round(wanted / steps))
    why = [
        window.reason,
        settings.preset_reason,
        *settings.reasons,
        *([grid_reason] if grid_reason else []),
        reason,
        *downsampling(metadata, patch, fingerprint),
        f"Half of the patches are drawn around a structure, each structure equally often; {batch} patches a step, "
        f"{steps} steps an epoch, at most {epochs} epochs.",
    ]
    if batch > planned:
        why.append(f"{batch} patches a step instead of {planned}: one for each of {batch} devices.")
    if settings.batch_by_memory:
        why.append(
            f"{batch} patches a step, as asked by memory and the pixels of a step: so are patches always planned."
        )
    if fingerprint.anisotropy > ANISOTROPIC:
        why.insert(-1, f"One axis is {fingerprint.anisotropy:.1f} times coarser than another.")
    return Plan(
        batch_size=batch,
        epochs=epochs,
        learning_rate=settings.rate(2e-3, epochs * steps),
        window=window.range,
        units=train.units,
        preset=settings.preset.name,
        spacing_mm=metadata.spacing_mm,
        max_side=metadata.max_side,
        patch=patch,
        steps=steps,
        why=tuple(why),
    )


def _batch_size(fingerprint: Fingerprint, pixels: int) -> int:
    fit = fingerprint.pixels_that_fit
    memory = MOST_BATCH if fit is None else int(fit // pixels)
    return max(LEAST_BATCH, min(STEP_PIXELS[fingerprint.device] // pixels, MOST_BATCH, memory))
