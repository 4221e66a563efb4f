"""Synthetic maps whose place is known, in words."""

import numpy as np
import pytest

from easydl.errors import InputError
from easydl.explanation import Heatmap, places
from easydl.images import Scan
from easydl.images.nifti import write_nifti

pytestmark = pytest.mark.quick
# LPS: columns to the patient's left, rows to the back, depth to the head (AXIAL) or to the feet.
AXIAL = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
CORONAL = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])


def chest(shape=(60, 80)):
    """An ellipse of soft tissue with two lungs, in HU, and masks of the lungs by the side of the image."""
    y, x = np.mgrid[: shape[0], : shape[1]]

    def ellipse(cy, cx, ry, rx):
        return ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1

    hu = np.full(shape, -1000.0)
    hu[ellipse(30, 40, 25, 34)] = 40
    lungs = {"first": ellipse(30, 24, 15, 10), "second": ellipse(30, 56, 15, 10)}
    for lung in lungs.values():
        hu[lung] = -800
    return hu.astype(np.float32), lungs


def spot(at, shape=(60, 80), wide=2):
    heat = np.zeros(shape, np.float32)
    heat[tuple(slice(one - wide, one + wide + 1) for one in at)] = 1
    return heat


def made(heat, pixels=None, affine=None, units="HU"):
    pixels = chest()[0] if pixels is None else pixels
    return Heatmap(heat, Scan(pixels[..., None], units, affine=affine, spacing_mm=(1.0,) * heat.ndim), "nodule", 0.9)


@pytest.mark.parametrize("mirrored", [1, -1])
@pytest.mark.parametrize("turned", [1, -1])
@pytest.mark.parametrize("at", [(20, 56), (40, 24)])
def test_sides_and_levels_are_the_patients_however_the_slice_is_stored(mirrored, turned, at):
    """Column 56 of 80 lies on the patient's left where columns run to the left, and row 20 in front where rows run back."""
    affine = CORONAL @ np.diag([1, turned, mirrored, 1.0])
    lung = chest()[1]["first"] | chest()[1]["second"]
    said = made(spot(at), affine=affine).in_words({"lung": lung})
    level = "upper" if (at[0] < 30) == (turned > 0) else "lower"
    side = "left" if (at[1] > 40) == (mirrored > 0) else "right"
    assert said == f"{level.capitalize()} third of the {side} lung, 100% inside the lung."


def test_an_axial_slice_has_a_front_and_a_back():
    assert (
        made(spot((20, 56)), affine=AXIAL)
        .in_words({"lung": chest()[1]["second"]})
        .startswith("Front third of the left lung")
    )
    assert made(spot((42, 24)), affine=AXIAL).in_words() == "Back third of the body, patient's right."


def test_without_a_known_orientation_the_side_is_that_of_the_image():
    assert made(spot((20, 56))).in_words() == "Upper third of the body, right in the image."
    said = made(spot((20, 24))).in_words({"lung": chest()[1]["first"]})
    assert said == "Upper third of the lung (left in the image), 100% inside the lung."
    assert made(spot((12, 40))).in_words() == "Upper third of the body, in the middle."


def test_shares_are_counted_by_hand():
    heat = spot((20, 24))
    heat[:5, 10:14] = 0.4  # 25 points of 1 in the lung, 20 of 0.4 in the border and outside the body
    said = made(heat).in_words({"lung": chest()[1]["first"]})
    aside = 20 * 0.4 / (25 + 20 * 0.4)
    assert f"{1 - aside:.0%} inside the lung, {aside:.0%} outside the body, {aside:.0%} at the border" in said
    assert "look at" not in said  # 24%
    heat[:5, 10:14] = 0.9
    assert made(heat).in_words().endswith(": look at what lies outside the body.")


def test_a_map_at_the_border_of_a_film_that_fills_the_frame_points_to_the_marker():
    film = np.random.default_rng(0).normal(120, 10, (60, 80)).astype(np.float32)
    said = made(spot((3, 75)), film, units="0-255").in_words()
    assert said == "Upper third of the image, right in the image, 100% at the border: look at the marker."


def test_a_mask_that_names_its_side_keeps_it():
    said = made(spot((20, 56)), affine=CORONAL).in_words({"left lung": chest()[1]["second"]})
    assert said.startswith("Upper third of the left lung, 100% inside the left lung")


@pytest.mark.parametrize("flip", [False, True])
def test_a_volume_has_all_three_directions(flip, tmp_path):
    pixels, lungs = chest()
    volume = np.repeat(pixels[None], 24, axis=0)
    heat = np.zeros(volume.shape, np.float32)
    heat[2:5, 38:42, 54:58] = 1
    affine = AXIAL @ np.diag([-1.0 if flip else 1.0, 1, 1, 1])
    mask = np.repeat(lungs["second"][None], 24, axis=0)
    heatmap = made(heat, volume, affine)
    level = "Upper" if flip else "Lower"  # the first slice is the head where depth runs to the feet
    expected = f"{level} third of the left lung, towards the back, 100% inside the lung."
    assert heatmap.in_words({"lung": mask}) == expected
    write_nifti(mask.astype(np.uint8), heatmap.scan, tmp_path / "lung.nii.gz")
    assert heatmap.in_words({"lung": tmp_path / "lung.nii.gz"}) == expected


def test_masks_that_do_not_fit_are_said():
    with pytest.raises(InputError, match="50 x 80"):
        made(spot((20, 20))).in_words({"lung": np.ones((50, 80))})
    with pytest.raises(InputError, match="empty"):
        made(spot((20, 20))).in_words({"lung": np.zeros((60, 80))})
    assert "empty" in made(np.zeros((60, 80), np.float32)).in_words()


def test_the_body_of_a_chest_is_the_ellipse_that_was_drawn():
    hu, _ = chest()
    hu[3:8, 70:76] = 900  # a marker outside
    y, x = np.mgrid[:60, :80]
    truth = ((y - 30) / 25) ** 2 + ((x - 40) / 34) ** 2 <= 1
    for pixels, units in ((hu, "HU"), ((hu + 1000) / 8, "0-255")):
        found = places.body(Scan(pixels[..., None], units))
        assert (found & truth).sum() / (found | truth).sum() > 0.95
    assert places.body(Scan(np.zeros((40, 40, 1), np.float32), "0-255")).all()


def test_the_border_is_the_outer_tenth():
    assert places.border((50, 40)).sum() == 50 * 40 - 40 * 32
    assert places.border((3, 50, 40)).sum() == 3 * (50 * 40 - 40 * 32)
