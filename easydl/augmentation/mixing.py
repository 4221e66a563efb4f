"""RandAugment, Cutout, GridMask, MixUp and CutMix from drawn parameters. It draws nothing.

keras-cv's layers draw and apply in one call, with generators that cannot be set for each batch, so only their pixel
functions (``augment_images``) are used, with parameters drawn here: every batch can be made again. keras-cv is frozen
upstream; each use names the layer of keras.layers that takes over. It is imported when one of these is asked for, and
by nothing else.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from easydl.augmentation.extras import CutMix, Cutout, MixUp, RandAugment
from easydl.augmentation.operations import Operation
from easydl.augmentation.pixels import only
from easydl.errors import missing_package

BLENDED = 0.5
_RANGE = (0.0, 255.0)


@functools.cache
def layers() -> dict[str, Any]:
    """The keras-cv layers whose pixel functions are used.

    Raises:
        MissingPackageError: keras-cv is not installed.
    """
    # Every layer asks TensorFlow for its global generator, a variable, which a tf.data function cannot make.
    with tf.init_scope():
        try:
            import keras_cv
        except ImportError:
            raise missing_package("keras-cv", "keras-cv", "RandAugment, Cutout or CutMix") from None

        return {
            "auto_contrast": keras_cv.layers.AutoContrast(value_range=_RANGE),  # keras.layers.AutoContrast
            "equalise": keras_cv.layers.Equalization(value_range=_RANGE),  # keras.layers.Equalization
            "colour": keras_cv.layers.RandomColorDegeneration(1.0),  # keras.layers.RandomColorDegeneration
            "contrast": keras_cv.layers.RandomContrast(_RANGE, 1.0),  # keras.layers.RandomContrast
            "brightness": keras_cv.layers.RandomBrightness(1.0, _RANGE),  # keras.layers.RandomBrightness
            "rectangle": keras_cv.layers.RandomCutout(1.0, 1.0),  # keras.layers.RandomErasing
        }


def needs_keras_cv(operations: Sequence[Operation]) -> bool:
    """Whether keras-cv will be asked for, so that it can be imported (or missed) before the first batch."""
    return any(isinstance(operation, RandAugment | Cutout | CutMix) for operation in operations)


def pictures(images: tf.Tensor, operations: Sequence[Operation], drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """RandAugment, Cutout and GridMask, as far as they were drawn.

    Args:
        images: float32 ``(batch, rows, columns, channel)`` from 0 to 255.
        operations: For the strength of RandAugment.
        drawn: From `augmenter.draw`.

    Returns:
        The same shape, from 0 to 255.
    """
    if "randaugment_first" in drawn:
        strength = next(operation.strength for operation in operations if isinstance(operation, RandAugment))
        for place in ("randaugment_first", "randaugment_second"):
            images = _one_of_five(images, drawn[place], drawn[f"{place}_strength"], strength)
    # As in the papers, what is hidden becomes the image's mean.
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    if "cutout" in drawn:
        kept = _outside(images, drawn["cutout"], drawn["cutout_row"], drawn["cutout_column"])
        images = tf.where(kept, images, mean)
    if "gridmask" in drawn:
        images = tf.where(_grid(tf.shape(images), drawn), mean, images)
    return images


def mix(
    images: Any, targets: Any, operations: Sequence[Operation], drawn: dict[str, tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """MixUp and CutMix, as far as they were drawn: images of one batch share pixels, and labels by the same shares.

    Args:
        images: ``(batch, *spatial, channel)``.
        targets: ``(batch, classes)``, one-hot or one 0 or 1 for each finding.
        operations: What may mix.
        drawn: From `augmenter.draw`.

    Returns:
        Images, and float32 targets whose rows keep their sum when they were one-hot.
    """
    images, targets = tf.cast(images, tf.float32), tf.cast(targets, tf.float32)
    # The order of even numbers is an even permutation.
    partner = tf.argsort(drawn["partner"])
    if any(isinstance(operation, MixUp) for operation in operations):
        # keras-cv's MixUp keeps its two lines inside its draw. Successor: keras.layers.MixUp.
        weight = tf.reshape(drawn["mixup"], (-1,) + (1,) * (images.shape.rank - 1))
        images = images + weight * (tf.gather(images, partner) - images)
        targets = targets + drawn["mixup"][:, None] * (tf.gather(targets, partner) - targets)
    if any(isinstance(operation, CutMix) for operation in operations):
        # keras-cv's CutMix counts the rectangle's area before the border cuts it. Successor: keras.layers.CutMix.
        side = tf.sqrt(drawn["cutmix"])
        flat = images[:, 0] if images.shape.rank == 5 else images
        kept = _outside(flat, side, drawn["cutmix_row"], drawn["cutmix_column"])
        pasted = 1.0 - tf.reduce_mean(tf.cast(kept, tf.float32), axis=(1, 2, 3))
        kept = kept[:, None] if images.shape.rank == 5 else kept
        images = tf.where(kept, images, tf.gather(images, partner))
        targets = targets + pasted[:, None] * (tf.gather(targets, partner) - targets)
    return images, targets


def _one_of_five(images: tf.Tensor, which: tf.Tensor, much: tf.Tensor, strength: float) -> tf.Tensor:
    made = layers()

    def blended(name: str) -> Any:
        def change(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
            share = _wide(BLENDED * tf.abs(tf.gather(much, numbers)))
            with _without_warnings():
                return some + share * (made[name].augment_images(some) - some)

        return change

    def colour(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        # Grey has no colour to lose, and rgb_to_grayscale refuses other numbers of channels.
        if some.shape[-1] != 3:
            return some
        share = _wide(strength * tf.abs(tf.gather(much, numbers)))
        return made["colour"].augment_images(some, transformations=share)

    def contrast(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        factor = _wide(1.0 + strength * tf.gather(much, numbers))
        return made["contrast"].augment_images(some, transformations=factor)

    def brightness(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        change = _wide(255.0 / 2.0 * strength * tf.gather(much, numbers))
        return made["brightness"].augment_images(some, transformations=change)

    changes = (blended("auto_contrast"), blended("equalise"), colour, contrast, brightness)
    numbers = tf.cast(which, tf.int32)
    return functools.reduce(
        lambda batch, one: only(batch, tf.equal(numbers, one[0]), one[1]), enumerate(changes), images
    )


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """TensorFlow warns at every tracing that keras-cv's histogram is made in a loop, which is no news."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _outside(images: tf.Tensor, side: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """bool ``(batch, rows, columns, 1)``: not in the rectangle of this share of the sides about this centre."""
    shape = tf.shape(images)
    rows, columns = tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)
    kept = layers()["rectangle"].augment_images(
        tf.ones(tf.concat([shape[:3], [1]], axis=0)),
        transformations={
            "centers_y": tf.cast(row * rows, tf.int32),
            "centers_x": tf.cast(column * columns, tf.int32),
            "rectangles_height": tf.cast(side * rows, tf.int32),
            "rectangles_width": tf.cast(side * columns, tf.int32),
        },
    )
    return kept > 0.5


def _grid(shape: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """bool ``(batch, rows, columns, 1)``: in a square of the turned grid.

    Written out: keras-cv (GridMask) draws and turns a mask for one image after the other; keras.layers has none.
    """
    unit = drawn["gridmask_unit"] * tf.cast(tf.minimum(shape[1], shape[2]), tf.float32)
    angle = drawn["gridmask_degrees"] * (np.pi / 180.0)
    rows = tf.range(shape[1], dtype=tf.float32)[None, :, None]
    columns = tf.range(shape[2], dtype=tf.float32)[None, None, :]
    cosine, sine, unit = (one[:, None, None] for one in (tf.cos(angle), tf.sin(angle), unit))
    row_offset, column_offset, ratio = (
        drawn[name][:, None, None] for name in ("gridmask_row", "gridmask_column", "gridmask")
    )
    down = rows * (cosine / unit) + columns * (sine / unit) + row_offset
    right = columns * (cosine / unit) - rows * (sine / unit) + column_offset
    return ((down - tf.floor(down) < ratio) & (right - tf.floor(right) < ratio))[..., None]


def _wide(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None, None]
