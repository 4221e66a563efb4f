"""The warp against SciPy, with the matrices built the other way round: forward, in mm, then inverted."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from easydl.augmentation.warp import plane_transforms, warp, warp_plane


def forward(size, *, degrees=0.0, scale=1.0, shift=(0.0, 0.0), flip=(0, 0), spacing=(1.0, 1.0)):
    """(row, column) in the old image -> (row, column) in the new one, as a homogeneous matrix."""
    angle = np.deg2rad(degrees)
    to_mm = np.diag([spacing[0], spacing[1], 1.0])
    to_centre = np.eye(3)
    to_centre[:2, 2] = -(np.asarray(size) - 1) / 2
    mirror = np.diag([1 - 2 * flip[0], 1 - 2 * flip[1], 1.0])
    resize = np.diag([scale, scale, 1.0])
    # Anticlockwise on a screen whose rows run downwards: the right-hand end of a line goes up.
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    move = np.eye(3)
    move[:2, 2] = np.asarray(shift) * np.asarray(size)
    return np.linalg.inv(to_centre) @ move @ np.linalg.inv(to_mm) @ turn @ resize @ mirror @ to_mm @ to_centre


def oracle(plane, matrix, *, order, fill):
    back = np.linalg.inv(matrix)
    return ndimage.affine_transform(plane, back[:2, :2], back[:2, 2], order=order, mode="grid-constant", cval=fill)


CASES = [
    {"degrees": 13.0},
    {"scale": 1.21},
    {"shift": (0.11, -0.07)},
    {"flip": (0, 1)},
    {"flip": (1, 0)},
    {"degrees": -27.0, "scale": 0.83, "shift": (0.05, 0.08), "flip": (1, 1)},
    {"degrees": 31.0, "scale": 1.1, "spacing": (3.0, 0.8)},
]


def transforms(size, case):
    one = {name: case[name] for name in ("degrees", "scale") if name in case}
    both = {name: tuple(tf.constant([float(v)]) for v in case[name]) for name in ("shift", "flip") if name in case}
    return plane_transforms(
        tf.constant(size),
        **{name: tf.constant([value]) for name, value in one.items()},
        **both,
        spacing=case.get("spacing", (1.0, 1.0)),
        count=1,
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_moves_as_scipy_does(case):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(41, 56)), 2).astype(np.float32) * 500
    mine = warp(tf.constant(image[None, ..., None]), transforms(image.shape, case), fill=-100.0, nearest=False)
    theirs = oracle(image, forward(image.shape, **case), order=1, fill=-100.0)
    assert np.abs(mine.numpy()[0, ..., 0] - theirs).max() < 0.05


@pytest.mark.parametrize("case", CASES, ids=str)
def test_masks_take_their_nearest_neighbour(case):
    labels = np.random.default_rng(1).choice([0, 1, 4], (41, 56)).astype(np.int32)
    mine = warp(tf.constant(labels[None, ..., None]), transforms(labels.shape, case), fill=0, nearest=True)
    theirs = oracle(labels, forward(labels.shape, **case), order=0, fill=0)
    assert set(np.unique(mine)) <= {0, 1, 4}
    # A coordinate that is exactly half way may go to either side: allow those few pixels.
    assert np.mean(mine.numpy()[0, ..., 0] != theirs) < 0.01


def test_positive_degrees_turn_anticlockwise_on_screen():
    image = np.zeros((1, 21, 21, 1), np.float32)
    image[0, 10, 10:] = 1.0
    turned = warp(
        tf.constant(image),
        plane_transforms([21, 21], degrees=tf.constant([90.0]), count=1),
        fill=0,
        nearest=False,
    )
    assert turned.numpy()[0, :11, 10, 0].min() > 0.99
    assert turned.numpy()[0, 11:].max() < 0.01


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_volumes_move_in_the_named_plane_only(plane):
    volume = ndimage.gaussian_filter(np.random.default_rng(2).normal(size=(9, 14, 17)), 1).astype(np.float32)
    size = [volume.shape[axis] for axis in plane]
    case = {"degrees": 11.0, "spacing": (2.0, 0.7)}
    mine = warp_plane(
        tf.constant(volume[None, ..., None]), transforms(size, case), fill=0.0, nearest=False, plane=plane
    )
    other = ({0, 1, 2} - set(plane)).pop()
    matrix = forward(size, **case)
    theirs = np.stack([oracle(slab, matrix, order=1, fill=0.0) for slab in np.moveaxis(volume, other, 0)], axis=other)
    assert np.abs(mine.numpy()[0, ..., 0] - theirs).max() < 1e-4


def test_every_image_of_a_batch_has_its_own_movement():
    image = np.random.default_rng(4).normal(size=(12, 12)).astype(np.float32)
    batch = tf.constant(np.stack([image, image])[..., None])
    moved = warp(
        batch,
        plane_transforms([12, 12], flip=(None, tf.constant([0.0, 1.0])), count=2),
        fill=0,
        nearest=False,
    )
    np.testing.assert_array_equal(moved.numpy()[0, ..., 0], image)
    np.testing.assert_array_equal(moved.numpy()[1, ..., 0], image[:, ::-1])
