"""What becomes of a test whose images a model has seen: smaller, refused, counted for a reason. It compares no image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from easydl.errors import LeakageError
from easydl.evaluation.metric import FEW_PATIENTS
from easydl.evaluation.results import Metrics
from easydl.prediction.seen import sentence

OTHERS = "If they are other people, whom another hospital gave the same numbers, say so with override= (--override)."


@dataclass(frozen=True)
class Unseen:
    """The images that a test counts, and what must be said of it.

    Attributes:
        kept: bool, one for each image.
        warning: Empty where nothing has been seen.
        counted: Images that are counted although the model has seen these very images.
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
    # Two hospitals number their patients alike; the same pixels are the same image.
    images = sum(one.endswith("image") for one in seen)
    if (override or "").strip():
        counted = "They are counted: these numbers are of memory, not of skill." if images else "They are counted."
        return Unseen(np.ones_like(kept), f"{said} {counted} Reason given: {override}", images)
    patients = units[kept].nunique()
    if patients >= FEW_PATIENTS:
        left = f"They are left out: the numbers are of the other {int(kept.sum())} images."
        return Unseen(kept, f"{said} {left}" if images else f"{said} {left} {OTHERS}")
    left = f"{patients} patients are left without them" if patients else "None is left without them"
    reason = "Or pass override='your reason', which stands before the numbers." if images else OTHERS
    raise LeakageError(
        f"{said} {left}.",
        f"at least {FEW_PATIENTS} patients that the model has not seen: on others it shows memory, not skill.",
        f"Give the third part of study.split(), or images of new patients. {reason}",
    )
