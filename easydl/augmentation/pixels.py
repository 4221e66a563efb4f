"""How scanners, probes, lamps and stains change pixel values, in TensorFlow. It draws no strengths.

All arrays are float32 ``(batch, *spatial, channel)`` with black at 0; all parameters are ``(batch,)``, and a strength of 0
is no change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from easydl.augmentation.deformation import plane_transforms, warp_plane

Drawn = Mapping[str, tf.Tensor]
DEGREE = 3
# Luma and the two colour axes from red, green and blue (ITU-R BT.601, NTSC).
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal values by Box and Muller (1958), three times as fast here as ``stateless_normal``."""
    count = tf.reduce_prod(shape)
    even = tf.random.stateless_uniform((2, (count + 1) // 2), seed, minval=1e-7)
    length, angle = tf.sqrt(-2.0 * tf.math.log(even[0])), 2.0 * np.pi * even[1]
    both = tf.concat([length * tf.cos(angle), length * tf.sin(angle)], axis=0)
    return tf.reshape(both[:count], shape)


def only(images: tf.Tensor, chosen: tf.Tensor, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Change the chosen images of a batch by ``change(images, rows)``: what is rare costs little."""
    rows = tf.where(chosen)[:, 0]

    def changed() -> tf.Tensor:
        return tf.tensor_scatter_nd_update(images, rows[:, None], change(tf.gather(images, rows), rows))

    return tf.cond(tf.size(rows) > 0, changed, lambda: images)


def bias_field(images: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Multiply by a smooth field: the exponential of a polynomial of the position, at most ``strength`` from 0."""
    rank, count = images.shape.rank - 2, tf.shape(images)[0]
    powers = np.indices((DEGREE + 1,) * rank).sum(axis=0)
    used = ((powers > 0) & (powers <= DEGREE)).astype(np.float32)
    field = tf.random.stateless_uniform(tf.concat([[count], used.shape], axis=0), seed, minval=-1.0, maxval=1.0) * used
    for axis in range(rank):
        place = tf.linspace(-1.0, 1.0, tf.shape(images)[axis + 1])
        # The first power axis becomes the last, a spatial one; after all of them the order is that of the image.
        field = tf.tensordot(field, tf.stack([place**power for power in range(DEGREE + 1)]), axes=[[1], [0]])
    axes = list(range(1, rank + 1))
    field -= tf.reduce_mean(field, axis=axes, keepdims=True)
    field = tf.math.divide_no_nan(field, tf.reduce_max(tf.abs(field), axis=axes, keepdims=True))
    return images * tf.exp(field * wide(strength, field))[..., None]


def ghosting(images: tf.Tensor, drawn: Drawn) -> tf.Tensor:
    """Modulate the lines of k-space by a cosine: copies at the ``ghosts``-th part of the field of view, each of half of
    the drawn strength. ``ghost_phase`` is that of the cosine at the centre of k-space, in radians.
    """

    def change(some: tf.Tensor, drawn: Drawn, columns: bool) -> tf.Tensor:
        lines = _lines(some, columns)
        line = _line_numbers(tf.shape(lines)[-1])
        angle = 2.0 * np.pi * line / tf.floor(drawn["ghosts"])[:, None] + drawn["ghost_phase"][:, None]
        weight = 1.0 + drawn["ghosting"][:, None] * tf.cos(angle)
        return lines * tf.cast(_between(weight, lines), tf.complex64)

    return _in_k_space(images, drawn, ("ghosting", "ghosts", "ghost_phase"), change)


def motion(images: tf.Tensor, drawn: Drawn, spacing: Sequence[float] = (1.0, 1.0)) -> tf.Tensor:
    """Take the lines of k-space after ``motion_time`` (0.5 is the centre) from the moved anatomy.

    The turn in the plane and the shift (down and to the right, as fractions of the side) happen by the part ``motion``.
    """

    def change(some: tf.Tensor, drawn: Drawn, columns: bool) -> tf.Tensor:
        part = drawn["motion"]
        transforms = plane_transforms(
            tf.shape(some)[-3:-1],
            degrees=part * drawn["motion_turn"],
            shift=(part * drawn["motion_row"], part * drawn["motion_column"]),
            spacing=(spacing[0], spacing[1]),
            count=tf.shape(some)[0],
        )
        moved = _lines(warp_plane(some, transforms, fill=0.0, nearest=False), columns)
        lines = _lines(some, columns)
        length = tf.shape(lines)[-1]
        acquired = _line_numbers(length) / tf.cast(length, tf.float32) + 0.5
        late = _between(acquired[None] >= drawn["motion_time"][:, None], lines)
        return tf.where(late, moved, lines)

    return _in_k_space(images, drawn, ("motion", "motion_time", "motion_turn", "motion_row", "motion_column"), change)


def _in_k_space(images: tf.Tensor, drawn: Drawn, names: Sequence[str], change: Callable[..., tf.Tensor]) -> tf.Tensor:
    """Change the spectrum along the phase encoding (0 rows, 1 columns) of the images in which the first name is not 0."""
    for columns in (False, True):

        def changed(some: tf.Tensor, rows: tf.Tensor, columns: bool = columns) -> tf.Tensor:
            return _images(change(some, {name: tf.gather(drawn[name], rows) for name in names}, columns), columns)

        images = only(images, (drawn[names[0]] > 0) & ((drawn["phase_axis"] >= 0.5) == columns), changed)
    return images


def speckle(images: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add grain that grows with the square root of the signal; values from 0 to 1."""
    # One grain for all channels: grey images are often stored in colour, and must stay grey.
    grain = normal(tf.concat([tf.shape(images)[:-1], [1]], axis=0), seed)
    for axis in (-3, -2):
        grain = 0.5 * grain + 0.25 * (tf.roll(grain, 1, axis) + tf.roll(grain, -1, axis))
    # The kernel (1, 2, 1)/4 along two axes leaves 0.375 of the standard deviation.
    return images + tf.sqrt(tf.maximum(images, 0.0)) * grain / 0.375 * wide(strength, images)


def colour(images: tf.Tensor, *, hue_degrees: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Turn the hue and multiply the saturation in YIQ; the luma stays. Three channels, red, green, blue."""
    inverse = np.linalg.inv(_YIQ)
    luma, cosine, sine = (
        (inverse @ np.array(middle, float) @ _YIQ).T.astype(np.float32)
        for middle in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
    )
    angle = hue_degrees * (np.pi / 180.0)
    matrix = luma + (saturation * tf.cos(angle))[:, None, None] * cosine
    return _mixed(images, matrix + (saturation * tf.sin(angle))[:, None, None] * sine)


def stain(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Multiply the amounts of haematoxylin, eosin and a third stain, ``(batch, 3)``; 1 is white, where nothing absorbs."""
    from skimage.color import hed_from_rgb, rgb_from_hed

    # One step of 8 bits is added so that black has a density; it is taken off again below.
    density = -tf.math.log((images * 255.0 + 1.0) / 256.0)
    separate, join = (tf.constant(one, tf.float32) for one in (hed_from_rgb, rgb_from_hed))
    changed = _mixed(density, tf.linalg.matmul(separate * amounts[:, None, :], join))
    return (256.0 * tf.exp(-changed) - 1.0) / 255.0


def _mixed(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Each image's channels times its own matrix."""
    flat = tf.reshape(images, (tf.shape(images)[0], -1, 3))
    return tf.reshape(tf.linalg.matmul(flat, matrix), tf.shape(images))


def _lines(images: tf.Tensor, columns: bool) -> tf.Tensor:
    """The spectrum along the phase encoding, which is put last. The other axes need none: nothing acts along them."""
    return tf.signal.fft(tf.cast(_swapped(images, columns), tf.complex64))


def _images(lines: tf.Tensor, columns: bool) -> tf.Tensor:
    return _swapped(tf.abs(tf.signal.ifft(lines)), columns)


def _swapped(array: tf.Tensor, columns: bool) -> tf.Tensor:
    order = list(range(array.shape.rank))
    phase = order[-2] if columns else order[-3]
    order[phase], order[-1] = order[-1], order[phase]
    return tf.transpose(array, order)


def _line_numbers(length: tf.Tensor) -> tf.Tensor:
    """-length/2 to length/2 in the order of the FFT: 0 is the centre of k-space."""
    half = length // 2
    return tf.cast(tf.roll(tf.range(length) - half, -half, 0), tf.float32)


def _between(values: tf.Tensor, lines: tf.Tensor) -> tf.Tensor:
    """``(batch, line)`` with axes of length 1 between the two."""
    ones = tf.ones((lines.shape.rank - 2,), tf.int32)
    return tf.reshape(values, tf.concat([tf.shape(values)[:1], ones, tf.shape(values)[1:]], axis=0))


def wide(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """``(batch,)`` with axes of length 1 behind it."""
    return tf.reshape(values, (-1,) + (1,) * (like.shape.rank - 1))
