"""The largest bright and dark region, compared with discs and bars of known size and shape."""

import numpy as np
import pytest

from easydl.comparison.regions import REGION_NAMES, region_features
from easydl.images.glance import glance
from easydl.studies.pixel_facts import PixelFacts
from easydl.studies.thumbnails import SmallImages, packed

Y, X = np.mgrid[:64, :64]


def regions_of(pixels):
    seen = glance(np.asarray(pixels, np.float32)[..., None])
    facts = PixelFacts("", (), None, "0-255", 2, False, False, seen.grey, seen.noise, SmallImages(packed(seen)))
    return dict(zip(REGION_NAMES, region_features([facts])[0].tolist(), strict=True))


def test_ten_names_of_their_own():
    assert len(set(REGION_NAMES)) == 10 and all("_" not in name for name in REGION_NAMES)


@pytest.mark.parametrize("kind", ["bright", "dark"])
def test_a_disc_is_round_and_solid_and_the_largest_counts(kind):
    disc = ((X - 20) ** 2 + (Y - 24) ** 2 < 144).astype(float)
    small = ((X - 52) ** 2 + (Y - 52) ** 2 < 25).astype(float)
    image = 200 * np.maximum(disc, small)
    found = regions_of(image if kind == "bright" else 200 - image)
    start = f"largest {kind} region: "
    assert found[start + "size (fraction of the image)"] == pytest.approx(disc.mean(), abs=1e-6)
    assert found[start + "elongation (0 round, 1 a line)"] < 0.15
    assert found[start + "solidity (1 without dents)"] > 0.95
    # All else is at the other end of the scale, but for the smaller disc.
    rest = small.sum() / (4096 - disc.sum())
    sign = 1 if kind == "bright" else -1
    assert found[start + "brightness less that of the rest"] == pytest.approx(sign * (1 - rest), abs=1e-3)
    assert found[start + "texture (standard deviation of the brightness)"] == pytest.approx(0, abs=1e-6)


def test_a_bar_is_long_and_an_l_has_a_dent():
    bar = regions_of(100.0 * ((abs(X - 32) < 3) & (abs(Y - 32) < 28)))
    assert bar["largest bright region: elongation (0 round, 1 a line)"] > 0.98
    corner = regions_of(100.0 * ((X < 8) | (Y < 8)))
    assert corner["largest bright region: solidity (1 without dents)"] < 0.5


def test_texture_is_that_of_the_region_alone():
    rng = np.random.default_rng(0)
    inside = X < 32
    pixels = np.where(inside, rng.uniform(150, 250, X.shape), 0.0)
    found = regions_of(pixels)
    expected = pixels[inside].std() / pixels.max()
    assert found["largest bright region: texture (standard deviation of the brightness)"] == pytest.approx(
        expected, abs=3e-3
    )


def test_blank_images_and_lines_have_finite_features():
    assert set(regions_of(np.full((40, 50), 7.0)).values()) == {0.0}
    line = np.zeros((64, 64))
    line[10] = 1
    assert np.isfinite(list(regions_of(line).values())).all()
