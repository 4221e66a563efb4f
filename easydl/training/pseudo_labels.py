"""Pseudo-labels: a classifier learns on from images without labels, taking what it is sure of for their labels.

Lee 2013, Pseudo-label, ICML workshop on challenges in representation learning. The labels are made once, by the network that
learned from the labelled images; later epochs are kept only where they lower the validation loss.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from easydl.networks import unfreeze
from easydl.prediction import compiled
from easydl.prediction.calling import with_covariates
from easydl.prediction.covariates import study_covariates
from easydl.studies import Study
from easydl.studies.dataset import decode
from easydl.tasks import Task
from easydl.training import loop
from easydl.training.classification import FEATURE_BATCH, ClassifierFeeder
from easydl.training.loop import Data, Stage
from easydl.training.objective import Objective
from easydl.training.pipeline import image_feed, image_sample
from easydl.training.quick_result import gain

SURE = 0.9
"""From which probability on an answer is taken for a label; of several labels all have to be as sure, present or absent."""
STAGE = "pseudo-labels"


class PseudoLabelFeeder(ClassifierFeeder):
    """Feeds the labelled images first, then these and the ones that the network is sure of."""

    def __init__(self, *given: Any, pool: Study) -> None:
        super().__init__(*given)
        self.pool = pool

    def stages(self, objective: Objective, data: Data, key: str) -> None:
        """As every classifier, and one more stage on labels and pseudo-labels."""
        super().stages(objective, data, key)
        if not self.progress.stopped:
            self._go_on(objective, data)

    def _go_on(self, objective: Objective, data: Data) -> None:
        images, covariates = self._pool_images(), study_covariates(self.model, self.pool)
        found = np.concatenate(
            [
                np.asarray(
                    compiled(self.model)(with_covariates(batch, None if covariates is None else covariates[rows]))
                )
                for rows, batch in _batches(images)
            ]
        )
        task = Task(self.metadata.task)
        sure, labels = pseudo_labels(found, task)
        counted = ", ".join(
            f"{name} {int(n)}" for name, n in zip(self.metadata.classes, labels[sure].sum(axis=0), strict=True)
        )
        if not sure.any():
            self.explain(
                f"Of {len(sure)} unlabelled images the network is sure (probability {SURE:g} or more) of none: nothing was "
                "learned from them."
            )
            return
        before, losses = min(self.progress.lowest(name) for name in ("head", "train", "fine-tune")), self._losses()
        learn, rows = self.learn, np.flatnonzero(sure)
        targets = np.concatenate([learn.targets, labels[rows]])
        weights = np.concatenate([self._label_weights(), self._pseudo_weights(labels[rows])]).astype(np.float32)
        joined = Joined(learn.images, images, rows)
        inputs: Any = joined
        if learn.covariates is not None and covariates is not None:
            inputs = {"image": joined, "covariates": np.concatenate([learn.covariates, covariates[rows]])}
        plan = self.plan
        self.progress.say(f"Pseudo-labels for {len(rows)} of {len(sure)} unlabelled images ({counted}).")
        options: dict[str, Any] = {"seed": self.settings.seed, "weights": weights, "augment": self.augment}
        feed = partial(image_feed, inputs, targets, plan.batch_size, **options)
        sample = image_sample(inputs, FEATURE_BATCH, seed=self.settings.seed)
        if plan.strategy != "scratch":
            unfreeze(self.model, plan.stages)
        self.frozen = None
        best = before if np.isfinite(before) else None
        stage = Stage(STAGE, plan.epochs, -(-len(joined) // plan.batch_size), plan.learning_rate, best=best)
        loop.run_stage(stage, objective, Data(feed, data.validation, sample, len(joined)), self.progress)
        after = self.progress.lowest(STAGE)
        kept = after < before
        self.explain(
            f"Of {len(sure)} unlabelled images the network was sure (probability {SURE:g} or more) of {len(rows)} ({counted}); "
            f"together they counted as much as the labelled ones at most. Learning on with them "
            + (
                f"lowers the loss of the validation part by {gain(losses, self._losses(), self.val, self.settings.seed)[1]}, and is kept."
                if kept
                else "does not lower the loss of the validation part, so what was learned from the labels alone is kept."
            )
        )

    def _pool_images(self) -> Any:
        size = tuple(int(side) for side in self.metadata.size if side is not None)
        options: dict[str, Any] = {"channels": self.metadata.channels, "normalise": self.metadata.normalise}
        return decode(self.pool, size=size, units=self.train.units, **options)

    def _label_weights(self) -> np.ndarray:
        targets, by_class = self.learn.targets, self.plan.class_weight
        if not (by_class and Task(self.metadata.task).exclusive):
            return np.ones(len(targets))
        return np.asarray(targets @ np.array([by_class[k] for k in sorted(by_class)]))

    def _pseudo_weights(self, labels: np.ndarray) -> np.ndarray:
        """All of them together count as much as the labelled images at most, class by class in the same proportions."""
        own = self._label_weights()
        if not Task(self.metadata.task).exclusive:
            return np.full(len(labels), min(1.0, own.sum() / len(labels)))
        of_class = own @ self.learn.targets
        return np.asarray(labels @ np.minimum(1.0, of_class / np.maximum(labels.sum(axis=0), 1)))


class Joined:
    """Images of two arrays, the second by some of its rows, as one that is read a batch at a time."""

    def __init__(self, first: Any, second: Any, rows: np.ndarray) -> None:
        self.first, self.second, self.rows = first, second, rows
        self.shape = (len(first) + len(rows), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        out = np.empty((len(rows), *self.shape[1:]), np.float32)
        own = rows < len(self.first)
        out[own] = self.first[rows[own]]
        out[~own] = self.second[self.rows[rows[~own] - len(self.first)]]
        return out


def pseudo_labels(probabilities: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Of which images a network is sure, bool ``(images,)``, and the labels that its answers amount to, ``(images, classes)``."""
    if task.exclusive:
        labels = np.eye(probabilities.shape[1], dtype=np.float32)[probabilities.argmax(axis=1)]
        return probabilities.max(axis=1) >= SURE, labels
    return (np.maximum(probabilities, 1 - probabilities) >= SURE).all(axis=1), (probabilities > 0.5).astype(np.float32)


def _batches(images: Any) -> Any:
    for begin in range(0, len(images), FEATURE_BATCH):
        rows = np.arange(begin, min(begin + FEATURE_BATCH, len(images)))
        yield rows, np.asarray(images[rows], np.float32)
