"""RandAugment, Cutout, GridMask, MixUp and CutMix from drawn parameters. It draws nothing.

keras-cv's layers draw and apply in one call, with generators that cannot be set for each batch, so only their pixel
functions (``augment_images``) are used, with parameters drawn here: every batch can be repeated. keras-cv is frozen
upstream; each use names the layer of keras.layers that takes over. It is imported when one of these is asked for, and
by nothing else.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from easydl.augmentation.extras import KERAS_CV
from easydl.augmentation.operations import Operation
from easydl.augmentation.pixels import Drawn, only, wide
from easydl.errors import missing_package

BLENDED = 0.5
_RANGE = (0.0, 255.0)
Change = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


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
    return any(operation.name in KERAS_CV for operation in operations)


def hide_and_shade(images: tf.Tensor, operations: Sequence[Operation], drawn: Drawn) -> tf.Tensor:
    """RandAugment, Cutout and GridMask, as far as they were drawn; two-dimensional images from 0 to 255."""
    if "randaugment_first" in drawn:
        strength = next(operation.values["strength"] for operation in operations if operation.name == "randaugment")
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


def mix(images: Any, targets: Any, drawn: Drawn) -> tuple[tf.Tensor, tf.Tensor]:
    """MixUp and CutMix, as far as they were drawn: images of one batch are mixed, and labels by the same fractions.

    Targets ``(batch, classes)`` are one-hot, or 0 or 1 for each label; one-hot rows keep their sum.
    """
    images, targets = tf.cast(images, tf.float32), tf.cast(targets, tf.float32)
    # The order of evenly drawn numbers is an evenly drawn permutation.
    partner = tf.argsort(drawn["partner"])
    if "mixup" in drawn:
        # keras-cv's MixUp keeps its two lines inside its draw. Successor: keras.layers.MixUp.
        images = images + wide(drawn["mixup"], images) * (tf.gather(images, partner) - images)
        targets = targets + drawn["mixup"][:, None] * (tf.gather(targets, partner) - targets)
    if "cutmix" in drawn:
        # keras-cv's CutMix counts the rectangle's area before the border cuts it. Successor: keras.layers.CutMix.
        side = tf.sqrt(drawn["cutmix"])
        flat = images[:, 0] if images.shape.rank == 5 else images
        kept = _outside(flat, side, drawn["cutmix_row"], drawn["cutmix_column"])
        pasted = 1.0 - tf.reduce_mean(tf.cast(kept, tf.float32), axis=(1, 2, 3))
        kept = kept[:, None] if images.shape.rank == 5 else kept
        images = tf.where(kept, images, tf.gather(images, partner))
        targets = targets + pasted[:, None] * (tf.gather(targets, partner) - targets)
    return images, targets


def _one_of_five(images: tf.Tensor, which: tf.Tensor, part: tf.Tensor, strength: float) -> tf.Tensor:
    """One of the five changes of RandAugment, by a part (-1 to 1) of its strength."""
    keras_cv = layers()

    def blended(name: str) -> Change:
        def change(some: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            opacity = wide(BLENDED * tf.abs(tf.gather(part, rows)), some)
            with _without_warnings():
                return some + opacity * (keras_cv[name].augment_images(some) - some)

        return change

    def by(name: str, amount: Callable[[tf.Tensor], tf.Tensor]) -> Change:
        def change(some: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
            # Grey has no colour to lose, and rgb_to_grayscale refuses other numbers of channels.
            if name == "colour" and some.shape[-1] != 3:
                return some
            amounts = wide(amount(strength * tf.gather(part, rows)), some)
            return keras_cv[name].augment_images(some, transformations=amounts)

        return change

    changes = (
        blended("auto_contrast"),
        blended("equalise"),
        by("colour", tf.abs),
        by("contrast", lambda change: 1.0 + change),
        by("brightness", lambda change: 255.0 / 2.0 * change),
    )
    for number, change in enumerate(changes):
        images = only(images, tf.equal(tf.cast(which, tf.int32), number), change)
    return images


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """TensorFlow warns at every tracing that keras-cv's histogram is made in a loop."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def _outside(images: tf.Tensor, side: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """bool ``(batch, rows, columns, 1)``: not in the rectangle of this fraction of the sides about this centre."""
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


def _grid(shape: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    """bool ``(batch, rows, columns, 1)``: in a square of the rotated grid.

    Written out: keras-cv (GridMask) draws and rotates a mask for one image after the other; keras.layers has none.
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
