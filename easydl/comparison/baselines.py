"""The baselines: what each is shown of an image, and how it learns from it. They measure nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from easydl.comparison.frozen import Backbone, backbone_here, frozen_features
from easydl.comparison.readable import NAMES, readable_features
from easydl.errors import WeightsError
from easydl.studies.thumbnails import in_parts, in_units, local_means
from easydl.training import estimators
from easydl.training.estimators import Problem
from easydl.traps.fields import fields, says_the_label

if TYPE_CHECKING:
    from easydl.studies import Study

THUMBNAIL = 8
"""Of the audit's own baseline: too small for a lesion, large enough for how a scanner frames and exposes."""
MOST_NAMED = 6


class LeftOut(Exception):
    """A baseline that this study does not allow, with the reason."""


@dataclass(eq=False)
class BaselineInputs:
    """What baselines are shown of every image of a study, each made when it is first asked for. No label is looked at.

    Args:
        study: All rows, whichever part they are in.
        backbone: Of the frozen features; None for that which `backbone_here` finds.
    """

    study: Study
    backbone: Backbone | None = None
    notes: dict[str, str] = field(default_factory=dict)
    _made: dict[str, np.ndarray] = field(default_factory=dict)

    def values(self, name: str) -> np.ndarray:
        """float ``(rows, features)`` of one kind.

        Raises:
            LeftOut: The study has none.
        """
        if name not in self._made:
            self._made[name] = getattr(self, f"_{name}")()
        return self._made[name]

    def _nothing(self) -> np.ndarray:
        return np.empty((len(self.study), 0))

    def _metadata(self) -> np.ndarray:
        same = {f"the column {column!r}" for column in says_the_label(self.study)} if self._labelled else set()
        known = [one for one in fields(self.study) if one.kind != "order" and one.features.shape[1]]
        known = [one for one in known if one.name not in same]
        if not known:
            raise LeftOut("the table and the files have nothing but images, labels and patients that varies")
        names = [one.name.removeprefix("the column ").strip("'") for one in known]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        self.notes["metadata"] = f"{', '.join(names[:MOST_NAMED])}{more}"
        return np.concatenate([one.features for one in known], axis=1)

    @property
    def _labelled(self) -> bool:
        return "label" in self.study.frame.columns

    def _thumbnail(self) -> np.ndarray:
        return np.concatenate([local_means(in_units(*part), THUMBNAIL) for part in in_parts(self.study.facts())])

    def _readable(self) -> np.ndarray:
        return readable_features(self.study.facts())

    def _frozen(self) -> np.ndarray:
        backbone = self.backbone or backbone_here(self.study)
        if backbone is None:
            raise LeftOut("no pretrained weights are on this computer (easydl weights lists them)")
        try:
            found = frozen_features(self.study, backbone)
        except WeightsError as problem:
            raise LeftOut(f"the weights of {backbone.text} are not on this computer") from problem
        self.notes["frozen"] = f"{backbone.text}, {found.shape[1]} features"
        return found


@dataclass(frozen=True)
class Baseline:
    """One baseline.

    Attributes:
        name: What the user types.
        text: What it is, as text.
        needs: What it is shown: a kind of `BaselineInputs`.
        learn: How it learns: a function of features, problem, training rows and seed.
    """

    name: str
    text: str
    needs: str
    learn: Callable[[np.ndarray, Problem, np.ndarray, int], np.ndarray]

    def outputs(self, inputs: BaselineInputs, problem: Problem, train: np.ndarray, seed: int) -> np.ndarray:
        """What it says of every row, having learnt from the training rows.

        Args:
            inputs: Of all rows.
            problem: The labels of all rows; those outside ``train`` are not looked at.
            train: bool ``(rows,)``.
            seed: Of folds and trees.

        Returns:
            float ``(rows, classes)`` probabilities, or ``(rows, 1)`` values.

        Raises:
            LeftOut: The study does not allow it.
        """
        return self.learn(inputs.values(self.needs), problem, train, seed)

    def title(self, inputs: BaselineInputs | None = None) -> str:
        """What it is, with what it was shown where that differs between studies."""
        said = inputs.notes.get(self.needs) if inputs is not None else None
        return f"{self.text} ({said})" if said else self.text


def _constant(values: np.ndarray, problem: Problem, train: np.ndarray, seed: int) -> np.ndarray:
    return estimators.constant(problem, train)


def _linear_of_network(values: np.ndarray, problem: Problem, train: np.ndarray, seed: int) -> np.ndarray:
    return estimators.linear(values, problem, train, seed, one_unit=True)


BASELINES: dict[str, Baseline] = {
    one.name: one
    for one in (
        Baseline("prevalence", "the same answer for every image", "nothing", _constant),
        Baseline("metadata", "metadata only: the table and the files' headers", "metadata", estimators.linear),
        Baseline("thumbnail", f"a thumbnail of {THUMBNAIL} x {THUMBNAIL} pixels", "thumbnail", estimators.linear),
        Baseline("forest", f"random forest on {len(NAMES)} readable features", "readable", estimators.forest),
        Baseline("features", "logistic regression on frozen features", "frozen", _linear_of_network),
    )
}
"""By name, from the simplest."""
