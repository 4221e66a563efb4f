"""Losses and metrics that Keras lacks, and those for masks by name.

Those for masks take one-hot targets ``(batch, *spatial, classes)`` and softmax outputs of the same shape. Where several devices
or workers train, each has its part of a batch, and all have the same loss: that of the whole batch, for a Dice is no mean of those
of parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import backend, losses, ops
from scipy.ndimage import distance_transform_edt

from easydl.tasks import Task
from easydl.training.loss_names import check_loss

Loss = Callable[[Any, Any], Any]
SMOOTH = 1e-5
TINY = 1e-6
BOUNDARY_WEIGHT = 0.01
FALSE_NEGATIVES, FALSE_POSITIVES = 0.7, 0.3
# Its distances come from a call into Python, for which XLA has no kernel.
WITHOUT_XLA = ("boundary",)


def mask_loss(name: str) -> Loss:
    """The loss of this name for a segmentation model.

    Raises:
        InputError: No such loss.
    """
    check_loss(name, Task.SEGMENTATION)
    return MASK_LOSSES["dice_cross_entropy" if name == "auto" else name]()


def soft_dice(target: Any, probability: Any) -> Any:
    """One minus the soft Dice of every class but the background, over the batch."""
    hits, of_target, of_answer = _over_replicas(*_sums(target[..., 1:], probability[..., 1:]))
    return 1.0 - 2.0 * hits / (of_target + of_answer + backend.epsilon())


def tversky(target: Any, probability: Any) -> Any:
    """One minus the Tversky index of every class but the background, over the batch."""
    hits, of_target, of_answer = _over_replicas(*_sums(target[..., 1:], probability[..., 1:]))
    missed = FALSE_NEGATIVES * (of_target - hits) + FALSE_POSITIVES * (of_answer - hits)
    return 1.0 - hits / (hits + missed + backend.epsilon())


def cross_entropy(target: Any, probability: Any) -> Any:
    """The mean over all pixels."""
    return _mean(losses.categorical_crossentropy(target, probability))


def focal(target: Any, probability: Any) -> Any:
    """Cross-entropy in which pixels that are sure already count less, the mean over all pixels."""
    return _mean(losses.categorical_focal_crossentropy(target, probability))


def dice_cross_entropy(target: Any, probability: Any) -> Any:
    """Cross-entropy plus one minus the soft Dice over the batch without the background; 0 for a perfect prediction.

    Milletari 2016 (V-Net, arXiv:1606.04797); Isensee 2021 (nnU-Net, 10.1038/s41592-020-01008-z).
    """
    entropy = _total(losses.categorical_crossentropy(target, probability))
    hits, of_target, of_answer, lost, pixels = _over_replicas(*_sums(target, probability), *entropy)
    return lost / pixels + 1.0 - ops.mean(_dice_of_classes(hits, of_target, of_answer)[1:])


def boundary_dice_cross_entropy(target: Any, probability: Any) -> Any:
    """`dice_cross_entropy` plus a hundredth of the boundary loss: probability weighted by its distance to the boundary.

    Kervadec 2019, arXiv:1812.07032, equation 5, begins with this weight and raises it epoch by epoch; here it stays.
    """
    distance = tf.numpy_function(signed_distance, [target], tf.float32, stateful=False)
    distance = tf.ensure_shape(distance, probability.shape)
    away = _mean(probability[..., 1:] * distance[..., 1:])
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
    return ops.mean(_dice_of_classes(*_sums(target, chosen))[1:])


def _dice_of_classes(hits: Any, of_target: Any, of_answer: Any) -> Any:
    return (2.0 * hits + SMOOTH) / (of_target + of_answer + SMOOTH)


def _sums(target: Any, probability: Any) -> list[Any]:
    """For each class what target and answer share, and what each of them holds."""
    axes = tuple(range(len(target.shape) - 1))
    return [ops.sum(one, axis=axes) for one in (target * probability, target, probability)]


def _total(values: Any) -> list[Any]:
    """Their sum and their number."""
    return [ops.sum(values), ops.cast(ops.size(values), values.dtype)]


def _mean(values: Any) -> Any:
    total, count = _over_replicas(*_total(values))
    return total / count


def _over_replicas(*sums: Any) -> list[Any]:
    """Sums over the parts that the replicas have of a batch; where there is one, as they are."""
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return list(sums)
    return list(replicas.all_reduce("SUM", list(sums)))


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
    "dice": lambda: soft_dice,
    "tversky": lambda: tversky,
    "focal": lambda: focal,
    "cross_entropy": lambda: cross_entropy,
    "boundary": lambda: boundary_dice_cross_entropy,
}
"""The losses for masks by name, the default (nnU-Net's) first.

Dice: Milletari 2016, arXiv:1606.04797. Tversky: Salehi 2017, arXiv:1706.05721, with which false negatives cost more than
false positives, because structures are small. Focal: Lin 2017, arXiv:1708.02002, with which hard pixels count more.
Boundary: Kervadec 2019, arXiv:1812.07032, with which errors far from the boundary cost more.
"""
