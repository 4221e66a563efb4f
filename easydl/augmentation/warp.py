"""One affine movement in a plane for every image of a batch, in TensorFlow. It draws no parameters.

Keras' own random layers treat masks as images in places (3.15.1); here a mask takes its nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


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

    The anatomy is mirrored, then resized, then turned, then moved; lengths are millimetres, so that a circle
    stays a circle on pixels that are not square.

    Args:
        size: int32 ``(2,)``: rows and columns.
        degrees: ``(batch,)``, positive turns anticlockwise on screen.
        scale: ``(batch,)``, above 1 makes the anatomy larger.
        shift: Down and to the right, ``(batch,)`` each, as a share of the side.
        flip: Up-down and left-right, ``(batch,)`` each, 1 to mirror and 0 not to.
        spacing: Millimetres between rows and between columns.
        count: Images in the batch.

    Returns:
        float32 ``(batch, 8)`` as ``ImageProjectiveTransformV3`` takes them.
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
    return tf.stack(
        [
            xx,
            xy,
            centre_x - xx * moved_x - xy * moved_y,
            yx,
            yy,
            centre_y - yx * moved_x - yy * moved_y,
            none,
            none,
        ],
        axis=1,
    )


def warp(array: tf.Tensor, transforms: tf.Tensor, *, fill: float, nearest: bool) -> tf.Tensor:
    """Move every image of a batch by its own transform.

    Args:
        array: ``(batch, rows, columns, channel)``, float32 or int32.
        transforms: ``(batch, 8)`` from `plane_transforms`.
        fill: What comes in from outside the image.
        nearest: True for masks: no new value can appear. False for images: bilinear.

    Returns:
        The same shape and type.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=array,
        transforms=transforms,
        output_shape=tf.shape(array)[1:3],
        fill_value=float(fill),
        interpolation="NEAREST" if nearest else "BILINEAR",
        fill_mode="CONSTANT",
    )


def warp_plane(
    array: tf.Tensor, transforms: tf.Tensor, *, fill: float, nearest: bool, plane: Sequence[int] = (1, 2)
) -> tf.Tensor:
    """The same movement in every slice of a volume: the other axis is folded into the batch.

    Args:
        array: ``(batch, depth, rows, columns, channel)``, or 4 axes for images.
        transforms: ``(batch, 8)``.
        fill: What comes in from outside.
        nearest: True for masks.
        plane: The two axes the movement lies in, counted over the spatial axes of the volume.

    Returns:
        The same shape and type.
    """
    if array.shape.rank == 4:
        return warp(array, transforms, fill=fill, nearest=nearest)
    other = ({0, 1, 2} - set(plane)).pop()
    order = [0, other + 1, plane[0] + 1, plane[1] + 1, 4]
    stacked = array if other == 0 else tf.transpose(array, order)
    shape = tf.shape(stacked)
    flat = tf.reshape(stacked, tf.concat([[shape[0] * shape[1]], shape[2:]], axis=0))
    moved = warp(flat, tf.repeat(transforms, shape[1], axis=0), fill=fill, nearest=nearest)
    moved = tf.reshape(moved, shape)
    return moved if other == 0 else tf.transpose(moved, np.argsort(order))
