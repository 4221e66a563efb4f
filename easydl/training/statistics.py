"""The statistics of batch normalisation, measured over training images before each validation instead of averaged.

A moving average lags behind the weights: after some tens of steps, or while the learning rate is high, a network that separates
its training images calls them all the same as soon as it infers. Statistics of the images themselves cannot lag
("precise batch norm": Wu and Johnson 2021, arXiv:2105.07576, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.training import workers
from easydl.training.keras_internals import batch_statistics, trained_statistics

LEAST_IMAGES, SHARE, MOST_IMAGES = 32, 1 / 3, 512
"""How many images are looked at. Even the fewest are more than in a batch, with whose statistics the network was trained; a
third of them costs a tenth of the training."""


class Refreshed(keras.callbacks.Callback):
    """Measures the statistics before every validation; the training itself, which never uses them, is left alone.

    It belongs before callbacks that keep weights. ``batches(epoch)`` gives inputs of training images, the same ones
    whenever it is asked for the same epoch, in a mixed order; a part of the ``images`` of an epoch is used.
    """

    def __init__(self, batches: Callable[[int], Iterable[Any]], *, images: int) -> None:
        super().__init__()
        self.batches, self.images, self._epoch = batches, images, 0
        self._measure: Any = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Measure, and put the statistics in the place of the moving averages."""
        if not trained_statistics(self.model):
            return
        if self._measure is None:
            self._measure = _measurement(self.model)
        with batch_statistics(self.model) as layers:
            for layer in layers:  # what is not finite would stay so, whatever it is multiplied by
                layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
                layer.moving_variance.assign(np.ones(layer.moving_variance.shape))
            counts, found = [], []
            for x in self.batches(self._epoch):
                counts.append(len(tf.nest.flatten(x)[0]))
                found.append([np.asarray(one, np.float64) for one in self._measure(x)])
                if sum(counts) >= min(MOST_IMAGES, max(LEAST_IMAGES, SHARE * self.images)):
                    break
        own = [
            pooled(counts, [one[2 * k] for one in found], [one[2 * k + 1] for one in found]) for k in range(len(layers))
        ]
        for layer, (mean, variance) in zip(layers, of_all_workers(workers.team(), sum(counts), own), strict=True):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)


def _measurement(model: keras.Model) -> Any:
    """From a batch of inputs, of any size, to mean and variance of each layer in turn."""
    signature = tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), model.input)

    @tf.function(input_signature=[signature])
    def measure(x: Any) -> list[tf.Tensor]:
        model(x, training=False)
        layers = trained_statistics(model)
        return [tf.identity(value.value) for one in layers for value in (one.moving_mean, one.moving_variance)]

    return measure


def pooled(
    counts: Sequence[int], means: Sequence[np.ndarray], variances: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of all batches together, which differ from those of a batch on the average."""
    mean = np.average(means, axis=0, weights=counts)
    square = np.average([one + two**2 for one, two in zip(variances, means, strict=True)], axis=0, weights=counts)
    return mean, np.maximum(0.0, square - mean**2)


def of_all_workers(
    team: workers.Team, count: int, own: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each layer over the images that all workers have looked at, from those of this one's ``count``."""
    if team.count == 1:
        return own
    moments = [one for mean, variance in own for one in (mean, variance + mean**2)]
    summed = team.total(np.concatenate([[count], *(count * one for one in moments)]))
    found = np.split(summed[1:] / summed[0], np.cumsum([len(one) for one in moments])[:-1])
    return [(mean, np.maximum(0.0, square - mean**2)) for mean, square in zip(found[::2], found[1::2], strict=True)]
