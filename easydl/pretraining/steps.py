"""The loop that all methods share: batches of images, a loss, a step. It knows no method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.errors import ModelError
from easydl.training.loop import Stage, jit


@dataclass(frozen=True)
class Images:
    """Images without labels.

    Attributes:
        pixels: ``(n, *size, channels)``, in memory or memory-mapped.
        patients: int ``(n,)``: which images are of one patient.
        batch_size: Images in a step.
        seed: Of the order.
        augment: From a batch and its number to changed images, or None.
    """

    pixels: Any
    patients: np.ndarray
    batch_size: int
    seed: int
    augment: Callable[..., Any] | None = None

    @property
    def steps(self) -> int:
        """In an epoch: a last batch of fewer images is left out, as it has other statistics."""
        return max(1, len(self.pixels) // self.batch_size)

    def batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
        """Images, patients and the number of each batch, in an order of the epoch's own."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pixels))
        for step in range(self.steps):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield np.asarray(self.pixels[rows], np.float32), self.patients[rows], epoch * self.steps + step


def trained(
    loss: Callable[[Any, Any, Any], Any],
    variables: Sequence[Any],
    images: Images,
    epochs: int,
    learning_rate: float,
    say: Callable[[int, float], None] = lambda epoch, loss: None,
) -> list[float]:
    """Minimise ``loss(images, patients, number of the batch)``; the mean loss of every epoch.

    Raises:
        ModelError: The loss is not finite any more.
    """
    schedule = Stage("pretrain", epochs, images.steps, learning_rate).schedule
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    optimizer.build(list(variables))

    @tf.function(reduce_retracing=True, jit_compile=bool(jit()))
    def step(x: Any, patients: Any, number: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(x, patients, number)
        optimizer.apply(tape.gradient(value, [one.value for one in variables]), list(variables))
        return value

    losses = []
    for epoch in range(epochs):
        found = [
            float(step(tf.constant(x), tf.constant(patients), tf.constant(number, tf.int64)))
            for x, patients, number in images.batches(epoch)
        ]
        losses.append(float(np.mean(found)))
        if not np.isfinite(losses[-1]):
            raise ModelError(
                f"The pretraining diverged in epoch {epoch + 1}: its loss is not finite any more.",
                "a loss that falls.",
                f"Choose a learning_rate below {learning_rate:g}.",
            )
        say(epoch, losses[-1])
    return losses
