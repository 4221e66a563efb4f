"""The one loss that Keras lacks for medical masks: Dice plus cross-entropy, and the Dice score beside it."""

from __future__ import annotations

from typing import Any

SMOOTH = 1e-5


def dice_cross_entropy(target: Any, probability: Any) -> Any:
    """Cross-entropy plus one minus the soft Dice of the structures over the batch (the background left out).

    Args:
        target: One-hot ``(batch, *spatial, classes)``.
        probability: Softmax output of the same shape.

    Returns:
        Scalar, 0 for a perfect prediction.

    References:
        Milletari 2016 (V-Net, arXiv 1606.04797); Isensee 2021 (nnU-Net, 10.1038/s41592-020-01008-z).
    """
    from keras import losses, ops

    cross_entropy = ops.mean(losses.categorical_crossentropy(target, probability))
    axes = tuple(range(len(target.shape) - 1))
    both = ops.sum(target * probability, axis=axes)
    either = ops.sum(target + probability, axis=axes)
    dice = (2.0 * both + SMOOTH) / (either + SMOOTH)
    return cross_entropy + 1.0 - ops.mean(dice[1:])


def dice(target: Any, probability: Any) -> Any:
    """Dice of the structures over the batch with the most probable class taken, from 0 to 1."""
    from keras import ops

    classes = probability.shape[-1]
    taken = ops.one_hot(ops.argmax(probability, axis=-1), classes, dtype=probability.dtype)
    axes = tuple(range(len(target.shape) - 1))
    both = ops.sum(target * taken, axis=axes)
    either = ops.sum(target + taken, axis=axes)
    return ops.mean(((2.0 * both + SMOOTH) / (either + SMOOTH))[1:])
