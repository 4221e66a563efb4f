"""One stage of training: compile, early stopping, checkpoint, progress, and Keras' own `fit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from easydl.errors import ModelError
from easydl.training.averaging import Averaged
from easydl.training.callbacks import Progress
from easydl.training.checkpoint import NAME, Checkpoint, load_checkpoint
from easydl.training.objective import Objective

SETTLE_STEPS = 50


@dataclass(frozen=True)
class Stage:
    """One run of Keras' `fit`.

    Attributes:
        name: As in history.csv: ``"head"``, ``"fine-tune"`` or ``"train"`` (from random).
        epochs: The maximum number of epochs.
        steps: Steps in an epoch, for the learning-rate schedule.
        learning_rate: Its peak.
        patience: Epochs without improvement before stopping; half of ``epochs`` and at least 5 when not given.
        class_weight: Weight of each class.
        average: Whether an average of the weights of the epochs is validated, and so kept, instead of each epoch's.
        best: The validation loss of the weights it begins with: they are kept unless an epoch is better. None for
            weights that were never validated.
        silent: No bar and no lines by Keras.
    """

    name: str
    epochs: int
    steps: int
    learning_rate: float
    patience: int | None = None
    class_weight: dict[int, float] | None = None
    average: bool = False
    best: float | None = None
    silent: bool = False

    @property
    def settle(self) -> int:
        """The epochs at the beginning that do not count when the best one is chosen.

        From random, the moving averages of batch normalisation need some fifty steps, and while the learning rate is
        high validation jumps, so that an early lucky epoch would be taken for the best.
        """
        if self.name != "train":
            return 0
        return min(self.epochs // 2, max(self.epochs // 3, -(-SETTLE_STEPS // self.steps)))

    @property
    def schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """Linear warm-up, then cosine decay (Loshchilov 2017)."""
        total = max(1, self.epochs * self.steps)
        warm = min(max(1, total // 20), self.steps * 2)
        peak = self.learning_rate
        return keras.optimizers.schedules.CosineDecay(
            peak / 10, total, alpha=0.01, warmup_target=peak, warmup_steps=warm
        )

    def early_stopping(self, monitor: str) -> keras.callbacks.EarlyStopping:
        """Keras' early stopping, which keeps the best epoch."""
        patience = self.patience or max(5, self.epochs // 2)
        return keras.callbacks.EarlyStopping(
            monitor=monitor, mode="min", patience=patience, restore_best_weights=True, start_from_epoch=self.settle
        )


@dataclass(frozen=True)
class Data:
    """``feed(first_epoch=...)`` gives the training data."""

    feed: Callable[..., Any]
    validation: Any


def run_stage(stage: Stage, objective: Objective, data: Data, progress: Progress, *, key: str = "") -> None:
    """Train the objective's model for one stage and leave it with the weights of its best epoch.

    ``key`` identifies this training for a checkpoint; it is empty for a stage too short to save.

    Raises:
        ModelError: The training diverged, and no epoch before it counts.
    """
    model, first = objective.learner, 0
    optimizer = keras.optimizers.AdamW(stage.schedule, weight_decay=1e-4)
    model.compile(optimizer, loss=objective.loss, jit_compile=objective.xla and jit(), **objective.followed())
    folder = progress.folder if key else None
    state = load_checkpoint(folder, key)
    if state is not None:
        model.set_weights(state.weights)
        progress.rows[:] = state.facts["rows"]
        first = int(state.facts["epoch"])
    early = stage.early_stopping(objective.monitor)
    callbacks: list[keras.callbacks.Callback] = [early, keras.callbacks.TerminateOnNaN()]
    if stage.best is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=lambda logs: _begin_with(early, stage.best)))
    progress.begin(stage.name, stage.epochs)
    callbacks.append(progress)
    averaged = Averaged(state.average if state else (), first) if stage.average else None
    if averaged is not None:
        callbacks.append(averaged)
    if folder is not None:
        # Last, so that the epoch is in the history it saves, and the weights are those that training goes on from.
        callbacks.append(Checkpoint(progress, early, key, state, averaged))
    done = model.fit(
        objective.adapt(data.feed(first_epoch=first)),
        validation_data=objective.adapt(data.validation),
        epochs=stage.epochs,
        initial_epoch=first,
        verbose=0 if stage.silent else progress.show,
        callbacks=callbacks,
        class_weight=stage.class_weight,
        shuffle=False,
    )
    if folder is not None and not progress.stopped:
        (folder / NAME).unlink(missing_ok=True)
    _check_finite(model, stage, done.epoch[-1] + 1 if done.epoch else first)


def _check_finite(model: keras.Model, stage: Stage, epoch: int) -> None:
    if not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise ModelError(
            f"The training diverged in epoch {epoch} ({stage.name}): the weights are not finite any more.",
            "a loss that falls.",
            f"Choose a learning_rate below {stage.learning_rate:g}, and look for images or values that are far off "
            "(easydl.audit).",
        )


def _begin_with(early: keras.callbacks.EarlyStopping, best: float | None) -> None:
    """Early stopping forgets everything when a training begins; what came before is put back as the best so far."""
    early.best, early.best_weights = best, early.model.get_weights()


def jit() -> bool | str:
    """XLA only where there is a GPU: on a CPU it makes a step 2-9 times slower."""
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False
