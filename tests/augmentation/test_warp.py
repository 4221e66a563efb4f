"""The warp against SciPy, with the matrices built the other way round: forward, in mm, then inverted."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import interpolate, ndimage

from easydl.augmentation.deformation import displacements, plane_transforms, warp, warp_plane
from easydl.augmentation.operations import SPANS

pytestmark = pytest.mark.quick


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


@pytest.mark.parametrize("fill", [-100.0, None], ids=["black", "mirrored"])
@pytest.mark.parametrize("order", [1, 0], ids=["image", "mask"])
def test_deformed_images_are_read_as_scipy_reads_them(order, fill):
    rng = np.random.default_rng(5)
    image = (ndimage.gaussian_filter(rng.normal(size=(41, 56)), 2) * 500).astype(np.float32 if order else np.int32)
    case = CASES[5]
    field = displacements(tf.constant(image.shape), fraction=tf.constant([0.06]), seed=tf.constant([1, 2], tf.int64))
    mine = warp(
        tf.constant(image[None, ..., None]), transforms(image.shape, case), fill=fill, nearest=order == 0, field=field
    )
    places = np.stack(np.meshgrid(np.arange(41.0), np.arange(56.0), indexing="ij")) + np.moveaxis(
        field.numpy()[0], -1, 0
    )
    back = np.linalg.inv(forward(image.shape, **case))
    places = np.tensordot(back[:2, :2], places, 1) + back[:2, 2][:, None, None]
    mode = {"mode": "reflect"} if fill is None else {"mode": "grid-constant", "cval": fill}
    theirs = ndimage.map_coordinates(image, places, order=order, **mode)
    assert np.mean(np.abs(mine.numpy()[0, ..., 0] - theirs) > 0.1) < 0.01


@pytest.mark.parametrize("case", [CASES[0], CASES[5]], ids=str)
def test_an_affine_warp_and_one_with_an_empty_field_are_the_same(case):
    image = tf.constant(np.random.default_rng(6).normal(size=(1, 30, 34, 2)).astype(np.float32))
    moves, none = transforms((30, 34), case), tf.zeros((1, 30, 34, 2))
    for fill in (0.0, None):
        affine = warp(image, moves, fill=fill, nearest=False)
        np.testing.assert_allclose(warp(image, moves, fill=fill, nearest=False, field=none), affine, atol=2e-4)


def test_the_displacements_are_scipys_spline_and_stays_in_its_range():
    size, fraction = (37, 52), np.array([0.0, 0.02, 0.05])
    field = displacements(
        tf.constant(size), fraction=tf.constant(fraction, tf.float32), seed=tf.constant([7, 8], tf.int64)
    ).numpy()
    assert np.all(field[0] == 0)
    for one, share in zip(field[1:], fraction[1:], strict=True):
        for axis, side in enumerate(size):
            assert 0.2 * share * side < np.abs(one[..., axis]).max() <= share * side
        # Piecewise cubic with two continuous derivatives: SciPy's spline through it on the same knots is exact.
        knots = np.arange(-3, SPANS + 4.0)
        place = (np.arange(size[1]) + 0.5) * SPANS / size[1]
        basis = interpolate.BSpline.design_matrix(place, knots, 3).toarray()
        fitted = basis @ np.linalg.lstsq(basis, one[10, :, 1], rcond=None)[0]
        np.testing.assert_allclose(fitted, one[10, :, 1], atol=1e-4)
        down, right = np.gradient(one[..., 0]), np.gradient(one[..., 1])
        assert ((1 + down[0]) * (1 + right[1]) - down[1] * right[0]).min() > 0, "nothing folds"


def test_slices_deform_together():
    volume = np.random.default_rng(8).normal(size=(1, 3, 20, 22, 1)).astype(np.float32)
    field = displacements(tf.constant([20, 22]), fraction=tf.constant([0.05]), seed=tf.constant([1, 1], tf.int64))
    same = plane_transforms([20, 22], count=1)
    moved = warp_plane(tf.constant(volume), same, fill=0.0, nearest=False, field=field)
    for k in range(3):
        alone = warp(tf.constant(volume[:, k]), same, fill=0.0, nearest=False, field=field)
        np.testing.assert_allclose(moved[:, k], alone, atol=1e-5)
