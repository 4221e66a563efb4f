"""The physics of the simulation against independent arithmetic: shapes, projections, noise, reconstruction."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from skimage.transform import radon

from easydl.simulation import anatomy, physics
from easydl.simulation.shapes import Ellipse, ellipsoid, rod


def water(radius_mm: float, x: float = 0.0, y: float = 0.0) -> list[physics.Term]:
    return [(Ellipse(np.array([x, y]), np.eye(2) * radius_mm**2), 1000.0, None)]


# Shapes


def test_a_cut_of_an_ellipsoid_holds_exactly_the_points_that_the_ellipsoid_holds():
    shape = rod(np.array([10.0, -5.0, 3.0]), np.array([1.0, 0.4, -0.7]), 30, 6)
    points = np.random.default_rng(0).uniform(-35, 35, (4000, 2))
    for z in (-12.0, 0.0, 9.0):
        cut = shape.cut(z)
        expected = shape.distance(np.column_stack([points, np.full(len(points), z)])) <= 1
        assert expected.any()
        assert np.array_equal(cut.contains(points[:, 0], points[:, 1]), expected)
    low, high = shape.heights_mm
    assert shape.cut(low - 0.1) is None
    assert shape.cut(high - 0.1).area < 0.1 * shape.cut(3.0).area


def test_clearance_is_never_wrong_when_it_is_sure():
    rng = np.random.default_rng(2)
    angles = np.linspace(0, 2 * np.pi, 90)
    found = Counter()
    for _ in range(300):
        axes = np.append(rng.uniform(2, 30, 2), rng.uniform(20, 60, 2))
        one, two = (
            Ellipse(rng.uniform(-60, 60, 2), np.diag(pair**2)).moved(rng.uniform(0, 180), np.zeros(2))
            for pair in (axes[:2], axes[2:])
        )
        rim = one.centre[:, None] + np.linalg.cholesky(one.matrix) @ [np.cos(angles), np.sin(angles)]
        held = two.contains(*rim)
        answer = one.clearance(two)
        found[answer] += 1
        assert answer != 1 or held.all()
        assert answer != -1 or not held.any()
    assert min(found[key] for key in (-1, 0, 1)) >= 3


def test_an_ellipsoid_ends_at_its_semi_axes():
    shape = ellipsoid(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    assert shape.distance(np.array([[5.0, 2, 3], [1, 7, 3], [1, 2, 9]])) == pytest.approx([1, 1, 1])
    assert shape.thinnest_mm == pytest.approx(4)
    assert shape.cut(3.0).radius_mm == pytest.approx(5)
    assert shape.cut(3.0).area == pytest.approx(20)


# Physics


def test_the_projection_agrees_with_the_numerical_one_of_scikit_image():
    size, rng = 192, np.random.default_rng(3)
    chest = anatomy.chest(rng, "F")
    nodule = anatomy.nodule(rng, chest, 5.0, (12, 16), (0, 50))
    terms = list(anatomy.slice_parts(chest, [nodule], 5.0))
    fine = ((np.arange(size * 4) + 0.5) / 4 - 0.5 - size // 2) * physics.pixel_mm(size)
    image = np.zeros((size * 4, size * 4))
    for shape, hu, limit in terms:
        inside = shape.contains(fine[None, :], fine[:, None])
        if limit is not None:
            inside &= limit.contains(fine[None, :], fine[:, None])
        image += hu * inside
    image = image.reshape(size, 4, size, 4).mean(axis=(1, 3)) / 1000 * physics.WATER_PER_MM
    theta = physics.view_angles(size)[::30]
    numerical = radon(image, theta, circle=True) * physics.pixel_mm(size)
    exact = physics.sinogram(terms, size)[:, ::30]
    assert np.sqrt(np.mean((exact - numerical) ** 2)) < 0.01 * exact.max()
    assert exact.sum(axis=0) == pytest.approx(exact.sum() / exact.shape[1], rel=2e-3)


def test_a_chord_through_the_middle_of_water_is_its_diameter():
    sinogram = physics.sinogram(water(100.0), 128)
    assert sinogram[64] == pytest.approx(np.full(sinogram.shape[1], 200 * physics.WATER_PER_MM), rel=1e-3)


def test_a_limit_cuts_a_shape_to_their_common_part():
    big, small = water(80.0)[0][0], water(20.0, x=15.0)[0][0]
    limited = physics.sinogram([(big, 500.0, small)], 96)
    assert limited == pytest.approx(physics.sinogram([(small, 500.0, None)], 96), abs=1e-9)
    assert not physics.sinogram([(big, 500.0, water(10.0, x=140.0)[0][0])], 96).any()


def test_water_reads_0_hu_and_air_minus_1000():
    rng = np.random.default_rng(0)
    image = physics.reconstruct(physics.expose(physics.sinogram(water(100.0), 128), 1e6, rng))
    x = (np.arange(128) - 64) * physics.pixel_mm(128)
    radius = np.hypot(x[None, :], x[:, None])
    assert image[radius < 80].mean() == pytest.approx(0, abs=5)
    assert image[(radius > 115) & (radius < 160)].mean() == pytest.approx(-1000, abs=10)
    assert image[radius < 80].std() < 25


def test_a_shape_to_the_left_and_back_of_the_patient_appears_right_and_below():
    image = physics.reconstruct(physics.sinogram(water(15.0, x=60.0, y=90.0), 64))
    row, column = np.unravel_index(image.argmax(), image.shape)
    spacing = physics.pixel_mm(64)
    assert ((column - 32) * spacing, (row - 32) * spacing) == pytest.approx((60, 90), abs=12)


def test_noise_falls_with_the_square_root_of_the_dose():
    clean = physics.sinogram(water(90.0), 96)
    truth = physics.reconstruct(clean).astype(float)
    centre = np.s_[30:66, 30:66]

    def noise(photons: float) -> float:
        rng = np.random.default_rng(1)
        images = [physics.reconstruct(physics.expose(clean, photons, rng)) - truth for _ in range(4)]
        return float(np.std([p[centre] for p in images]))

    low, middle, high = noise(1e4), noise(4e4), noise(64e4)
    assert low / middle == pytest.approx(2, rel=0.15)
    assert middle / high == pytest.approx(4, rel=0.15)


def test_a_ray_that_no_photon_survives_counts_as_one_photon():
    assert physics.expose(np.array([60.0]), 1000.0, np.random.default_rng(0)) == pytest.approx(np.log(1000))
