"""Losses and metrics that Keras lacks, and those for masks by name.

Those for masks take one-hot targets ``(batch, *spatial, classes)`` and softmax outputs of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import losses, ops
from scipy.ndimage import distance_transform_edt

from easydl.tasks import Task
from easydl.training.loss_names import check_loss

Loss = Callable[[Any, Any], Any]
SMOOTH = 1e-5
TINY = 1e-6
BOUNDARY_WEIGHT = 0.01
# Keras 3.15 weights by its first value the false negatives, whatever its documentation calls them.
TVERSKY = {"false_negatives": 0.7, "false_positives": 0.3}
# Its distances come from a call into Python, for which XLA has no kernel.
WITHOUT_XLA = ("boundary",)


def mask_loss(name: str) -> Loss:
    """The loss of this name for a segmentation model.

    Raises:
        InputError: No such loss.
    """
    check_loss(name, Task.SEGMENTATION)
    return MASK_LOSSES["dice_cross_entropy" if name == "auto" else name]()


def _overlap(kind: Any, *values: float) -> Loss:
    def overlap(target: Any, probability: Any) -> Any:
        loss = kind(*values, axis=tuple(range(len(probability.shape) - 1)))
        # One value per class; the background, which is nearly all of the image, is left out.
        return loss.call(target[..., 1:], probability[..., 1:])

    overlap.__name__ = kind.__name__.lower()
    return overlap


def dice_cross_entropy(target: Any, probability: Any) -> Any:
    """Cross-entropy plus one minus the soft Dice over the batch without the background; 0 for a perfect prediction.

    Milletari 2016 (V-Net, arXiv:1606.04797); Isensee 2021 (nnU-Net, 10.1038/s41592-020-01008-z).
    """
    cross_entropy = ops.mean(losses.categorical_crossentropy(target, probability))
    return cross_entropy + 1.0 - ops.mean(_dice_of_classes(target, probability)[1:])


def boundary_dice_cross_entropy(target: Any, probability: Any) -> Any:
    """`dice_cross_entropy` plus a hundredth of the boundary loss: probability weighted by its distance to the boundary.

    Kervadec 2019, arXiv:1812.07032, equation 5, begins with this weight and raises it epoch by epoch; here it stays.
    """
    distance = tf.numpy_function(signed_distance, [target], tf.float32, stateful=False)
    distance = tf.ensure_shape(distance, probability.shape)
    away = ops.mean(probability[..., 1:] * distance[..., 1:])
    return dice_cross_entropy(target, probability) + BOUNDARY_WEIGHT * away


def signed_distance(target: np.ndarray) -> np.ndarray:
    """Distance of every pixel to the boundary of each class, in pixels: negative inside, 0 where a class is absent."""
    out = np.zeros(target.shape, np.float32)
    for image in range(target.shape[0]):
        for k in range(target.shape[-1]):
            inside = target[image, ..., k] > 0.5
            if inside.any() and not inside.all():
                outside = distance_transform_edt(~inside)
                out[image, ..., k] = np.where(inside, 1.0 - distance_transform_edt(inside), outside)
    return out


def dice(target: Any, probability: Any) -> Any:
    """Mean Dice over the batch of the most probable class, without the background, from 0 to 1."""
    chosen = ops.one_hot(ops.argmax(probability, axis=-1), probability.shape[-1], dtype=probability.dtype)
    return ops.mean(_dice_of_classes(target, chosen)[1:])


def _dice_of_classes(target: Any, probability: Any) -> Any:
    axes = tuple(range(len(target.shape) - 1))
    both = ops.sum(target * probability, axis=axes)
    either = ops.sum(target + probability, axis=axes)
    return (2.0 * both + SMOOTH) / (either + SMOOTH)


def ordinal_loss(target: Any, probability: Any) -> Any:
    """Cross-entropy plus the squared earth mover's distance: an error by two ordinal classes costs more than by one.

    One-hot targets and softmax outputs ``(batch, classes)`` become ``(batch,)``. Hou, Yu and Samaras 2016,
    arXiv:1611.05916, here with weight 1.
    """
    target, probability = ops.convert_to_tensor(target), ops.convert_to_tensor(probability)
    moved = ops.cumsum(probability - target, axis=-1)
    return losses.categorical_crossentropy(target, probability) + ops.sum(ops.square(moved), axis=-1)


def ordinal_error(target: Any, probability: Any) -> Any:
    """By how many classes the median of the distribution misses, ``(batch,)``."""
    # The median is the first class at which half of the probability is reached (with room for rounding).
    below = ops.cast(ops.cumsum(probability, axis=-1) < 0.5 - 1e-6, "float32")
    median = ops.sum(below, axis=-1)
    return ops.abs(median - ops.cast(ops.argmax(target, axis=-1), "float32"))


def scaled_error(std: float, kind: str = "huber") -> Loss:
    """A loss of the error in standard deviations of the training targets.

    ``"huber"`` is quadratic up to one standard deviation and linear beyond (Huber 1964, Ann Math Stat 35:73); the
    others are ``"squared_error"`` and ``"absolute_error"``.
    """
    error = {
        "huber": losses.huber,
        "squared_error": losses.mean_squared_error,
        "absolute_error": losses.mean_absolute_error,
    }[kind]

    def scaled(target: Any, value: Any) -> Any:
        return error(target / std, value / std)

    return scaled


def weighted_binary_cross_entropy(weights: list[float], *, gamma: float = 0.0) -> Loss:
    """Binary cross-entropy in which an image with a label counts more, by its weight, than one without it.

    ``gamma`` is the exponent of the focal loss (Lin 2017, arXiv:1708.02002, equation 5 with the weight on the positive
    images alone).
    """
    more = np.asarray(weights, np.float32)

    def binary_crossentropy(target: Any, probability: Any) -> Any:
        probability = ops.clip(probability, 1e-7, 1 - 1e-7)
        present = more * target * (1 - probability) ** gamma * ops.log(probability)
        absent = (1 - target) * probability**gamma * ops.log(1 - probability)
        return -ops.mean(present + absent, axis=-1)

    return binary_crossentropy


def divergence(mean: Any, std: Any) -> Any:
    """Kullback-Leibler divergence of a code's normal distribution from the standard normal one, ``(batch,)`` in nats.

    Kingma and Welling 2014, arXiv:1312.6114, appendix B.
    """
    std = std + TINY
    each = ops.square(mean) + ops.square(std) - 1.0 - 2.0 * ops.log(std)
    return 0.5 * ops.sum(ops.reshape(each, (ops.shape(each)[0], -1)), axis=-1)


MASK_LOSSES: dict[str, Callable[[], Loss]] = {
    "dice_cross_entropy": lambda: dice_cross_entropy,
    "dice": lambda: _overlap(losses.Dice),
    "tversky": lambda: _overlap(losses.Tversky, *TVERSKY.values()),
    "focal": losses.CategoricalFocalCrossentropy,
    "cross_entropy": losses.CategoricalCrossentropy,
    "boundary": lambda: boundary_dice_cross_entropy,
}
"""The losses for masks by name, the default (nnU-Net's) first.

Dice: Milletari 2016, arXiv:1606.04797. Tversky: Salehi 2017, arXiv:1706.05721, with which false negatives cost more than
false positives, because structures are small. Focal: Lin 2017, arXiv:1708.02002, with which hard pixels count more.
Boundary: Kervadec 2019, arXiv:1812.07032, with which errors far from the boundary cost more.
"""
