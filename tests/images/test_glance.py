import numpy as np
import pytest
from scipy import ndimage
from skimage.transform import resize_local_mean

from easydl.images.glance import SIDE, border_pixels, glance, ring, segments


@pytest.mark.parametrize("shape", [(256, 256), (128, 320), (64, 64)])
def test_the_thumbnail_is_the_local_mean(shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 1)).astype(np.float32)
    pixels[0, 0], pixels[-1, -1] = 0, 255
    expected = resize_local_mean(pixels[..., 0], (SIDE, SIDE))
    np.testing.assert_allclose(glance(pixels).thumbnail, expected, atol=0.51)


def test_sizes_that_are_no_multiple_of_64_keep_their_picture():
    image = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(150, 97)), 6)
    image = (255 * (image - image.min()) / np.ptp(image)).astype(np.float32)[..., None]
    expected = resize_local_mean(image[..., 0], (SIDE, SIDE))
    assert np.abs(glance(image).thumbnail - expected).mean() < 3


def test_a_thin_letter_is_not_averaged_away():
    pixels = np.full((512, 512, 1), 40, np.float32)
    pixels[-1, -1] = 255
    pixels[10:30, 12] = 255  # one pixel wide
    seen = glance(pixels)
    assert seen.peaks[2, 1] == 255
    assert seen.thumbnail[2, 1] < 60


def test_the_same_film_brighter_blurred_or_noisy_shows_it():
    rng = np.random.default_rng(2)
    film = (ndimage.gaussian_filter(rng.normal(size=(200, 200)), 8) * 400 + 100).clip(5, 200)[..., None]
    film = (film + rng.normal(0, 3, film.shape)).astype(np.float32)
    plain, brighter = glance(film), glance(film + 15)
    np.testing.assert_allclose(np.array(brighter.grey[:10]) - plain.grey[:10], 15, atol=1e-3)
    np.testing.assert_array_equal(plain.thumbnail, brighter.thumbnail)
    blurred = glance(ndimage.gaussian_filter(film[..., 0], 1)[..., None])
    assert blurred.noise[0] < plain.noise[0] - 0.4
    lesion = film.copy()
    lesion[80:120, 80:120] += 100  # what a disease may look like: not sharper, not noisier
    assert abs(glance(lesion).noise[0] - plain.noise[0]) < 0.02


def test_volumes_and_colours_are_looked_at_too():
    rng = np.random.default_rng(3)
    volume = rng.normal(size=(9, 80, 80, 1)).astype(np.float32)
    np.testing.assert_array_equal(glance(volume).thumbnail, glance(volume[4]).thumbnail)
    assert glance(volume).grey[0] == pytest.approx(volume.min())
    colour = rng.integers(0, 255, (70, 70, 3)).astype(np.float32)
    np.testing.assert_array_equal(glance(colour).thumbnail, glance(colour.mean(axis=-1, keepdims=True)).thumbnail)
    assert glance(np.zeros((64, 64, 1), np.float32)).thumbnail.max() == 0


def test_the_ring_is_the_border_and_its_segments_cover_it():
    covered = np.zeros((SIDE, SIDE), bool)
    for _, place in segments():
        covered[place] = True
    np.testing.assert_array_equal(covered, border_pixels())
    image = np.zeros((2, SIDE, SIDE), np.float32)
    image[1, 2, 60] = 200
    image[:, 20:40, 20:40] = 90
    changed = np.flatnonzero((ring(image)[0] != ring(image)[1]).reshape(-1, 3).any(axis=1))
    assert [segments()[one][0] for one in changed] == ["upper edge, right"]
