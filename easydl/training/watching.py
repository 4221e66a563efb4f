"""What is measured while a stage of training runs, for the coach: its first loss, the time of a step, memory, gradients."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.machine import peak_memory_gb
from easydl.training.callbacks import Progress
from easydl.training.coach import Curve, coached, rate_too_high

FIRST = "first loss"
TIMED = (3, 5)
"""The steps that are timed, counted from 0: the first is compiled, and the two behind it find their images ready."""
OTHER_WORK = 1.1
"""An epoch's time over that of its steps: batch statistics are measured for a tenth of it (docs/decisions/0004)."""


class Watch(keras.callbacks.Callback):
    """Says after a few steps how long the stage will take, and after the first epoch when its learning rate is too high."""

    def __init__(
        self, progress: Progress, stage: Any, chance: tuple[float, float] | None, validation: Any, first: int = 0
    ) -> None:
        super().__init__()
        self.progress, self.stage, self.chance = progress, stage, chance
        self.validation, self.left = _steps(validation), max(0, stage.epochs - first)
        self._step, self._begun, self._took = 0, 0.0, 0.0

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the clock."""
        self._begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the loss of the first step, and the time of two later ones."""
        if self._step == 0 and FIRST not in self.progress.measured:
            self.progress.measured[FIRST] = float((logs or {}).get("loss", np.nan))
        if TIMED[0] <= self._step < TIMED[1]:
            self._took += time.perf_counter() - self._begun
        self._step += 1
        if self._step == TIMED[1] and self.stage.steps > 0:
            self.progress.expect(self.sentence(self._took / (TIMED[1] - TIMED[0])))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """A loss that jumped up is said at once."""
        found = rate_too_high(self.curve())
        if found is not None:
            self.progress.found([found])

    def sentence(self, seconds: float) -> str:
        """How long the stage will take, from the time of a step, and what memory was needed."""
        an_epoch = seconds * (self.stage.steps * OTHER_WORK + self.validation / 3)  # forward is about a third of a step
        memory = peak_memory_gb()
        used = "" if memory is None else f"; {memory:.1f} GB of memory"
        return (
            f"About {duration(an_epoch * self.left)} for at most {self.left} epochs on this computer, by two steps of "
            f"{seconds:.2g} s{used}."
        )

    def curve(self, **facts: Any) -> Curve:
        """What was measured of the stage so far."""
        rows = [row for row in self.progress.rows if row["stage"] == self.stage.name]
        first = self.progress.measured.get(FIRST, float("nan"))
        options: dict[str, Any] = {
            "epochs": self.stage.epochs,
            "learning_rate": self.stage.learning_rate,
            "first": first,
        }
        return Curve.of(rows, chance=self.chance, **options, **facts)

    def judge(self, feed: Any) -> None:
        """Hand what the coach finds in the whole stage to the progress; gradients are measured where the loss did not move."""
        best = self.stage.best
        curve = self.curve(kept=best is None or self.progress.lowest(self.stage.name) < best)
        if curve.stuck:
            curve = self.curve(kept=curve.kept, gradients=gradients(self.model, next(iter(feed))))
        self.progress.curve = curve
        self.progress.found(coached(curve))


def gradients(model: keras.Model, batch: Any) -> tuple[str, str, float] | None:
    """How large the gradient of a compiled model's first layer is against that of its last, on one batch.

    Returns:
        The names of both layers and the ratio of the root mean squares over their kernels; None where it is not known.
    """
    kernels = [variable for variable in model.trainable_variables if len(variable.shape) > 1]
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    with tf.GradientTape() as tape:
        # As in prediction: neither batch statistics nor random states may change by a look.
        lost = model.compute_loss(x, y, model(x, training=False), weights, training=False)
    model.reset_metrics()
    found = tape.gradient(lost, [variable.value for variable in kernels])
    sizes = [(kernel, _size(one)) for kernel, one in zip(kernels, found, strict=True) if one is not None]
    if len(sizes) < 2 or not sizes[-1][1] > 0:
        return None
    (first, small), (last, large) = sizes[0], sizes[-1]
    return _layer(first), _layer(last), small / large


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(12.2), duration(200), duration(9000)
        ('12 seconds', '3 minutes', '2.5 hours')
    """
    for unit, length, most in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, np.inf)):
        value = seconds / length
        if value < most:
            said = f"{value:.1f}".removesuffix(".0") if unit == "hour" else f"{max(1, round(value))}"
            return f"{said} {unit}{'' if said == '1' else 's'}"
    raise AssertionError(seconds)  # an hour's limit is infinite


def _size(gradient: Any) -> float:
    values = np.asarray(tf.convert_to_tensor(gradient), np.float64)
    return float(np.sqrt(np.mean(values**2)))


def _layer(variable: Any) -> str:
    return str(variable.path).rsplit("/", 1)[0]


def _steps(validation: Any) -> int:
    """How many batches the validation part has; 0 where that is not known."""
    size = getattr(validation, "cardinality", None)
    return 0 if size is None else max(0, int(size()))
