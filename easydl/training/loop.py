"""One stage of training: compile, early stopping, checkpoint, progress, and Keras' own `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.errors import ModelError
from easydl.training import distribution, strategies, workers
from easydl.training.averaging import Averaged
from easydl.training.callbacks import Progress
from easydl.training.checkpoint import NAME, Checkpoint, load_for_all
from easydl.training.objective import Objective
from easydl.training.optimizers import USUAL, make
from easydl.training.statistics import Refreshed
from easydl.training.watching import FIRST, Watch

SETTLE_STEPS = 50
MEASURE_BATCH = 2048


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
        optimizer: A name, or the user's own, which is made anew with its own learning rate.
        callbacks: The user's own.
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
    optimizer: Any = USUAL
    callbacks: tuple[Any, ...] = ()

    @property
    def settle(self) -> int:
        """The epochs at the beginning after which nothing is given up, however validation goes.

        From random, a network of few steps has learnt nothing yet, and while the learning rate is high validation jumps.
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
        """Keras' early stopping, which keeps the best of all epochs; only its patience begins after `settle`."""
        patience = self.patience or max(5, self.epochs // 2)
        return _PatientLater(self.settle, monitor=monitor, mode="min", patience=patience, restore_best_weights=True)


class _PatientLater(keras.callbacks.EarlyStopping):
    """Keras' own ``start_from_epoch`` would not keep the best of the epochs before it, though it may be stopped in them."""

    def __init__(self, settle: int, **options: Any) -> None:
        super().__init__(**options)
        self.settle = settle

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if epoch < self.settle:
            self.wait = 0


@dataclass(frozen=True)
class Data:
    """``feed(first_epoch=...)`` gives the training data, ``sample(epoch)`` batches of its inputs without augmentation.

    ``images`` are in an epoch. Without a sample, batch normalisation is left to its moving averages.
    """

    feed: Callable[..., Any]
    validation: Any
    sample: Callable[[int], Iterable[Any]] | None = None
    images: int = 0


def run_stage(stage: Stage, objective: Objective, data: Data, progress: Progress, *, key: str = "") -> None:
    """Train the objective's model for one stage and leave it with the weights of its best epoch.

    ``key`` identifies this training for a checkpoint; it is empty for a stage too short to save.

    Raises:
        ModelError: The training diverged, and no epoch before it counts.
    """
    strategy = strategies.strategy_of(objective.learner, small=stage.name == "head")
    model, first = strategies.taken_over(objective.learner, strategy), 0
    # The checkpoint stays until the model is written: see `checkpoint.leave`.
    with strategies.scope(strategy):
        xla = strategy is None and objective.xla and jit()
        loss = objective.loss if strategy is None else strategies.loss_of_rows(objective.loss)
        optimizer = make(stage.optimizer, stage.schedule)
        model.compile(optimizer, loss=loss, jit_compile=xla, **objective.followed())
    folder = progress.checkpoints if key else None
    state = load_for_all(folder, key) if key else None
    progress.measured.pop(FIRST, None)
    if state is not None:
        progress.measured |= {name: value for name, value in state.facts["measured"].items() if name == FIRST}
        model.set_weights(state.weights)
        progress.rows[:] = state.facts["rows"]
        first = int(state.facts["epoch"])
    early = stage.early_stopping(objective.monitor)
    callbacks: list[keras.callbacks.Callback] = [early, keras.callbacks.TerminateOnNaN()]
    if stage.best is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=lambda logs: _begin_with(early, stage.best)))
    progress.begin(stage.name, stage.epochs)
    # Before ours: what they add to an epoch's values is written down, and the weights are those that were validated.
    callbacks += [*stage.callbacks, progress]
    averaged = Averaged(state.average if state else (), first) if stage.average else None
    watch = None if stage.silent else Watch(progress, stage, objective.chance, data.validation, first)
    if watch is not None:
        callbacks.append(watch)
    if averaged is not None:
        callbacks.append(averaged)
    # Behind what changes the weights, as the statistics belong to those that are validated.
    if data.sample is not None:
        callbacks.append(Refreshed(data.sample, images=data.images))
    if folder is not None or state is not None:
        # Last, so that the epoch is in the history it saves, and the weights are those that training goes on from.
        callbacks.append(Checkpoint(progress, early, key, state, averaged))
    epochs = first if state is not None and state.ended else stage.epochs
    feed = objective.adapt(data.feed(first_epoch=first))
    with strategies.scope(strategy):
        build_state(model, feed)
    if strategy is None:
        train: Callable[..., keras.callbacks.History] = partial(model.fit, feed, shuffle=False)
    else:
        train = partial(distribution.fit, model, feed, strategy, of_batch=objective.of_batch)
    done = train(
        validation_data=objective.adapt(data.validation),
        epochs=epochs,
        initial_epoch=first,
        verbose=0 if stage.silent else progress.show,
        callbacks=callbacks,
        class_weight=stage.class_weight,
    )
    strategies.given_back(objective.learner, model, objective.loss)
    if strategy is not None:
        progress.stopped = workers.team().from_first(lambda: progress.stopped)
    try:
        _check_finite(model, stage, done.epoch[-1] + 1 if done.epoch else first, progress.rows)
    except ModelError:
        if folder is not None:
            (folder / NAME).unlink(missing_ok=True)
        raise
    if watch is not None:
        watch.judge(feed)


def measure(
    name: str, objective: Objective, train: tuple[Any, ...], validation: tuple[Any, ...], progress: Progress
) -> None:
    """Add what the weights reach as they are to the history, as a stage of one epoch. Nothing is trained."""
    model = objective.learner
    strategy = strategies.strategy_of(model, small=True)
    with strategies.scope(strategy):
        # Compiling takes longer than a few batches through one layer; a strategy of several devices asks for it.
        direct = {"jit_compile": False, "run_eagerly": strategy is None}
        model.compile("sgd", loss=objective.loss, **direct, **objective.followed())
    progress.begin(name, 1)
    logs: dict[str, Any] = {}
    for prefix, data in (("", train), ("val_", validation)):
        x, y, *weights = data
        of = {"sample_weight": weights[0]} if weights else {}
        found = model.evaluate(x, y, batch_size=MEASURE_BATCH, verbose=0, return_dict=True, **of)
        logs |= {f"{prefix}{metric}": value for metric, value in found.items()}
    progress.on_epoch_end(0, logs)


def build_state(model: keras.Model, feed: tf.data.Dataset) -> None:
    """Make the variables of optimizer, loss and metrics. Keras makes them in the first step, and then traces it again."""
    _, targets, weights = tf.nest.map_structure(
        lambda spec: None if spec is None else tf.ones([side or 1 for side in spec.shape], spec.dtype),
        keras.utils.unpack_x_y_sample_weight(feed.element_spec),
    )

    def answer(output: Any, target: tf.Tensor) -> tf.Tensor:
        sides = [known or side for known, side in zip(output.shape, target.shape, strict=False)]
        return tf.fill([*sides[:-1], output.shape[-1]], 0.5)

    if isinstance(targets, dict):
        answers = {name: answer(output, targets[name]) for name, output in model.output.items()}
    else:
        answers = answer(model.outputs[0], targets)
    model.compute_loss(None, targets, answers, weights, training=False)
    model.compute_metrics(None, targets, answers, weights)
    model.reset_metrics()
    model.optimizer.build(model.trainable_variables)


def _check_finite(model: keras.Model, stage: Stage, epoch: int, rows: Sequence[dict[str, Any]]) -> None:
    # The epochs that every network needs to begin with are no result, whichever of them was the best.
    early = epoch <= stage.settle and bool(rows) and not np.isfinite(rows[-1]["loss"])
    if early or not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise ModelError(
            f"The training diverged in epoch {epoch} ({stage.name}): its loss or its weights are not finite any more.",
            "a loss that falls.",
            f"Choose a learning_rate below {stage.learning_rate:g}, and look for images or values that are far off "
            "(easydl.audit).",
        )


def _begin_with(early: keras.callbacks.EarlyStopping, best: float | None) -> None:
    """Early stopping forgets everything when a training begins; what came before is put back as the best so far."""
    early.best, early.best_weights = best, early.model.get_weights()


def jit() -> bool | str:
    """XLA only where there is a GPU: on a CPU it makes a step 2-9 times slower."""
    return "auto" if tf.config.list_physical_devices("GPU") else False
