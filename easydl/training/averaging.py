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

    Weights of single epochs jump about while the learning rate is high, and few held-out scans cannot tell a good epoch
    from a lucky one; their average moves slowly. The last third of the epochs has about nine tenths of the weight,
    whatever their number.

    It belongs behind callbacks that keep the weights that were validated (early stopping) and before one that saves
    the training's own (checkpoint).

    Args:
        saved: An average to go on from: its arrays, in the order of ``model.get_weights()``; empty for none.
        epochs: How many epochs it holds.

    References:
        Shamir and Zhang 2013, arXiv:1212.1824, section 4 (polynomial-decay averaging); Izmailov et al. 2018,
        arXiv:1803.05407.
    """

    def __init__(self, saved: Sequence[np.ndarray] = (), epochs: int = 0) -> None:
        super().__init__()
        self.mean, self.epochs = [np.asarray(one) for one in saved], epochs
        self._own: list[np.ndarray] = []

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Take the weights of the epoch that ends into the average, and put it in their place."""
        self._own = [np.array(one) for one in self.model.get_weights()]
        self.epochs += 1
        share = (POWER + 1) / (self.epochs + POWER)
        self.mean = [mixed(old, new, share) for old, new in zip(self.mean or self._own, self._own, strict=True)]
        self.model.set_weights(self.mean)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Give the training its own weights back."""
        if self._own:
            self.model.set_weights(self._own)
        self._own = []


def mixed(old: np.ndarray, new: np.ndarray, share: float) -> np.ndarray:
    """``share`` of the new and the rest of the old; a counter is taken as it is."""
    if not np.issubdtype(new.dtype, np.floating):
        return new
    return (old + share * (new.astype(np.float64) - old)).astype(new.dtype)
