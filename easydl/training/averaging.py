"""The average of the weights of the epochs is what is validated and kept; the training itself goes on from its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

# A lower power counts the early epochs more, which cost a short training (DRIVE, 12 epochs) Dice: docs/decisions/0012.
POWER = 5


class Averaged(keras.callbacks.Callback):
    """Validate an average of the weights at the end of all epochs so far, the late ones counting most.

    Weights of single epochs jump about while the learning rate is high, and few validation scans cannot tell a good
    epoch from a lucky one; their average moves slowly. The last third of the epochs has about nine tenths of the
    weight, whatever their number (polynomial-decay averaging: Shamir and Zhang 2013, arXiv:1212.1824, section 4;
    Izmailov et al. 2018, arXiv:1803.05407).

    It belongs behind callbacks that keep the weights that were validated (early stopping) and before one that saves
    the training's own (checkpoint). ``saved`` and ``epochs`` are an average to go on from, in the order of
    ``model.get_weights()``, and how many epochs it holds.
    """

    def __init__(self, saved: Sequence[np.ndarray] = (), epochs: int = 0) -> None:
        super().__init__()
        self.mean, self.epochs = [np.asarray(weight) for weight in saved], epochs
        self._own: list[np.ndarray] = []

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take the weights of the epoch that ends into the average, and put it in their place."""
        self._own = [np.array(weight) for weight in self.model.get_weights()]
        self.epochs += 1
        fraction = (POWER + 1) / (self.epochs + POWER)
        self.mean = [mixed(old, new, fraction) for old, new in zip(self.mean or self._own, self._own, strict=True)]
        self.model.set_weights(self.mean)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Give the training its own weights back."""
        if self._own:
            self.model.set_weights(self._own)
        self._own = []


def mixed(old: np.ndarray, new: np.ndarray, fraction: float) -> np.ndarray:
    """``fraction`` of the new and the rest of the old; a counter is taken as it is."""
    if not np.issubdtype(new.dtype, np.floating):
        return new
    return (old + fraction * (new.astype(np.float64) - old)).astype(new.dtype)
