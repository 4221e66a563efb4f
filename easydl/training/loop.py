"""One phase of training: compile, early stopping, checkpoint, watch, and Keras' own `fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from easydl.errors import ModelError
from easydl.training.averaging import Averaged
from easydl.training.callbacks import Watch
from easydl.training.checkpoint import NAME, Checkpoint, load_checkpoint

SETTLE_STEPS = 50


def run_stage(
    model: keras.Model,
    feed: Callable[[int], Any],
    validation: Any,
    *,
    name: str,
    epochs: int,
    steps: int,
    learning_rate: float,
    loss: Any,
    metrics: Any,
    watch: Watch,
    show: int,
    key: str = "",
    patience: int | None = None,
    monitor: str = "val_loss",
    class_weight: dict[int, float] | None = None,
    average: bool = False,
    best: float | None = None,
    xla: bool = True,
) -> None:
    """Train a model for one phase and leave it with the weights of its best epoch.

    Args:
        model: What to train.
        feed: From the first epoch to the training data.
        validation: Validation data.
        name: What the phase is called in history.csv.
        epochs: At most so many.
        steps: Steps in an epoch, for the learning-rate curve (linear warm-up, then cosine; Loshchilov 2017).
        learning_rate: Its peak.
        loss: Keras loss.
        metrics: Keras metrics.
        watch: Progress and stop.
        show: Keras' ``verbose``.
        key: Identifies this training for a checkpoint; empty for a phase too short to save.
        patience: Epochs without improvement before stopping; half of ``epochs`` and at least 5 when not given.
        monitor: What improvement means.
        class_weight: Weight of each class.
        average: Whether an average of the weights of the epochs is validated, and so kept, in place of each epoch's own.
        best: What the weights it begins with reach in ``monitor``: they are kept unless an epoch is better. None for
            weights that were never validated.
        xla: Whether the loss can be compiled by XLA where there is a GPU.

    Raises:
        ModelError: The training diverged, and no epoch before it counts.
    """
    total = max(1, epochs * steps)
    # From random, the first third does not count: the moving averages of batch normalisation need some fifty steps, and
    # while the learning rate is high validation jumps, so that an early lucky epoch would be taken for the best.
    settle = 0 if name in ("head", "fine-tune") else min(epochs // 2, max(epochs // 3, -(-SETTLE_STEPS // steps)))
    warm = min(max(1, total // 20), steps * 2)
    rate = keras.optimizers.schedules.CosineDecay(
        learning_rate / 10, total, alpha=0.01, warmup_target=learning_rate, warmup_steps=warm
    )
    # Several questions are weighed, 0 where an image answers one of them not: the metrics leave it out as the loss does.
    followed = {"weighted_metrics": metrics} if isinstance(metrics, dict) else {"metrics": metrics}
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), loss=loss, jit_compile=xla and jit(), **followed)
    early = keras.callbacks.EarlyStopping(
        monitor=monitor, mode="max" if monitor.endswith(("auc", "dice")) else "min",
        patience=patience or max(5, epochs // 2), restore_best_weights=True, start_from_epoch=settle,
    )  # fmt: skip
    callbacks: list[keras.callbacks.Callback] = [early, keras.callbacks.TerminateOnNaN()]
    if best is not None:
        callbacks.append(keras.callbacks.LambdaCallback(on_train_begin=lambda logs: _begin_with(early, best)))
    folder = watch.folder if key else None
    state = load_checkpoint(folder, key)
    first = 0
    if state is not None:
        model.set_weights(state["weights"])
        watch.rows[:] = state["facts"]["rows"]
        first = int(state["facts"]["epoch"])
    averaged = Averaged(state["average"] if state else (), first) if average else None
    watch.begin(name, epochs)
    callbacks.append(watch)
    if averaged is not None:
        callbacks.append(averaged)
    if folder is not None:
        # Last, so that the epoch is in the history it saves, and the weights are those that training goes on from.
        callbacks.append(Checkpoint(folder, watch, early, key, state, averaged))
    done = model.fit(
        feed(first), validation_data=validation, epochs=epochs, initial_epoch=first, verbose=show,
        callbacks=callbacks, class_weight=class_weight, shuffle=False,
    )  # fmt: skip
    if folder is not None and not watch.stopped:
        (folder / NAME).unlink(missing_ok=True)
    if not all(np.isfinite(one).all() for one in model.get_weights()):
        epoch = done.epoch[-1] + 1 if done.epoch else first
        raise ModelError(
            f"The training diverged in epoch {epoch} ({name}): the weights are no longer numbers.",
            "a loss that falls.",
            f"Choose a learning_rate below {learning_rate:g}, and look for images or numbers that are far off "
            "(easydl.audit).",
        )


def _begin_with(early: keras.callbacks.EarlyStopping, best: float) -> None:
    """Early stopping forgets everything when a training begins; what came before is put back as the best so far."""
    early.best, early.best_weights = best, early.model.get_weights()


def jit() -> bool | str:
    """XLA only where there is a GPU: on a CPU it makes a step 2-9 times slower."""
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False
