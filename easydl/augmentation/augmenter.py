"""Draw the parameters of a batch, then apply them to images and masks together, inside ``tf.data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from easydl.augmentation import pixels
from easydl.augmentation.deformation import displacements, plane_transforms, warp_plane
from easydl.augmentation.mixing import hide_and_shade, layers, needs_keras_cv
from easydl.augmentation.operations import COLUMNS, Operation, Range

if TYPE_CHECKING:
    from easydl.augmentation.definition import Preset

_IN_PLANE = {"rotation_degrees", "scale", "shift_row", "shift_column", "flip_left_right", "flip_up_down", "elastic"}
_FROM_BLACK = {"bias", "ghosting", "motion", "speckle", "hue_degrees", "saturation", "haematoxylin", "eosin"}
_GREY = {"gamma", "contrast", "brightness"}
_EXTRAS = {"randaugment_first", "cutout", "gridmask"}
_SEEDED = ("noise", "speckle", "bias", "elastic")
_BLACK = 1e-7
Drawn = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Values:
    """What a batch's values are: their units, (low, high) in them, and the spacing of the grid, None for square pixels."""

    units: str = "0-255"
    window: tuple[float, float] = (0.0, 255.0)
    spacing_mm: tuple[float, ...] | None = None

    @property
    def low(self) -> float:
        """Black, or air."""
        return float(self.window[0])

    @property
    def width(self) -> float:
        """Of the window."""
        return float(self.window[1]) - float(self.window[0])

    def spacing(self, rank: int) -> tuple[float, ...]:
        """In mm along the last ``rank`` axes."""
        return (1.0,) * rank if self.spacing_mm is None else tuple(map(float, self.spacing_mm[-rank:]))


def draw(
    operations: Sequence[Operation], count: int | tf.Tensor, *, seed: int | tf.Tensor, counter: int | tf.Tensor
) -> dict[str, tf.Tensor]:
    """Draw the parameters of one batch of ``count`` images from (seed, counter) alone, float32 ``(count,)`` by name.

    What is a field (noise, speckle, bias, elastic) also has a seed, such as ``"noise_seed"``, int64 ``(2,)``.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(counter, tf.int64)])
    even = tf.random.stateless_uniform((count, len(COLUMNS)), key)
    ranges = {name: span for operation in operations for name, span in operation.ranges.items()}
    drawn = {name: _drawn(span, even[:, COLUMNS.index(name)], key) for name, span in ranges.items()}
    seeds = {f"{name}_seed": _fold_in(key, k) for k, name in enumerate(_SEEDED, start=1) if name in drawn}
    return {**drawn, **seeds}


def _drawn(span: Range, even: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """A parameter from numbers drawn evenly from 0 to 1."""
    # One number says whether and how much: the part of it below the probability is stretched again.
    happens, even = even < span.probability, even / span.probability
    if span.how == "coin":
        value = tf.cast(even < 0.5, tf.float32)
    elif span.how == "ratio":
        value = span.low * (span.high / span.low) ** even
    elif span.how == "beta":
        value = _beta(tf.shape(even), (span.low, span.high), _fold_in(key, len(_SEEDED) + 1))
    else:
        value = span.low + (span.high - span.low) * even
    return value if span.probability >= 1 else tf.where(happens, value, 0.0)


def _beta(shape: tf.Tensor, parameters: tuple[float, float], seed: tf.Tensor) -> tf.Tensor:
    first, second = (
        tf.random.stateless_gamma(shape, _fold_in(seed, number), alpha=alpha) for number, alpha in enumerate(parameters)
    )
    return tf.math.divide_no_nan(first, first + second)


def _fold_in(key: tf.Tensor, number: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(key, number)


def apply(
    preset: Preset, images: Any, masks: Any = None, *, drawn: Drawn, values: Values
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Apply drawn parameters: the movement to images and masks alike, then the values of the images."""
    images = tf.convert_to_tensor(images)
    shape = images.shape
    images = _move(tf.cast(images, tf.float32), drawn, values, fill=None if preset.mirrored else values.low)
    images = tf.ensure_shape(_change_values(images, preset.operations, drawn, values), shape)
    if masks is None:
        return images, None
    masks = tf.convert_to_tensor(masks)
    labels = tf.cast(masks, tf.int32)[..., None]
    labels = _move(labels, drawn, values, fill=None if preset.mirrored else 0)[..., 0]
    return images, tf.ensure_shape(tf.cast(labels, masks.dtype), masks.shape)


def _move(array: tf.Tensor, drawn: Drawn, values: Values, *, fill: float | None) -> tf.Tensor:
    """The movement: images are read between their pixels, masks (integers) take their nearest neighbour."""
    nearest = array.dtype.is_integer
    rank, shape, count = array.shape.rank - 2, tf.shape(array), tf.shape(array)[0]
    spacing = values.spacing(rank)
    if "flip_depth" in drawn and rank == 3:
        turn = tf.reshape(drawn["flip_depth"] > 0.5, (-1, 1, 1, 1, 1))
        array = tf.where(turn, tf.reverse(array, [1]), array)
    for name, plane in (("tilt_row_degrees", (0, 1)), ("tilt_column_degrees", (0, 2))):
        if name in drawn and rank == 3:
            transforms = plane_transforms(
                tf.stack([shape[1 + axis] for axis in plane]),
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
    moved = warp_plane(array, transforms, fill=fill, nearest=nearest)
    if "elastic" not in drawn:
        return moved
    field = displacements(shape[-3:-1], fraction=drawn["elastic"], seed=drawn["elastic_seed"])

    def deformed(_: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        # From the image as it was, so that it is read between its pixels only once.
        some, moves, fields = (tf.gather(one, rows) for one in (array, transforms, field))
        return warp_plane(some, moves, fill=fill, nearest=nearest, field=fields)

    return pixels.only(moved, drawn["elastic"] > 0, deformed)


def _change_values(images: tf.Tensor, operations: Sequence[Operation], drawn: Drawn, values: Values) -> tf.Tensor:
    low, width = values.low, values.width
    bounded = bool((_FROM_BLACK | _GREY).intersection(drawn))
    if bounded:
        images = tf.clip_by_value((images - low) / width, 0.0, 1.0)
        if _FROM_BLACK.intersection(drawn):
            # What overshoots is clipped here: the display curve below knows no value beyond white.
            images = tf.clip_by_value(_scanned(images, drawn, values), 0.0, 1.0)
        images = _displayed(images, drawn) * width + low
    if "noise" in drawn:
        most = next(operation.values for operation in operations if operation.name == "noise")
        std = most["hu"] if values.units == "HU" else most["fraction"] * width
        noise = pixels.normal(tf.shape(images), drawn["noise_seed"])
        images = images + noise * pixels.wide(drawn["noise"], images) * std
    if "offset_hu" in drawn:
        images = images + pixels.wide(drawn["offset_hu"], images)
    if values.units != "HU" and (bounded or "noise" in drawn):
        images = tf.clip_by_value(images, low, low + width)
    if not _EXTRAS.intersection(drawn):
        return images
    # keras-cv's pixel functions know 0-255 only.
    images = tf.clip_by_value(images, low, low + width)
    if (low, width) == (0.0, 255.0):
        return hide_and_shade(images, operations, drawn)
    factor = width / 255.0
    return hide_and_shade((images - low) / factor, operations, drawn) * factor + low


def _scanned(images: tf.Tensor, drawn: Drawn, values: Values) -> tf.Tensor:
    """What happens before the image is displayed, in the order it happens; values from 0 (black) to 1."""
    rgb = images.shape[-1] == 3
    if rgb and "haematoxylin" in drawn:
        amounts = tf.stack([drawn[name] for name in ("haematoxylin", "eosin", "third_stain")], axis=1)
        images = pixels.stain(images, amounts)
    if rgb and {"hue_degrees", "saturation"}.intersection(drawn):
        none = tf.zeros_like(next(iter(drawn.values())))
        hue, saturation = drawn.get("hue_degrees", none), drawn.get("saturation", none + 1.0)
        images = pixels.colour(images, hue_degrees=hue, saturation=saturation)
    if "bias" in drawn:
        images = pixels.bias_field(images, drawn["bias"], drawn["bias_seed"])
    if "motion" in drawn:
        images = pixels.motion(images, drawn, values.spacing(2))
    if "ghosting" in drawn:
        images = pixels.ghosting(images, drawn)
    if "speckle" in drawn:
        images = pixels.speckle(images, drawn["speckle"], drawn["speckle_seed"])
    return images


def _displayed(images: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    """The display's gamma, contrast and brightness; values from 0 (black) to 1."""
    if "gamma" in drawn:
        # Written out because TensorFlow's own power is ten times slower on a processor.
        images = tf.exp(pixels.wide(drawn["gamma"], images) * tf.math.log(tf.maximum(images, _BLACK)))
    if "contrast" in drawn:
        mean = tf.reduce_mean(images, axis=list(range(1, images.shape.rank)), keepdims=True)
        images = mean + (images - mean) * pixels.wide(drawn["contrast"], images)
    if "brightness" in drawn:
        images = images + pixels.wide(drawn["brightness"], images)
    return images


class Augmenter:
    """Augments one batch after another; every batch can be repeated from the seed and its running number.

    Inside ``tf.data`` give it the running number of the batch (``dataset.repeat().enumerate()``), and parallel calls stay
    reproducible. Without one it counts its own calls, which must then come in order.

    Attributes:
        preset: What it does, already adapted to these images.
        notes: What was left out for these images and why.
        values: Units, window and spacing of the images.
        seed: Of the training run.
    """

    def __init__(self, preset: Preset, values: Values, seed: int) -> None:
        self.preset, self.values, self.seed, self.notes = preset, values, seed, preset.notes
        if needs_keras_cv(preset.operations):
            layers()
        # tf.data runs on the processor: a counter that lived on a GPU could not be reached from there.
        with tf.init_scope(), tf.device("CPU:0"):
            self._calls = tf.Variable(-1, dtype=tf.int64, trainable=False)

    def __call__(
        self, images: Any, masks: Any = None, counter: int | tf.Tensor | None = None, *, targets: Any = None
    ) -> tuple[tf.Tensor, Any]:
        """Augment a batch.

        Args:
            images: ``(batch, *spatial, channel)``.
            masks: Integer ``(batch, *spatial)``, or None.
            counter: Running number of the batch, or None to count the calls.
            targets: ``(batch, classes)`` instead of masks. MixUp and CutMix mix images and targets; without targets
                they are left out. Without MixUp and CutMix the targets come back as they are.

        Returns:
            float32 images and masks of their own type (None without masks), shapes unchanged; or images and targets.
        """
        call = self._augmented
        if not needs_keras_cv(self.preset.operations):
            # Our own conditions are tf.cond: that TensorFlow rewrites the code for others costs three seconds.
            call = tf.autograph.experimental.do_not_convert(call)
        return call(images, masks, counter, targets)

    def _augmented(
        self, images: Any, masks: Any, counter: int | tf.Tensor | None, targets: Any
    ) -> tuple[tf.Tensor, Any]:
        number = self._calls.assign_add(1) if counter is None else counter
        drawn = self.preset.draw(tf.shape(images)[0], seed=self.seed, counter=number)
        images, masks = apply(self.preset, images, masks, drawn=drawn, values=self.values)
        if targets is None:
            return images, masks
        return self.preset.mix(images, targets, drawn=drawn)
