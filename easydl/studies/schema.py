"""What the labels of a study are: its task, its classes in order, its heads. Labels become targets here, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.studies.labels import JOIN
from easydl.tasks import Task


@dataclass(frozen=True)
class LabelSchema:
    """The meaning of a study's label columns.

    Attributes:
        task: What is to be learnt.
        classes: The classes or labels in their stored order, or the name of the value; empty for masks and heads.
        heads: For several tasks, each head's classes in order, or 1 for a value.
    """

    task: Task
    classes: Sequence[str] = ()
    heads: Mapping[str, Sequence[str] | int] = field(default_factory=dict)

    def head(self, name: str) -> LabelSchema:
        """The schema of one head alone."""
        classes = self.heads[name]
        if isinstance(classes, int):
            return LabelSchema(Task.REGRESSION, (name,))
        return LabelSchema(Task.CLASSIFICATION, tuple(classes))

    def head_rows(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """The rows labelled for one head, with its labels in the column ``label``."""
        labelled = frame[frame[name] != ""]
        return labelled.assign(label=labelled[name])

    def labelled(self, frame: pd.DataFrame) -> bool:
        """Whether every image has a label (and not a mask, or nothing)."""
        return not self.task.has_masks and ("label" in frame.columns or bool(self.heads))

    def stratified_by(self, frame: pd.DataFrame) -> tuple[Task, pd.Series]:
        """The task and labels that the parts of a split are balanced by: with several heads, those of the first."""
        if self.heads:
            name = next(iter(self.heads))
            return self.head(name).task, frame[name]
        return self.task, frame.get("label", pd.Series(dtype=str))

    def targets(self, frame: pd.DataFrame) -> Any:
        """See `Study.targets`."""
        if self.task.is_multiple:
            return {name: self.head(name)._targets(frame[name]) for name in self.heads}
        if "label" not in frame.columns or self.task.has_masks:
            raise InputError(
                "The study has no label for each image.", "classes, labels or values.", "Load a table with labels."
            )
        return self._targets(frame["label"])

    def weights(self, frame: pd.DataFrame) -> dict[str, np.ndarray] | None:
        """See `Study.target_weights`."""
        if not self.task.is_multiple:
            return None
        return {name: (frame[name] != "").to_numpy(np.float32) for name in self.heads}

    def _targets(self, cells: pd.Series) -> np.ndarray:
        """float32 ``(images, classes)``, or ``(images, 1)`` for values; a blank cell is a row of zeros."""
        if self.task.is_value:
            return pd.to_numeric(cells.replace("", "0")).to_numpy(np.float32)[:, None]
        if not self.task.exclusive:
            held = [set(cell.split(JOIN)) for cell in cells]
            rows = [[name in labels for name in self.classes] for labels in held]
            return np.array(rows, np.float32).reshape(-1, len(self.classes))
        position = {name: number for number, name in enumerate(self.classes)}
        codes = [position[cell] if cell else len(position) for cell in cells]
        return np.eye(len(position) + 1, len(position), dtype=np.float32)[codes]
