"""What each task is trained on: the loss, the metrics that are followed, and the weights of classes. It trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from easydl.errors import InputError
from easydl.networks import set_target_scale
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.training.ordinal import grade_error, ordinal_loss

KERAS_LOSSES = {
    "classification": "categorical_crossentropy", "segmentation": "categorical_crossentropy",
    "ordinal": "categorical_crossentropy", "multilabel": "binary_crossentropy", "regression": "mean_squared_error",
}  # fmt: skip
"""The loss of each task under a name that plain Keras knows, so that ``model.save`` opens anywhere without easydl."""


@dataclass(frozen=True)
class Objective:
    """What a model is compiled with.

    Attributes:
        tasks: The task, or those of several questions by name.
        loss: A Keras loss, or a dict by question.
        heads: How many outputs each question has, by name; one question is called ``""``.
    """

    tasks: Mapping[str, str]
    loss: Any
    heads: Mapping[str, int]

    def metrics(self) -> Any:
        """New Keras metrics, as a compiled model keeps those it was given."""
        found = {name: _metrics(task, self.heads[name]) for name, task in self.tasks.items()}
        return found.get("", found)

    @property
    def single(self) -> bool:
        """Whether every image is of one class, which Keras can weigh."""
        return self.tasks.get("") in ("classification", "ordinal")

    @property
    def plain(self) -> Any:
        """The loss by its Keras name."""
        return plain_losses(self.tasks)


LOSSES = {
    "classification": ("cross_entropy", "focal"),
    "multilabel": ("cross_entropy", "focal"),
    "ordinal": ("earth_mover", "cross_entropy"),
    "regression": ("huber", "squared_error", "absolute_error"),
}
"""The losses that can be asked for by name, the default first."""
FOCUS = 2.0
"""How much more the hard images count in the focal loss (gamma in Lin 2017)."""


def tasks_of(metadata: ModelMetadata) -> dict[str, str]:
    """The task, or those of several questions by name; one question is called ``""``."""
    return {name: one.task for name, one in metadata.heads.items()} or {"": metadata.task}


def plain_losses(tasks: Mapping[str, str]) -> Any:
    """The losses of tasks by their Keras names: one, or a dict by question."""
    found = {name: KERAS_LOSSES[task] for name, task in tasks.items()}
    return found.get("", found)


def objective(
    model: keras.Model,
    metadata: ModelMetadata,
    train: Study,
    class_weight: Mapping[int, float] | None,
    loss: str = "auto",
) -> Objective:
    """Choose loss and metrics by the task, and set the scale of measured targets in the model.

    Args:
        model: From `easydl.classifier`; for numbers its layer ``target_scaling`` is set from the training targets, so
            that the network learns values of mean 0 and deviation 1 whatever their unit.
        recipe: Its recipe.
        train: The training part.
        class_weight: For multilabel how much more an image with the finding counts, by the finding's number.
        loss: ``"auto"``, or a name of `LOSSES` for the model's task.

    Returns:
        The `Objective`.

    Raises:
        InputError: The task has no loss of this name.

    References:
        Lin 2017 (focal), arXiv:1708.02002; Hou 2016 (earth mover), arXiv:1611.05916.
    """
    known = LOSSES.get(metadata.task, ())
    if loss != "auto" and loss not in known:
        raise InputError(
            f"loss={loss!r} is not known for {metadata.task}.",
            f"one of {', '.join(known)}." if known else 'loss="auto": each question has its own.',
            "Choose one, or leave it out.",
        )
    tasks = tasks_of(metadata)
    sizes = {name: len(one.classes) for name, one in metadata.heads.items()} or {"": len(metadata.classes)}
    losses: dict[str, Any] = {}
    for name, task in tasks.items():
        if task == "regression":
            mean, std = _scale((train.head(name) if name else train).targets()[:, 0])
            set_target_scale(model, mean, std, head=name)
            losses[name] = scaled_error(std, loss if loss != "auto" else "huber")
        elif task == "multilabel" and class_weight:
            weights = [class_weight.get(k, 1.0) for k in range(sizes[name])]
            losses[name] = weighed_findings(weights, focus=FOCUS if loss == "focal" else 0.0)
        elif loss == "focal":
            # Classes are weighed by Keras' fit; in Keras' `alpha` a rare finding could not count more than a common one.
            focal = {
                "multilabel": keras.losses.BinaryFocalCrossentropy,
                "classification": keras.losses.CategoricalFocalCrossentropy,
            }
            losses[name] = focal[task](gamma=FOCUS)
        elif loss == "cross_entropy":
            losses[name] = KERAS_LOSSES[task]
        else:
            losses[name] = ordinal_loss if task == "ordinal" else KERAS_LOSSES[task]
    return Objective(tasks, losses.get("", losses), sizes)


def scaled_error(std: float, kind: str = "huber") -> Any:
    """A loss of the error in deviations of the training targets.

    Args:
        deviation: Standard deviation of the training targets, in their unit.
        kind: ``"huber"`` (quadratic up to one deviation, linear beyond), ``"squared_error"`` or ``"absolute_error"``.

    Returns:
        A function from ``(batch, 1)`` targets and values to ``(batch,)``.

    References:
        Huber 1964, Ann Math Stat 35:73.
    """

    each = {
        "huber": keras.losses.huber,
        "squared_error": keras.losses.mean_squared_error,
        "absolute_error": keras.losses.mean_absolute_error,
    }[kind]

    def scaled(target: Any, value: Any) -> Any:
        return each(target / std, value / std)

    return scaled


def weighed_findings(weights: list[float], *, focus: float = 0.0) -> Any:
    """Binary cross-entropy in which an image with a finding counts more than one without it.

    Args:
        weights: How much more, one number per finding.
        focus: The exponent of the focal loss; 0 for plain cross-entropy.

    Returns:
        A function from ``(batch, findings)`` targets and probabilities to ``(batch,)``.

    References:
        Lin 2017 (focal), arXiv:1708.02002, equation 5 with the weight on the finding alone.
    """
    more = np.asarray(weights, np.float32)

    def binary_crossentropy(target: Any, probability: Any) -> Any:
        probability = ops.clip(probability, 1e-7, 1 - 1e-7)
        present = more * target * (1 - probability) ** focus * ops.log(probability)
        absent = (1 - target) * probability**focus * ops.log(1 - probability)
        return -ops.mean(present + absent, axis=-1)

    return binary_crossentropy


def _metrics(task: str, outputs: int) -> list[Any]:
    if task == "regression":
        return [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]
    if task == "ordinal":
        return ["accuracy", keras.metrics.MeanMetricWrapper(grade_error, name="grade_error")]
    if task == "multilabel":
        return [keras.metrics.AUC(name="auc", num_thresholds=500, multi_label=True, num_labels=outputs)]
    return ["accuracy", keras.metrics.AUC(name="auc", num_thresholds=500)]


def _scale(values: np.ndarray) -> tuple[float, float]:
    std = float(values.std())
    return float(values.mean()), std if std > 0 else 1.0
