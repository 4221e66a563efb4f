"""What each task is trained on: the loss, the metrics that are followed, and the weights of classes. It trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from easydl.networks import set_target_scale
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training.coach import chance_losses, chance_of_labels
from easydl.training.loss_names import LOSSES, check_loss
from easydl.training.losses import ordinal_error, ordinal_loss, scaled_error, weighted_binary_cross_entropy

KERAS_LOSSES = {
    Task.CLASSIFICATION: "categorical_crossentropy",
    Task.ORDINAL: "categorical_crossentropy",
    Task.MULTILABEL: "binary_crossentropy",
    Task.REGRESSION: "mean_squared_error",
    Task.SEGMENTATION: "categorical_crossentropy",
    Task.RECONSTRUCTION: "mean_absolute_error",
}
"""The loss of each task under a name that plain Keras knows, so that ``model.save`` opens anywhere without easydl."""
GAMMA = 2.0
"""How much more the hard images count in the focal loss (Lin 2017, arXiv:1708.02002)."""
METRICS: Mapping[Task, Callable[[int], list[Any]]] = {
    Task.CLASSIFICATION: lambda outputs: ["accuracy", keras.metrics.AUC(name="auc", num_thresholds=500)],
    Task.ORDINAL: lambda outputs: ["accuracy", keras.metrics.MeanMetricWrapper(ordinal_error, name="ordinal_error")],
    Task.MULTILABEL: lambda outputs: [
        keras.metrics.AUC(name="auc", num_thresholds=500, multi_label=True, num_labels=outputs)
    ],
    Task.REGRESSION: lambda outputs: [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")],
}
"""The metrics of each task, from its number of outputs."""


@dataclass(frozen=True)
class Objective:
    """What is minimised and followed.

    Attributes:
        learner: The model, or a twin with more outputs that shares its weights.
        loss: A Keras loss, or a dict by output.
        metrics: Makes new Keras metrics, as a compiled model keeps those it was given.
        plain: The model's loss by its Keras name, or a dict by output.
        adapt: From a dataset of (input, target) to that of the learner.
        monitor: The value whose lowest epoch is kept.
        one_class: Every image is of one class, which Keras can weight.
        xla: Whether the loss can be compiled by XLA where there is a GPU.
        of_batch: Whether the loss is one of the whole batch, for which replicas sum what each of them has seen.
        chance: The losses, in training and validation, of the best answer that is the same for every image; None where
            that is not known.
    """

    learner: keras.Model
    loss: Any
    metrics: Callable[[], Any]
    plain: Any
    adapt: Callable[[Any], Any] = lambda data: data
    monitor: str = "val_loss"
    one_class: bool = False
    xla: bool = True
    of_batch: bool = False
    chance: tuple[float, float] | None = None

    def followed(self) -> dict[str, Any]:
        """The metrics as ``compile`` takes them. Several heads are weighted, 0 where an image has no label for one."""
        metrics = self.metrics()
        return {"weighted_metrics" if isinstance(metrics, dict) else "metrics": metrics}


def tasks_of(metadata: ModelMetadata) -> dict[str, Task]:
    """The task of each head by name; that of a model with a single head is called ``""``."""
    return {name: Task(head.task) for name, head in metadata.heads.items()} or {"": Task(metadata.task)}


def by_output(values: Mapping[str, Any]) -> Any:
    """One value for a model with a single head, else the dict by head."""
    return values.get("", values)


def plain_losses(tasks: Mapping[str, Task]) -> Any:
    """The losses of tasks by their Keras names: one, or a dict by head."""
    return by_output({name: KERAS_LOSSES[task] for name, task in tasks.items()})


def classifier_objective(
    model: keras.Model,
    metadata: ModelMetadata,
    train: Study,
    class_weight: Mapping[int, float] | None,
    loss: Any = "auto",
    with_own: Callable[[list[Any]], list[Any]] = list,
) -> Objective:
    """Choose loss and metrics by the task, and set the scale of measured targets in the model.

    With it the network learns values of mean 0 and standard deviation 1 whatever their unit. ``class_weight`` acts here
    for multilabel (how much more an image with the label counts); Keras' `fit` weights the classes of other tasks. An own
    ``loss`` is taken as it is: values are then in their own unit. ``with_own`` adds the user's metrics to those of a task.

    Raises:
        InputError: The task has no loss of this name.
    """
    if isinstance(loss, str):
        check_loss(loss, Task(metadata.task))
    tasks = tasks_of(metadata)
    outputs = {name: len(head.classes) for name, head in metadata.heads.items()} or {"": len(metadata.classes)}
    losses: dict[str, Any] = {}
    for name, task in tasks.items():
        if task.is_value:
            mean, std = _scale((train.head(name) if name else train).targets()[:, 0])
            set_target_scale(model, mean, std, head=name)
            losses[name] = (
                scaled_error(std, LOSSES[task][0] if loss == "auto" else loss) if isinstance(loss, str) else loss
            )
        elif not isinstance(loss, str):
            losses[name] = loss
        elif task is Task.MULTILABEL and class_weight:
            weights = [class_weight.get(k, 1.0) for k in range(outputs[name])]
            losses[name] = weighted_binary_cross_entropy(weights, gamma=GAMMA if loss == "focal" else 0.0)
        else:
            losses[name] = _class_loss(task, loss)
    return Objective(
        learner=model,
        loss=by_output(losses),
        metrics=lambda: by_output({name: with_own(METRICS[task](outputs[name])) for name, task in tasks.items()}),
        plain=plain_losses(tasks),
        one_class="" in tasks and tasks[""].exclusive,
        xla=isinstance(loss, str),
        chance=_chance(train, class_weight, losses.get("")),
    )


def _chance(train: Study, class_weight: Mapping[int, float] | None, loss: Any) -> tuple[float, float] | None:
    """What knowing nothing costs, of the losses for which that is a plain number of the labels."""
    if loss == KERAS_LOSSES[Task.CLASSIFICATION]:
        return chance_losses(train.targets(), class_weight)
    if loss == KERAS_LOSSES[Task.MULTILABEL]:
        return (chance_of_labels(train.targets()),) * 2
    return None


def _class_loss(task: Task, loss: str) -> Any:
    if loss == "focal":
        # Classes are weighted by Keras' fit; in Keras' `alpha` a rare class could not count more than a common one.
        focal = keras.losses.CategoricalFocalCrossentropy if task.exclusive else keras.losses.BinaryFocalCrossentropy
        return focal(gamma=GAMMA)
    return ordinal_loss if task.ordered and loss != "cross_entropy" else KERAS_LOSSES[task]


def _scale(values: np.ndarray) -> tuple[float, float]:
    std = float(values.std())
    return float(values.mean()), std if std > 0 else 1.0
