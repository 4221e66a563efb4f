"""One question out of a model's answers: all classes, one class or label against the rest, a value. It calls no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.explanation.targets import Head, head_of
from easydl.networks.decision import Decision
from easydl.prediction.results import Predictions
from easydl.studies.labels import JOIN
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.networks.metadata import ModelMetadata


@dataclass(frozen=True)
class Question:
    """What is asked of a model.

    Attributes:
        head: Of several the one that answers, otherwise the only one.
        chosen: The class or label that is asked about; empty for all of them and for a value.
        decision: How the head's probabilities become answers.
    """

    head: Head
    chosen: str
    decision: Decision

    @property
    def name(self) -> str:
        """As in ``cancer: yes``; empty where a model has one task and all of its classes are meant."""
        if self.head.task.is_value:
            return self.head.name or self.head.classes[0]
        return ": ".join(filter(None, [self.head.name, self.chosen]))

    def of(self, predictions: Predictions) -> Predictions:
        """The predictions of this question alone; of one class or label those of two classes, the other called ``not``."""
        one = predictions.head(self.head.name) if self.head.name else predictions
        if not self.chosen:
            return one
        score = one.frame[f"p({self.chosen})"].to_numpy(float)
        names = (f"not {self.chosen}", self.chosen)
        columns = {"prediction": _named(self._called(one), names)}
        if "label" in one.frame.columns:
            cells = one.frame["label"].astype(str)
            here = np.array([self.chosen in cell.split(JOIN) for cell in cells])
            empty = (cells.str.strip() == "").to_numpy() & self.head.task.exclusive
            columns["label"] = np.where(empty, "", _named(here, names))
        kept = one.frame[[name for name in one.frame.columns if name not in ("confidence", "spread", "set")]]
        frame = kept.drop(columns=[name for name in kept.columns if name.startswith("p(")])
        frame = frame.assign(**columns, **{f"p({names[0]})": 1 - score, f"p({names[1]})": score})
        own = {name: value for name, value in one.thresholds.items() if name == self.chosen}
        return replace(one, frame=frame, classes=names, task=str(Task.CLASSIFICATION), thresholds=own)

    def _called(self, one: Predictions) -> np.ndarray:
        place = self.head.classes.index(self.chosen)
        probabilities = one.frame[[f"p({name})" for name in self.head.classes]].to_numpy(float)
        if self.head.task.exclusive:
            return self.decision.classes_of(probabilities) == place
        return self.decision.labels(probabilities)[:, place]


def question_of(metadata: ModelMetadata, target: str | None) -> Question:
    """What ``target`` means for a model.

    Raises:
        InputError: The model has no such task, class or label, or its answers are masks or images.
    """
    if Task(metadata.task).per_pixel:
        raise InputError(
            f"The model's task is {metadata.task}.",
            "a model that gives one answer for an image.",
            "Use easydl.saliency for a segmentation model.",
        )
    head, index = head_of(metadata, target)
    chosen = "" if index is None or head.task.is_value else head.classes[index]
    return Question(head, chosen, metadata.decision(head.name))


def units_of(predictions: Predictions) -> pd.Series:
    """What is counted and drawn: the patient of every row, or the row itself where patients are not known."""
    frame = predictions.frame
    return frame["patient"].astype(str) if predictions.patients_known else frame.index.to_series().astype(str)


def _named(here: np.ndarray, names: tuple[str, str]) -> np.ndarray:
    return np.where(here, names[1], names[0]).astype(object)
