"""Losses for masks: those of Keras by name, and ours where Keras has none. The Dice score beside them.

Every loss takes one-hot targets ``(batch, *spatial, classes)`` and softmax outputs of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from easydl.errors import InputError

SMOOTH = 1e-5
BOUNDARY_WEIGHT = 0.01
# Salehi 2017: recall counts more than precision, because structures are small.
TVERSKY_ALARMS, TVERSKY_MISSES = 0.3, 0.7
# Its distances come from a call into Python, for which XLA has no kernel.
WITHOUT_XLA = ("boundary",)
MASK_LOSSES = ("dice_cross_entropy", "dice", "tversky", "focal", "cross_entropy", "boundary")


def mask_loss(name: str) -> Callable[[Any, Any], Any]:
    """The loss of this name for a model that outlines.

    Args:
        name: ``"dice_cross_entropy"`` (nnU-Net's; what `easydl.fit` takes by default), ``"dice"`` (Milletari 2016),
            ``"tversky"`` (Salehi 2017, arXiv:1706.05721: misses cost more than false alarms), ``"focal"`` (Lin 2017,
            arXiv:1708.02002: hard pixels count more), ``"cross_entropy"`` or ``"boundary"`` (Kervadec 2019,
            arXiv:1812.07032: outlines far off cost more; added to the default).

    Raises:
        InputError: No such loss.

    Example:
        >>> mask_loss("dice_cross_entropy").__name__
        'dice_cross_entropy'
    """
    from keras import losses

    if name not in MASK_LOSSES:
        raise InputError(
            f"loss={name!r} is not known for a model that outlines.", f"one of {', '.join(MASK_LOSSES)}.", "Choose one."
        )
    if name == "dice_cross_entropy":
        return dice_cross_entropy
    if name == "boundary":
        return boundary_dice_cross_entropy
    if name == "cross_entropy":
        return losses.CategoricalCrossentropy()
    if name == "focal":
        return losses.CategoricalFocalCrossentropy()

    def overlap(target: Any, probability: Any) -> Any:
        axes = tuple(range(len(probability.shape) - 1))
        # Keras 3.15 weighs by its first number the pixels that were missed, whatever its documentation calls them.
        tversky = losses.Tversky(TVERSKY_MISSES, TVERSKY_ALARMS, axis=axes)
        kind = losses.Dice(axis=axes) if name == "dice" else tversky
        # One number per class; the background, which is nearly all of the image, is left out.
        return kind.call(target[..., 1:], probability[..., 1:])

    overlap.__name__ = name
    return overlap


def dice_cross_entropy(target: Any, probability: Any) -> Any:
    """Cross-entropy plus one minus the soft Dice of the structures over the batch (the background left out).

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


def boundary_dice_cross_entropy(target: Any, probability: Any) -> Any:
    """`dice_cross_entropy` plus a hundredth of the boundary loss: probability weighed by its distance to the outline.

    The paper begins with this weight and raises it epoch by epoch; here it stays.

    References:
        Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, arXiv:1812.07032, equation 5.
    """
    import tensorflow as tf
    from keras import ops

    distance = tf.numpy_function(signed_distance, [target], tf.float32, stateful=False)
    distance = tf.ensure_shape(distance, probability.shape)
    away = ops.mean(probability[..., 1:] * distance[..., 1:])
    return dice_cross_entropy(target, probability) + BOUNDARY_WEIGHT * away


def signed_distance(target: np.ndarray) -> np.ndarray:
    """Distance of every pixel to the outline of each class, in pixels: negative inside, 0 where a class is not there.

    Args:
        target: One-hot ``(batch, *spatial, classes)``.

    Returns:
        float32 of the same shape.
    """
    from scipy.ndimage import distance_transform_edt

    out = np.zeros(target.shape, np.float32)
    for image in range(target.shape[0]):
        for number in range(target.shape[-1]):
            inside = target[image, ..., number] > 0.5
            if inside.any() and not inside.all():
                outside = distance_transform_edt(~inside)
                out[image, ..., number] = np.where(inside, 1.0 - distance_transform_edt(inside), outside)
    return out


def dice(target: Any, probability: Any) -> Any:
    """Dice of the structures over the batch with the most probable class taken, from 0 to 1."""
    from keras import ops

    classes = probability.shape[-1]
    taken = ops.one_hot(ops.argmax(probability, axis=-1), classes, dtype=probability.dtype)
    axes = tuple(range(len(target.shape) - 1))
    both = ops.sum(target * taken, axis=axes)
    either = ops.sum(target + taken, axis=axes)
    return ops.mean(((2.0 * both + SMOOTH) / (either + SMOOTH))[1:])
