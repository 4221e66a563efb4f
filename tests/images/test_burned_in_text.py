"""Burned-in text: written text is found, similar shapes are not, and both on real images."""

import io
import time

import numpy as np
import pydicom
import pytest
from made import film, lettered
from PIL import Image, ImageDraw, ImageFont

from easydl.images.burned_in_text import has_text


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("size", [12, 18, 28])
def test_lines_of_letters_are_found_on_every_film(size, smooth, dark):
    films = [film(seed=seed) + 200 for seed in range(8)]
    assert not any(has_text(one) for one in films)
    for text in ("DOE JANE 12.03.1959", "portable, semi-upright"):
        assert all(has_text(lettered(one, text, size=size, smooth=smooth, dark=dark)) for one in films)


def test_letters_in_the_middle_in_colour_and_after_jpeg_are_found():
    plain = film()
    assert has_text(lettered(plain, at=(60, 140)))
    assert has_text(np.repeat(lettered(plain)[..., None], 3, axis=-1))
    packed = io.BytesIO()
    grey = (lettered(plain) / plain.max() * 255).astype(np.uint8)
    Image.fromarray(grey).save(packed, "JPEG", quality=75)
    assert has_text(np.asarray(Image.open(packed)))


def test_four_capitals_make_a_line_and_three_do_not():
    assert has_text(lettered(film(), "LEFT", size=20))
    assert not has_text(lettered(film(), "LFT", size=20))


def test_a_page_of_print_is_text_and_noise_is_not():
    page = Image.new("L", (512, 512), 0)
    for row in range(30):
        ImageDraw.Draw(page).text(
            (4, 4 + 16 * row), "The heart is of normal size. " * 3, 255, ImageFont.load_default(14)
        )
    assert has_text(np.asarray(page))
    rng = np.random.default_rng(0)
    assert not has_text(rng.integers(0, 255, (200, 200)).astype(np.uint8))
    salt = np.zeros((256, 256), np.uint8)
    salt[rng.integers(0, 256, 900), rng.integers(0, 256, 900)] = 255
    assert not has_text(salt)


def test_a_side_marker_a_scale_and_flat_images_are_not_text():
    assert not has_text(lettered(film(), text="L", size=40))
    ruled = film()
    for k in range(10):
        ruled[20 + 24 * k : 22 + 24 * k, 300:310] = 4095
    assert not has_text(ruled)
    ticks = film()
    for k in range(20):
        ticks[280:292, 20 + 12 * k : 23 + 12 * k] = 4095
    assert not has_text(ticks)
    beads = Image.fromarray(film().astype(np.float32))
    for k in range(12):
        ImageDraw.Draw(beads).ellipse((20 + 20 * k, 30, 29 + 20 * k, 39), fill=5000)
    assert not has_text(np.asarray(beads))
    assert not has_text(np.zeros((64, 64), np.uint8))
    assert not has_text(np.full((64, 64), np.nan, np.float32))
    assert not has_text(np.zeros((8, 200), np.uint8))


def test_bright_shapes_without_contrast_are_not_text():
    """Gyri and membranes: shapes in a row whose surroundings are nearly as bright as they are."""
    pale = film().astype(np.float32)
    crisp = lettered(film(), size=18, smooth=False).astype(np.float32)
    letters = crisp == film().max()
    pale[:40] = pale.max() * 0.97
    assert not has_text(np.where(letters, film().max(), pale))


def test_a_film_of_eight_million_pixels_is_searched_in_seconds():
    big = np.asarray(Image.fromarray(film().astype(np.float32)).resize((2600, 3100)))
    begun = time.process_time()
    assert has_text(lettered(big, size=20))
    assert not has_text(big)
    assert time.process_time() - begun < 10


@pytest.mark.real
def test_on_real_images_text_is_found_where_a_person_sees_it(real):
    """Viewed by a person: text on six of the 75 films, and none on the slices."""

    def grey(path):
        return np.asarray(Image.open(path).convert("L"))

    films = sorted((real / "openi_abd_vs_cxr").rglob("*/*.png"))
    found = {path.name for path in films if path.parent.parent.name in ("train", "val") and has_text(grey(path))}
    assert found == {"chst48.png", "chst50.png", "chst52.png", "abd28.png", "abd30.png", "abd31.png"}
    slices = sorted((real / "dicom_series").rglob("*.dcm"))
    assert len(slices) > 150
    assert not any(has_text(pydicom.dcmread(path).pixel_array) for path in slices)
    assert not any(has_text(pydicom.dcmread(path).pixel_array) for path in (real / "nih_cxr_dicom").glob("*.dcm"))
    cells = sorted((real / "isbi2012_em_membrane").rglob("images/*.png"))
    assert len(cells) == 60
    assert not any(has_text(grey(path)) for path in cells)
