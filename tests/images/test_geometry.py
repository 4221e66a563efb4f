"""Grids in millimetres: which coincide, and which voxel is the nearest when one lies half way between two."""

import numpy as np
import pytest

from easydl.images.geometry import aligned, moved, with_thickness

SHEARED = np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("other", [np.diag([2.0, 2, 2, 1]), np.diag([1.0, 1, 3, 1]), SHEARED])
def test_grids_of_another_spacing_or_sheared_are_not_aligned(other):
    assert aligned(np.eye(4), np.eye(4))
    assert not aligned(np.eye(4), other)


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
