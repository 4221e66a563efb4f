"""One movement in a plane for every image of a batch, affine or elastic, in TensorFlow. It draws no parameters.

Keras' own random layers treat masks as images in places (3.15.1); here a mask takes its nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from easydl.augmentation.operations import SPANS


def plane_transforms(
    size: tf.Tensor,
    *,
    degrees: tf.Tensor | None = None,
    scale: tf.Tensor | None = None,
    shift: tuple[tf.Tensor, tf.Tensor] | None = None,
    flip: tuple[tf.Tensor | None, tf.Tensor | None] = (None, None),
    spacing: tuple[float, float] = (1.0, 1.0),
    count: tf.Tensor | int,
) -> tf.Tensor:
    """The maps from a pixel of the new image to a pixel of the old one, about the centre of the plane.

    The anatomy is mirrored, then scaled, then rotated, then shifted; lengths are millimetres, so that a circle stays a
    circle on pixels that are not square. ``degrees`` (positive is anticlockwise on screen), ``scale``, ``shift`` (down
    and to the right, as fractions of the sides) and ``flip`` (up-down and left-right, 0 or 1) are ``(batch,)`` each.
    Returns float32 ``(batch, 8)`` as ``ImageProjectiveTransformV3`` takes them.
    """
    none = tf.zeros((count,), tf.float32)
    rows, columns = tf.unstack(tf.cast(size, tf.float32))
    angle = none if degrees is None else degrees * (np.pi / 180.0)
    factor = none + 1.0 if scale is None else scale
    down, right = (none, none) if shift is None else shift
    mirror_row = none + 1.0 if flip[0] is None else 1.0 - 2.0 * flip[0]
    mirror_column = none + 1.0 if flip[1] is None else 1.0 - 2.0 * flip[1]
    aspect = spacing[0] / spacing[1]
    cosine, sine = tf.cos(angle) / factor, tf.sin(angle) / factor
    xx, xy = mirror_column * cosine, -mirror_column * sine * aspect
    yx, yy = mirror_row * sine / aspect, mirror_row * cosine
    centre_x, centre_y = (columns - 1.0) / 2.0, (rows - 1.0) / 2.0
    moved_x, moved_y = centre_x + right * columns, centre_y + down * rows
    x, y = centre_x - xx * moved_x - xy * moved_y, centre_y - yx * moved_x - yy * moved_y
    return tf.stack([xx, xy, x, yx, yy, y, none, none], axis=1)


def displacements(size: tf.Tensor, *, fraction: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A smooth field of displacements for every image, float32 ``(batch, rows, columns, 2)``: down and right, in pixels.

    It is a uniform cubic B-spline with even control points. A B-spline lies within its control points, so no pixel moves
    farther than ``fraction`` ``(batch,)`` of its side.
    """
    points = tf.random.stateless_uniform((tf.shape(fraction)[0], SPANS + 3, SPANS + 3, 2), seed, -1.0, 1.0)
    points *= fraction[:, None, None, None]
    field = tf.einsum("byxd,ry,cx->brcd", points, _spline(size[0]), _spline(size[1]))
    return field * tf.cast(size, tf.float32)


def _spline(length: tf.Tensor) -> tf.Tensor:
    """The weights of the control points at each pixel, ``(length, SPANS + 3)``; each row sums to 1."""
    place = (tf.range(length, dtype=tf.float32) + 0.5) * SPANS / tf.cast(length, tf.float32)
    away = tf.abs(place[:, None] + 1.0 - tf.range(SPANS + 3, dtype=tf.float32)[None])
    near, far = 2.0 / 3.0 - away**2 + away**3 / 2.0, tf.maximum(2.0 - away, 0.0) ** 3 / 6.0
    return tf.where(away < 1.0, near, far)


def warp(
    array: tf.Tensor, transforms: tf.Tensor, *, fill: float | None, nearest: bool, field: tf.Tensor | None = None
) -> tf.Tensor:
    """Move every image ``(batch, rows, columns, channel)`` by its own transform, from `plane_transforms`.

    ``fill`` comes in from outside; None stands for the image's own mirror image. ``nearest`` is for masks, in which no
    new value may appear. ``field``, from `displacements`, is added to the place in the new image before the transform, so
    pixels are read only once.
    """
    if field is not None:
        return _read_at(array, _places(tf.shape(array), transforms, field), fill=fill, nearest=nearest)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=array,
        transforms=transforms,
        output_shape=tf.shape(array)[1:3],
        fill_value=float(fill or 0.0),
        interpolation="NEAREST" if nearest else "BILINEAR",
        fill_mode="REFLECT" if fill is None else "CONSTANT",
    )


def _places(shape: tf.Tensor, transforms: tf.Tensor, field: tf.Tensor) -> tf.Tensor:
    """Where in the old image each new pixel comes from: float32 ``(batch, rows, columns, 2)``, row and column."""
    rows, columns = tf.range(shape[1], dtype=tf.float32), tf.range(shape[2], dtype=tf.float32)
    y, x = rows[None, :, None] + field[..., 0], columns[None, None, :] + field[..., 1]
    a = transforms[:, :, None, None]
    return tf.stack([a[:, 3] * x + a[:, 4] * y + a[:, 5], a[:, 0] * x + a[:, 1] * y + a[:, 2]], axis=-1)


def _read_at(array: tf.Tensor, places: tf.Tensor, *, fill: float | None, nearest: bool) -> tf.Tensor:
    """Read an image between its pixels, as ``ImageProjectiveTransformV3`` does; beyond its edge there is ``fill``."""
    size = tf.shape(array)[1:3]
    if fill is None:
        whole = tf.cast(size, tf.float32)
        mirrored = whole - tf.abs(tf.math.floormod(places + 0.5, 2.0 * whole) - whole) - 0.5
        places, fill = tf.clip_by_value(mirrored, 0.0, whole - 1.0), 0.0
    padded = tf.pad(array, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=tf.cast(fill, array.dtype))
    places = tf.clip_by_value(places + 1.0, 0.0, tf.cast(size + 1, tf.float32))
    # One running number for each pixel of the batch: gather is several times as fast as gather_nd.
    wide = size[1] + 2
    first = tf.range(tf.shape(array)[0])[:, None, None] * (size[0] + 2) * wide
    pixels = tf.reshape(padded, (-1, tf.shape(array)[-1]))
    if nearest:
        near = tf.cast(tf.round(places), tf.int32)
        return tf.gather(pixels, first + near[..., 0] * wide + near[..., 1])
    low = tf.minimum(tf.floor(places), tf.cast(size, tf.float32))
    part, corner = places - low, tf.cast(low, tf.int32)
    down, right, at = part[..., :1], part[..., 1:], first + corner[..., 0] * wide + corner[..., 1]
    above, below = (
        tf.gather(pixels, row) * (1.0 - right) + tf.gather(pixels, row + 1) * right for row in (at, at + wide)
    )
    return above * (1.0 - down) + below * down


def warp_plane(
    array: tf.Tensor,
    transforms: tf.Tensor,
    *,
    fill: float | None,
    nearest: bool,
    plane: Sequence[int] = (1, 2),
    field: tf.Tensor | None = None,
) -> tf.Tensor:
    """`warp` for images and volumes: the same movement in every slice, the other axis is folded into the batch.

    ``plane`` is the two axes that the movement lies in, counted over the spatial axes of the volume; ``field`` works in
    the plane (1, 2) only.
    """
    if array.shape.rank == 4:
        return warp(array, transforms, fill=fill, nearest=nearest, field=field)
    other = ({0, 1, 2} - set(plane)).pop()
    order = [0, other + 1, plane[0] + 1, plane[1] + 1, 4]
    stacked = array if other == 0 else tf.transpose(array, order)
    shape = tf.shape(stacked)
    if field is not None:
        # All slices move alike, so they are read together, as channels.
        slices = tf.transpose(stacked, [0, 2, 3, 1, 4])
        shape = tf.shape(slices)
        flat = tf.reshape(slices, (*tf.unstack(shape[:3]), -1))
        moved = warp(flat, transforms, fill=fill, nearest=nearest, field=field)
        return tf.transpose(tf.reshape(moved, shape), [0, 3, 1, 2, 4])
    flat = tf.reshape(stacked, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
    moved = warp(flat, tf.repeat(transforms, shape[1], axis=0), fill=fill, nearest=nearest)
    moved = tf.reshape(moved, shape)
    return moved if other == 0 else tf.transpose(moved, np.argsort(order))
