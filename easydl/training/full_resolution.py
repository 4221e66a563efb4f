"""Whether long 2D images are segmented as they are, patch by patch, or downsampled: by what the masks would lose. It trains nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.intervals import Interval, bounded_mean_interval
from easydl.images.resampling import resize, resize_labels
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.sliding_window import starts
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training.patch_plan import SIDE_2D

# What is thin does not survive: in photographs of the eye vessels are 2 to 10 pixels wide.
LEAST_DICE = 0.95
# Photographs of some 2,600 pixels; at 0.05 s of processor time a window 20 s for one image (benchmarks/full_resolution.py).
MOST_WINDOWS = 400
LOOKED_AT, RESAMPLES, OVERLAP = 20, 500, 0.5


@dataclass(frozen=True)
class Resolution:
    """What was chosen.

    Attributes:
        full: Whether images are used as they are.
        reason: As the end of a sentence about the images that are longer than the working grid.
    """

    full: bool
    reason: str = f"downsampled to {SIDE_2D}."


@dataclass(frozen=True)
class Long:
    """The images of a training part that are longer than the working grid, and what their masks would lose.

    Attributes:
        windows: How many windows a prediction of their median takes at full resolution.
        fewer: The same downsampled.
        window: Side of a window, in pixels.
        structure: The class that suffers most; empty where no mask holds any.
        dice: The mean Dice of its masks, downsampled and put back, with the masks themselves; 1 where there are none.
        interval: 95% interval of that.
        n: Patients (or images) it rests on, as text.
    """

    windows: int
    fewer: int
    window: int
    structure: str = ""
    dice: float = 1.0
    interval: Interval | None = None
    n: str = ""

    @property
    def cost(self) -> str:
        """What full resolution costs."""
        times = self.windows / self.fewer
        return (
            f"a prediction of the median one then takes {self.windows} windows of {self.window} pixels instead of {self.fewer}, "
            f"{times:.1f} times as long"
        )

    @property
    def loss(self) -> str:
        """What downsampling costs."""
        if self.interval is None:
            return "no mask that was looked at holds a structure that it could take away"
        low, high = self.interval.low, self.interval.high
        between = f"95% CI {low:.3f}-{high:.3f}, " if self.interval.computable else ""
        return f"of {self.structure!r} a Dice of {self.dice:.3f} survives it ({between}{self.n}; masks downsampled and put back)"


def check_full_resolution(metadata: ModelMetadata, wanted: Any, spacing_mm: Any) -> None:
    """Refuse the option for a model that has no use for it.

    Raises:
        InputError: Not a 2D segmentation model, a grid in mm, or not one of the choices.
    """
    if wanted not in (True, False, "auto"):
        raise InputError(f"full_resolution={wanted!r} is not known.", 'True, False or "auto".', "Choose one.")
    if wanted == "auto":
        return
    if not Task(metadata.task).has_masks or metadata.dimension != 2:
        raise InputError(
            f"full_resolution={wanted} was given for a {metadata.dimension}D model whose task is {metadata.task}.",
            "a 2D segmentation model (unet).",
            "Leave it out: volumes are always used at their own spacing, patch by patch, and other models have their size.",
        )
    if spacing_mm is not None:
        raise InputError(
            f"full_resolution={wanted} and spacing_mm were given together.",
            "one of the two: both say on which grid the images are used.",
            "Leave one out.",
        )


def choose_resolution(wanted: bool | str, train: Study, metadata: ModelMetadata, window: int) -> Resolution:
    """Whether the images of a training part are used as they are, and why.

    Args:
        wanted: True, False, or ``"auto"``: where a structure would not survive downsampling and a prediction is affordable.
        train: The training part.
        metadata: Of the model; its classes.
        window: Side of a patch, in pixels.
    """
    long = measured(train, metadata, window)
    if long is None:
        return Resolution(wanted is True)
    if wanted is False:
        return Resolution(False, f"downsampled to {SIDE_2D}, as asked: {long.loss}.")
    full = Resolution(True, f"used at full resolution, patch by patch: {long.loss}, and {long.cost}.")
    if wanted is True:
        return full
    if long.dice >= LEAST_DICE:
        return Resolution(False, f"downsampled to {SIDE_2D}: {long.loss}.")
    if long.windows <= MOST_WINDOWS:
        return full
    return Resolution(
        False,
        f"downsampled to {SIDE_2D}, although {long.loss}: at full resolution {long.cost}, which is more than {MOST_WINDOWS} "
        "windows. full_resolution=True does it.",
    )


def measured(train: Study, metadata: ModelMetadata, window: int) -> Long | None:
    """The long images of a training part; None where there are none. Up to 20 masks are looked at."""
    rows = [row for row in range(len(train)) if train.has_mask(row)]
    looked_at = (
        [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, LOOKED_AT).astype(int))] if rows else []
    )
    masks = [
        mask for mask in train.each(lambda row: (row, train.reference(row)), looked_at) if max(mask[1].shape) > SIDE_2D
    ]
    if not masks:
        return None
    found = [one for row, mask in masks for one in _survivals(row, mask, train)]
    median = tuple(int(np.median(sides)) for sides in zip(*(mask.shape for _, mask in masks), strict=True))
    facts = Long(_windows(median, window), _windows(_reduced(median), window), window)
    if not found:
        return facts
    frame = pd.DataFrame(found)
    structure = int(frame.groupby("class")["dice"].mean().to_numpy().argmin())
    worst = frame[frame["class"] == np.unique(frame["class"])[structure]]
    by_patient = worst.groupby("patient")["dice"].agg(["sum", "count"]).to_numpy(float)
    return replace(
        facts,
        structure=metadata.classes[int(worst["class"].iloc[0])],
        dice=float(worst["dice"].mean()),
        interval=bounded_mean_interval(by_patient[:, 0], by_patient[:, 1], resamples=RESAMPLES),
        n=f"{len(by_patient)} {'patients' if train.patients_known else 'images'}",
    )


def survival(mask: np.ndarray, value: int) -> float:
    """The Dice of one class of a mask with itself, downsampled as for training and put back as a prediction is."""
    small = resize_labels(mask, _reduced(mask.shape))
    back = resize((small == value).astype(np.float32)[..., None], mask.shape)[..., 0] > 0.5
    inside = mask == value
    return 2 * float((back & inside).sum()) / float(back.sum() + inside.sum())


def _survivals(row: int, mask: np.ndarray, train: Study) -> list[dict[str, Any]]:
    patient = str(train.frame["patient"].iloc[row]) if train.patients_known else str(row)
    return [
        {"patient": patient, "class": int(value), "dice": survival(mask, int(value))}
        for value in np.unique(mask[mask > 0])
    ]


def _reduced(shape: tuple[int, ...]) -> tuple[int, ...]:
    longest = max(shape)
    return shape if longest <= SIDE_2D else tuple(max(2, round(side * SIDE_2D / longest)) for side in shape)


def _windows(shape: tuple[int, ...], window: int) -> int:
    return prod(len(starts(side, min(window, side), OVERLAP)) for side in shape)
