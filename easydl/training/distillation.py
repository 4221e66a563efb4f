"""Distillation: a small network learns from the labels and from what a larger one, its teacher, answers.

The teacher's probabilities say which mistakes are near misses; a temperature makes the small ones count.
Hinton, Vinyals and Dean 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from easydl.networks import metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.prediction import compiled
from easydl.prediction.calling import with_covariates
from easydl.prediction.covariates import study_covariates
from easydl.studies import Study
from easydl.studies.dataset import decode
from easydl.tasks import Task
from easydl.training.classification import FEATURE_BATCH, ClassifierFeeder
from easydl.training.loop import Data
from easydl.training.objective import Objective, by_output, tasks_of
from easydl.training.pipeline import image_feed
from easydl.training.plan import Plan, Window

TEMPERATURE, SOFT = 3.0, 0.7
"""What logits are divided by, and how much of the loss is of the teacher's answers."""
SMALLEST = 1e-7


class TaughtFeeder(ClassifierFeeder):
    """Feeds the labels with the teacher's answers beside them; validation goes by the labels alone."""

    def __init__(self, *given: Any, teacher: Any) -> None:
        super().__init__(*given)
        self.teacher = teacher
        # A linear model on frozen features, which "auto" would leave it at, has no use for a teacher.
        if self.metadata.pretrained and self.settings.asked == "auto":
            self.settings = replace(self.settings, strategy="finetune")

    def choose(self, window: Window) -> Plan:
        """The plan of a classifier, and what the teacher adds."""
        values = all(task.is_value for task in tasks_of(self.metadata).values())
        heat = "" if values else f", at a temperature of {TEMPERATURE:g}"
        return super().choose(window).because(
            f"The teacher ({self.teacher.name}, {self.teacher.count_params():,} parameters) answered the {len(self.train)} "
            f"training images once; {100 * SOFT:.0f}% of the loss is of its answers{heat}, the rest of the labels."
        )  # fmt: skip

    def objective(self) -> Objective:
        """The loss of the task, joined by the distance from the teacher's answers."""
        plain = super().objective()
        self.one_class = plain.one_class
        tasks, outputs = tasks_of(self.metadata), _outputs(self.metadata)
        losses = plain.loss if isinstance(plain.loss, dict) else {"": plain.loss}
        taught = {name: taught_loss(task, losses[name], outputs[name]) for name, task in tasks.items()}
        metrics = plain.metrics

        def on_labels() -> Any:
            made = metrics()
            by_head = made if isinstance(made, dict) else {"": made}
            return by_output({name: [OnLabels(one, outputs[name]) for one in by_head[name]] for name in outputs})

        return replace(plain, loss=by_output(taught), metrics=on_labels, one_class=False, chance=None)

    def data(self) -> Data:
        """Each target followed by the teacher's answer."""
        data = super().data()
        self.progress.say("The teacher answers the training images.")
        self.soft = answers(self.teacher, self.train, self.metadata)
        packed = tf.nest.map_structure(
            lambda hard, soft: np.concatenate([hard, soft], -1), self.learn.targets, self.soft
        )
        options: dict[str, Any] = {"seed": self.settings.seed, "weights": self._weights(), "augment": self.augment}
        return replace(data, feed=partial(image_feed, self.learn.inputs(), packed, self.plan.batch_size, **options))

    def targets(self) -> Any:
        """As of every classifier, and the teacher's answers: a training with another teacher is another training."""
        return [*super().targets(), self.soft]

    def _weights(self) -> Any:
        """Of each image, by its class: Keras would look for the class in the teacher's answers, too."""
        if not (self.one_class and self.plan.class_weight):
            return self.learn.weights
        return (self.learn.targets @ _every(self.plan.class_weight)).astype(np.float32)

    def _train_head(self, objective: Objective, class_weight: dict[int, float] | None) -> None:
        # The head of a pretrained network learns from the labels alone.
        super()._train_head(objective, self.plan.class_weight if self.one_class else None)


def answers(teacher: Any, study: Study, student: ModelMetadata) -> Any:
    """What a teacher says of every image of a study, softened, as float32 targets in the order of the student's classes."""
    metadata, call = metadata_of(teacher), compiled(teacher)
    size = tuple(int(side) for side in metadata.size if side is not None)
    images = decode(study, size=size, channels=metadata.channels, units=metadata.units, normalise=metadata.normalise)
    covariates = study_covariates(teacher, study)
    found = []
    for begin in range(0, len(study), FEATURE_BATCH):
        rows = np.arange(begin, min(begin + FEATURE_BATCH, len(study)))
        batch = with_covariates(np.asarray(images[rows], np.float32), None if covariates is None else covariates[rows])
        found.append(tf.nest.map_structure(np.asarray, call(batch)))
    joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *found)
    by_head = joined if isinstance(joined, dict) else {"": joined}
    soft = {}
    for name, task in tasks_of(student).items():
        classes, theirs = _classes(student, name), _classes(metadata, name)
        order = [0] if task.is_value else [theirs.index(one) for one in classes]
        soft[name] = softened(by_head[name][:, order], task)
    return by_output(soft)


def softened(probabilities: np.ndarray, task: Task, temperature: float = TEMPERATURE) -> np.ndarray:
    """Probabilities as they were if their logits were divided by a temperature; values stay as they are."""
    if task.is_value:
        return probabilities.astype(np.float32)
    logs = np.log(np.clip(probabilities.astype(np.float64), SMALLEST, 1)) / temperature
    if task.exclusive:
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    absent = np.log(np.clip(1 - probabilities.astype(np.float64), SMALLEST, 1)) / temperature
    return (1 / (1 + np.exp(absent - logs))).astype(np.float32)


def taught_loss(task: Task, hard: Any, outputs: int) -> Callable[[Any, Any], Any]:
    """The loss of the labels and, where they follow the labels, of the teacher's answers, each image by itself.

    Logits are found again from probabilities up to what a softmax does not see. The soft part counts by the square of the
    temperature, by which its gradients are smaller.
    """
    of_labels = keras.losses.get(hard)
    of_labels = of_labels.call if isinstance(of_labels, keras.losses.Loss) else of_labels

    def loss(target: Any, answer: Any) -> Any:
        own = of_labels(target[..., :outputs], answer)
        if target.shape[-1] == outputs:
            return own
        soft = target[..., outputs:]
        if task.is_value:
            return (1 - SOFT) * own + SOFT * of_labels(soft, answer)
        logs = ops.log(ops.clip(answer, SMALLEST, 1.0)) / TEMPERATURE
        if task.exclusive:
            apart = -ops.sum(soft * ops.log_softmax(logs, axis=-1), axis=-1)
        else:
            logits = logs - ops.log(ops.clip(1.0 - answer, SMALLEST, 1.0)) / TEMPERATURE
            apart = ops.mean(ops.binary_crossentropy(soft, logits, from_logits=True), axis=-1)
        return (1 - SOFT) * own + SOFT * TEMPERATURE**2 * apart

    return loss


class OnLabels(keras.metrics.Metric):
    """A metric of the labels, which stand before the teacher's answers."""

    def __init__(self, metric: Any, outputs: int) -> None:
        inner = keras.metrics.CategoricalAccuracy(name="accuracy") if metric == "accuracy" else metric
        super().__init__(name=inner.name)
        self.inner, self.outputs = inner, outputs

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        self.inner.update_state(y_true[..., : self.outputs], y_pred, sample_weight)

    def result(self) -> Any:
        """Of all batches."""
        return self.inner.result()

    def reset_state(self) -> None:
        """Forget them."""
        self.inner.reset_state()


def _outputs(metadata: ModelMetadata) -> dict[str, int]:
    return {name: len(_classes(metadata, name)) for name in (list(metadata.heads) or [""])}


def _classes(metadata: ModelMetadata, name: str) -> tuple[str, ...]:
    return metadata.heads[name].classes if name else metadata.classes


def _every(by_class: Mapping[int, float]) -> np.ndarray:
    return np.array([by_class[k] for k in sorted(by_class)], np.float32)
