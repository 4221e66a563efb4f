"""The range test: some steps on a copy of the weights, each with a higher learning rate. It leaves everything as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from easydl.training.loop import Data, Stage, jit
from easydl.training.objective import Objective
from easydl.training.optimizers import make, relative_rate
from easydl.training.rate_curve import LearningRates

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
"""Rates tried for AdamW; for other optimizers times their usual ratio to it."""
DIVERGED, FEW = 4.0, 5
"""Of the lowest mean of five losses so far: beyond it no step is worth making."""


def find_rates(stage: Stage, objective: Objective, data: Data) -> LearningRates:
    """Try rates from tiny to far too high on the batches of a stage.

    Args:
        stage: Whose optimizer, class weights and planned rate are used.
        objective: What is minimised.
        data: The batches, as the stage will see them.

    Returns:
        The loss of every step. Weights, random states and the optimizer of the model are as they were, bit by bit.
    """
    model, times = objective.learner, relative_rate(stage.optimizer)
    rates = np.geomspace(LOWEST * times, HIGHEST * times, STEPS)
    losses: list[float] = []
    lowest = np.inf
    with _as_it_was(model):
        optimizer = make(stage.optimizer, float(rates[0]))
        model.compile(optimizer, loss=objective.loss, jit_compile=objective.xla and jit())
        for rate, batch in zip(rates, _batches(objective, data), strict=False):
            optimizer.learning_rate = float(rate)
            losses.append(_step(model, batch, stage.class_weight))
            if not np.isfinite(losses[-1]):
                break
            last = float(np.mean(losses[-FEW:]))
            if len(losses) > 2 * FEW and last > DIVERGED * lowest:
                break
            lowest = min(lowest, last)
    finite = int(np.isfinite(losses).sum())  # the first loss that is not finite is the last
    return LearningRates(tuple(map(float, rates[:finite])), tuple(losses[:finite]), stage.learning_rate)


def _batches(objective: Objective, data: Data) -> Iterator[Any]:
    """The batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from objective.adapt(data.feed(first_epoch=epoch))
        epoch += 1


def _step(model: keras.Model, batch: Any, class_weight: dict[int, float] | None) -> float:
    """One step; the loss of its batch before it."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    of = {"class_weight": class_weight} if weights is None else {"sample_weight": weights}
    model.reset_metrics()  # Keras returns the mean since they were
    found = model.train_on_batch(x, y, return_dict=True, **of)
    return float(found["loss"])


@contextmanager
def _as_it_was(model: keras.Model) -> Iterator[None]:
    """After it, weights, statistics, the random states of layers, of Python and of NumPy are those from before."""
    kept = [np.asarray(variable).copy() for variable in model.variables]
    variables, states = list(model.variables), (random.getstate(), np.random.get_state())
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)
        random.setstate(states[0])
        np.random.set_state(states[1])
