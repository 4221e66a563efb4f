"""The readable features: 32 names, and numbers that independent arithmetic gives too."""

import numpy as np
import pytest
from scipy import stats
from skimage.measure import shannon_entropy

from easydl.comparison.readable import NAMES, readable_features
from easydl.images.glance import glance
from easydl.studies.pixel_facts import PixelFacts
from easydl.studies.thumbnails import SmallImages, packed


def features_of(pixels):
    seen = glance(np.asarray(pixels, np.float32)[..., None])
    facts = PixelFacts("", (), None, "0-255", 2, False, False, seen.grey, seen.noise, SmallImages(packed(seen)))
    return dict(zip(NAMES, readable_features([facts])[0].tolist(), strict=True))


def test_there_are_32_features_and_each_has_a_name_of_its_own():
    assert len(NAMES) == len(set(NAMES)) == 32
    assert all(" " in name and "_" not in name for name in NAMES)


def test_grey_levels_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).gamma(2, 20, (64, 64))
    found = features_of(pixels)
    assert found["grey value that 95% of the pixels are below"] == pytest.approx(np.percentile(pixels, 95), rel=1e-5)
    assert found["mean grey value"] == pytest.approx(pixels.mean(), rel=1e-5)
    assert found["standard deviation of the grey values"] == pytest.approx(pixels.std(), rel=1e-5)
    assert found["layout: skewness of the grey values"] == pytest.approx(stats.skew(pixels, axis=None), abs=0.01)


def test_texture_is_that_of_neighbouring_pixels():
    rng = np.random.default_rng(1)
    pixels = np.clip(np.round(rng.normal(128, 40, (64, 64))), 0, 255)
    pixels[0, 0], pixels[0, 1] = 0, 255  # then the thumbnail is the image itself
    level = pixels.astype(int) // 16
    pairs = [
        (level[:, :-1], level[:, 1:]),
        (level[1:, :-1], level[:-1, 1:]),
        (level[:-1], level[1:]),
        (level[:-1, :-1], level[1:, 1:]),
    ]
    found = features_of(pixels)
    contrast = np.mean([((a - b) ** 2).mean() for a, b in pairs])
    assert found["texture: contrast of neighbouring pixels"] == pytest.approx(contrast, rel=1e-4)
    homogeneity = np.mean([(1 / (1 + (a - b) ** 2)).mean() for a, b in pairs])
    assert found["texture: homogeneity"] == pytest.approx(homogeneity, rel=1e-4)
    correlation = np.mean(
        [np.corrcoef(np.r_[a.ravel(), b.ravel()], np.r_[b.ravel(), a.ravel()])[0, 1] for a, b in pairs]
    )
    assert found["texture: correlation of neighbouring pixels"] == pytest.approx(correlation, abs=1e-4)
    both = [np.stack([np.r_[a.ravel(), b.ravel()], np.r_[b.ravel(), a.ravel()]]) for a, b in pairs]
    entropy = np.mean([shannon_entropy(one[0] * 16 + one[1], base=np.e) for one in both])
    assert found["texture: entropy (how irregular)"] == pytest.approx(entropy, rel=1e-3)


@pytest.mark.parametrize(
    ("turns", "across", "diagonal"),
    [(0, 1.0, 0.0), (1, 0.0, 0.0)],
)
def test_gradients_have_their_direction(turns, across, diagonal):
    stripes = np.tile(np.repeat([0.0, 200.0], 8), 4)[None].repeat(64, axis=0)
    found = features_of(np.rot90(stripes, turns))
    assert found["gradients: fraction across the image (left to right)"] == pytest.approx(across, abs=0.01)
    assert found["gradients: fraction along a diagonal"] == pytest.approx(diagonal, abs=0.01)


def test_a_slope_is_diagonal():
    y, x = np.mgrid[:64, :64]
    assert features_of(((x + y) // 8 % 2) * 100)["gradients: fraction along a diagonal"] > 0.9


def test_layout_says_where_it_is_bright():
    y, x = np.mgrid[:64, :64]
    disc = 100.0 * ((x - 31.5) ** 2 + (y - 31.5) ** 2 < 144)
    found = features_of(disc)
    assert found["layout: brightness of the centre less that outside"] > 0.3
    assert found["layout: difference of the left and the right half"] == pytest.approx(0, abs=1e-6)
    assert found["layout: fraction of the image that is bright"] == pytest.approx((disc > 0).mean(), abs=1e-6)
    upper = features_of(100.0 * (y < 32))
    assert upper["layout: brightness of the upper less that of the lower half"] == pytest.approx(1.0)
    assert features_of(100.0 * (x < 32))["layout: difference of the left and the right half"] == pytest.approx(1.0)


def test_a_blank_image_has_finite_features():
    assert np.isfinite(list(features_of(np.zeros((40, 50))).values())).all()
