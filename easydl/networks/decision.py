"""Which class, or which labels, a model's probabilities amount to: the one place that decides. It runs no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from easydl.tasks import Task

EVEN = 0.5


class Threshold(BaseModel):
    """From which probability on a class or label is called present.

    Attributes:
        value: The probability.
        n: Validation patients (or images) it was chosen on; 0 when it was not chosen.
        unit_of_n: What ``n`` counts.
        reason: Why it was not chosen, or not as it was asked for.
        rule: How it was chosen, such as ``by Youden's index``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float = Field(EVEN, gt=0, lt=1)
    n: int = Field(0, ge=0)
    unit_of_n: Literal["patients", "images"] = "patients"
    reason: str = ""
    rule: str = ""

    @property
    def number(self) -> str:
        """The probability, in two decimals where these are enough."""
        return f"{self.value:.2f}" if 0.01 <= self.value <= 0.99 else f"{self.value:.3g}"

    @property
    def text(self) -> str:
        """As in ``threshold 0.31, chosen on 24 validation patients by Youden's index``."""
        chosen = f", chosen on {self.n} validation {self.unit_of_n}" if self.n else ""
        rule = f" {self.rule}" if self.n and self.rule else ""
        return f"threshold {self.number}{chosen}{rule}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Decision:
    """How one output of a model becomes an answer.

    Attributes:
        task: Of the output.
        classes: In the order of the output.
        thresholds: Of the second of two classes, or of labels, by name; 0.5 for those that are not there.
    """

    task: Task
    classes: tuple[str, ...]
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """The threshold of every class or label, float ``(classes,)``; those of exclusive classes count for two only."""
        chosen = [self.thresholds[name].value if name in self.thresholds else EVEN for name in self.classes]
        return np.array(chosen, float)

    @property
    def positive(self) -> str | None:
        """The class that a threshold decides on: the second of two without an order."""
        two = self.task.has_classes and self.task.exclusive and not self.task.ordered and not self.task.per_pixel
        return self.classes[1] if two and len(self.classes) == 2 else None

    @property
    def decided_by_threshold(self) -> tuple[str, ...]:
        """The classes or labels that have a threshold of their own."""
        if self.positive is not None:
            return (self.positive,)
        return self.classes if self.task.has_classes and not self.task.exclusive else ()

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """Which of several labels are present, bool ``(images, labels)``."""
        return np.asarray(probabilities >= self.values)

    def classes_of(self, probabilities: np.ndarray) -> np.ndarray:
        """The class of every image, int ``(images,)``: the most probable, of two by threshold, the median of ordered."""
        if self.task.ordered:
            return median_class(probabilities)
        if self.positive in self.thresholds:
            # At 0.5 itself the first class is chosen, as everywhere.
            threshold = self.values[1]
            above = probabilities[:, 1] > threshold if threshold == EVEN else probabilities[:, 1] >= threshold
            return above.astype(int)
        return np.asarray(probabilities.argmax(axis=1))


def median_class(probabilities: np.ndarray) -> np.ndarray:
    """The median of each distribution over ordered classes, which has the least expected absolute error.

    ``probabilities`` are ``(images, classes)``, each row summing to 1. The result is the first class at which half of
    the probability is reached, int ``(images,)``.
    """
    # With room for rounding: 0.1 + 0.4 may be a little less than a half.
    return np.asarray((np.cumsum(probabilities, axis=1) < 0.5 - 1e-6).sum(axis=1))
