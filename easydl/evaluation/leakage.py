"""What a test becomes whose images a model has seen: smaller, refused, or counted for a reason. It compares no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from easydl.errors import LeakageError
from easydl.evaluation.metric import FEW_PATIENTS
from easydl.evaluation.results import Metrics
from easydl.prediction.seen import sentence


@dataclass(frozen=True)
class Unseen:
    """The images that a test counts, and what must be said of it.

    Attributes:
        kept: bool, one for each image.
        warning: Empty where nothing has been seen.
        counted: Images that are counted although the model has seen them.
    """

    kept: np.ndarray
    warning: str = ""
    counted: int = 0

    def said(self, metrics: Metrics) -> Metrics:
        """The metrics with the warning before all others."""
        if not self.warning:
            return metrics
        return metrics.model_copy(update={"warnings": [self.warning, *metrics.warnings], "seen": self.counted})


def without_seen(seen: Sequence[str], units: pd.Series, override: str | None) -> Unseen:
    """The images of a test that the model has not seen.

    Args:
        seen: One for each image, as `easydl.prediction.seen.seen_rows` gives them.
        units: The patient of each image (the image itself where patients are not known).
        override: A reason for counting all.

    Raises:
        LeakageError: Too few patients remain, and there is no reason.
    """
    kept, said = np.array([not one for one in seen], bool), sentence(seen)
    if not said:
        return Unseen(kept)
    if (override or "").strip():
        warning = f"{said} They are counted: these numbers are of memory, not of skill. Reason given: {override}"
        return Unseen(np.ones_like(kept), warning, int((~kept).sum()))
    images, patients = int(kept.sum()), units[kept].nunique()
    if patients >= FEW_PATIENTS:
        return Unseen(kept, f"{said} They are left out: the numbers are of the other {images} images.")
    left = f"{patients} patients are left without them" if patients else "None is left without them"
    only_names = not any(one.endswith("image") for one in seen)
    do = "Give the third part of study.split(), or images of new patients."
    if only_names:
        do += " If these are other patients, whom another hospital gave the same numbers, say so with override=."
    else:
        do += " Or pass override='your reason', which stands before the numbers."
    raise LeakageError(
        f"{said} {left}.",
        f"at least {FEW_PATIENTS} patients that the model has not seen: on others it shows memory, not skill.",
        do,
    )
