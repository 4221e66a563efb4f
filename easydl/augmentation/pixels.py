"""How scanners, probes, lamps and stains change pixel values, in TensorFlow. It draws no strengths.

All arrays are float32 ``(batch, *spatial, channel)`` with black at 0; all strengths are ``(batch,)``, 0 is no change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from easydl.augmentation.deformation import plane_transforms, warp_plane

DEGREE = 3
# Luma and the two colour axes from red, green and blue (ITU-R BT.601, NTSC).
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers by Box and Muller (1958), three times as fast here as ``stateless_normal``."""
    count = tf.reduce_prod(shape)
    even = tf.random.stateless_uniform((2, (count + 1) // 2), seed, minval=1e-7)
    length, angle = tf.sqrt(-2.0 * tf.math.log(even[0])), 2.0 * np.pi * even[1]
    both = tf.concat([length * tf.cos(angle), length * tf.sin(angle)], axis=0)
    return tf.reshape(both[:count], shape)


def only(images: tf.Tensor, chosen: tf.Tensor, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Change some images of a batch: what is rare costs little.

    Args:
        images: ``(batch, ...)``.
        chosen: bool ``(batch,)``.
        change: From the chosen images and their numbers in the batch to the changed images.

    Returns:
        The batch with the chosen images changed.
    """
    numbers = tf.where(chosen)[:, 0]

    def changed() -> tf.Tensor:
        return tf.tensor_scatter_nd_update(images, numbers[:, None], change(tf.gather(images, numbers), numbers))

    return tf.cond(tf.size(numbers) > 0, changed, lambda: images)


def bias_field(images: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Multiply by a smooth field: the exponential of a polynomial of the position, at most ``strength`` from 0.

    Args:
        images: Black at 0.
        strength: Natural logarithm of the largest factor.
        seed: int64 ``(2,)``, of the polynomials' coefficients.
    """
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
    return images * tf.exp(field * _wide(strength, field))[..., None]


def ghosting(
    images: tf.Tensor, strength: tf.Tensor, *, ghosts: tf.Tensor, phase: tf.Tensor, axis: tf.Tensor
) -> tf.Tensor:
    """Modulate the lines of k-space by a cosine: copies at the ``ghosts``-th part of the field of view.

    Args:
        images: Black at 0.
        strength: Of the modulation; each copy has half of it.
        ghosts: Periods in the field of view, whole numbers.
        phase: Of the cosine at the centre of k-space, in radians.
        axis: Phase encoding: 0 for rows, 1 for columns.
    """

    def along(columns: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        def change(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
            lines = _lines(some, columns)
            line = _line_numbers(tf.shape(lines)[-1])
            angle = 2.0 * np.pi * line / tf.gather(ghosts, numbers)[:, None] + tf.gather(phase, numbers)[:, None]
            weight = 1.0 + tf.gather(strength, numbers)[:, None] * tf.cos(angle)
            return _images(lines * tf.cast(_between(weight, lines), tf.complex64), columns)

        return change

    images = only(images, (strength > 0) & (axis < 0.5), along(columns=False))
    return only(images, (strength > 0) & (axis >= 0.5), along(columns=True))


def motion(
    images: tf.Tensor,
    share: tf.Tensor,
    *,
    time: tf.Tensor,
    degrees: tf.Tensor,
    shift: tuple[tf.Tensor, tf.Tensor],
    axis: tf.Tensor,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> tf.Tensor:
    """Take the lines of k-space after ``time`` from the moved anatomy.

    Args:
        images: Black at 0.
        share: Of the movement that follows, from 0 to 1.
        time: When it happens, from 0 (first line) over 0.5 (the centre) to 1 (last line).
        degrees: Turn in the plane.
        shift: Down and to the right, as a share of the side.
        axis: Phase encoding: 0 for rows, 1 for columns.
        spacing: Millimetres between rows and between columns.
    """

    def along(columns: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        def change(some: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
            much = tf.gather(share, numbers)
            transforms = plane_transforms(
                tf.shape(some)[-3:-1],
                degrees=much * tf.gather(degrees, numbers),
                shift=(much * tf.gather(shift[0], numbers), much * tf.gather(shift[1], numbers)),
                spacing=spacing,
                count=tf.shape(some)[0],
            )
            moved = _lines(warp_plane(some, transforms, fill=0.0, nearest=False), columns)
            lines = _lines(some, columns)
            length = tf.shape(lines)[-1]
            acquired = _line_numbers(length) / tf.cast(length, tf.float32) + 0.5
            late = _between(acquired[None] >= tf.gather(time, numbers)[:, None], lines)
            return _images(tf.where(late, moved, lines), columns)

        return change

    images = only(images, (share > 0) & (axis < 0.5), along(columns=False))
    return only(images, (share > 0) & (axis >= 0.5), along(columns=True))


def speckle(images: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Add grain that grows with the square root of the signal; values from 0 to 1."""
    # One grain for all channels: grey images are often stored in colour, and must stay grey.
    grain = normal(tf.concat([tf.shape(images)[:-1], [1]], axis=0), seed)
    for axis in (-3, -2):
        grain = 0.5 * grain + 0.25 * (tf.roll(grain, 1, axis) + tf.roll(grain, -1, axis))
    # The kernel (1, 2, 1)/4 along two axes leaves 0.375 of the standard deviation.
    return images + tf.sqrt(tf.maximum(images, 0.0)) * grain / 0.375 * _wide(strength, images)


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
    """Multiply the amounts of haematoxylin, eosin and a third stain; values from 0 to 1, three channels.

    Args:
        images: Transmitted light, 1 where nothing absorbs.
        amounts: ``(batch, 3)``, 1 is no change.
    """
    from skimage.color import hed_from_rgb, rgb_from_hed

    # One step of 8 bits is added so that black has a density; it is taken off again below.
    density = -tf.math.log((images * 255.0 + 1.0) / 256.0)
    apart, together = (tf.constant(one, tf.float32) for one in (hed_from_rgb, rgb_from_hed))
    changed = _mixed(density, tf.linalg.matmul(apart * amounts[:, None, :], together))
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


def _wide(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, (-1,) + (1,) * (like.shape.rank - 1))
