"""Draw the parameters of a batch, then apply them to images and masks together, inside ``tf.data``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from easydl.augmentation import pixels
from easydl.augmentation.deformation import bend, plane_transforms, warp_plane
from easydl.augmentation.mixing import layers, needs_keras_cv, pictures
from easydl.augmentation.operations import COLUMNS, Noise, Operation

if TYPE_CHECKING:
    from easydl.augmentation.definition import Preset

_IN_PLANE = {"rotation_degrees", "scale", "shift_row", "shift_column", "flip_left_right", "flip_up_down", "elastic"}
_FROM_BLACK = {"bias", "ghosting", "motion", "speckle", "hue_degrees", "saturation", "haematoxylin", "eosin"}
_SEEDED = ("noise", "speckle", "bias", "elastic")
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
        Parameter name -> float32 ``(count,)``; what is a field (noise, speckle, bias, elastic) also has a seed, such as
        ``"noise_seed"``, int64 ``(2,)``.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(counter, tf.int64)])
    even = tf.random.stateless_uniform((count, len(COLUMNS)), key)
    ranges = {name: span for operation in operations for name, span in operation.ranges().items()}
    drawn = {}
    for name, span in ranges.items():
        share = even[:, COLUMNS.index(name)]
        # One number says whether and how much: the part of it below the probability is stretched again.
        happens, share = share < span.probability, share / span.probability
        if span.how == "coin":
            value = tf.cast(share < 0.5, tf.float32)
        elif span.how == "ratio":
            value = span.low * (span.high / span.low) ** share
        elif span.how == "beta":
            value = _beta(count, span.low, span.high, tf.random.experimental.stateless_fold_in(key, len(_SEEDED) + 1))
        else:
            value = span.low + (span.high - span.low) * share
        drawn[name] = value if span.probability >= 1 else tf.where(happens, value, 0.0)
    for number, name in enumerate(_SEEDED, start=1):
        if name in drawn:
            drawn[f"{name}_seed"] = tf.random.experimental.stateless_fold_in(key, number)
    return drawn


def _beta(count: int | tf.Tensor, first: float, second: float, seed: tf.Tensor) -> tf.Tensor:
    one, other = (
        tf.random.stateless_gamma((count,), tf.random.experimental.stateless_fold_in(seed, number), alpha=alpha)
        for number, alpha in enumerate((first, second))
    )
    return tf.math.divide_no_nan(one, one + other)


def apply(
    operations: Sequence[Operation],
    images: Any,
    masks: Any = None,
    *,
    drawn: dict[str, tf.Tensor],
    units: str = "0-255",
    window: tuple[float, float] = (0.0, 255.0),
    spacing_mm: tuple[float, ...] | None = None,
    mirrored: bool = False,
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Apply drawn parameters: the movement to images and masks alike, then the pixel values of the images.

    Args:
        operations: The active operations (for the strength of the noise and of RandAugment).
        images: ``(batch, *spatial, channel)``.
        masks: Integer ``(batch, *spatial)``, or None.
        drawn: From `draw`.
        units: ``"0-255"``, ``"relative"`` or ``"HU"``.
        window: (low, high); low comes in from outside.
        spacing_mm: Grid of the batch, or None for square pixels and cubes.
        mirrored: The image's own mirror image comes in from outside instead, and so does the mask's.

    Returns:
        float32 images and masks of their own type, shapes unchanged.
    """
    images = tf.convert_to_tensor(images)
    shape = images.shape
    images = _move(
        tf.cast(images, tf.float32), drawn, fill=None if mirrored else window[0], nearest=False, spacing_mm=spacing_mm
    )
    images = _values(images, operations, drawn, units=units, window=window, spacing_mm=spacing_mm)
    images = tf.ensure_shape(images, shape)
    if masks is None:
        return images, None
    masks = tf.convert_to_tensor(masks)
    labels = tf.cast(masks, tf.int32)[..., None]
    labels = _move(labels, drawn, fill=None if mirrored else 0, nearest=True, spacing_mm=spacing_mm)[..., 0]
    return images, tf.ensure_shape(tf.cast(labels, masks.dtype), masks.shape)


def _move(
    array: tf.Tensor,
    drawn: dict[str, tf.Tensor],
    *,
    fill: float | None,
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
    moved = warp_plane(array, transforms, fill=fill, nearest=nearest)
    if "elastic" not in drawn:
        return moved
    field = bend(shape[-3:-1], fraction=drawn["elastic"], seed=drawn["elastic_seed"])

    def bent(_: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        # From the image as it was, so that it is read between its pixels only once.
        some, moves, bends = (tf.gather(one, numbers) for one in (array, transforms, field))
        return warp_plane(some, moves, fill=fill, nearest=nearest, bent=bends)

    return pixels.only(moved, drawn["elastic"] > 0, bent)


def _values(
    images: tf.Tensor,
    operations: Sequence[Operation],
    drawn: dict[str, tf.Tensor],
    *,
    units: str,
    window: tuple[float, float],
    spacing_mm: tuple[float, ...] | None,
) -> tf.Tensor:
    low, width = float(window[0]), float(window[1]) - float(window[0])

    def each(name: str) -> tf.Tensor:
        return tf.reshape(drawn[name], (-1,) + (1,) * (images.shape.rank - 1))

    scanned = bool(_FROM_BLACK.intersection(drawn))
    bounded = scanned or bool({"gamma", "contrast", "brightness"}.intersection(drawn))
    if bounded:
        images = tf.clip_by_value((images - low) / width, 0.0, 1.0)
        if scanned:
            # What overshoots is clipped here: the display curve below knows no value beyond white.
            spacing = (1.0, 1.0) if spacing_mm is None else (float(spacing_mm[-2]), float(spacing_mm[-1]))
            images = tf.clip_by_value(_scanned(images, drawn, spacing), 0.0, 1.0)
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
        noise = pixels.normal(tf.shape(images), drawn["noise_seed"])
        images = images + noise * each("noise") * strength
    if "offset_hu" in drawn:
        images = images + each("offset_hu")
    if units != "HU" and (bounded or "noise" in drawn):
        images = tf.clip_by_value(images, low, low + width)
    if {"randaugment_first", "cutout", "gridmask"}.intersection(drawn):
        # keras-cv's pixel functions know 0-255 only.
        scale = width / 255.0
        images = tf.clip_by_value(images, low, low + width)
        same = (low, width) == (0.0, 255.0)
        images = pictures(images if same else (images - low) / scale, operations, drawn)
        images = images if same else images * scale + low
    return images


def _scanned(images: tf.Tensor, drawn: dict[str, tf.Tensor], spacing: tuple[float, float]) -> tf.Tensor:
    """What happens before the image is displayed, in the order it happens; values from 0 (black) to 1."""
    if images.shape[-1] == 3:
        if "haematoxylin" in drawn:
            amounts = tf.stack([drawn[name] for name in ("haematoxylin", "eosin", "third_stain")], axis=1)
            images = pixels.stain(images, amounts)
        if {"hue_degrees", "saturation"}.intersection(drawn):
            even = tf.zeros_like(next(iter(drawn.values())))
            images = pixels.colour(
                images, hue_degrees=drawn.get("hue_degrees", even), saturation=drawn.get("saturation", even + 1.0)
            )
    if "bias" in drawn:
        images = pixels.bias_field(images, drawn["bias"], drawn["bias_seed"])
    if "motion" in drawn:
        images = pixels.motion(
            images,
            drawn["motion"],
            time=drawn["motion_time"],
            degrees=drawn["motion_turn"],
            shift=(drawn["motion_row"], drawn["motion_column"]),
            axis=drawn["phase_axis"],
            spacing=spacing,
        )
    if "ghosting" in drawn:
        images = pixels.ghosting(
            images,
            drawn["ghosting"],
            ghosts=tf.floor(drawn["ghosts"]),
            phase=drawn["ghost_phase"],
            axis=drawn["phase_axis"],
        )
    if "speckle" in drawn:
        images = pixels.speckle(images, drawn["speckle"], drawn["speckle_seed"])
    return images


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
        number = self._calls.assign_add(1) if counter is None else counter
        drawn = self.preset.draw(tf.shape(images)[0], seed=self.seed, counter=number)
        images, masks = self.preset.apply(
            images, masks, drawn=drawn, units=self.units, window=self.window, spacing_mm=self.spacing_mm
        )
        if targets is None:
            return images, masks
        return self.preset.mix(images, targets, drawn=drawn)
