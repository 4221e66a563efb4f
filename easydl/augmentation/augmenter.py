"""Draw the parameters of a batch, then apply them to images and masks together, inside ``tf.data``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from easydl.augmentation.operations import COLUMNS, Noise, Operation
from easydl.augmentation.warp import plane_transforms, warp_plane

if TYPE_CHECKING:
    from easydl.augmentation.catalogue import Preset

_IN_PLANE = {"rotation_degrees", "scale", "shift_row", "shift_column", "flip_left_right", "flip_up_down"}
_BLACK = 1e-7


def draw(
    operations: Sequence[Operation],
    count: int | tf.Tensor,
    *,
    seed: int | tf.Tensor,
    counter: int | tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Draw the parameters of one batch from (seed, counter) alone.

    Args:
        operations: The active operations.
        count: Images in the batch.
        seed: Of the run.
        counter: Running number of the batch.

    Returns:
        Parameter name -> float32 ``(count,)``; with noise also ``"noise_seed"``, int64 ``(2,)``.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(counter, tf.int64)])
    even = tf.random.stateless_uniform((count, len(COLUMNS)), key)
    ranges = {name: span for operation in operations for name, span in operation.ranges().items()}
    drawn = {}
    for name, (how, low, high) in ranges.items():
        share = even[:, COLUMNS.index(name)]
        if how == "coin":
            drawn[name] = tf.cast(share < 0.5, tf.float32)
        elif how == "ratio":
            drawn[name] = low * (high / low) ** share
        else:
            drawn[name] = low + (high - low) * share
    if "noise" in drawn:
        drawn["noise_seed"] = tf.random.experimental.stateless_fold_in(key, 1)
    return drawn


def apply(
    operations: Sequence[Operation],
    images: Any,
    masks: Any = None,
    *,
    drawn: dict[str, tf.Tensor],
    units: str = "0-255",
    window: tuple[float, float] = (0.0, 255.0),
    spacing_mm: tuple[float, ...] | None = None,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Apply drawn parameters: the movement to images and masks alike, then the grey values of the images.

    Args:
        operations: The active operations (for the strength of the noise).
        images: ``(batch, *spatial, channel)``.
        masks: Integer ``(batch, *spatial)``, or None.
        drawn: From `draw`.
        units: ``"0-255"``, ``"relative"`` or ``"HU"``.
        window: (low, high); low comes in from outside.
        spacing_mm: Grid of the batch, or None for square pixels and cubes.

    Returns:
        float32 images and masks of their own type, shapes unchanged.
    """
    images = tf.convert_to_tensor(images)
    shape = images.shape
    images = _move(tf.cast(images, tf.float32), drawn, fill=window[0], nearest=False, spacing_mm=spacing_mm)
    images = _grey(images, operations, drawn, units=units, window=window)
    images = tf.ensure_shape(images, shape)
    if masks is None:
        return images, None
    masks = tf.convert_to_tensor(masks)
    labels = tf.cast(masks, tf.int32)[..., None]
    labels = _move(labels, drawn, fill=0, nearest=True, spacing_mm=spacing_mm)[..., 0]
    return images, tf.ensure_shape(tf.cast(labels, masks.dtype), masks.shape)


def _move(
    array: tf.Tensor,
    drawn: dict[str, tf.Tensor],
    *,
    fill: float,
    nearest: bool,
    spacing_mm: tuple[float, ...] | None,
) -> tf.Tensor:
    rank = array.shape.rank - 2
    spacing = (1.0,) * rank if spacing_mm is None else tuple(map(float, spacing_mm))
    shape, count = tf.shape(array), tf.shape(array)[0]
    if "flip_depth" in drawn and rank == 3:
        turn = tf.reshape(drawn["flip_depth"] > 0.5, (-1, 1, 1, 1, 1))
        array = tf.where(turn, tf.reverse(array, [1]), array)
    for name, plane in (("tilt_row_degrees", (0, 1)), ("tilt_column_degrees", (0, 2))):
        if name in drawn and rank == 3:
            transforms = plane_transforms(
                tf.stack([shape[1 + plane[0]], shape[1 + plane[1]]]),
                degrees=drawn[name],
                spacing=(spacing[plane[0]], spacing[plane[1]]),
                count=count,
            )
            array = warp_plane(array, transforms, fill=fill, nearest=nearest, plane=plane)
    if not _IN_PLANE.intersection(drawn):
        return array
    transforms = plane_transforms(
        shape[-3:-1],
        degrees=drawn.get("rotation_degrees"),
        scale=drawn.get("scale"),
        shift=(drawn["shift_row"], drawn["shift_column"]) if "shift_row" in drawn else None,
        flip=(drawn.get("flip_up_down"), drawn.get("flip_left_right")),
        spacing=(spacing[-2], spacing[-1]),
        count=count,
    )
    return warp_plane(array, transforms, fill=fill, nearest=nearest, plane=(1, 2))


def _grey(
    images: tf.Tensor,
    operations: Sequence[Operation],
    drawn: dict[str, tf.Tensor],
    *,
    units: str,
    window: tuple[float, float],
) -> tf.Tensor:
    low, width = float(window[0]), float(window[1]) - float(window[0])

    def each(name: str) -> tf.Tensor:
        return tf.reshape(drawn[name], (-1,) + (1,) * (images.shape.rank - 1))

    bounded = bool({"gamma", "contrast", "brightness"}.intersection(drawn))
    if bounded:
        images = tf.clip_by_value((images - low) / width, 0.0, 1.0)
        if "gamma" in drawn:
            # Written out because TensorFlow's own power is ten times slower on a processor.
            images = tf.exp(each("gamma") * tf.math.log(tf.maximum(images, _BLACK)))
        if "contrast" in drawn:
            mean = tf.reduce_mean(images, axis=list(range(1, images.shape.rank)), keepdims=True)
            images = mean + (images - mean) * each("contrast")
        if "brightness" in drawn:
            images = images + each("brightness")
        images = images * width + low
    if "noise" in drawn:
        strength = next(op.hu if units == "HU" else op.fraction * width for op in operations if isinstance(op, Noise))
        noise = _normal(tf.shape(images), drawn["noise_seed"])
        images = images + noise * each("noise") * strength
    if "offset_hu" in drawn:
        images = images + each("offset_hu")
    if units != "HU" and (bounded or "noise" in drawn):
        images = tf.clip_by_value(images, low, low + width)
    return images


def _normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers by Box and Muller (1958), three times as fast here as ``stateless_normal``."""
    count = tf.reduce_prod(shape)
    even = tf.random.stateless_uniform((2, (count + 1) // 2), seed, minval=1e-7)
    length, angle = tf.sqrt(-2.0 * tf.math.log(even[0])), 2.0 * np.pi * even[1]
    both = tf.concat([length * tf.cos(angle), length * tf.sin(angle)], axis=0)
    return tf.reshape(both[:count], shape)


class Augmenter:
    """Augments one batch after another; every batch can be made again from the seed and its running number.

    Inside ``tf.data`` give it the running number of the batch (``dataset.repeat().enumerate()``), and
    parallel calls stay reproducible. Without one it counts its own calls, which must then come in order.

    Args:
        preset: Already adapted to these images.
        units: ``"0-255"``, ``"relative"`` or ``"HU"``.
        window: (low, high) in those units.
        seed: Of the run.
        spacing_mm: Grid of the batch, or None.

    Attributes:
        preset: What it does.
        notes: What was left out for these images and why.
        seed: Of the run.
    """

    def __init__(
        self,
        *,
        preset: Preset,
        units: str,
        window: tuple[float, float],
        seed: int,
        spacing_mm: tuple[float, ...] | None = None,
    ) -> None:
        self.preset, self.units, self.window, self.seed = preset, units, window, seed
        self.spacing_mm = spacing_mm
        self.notes = preset.notes
        # tf.data runs on the processor: a counter that lived on a GPU could not be reached from there.
        with tf.init_scope(), tf.device("CPU:0"):
            self._calls = tf.Variable(-1, dtype=tf.int64, trainable=False)

    def __call__(
        self, images: Any, masks: Any = None, counter: int | tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Augment a batch.

        Args:
            images: ``(batch, *spatial, channel)``.
            masks: Integer ``(batch, *spatial)``, or None.
            counter: Running number of the batch, or None to count the calls.

        Returns:
            float32 images and masks of their own type (None without masks), shapes unchanged.
        """
        number = self._calls.assign_add(1) if counter is None else counter
        drawn = self.preset.draw(tf.shape(images)[0], seed=self.seed, counter=number)
        return self.preset.apply(
            images, masks, drawn=drawn, units=self.units, window=self.window, spacing_mm=self.spacing_mm
        )
