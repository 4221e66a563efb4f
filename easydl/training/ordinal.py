"""The loss for ordered classes, which Keras lacks: a miss by two grades costs more than a miss by one."""

from __future__ import annotations

from typing import Any


def ordinal_loss(target: Any, probability: Any) -> Any:
    """Cross-entropy plus the squared earth mover's distance between the cumulative distributions.

    Args:
        target: One-hot ``(batch, grades)``.
        probability: Softmax output of the same shape.

    Returns:
        ``(batch,)``, 0 for a perfect prediction.

    Example:
        >>> import numpy as np
        >>> target = np.array([[1.0, 0.0, 0.0]])
        >>> near, far = np.array([[0.5, 0.5, 0.0]]), np.array([[0.5, 0.0, 0.5]])
        >>> bool(ordinal_loss(target, near)[0] < ordinal_loss(target, far)[0])
        True

    References:
        Hou, Yu and Samaras 2016, arXiv:1611.05916 (squared EMD, here with weight 1 beside the cross-entropy).
    """
    from keras import losses, ops

    target, probability = ops.convert_to_tensor(target), ops.convert_to_tensor(probability)
    moved = ops.cumsum(probability - target, axis=-1)
    return losses.categorical_crossentropy(target, probability) + ops.sum(ops.square(moved), axis=-1)


def grade_error(target: Any, probability: Any) -> Any:
    """By how many grades the median of the distribution misses, ``(batch,)``.

    Args:
        target: One-hot ``(batch, grades)``.
        probability: Softmax output of the same shape.
    """
    from keras import ops

    # The median is the first grade at which half of the probability is reached (with room for rounding).
    below = ops.cast(ops.cumsum(probability, axis=-1) < 0.5 - 1e-6, "float32")
    median = ops.sum(below, axis=-1)
    return ops.abs(median - ops.cast(ops.argmax(target, axis=-1), "float32"))
