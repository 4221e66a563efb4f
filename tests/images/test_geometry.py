"""Grids in millimetres: which coincide, and which voxel is the nearest when one lies half way between two."""

import numpy as np
import pytest

from easydl.images.geometry import difference, displacement, moved, unlike, whole_steps, with_thickness

SHEARED = np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


SHAPE = (40, 512, 512)


@pytest.mark.parametrize("other", [np.diag([2.0, 2, 2, 1]), np.diag([1.0, 1, 3, 1]), SHEARED])
def test_grids_of_another_spacing_or_sheared_are_not_aligned(other):
    assert whole_steps(np.eye(4), np.eye(4), SHAPE) is not None
    assert whole_steps(np.eye(4), other, SHAPE) is None


def test_whole_steps_are_those_of_the_voxels():
    """A grid turned by right angles and shifted by whole voxels, written with three decimals."""
    to = np.array([[0, -1.0, 0, 7], [1, 0, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1]])
    rounding = np.random.default_rng(0).uniform(-1e-4, 1e-4, (4, 4)) * [[1], [1], [1], [0]]
    np.testing.assert_array_equal(whole_steps(np.eye(4), to + rounding, SHAPE), to)


def test_the_displacement_is_the_largest_of_all_voxels():
    rng = np.random.default_rng(1)
    affine = np.diag([5.0, 0.7, 0.8, 1.0])
    other = affine + rng.normal(0, 0.01, (4, 4)) * [[1], [1], [1], [0]]
    indices = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"), -1).reshape(-1, 3)
    places = [np.c_[indices, np.ones(len(indices))] @ matrix.T for matrix in (affine, other)]
    offsets = (places[1] - places[0])[:, :3]
    far = displacement(affine, other, (5, 6, 7))
    assert far.mm == pytest.approx(np.linalg.norm(offsets, axis=1).max())
    assert far.voxels == pytest.approx(np.abs(offsets / [5.0, 0.7, 0.8]).max())


def _turned_by(degrees):
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.eye(4) + np.eye(4, k=3) * 0.2, None),
        (np.eye(4) + np.eye(4, k=3) * 0.3, "it lies 0.3 mm away"),
        (np.diag([1.0, 1.0004, 1.0, 1.0]), None),
        (np.diag([1.0, 1.0009, 1.0, 1.0]), "its spacing is 1 x 1.001 x 1 mm instead of 1 x 1 x 1 mm"),
        (_turned_by(0.01), None),
        (_turned_by(0.1), "its axes point in other directions, by up to 0.1 degrees"),
    ],
)
def test_a_difference_counts_from_a_quarter_of_a_voxel_on(other, words):
    assert difference(np.eye(4), other, SHAPE) == words


def test_two_numbers_that_differ_are_never_shown_alike():
    assert unlike([0.9765625, 1], [0.976562, 1]) == ("0.9765625 x 1", "0.976562 x 1")
    assert unlike([2.0], [3.0]) == ("2", "3")
    assert unlike([0.1 + 0.2], [0.3]) == ("0.30000000000000004", "0.29999999999999999")


def test_a_slice_takes_the_spacing_of_the_nearest_axis_also_of_a_finer_one():
    """A slice along z of an oblique grid (20 degrees) whose fine axis is near z and whose coarse one is across."""
    angle = np.radians(20)
    directions = np.array([[np.sin(angle), np.cos(angle), 0], [0, 0, 1], [np.cos(angle), -np.sin(angle), 0]])
    grid = np.eye(4)
    grid[:3, :3] = directions * [0.5, 4.0, 1.0]
    one_slice = np.array([[0, 0, 0.8, 5], [0, 0.7, 0, 6], [9.0, 0, 0, 7], [0, 0, 0, 1]])  # z is its first index
    affine = with_thickness(one_slice, grid)
    assert affine[:3, 0] == pytest.approx([0, 0, 0.5])
    assert np.array_equal(affine[:, 1:], one_slice[:, 1:])
    assert one_slice[2, 0] == 9.0


@pytest.mark.parametrize("origin", [0, 1])
@pytest.mark.parametrize("noise", [-1e-6, 1e-6])
def test_noise_in_an_affine_does_not_decide_between_two_neighbours(origin, noise):
    """On a grid twice as fine every second voxel lies half way: the same side must win, whatever the rounding noise."""
    labels = np.random.default_rng(0).integers(1, 9, (5, 6, 7))
    fine = np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] = origin
    noisy = fine.copy()
    noisy[:3, 3] += noise
    np.testing.assert_array_equal(moved(labels, np.eye(4), noisy, (9, 9, 9)), moved(labels, np.eye(4), fine, (9, 9, 9)))
