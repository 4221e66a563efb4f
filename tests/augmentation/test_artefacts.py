"""Each artefact against its physics worked out again in NumPy, SciPy or scikit-image."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats
from skimage.color import hed_from_rgb, rgb_from_hed

from easydl import augmentation
from easydl.augmentation import pixels
from easydl.augmentation.artefacts import bias_field, colour, ghosting, motion, speckle, stain

pytestmark = pytest.mark.quick

SHAPES = pytest.mark.parametrize("shape", [(40, 52), (6, 24, 20)], ids=["2D", "3D"])


def smooth(shape, channels=2, seed=0):
    one = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(*shape, channels)), (2,) * len(shape) + (0,))
    return ((one - one.min()) / np.ptp(one)).astype(np.float32)


def on(*values):
    return [tf.constant(np.atleast_1d(value), tf.float32) for value in values]


def named(drawn):
    return {name: tf.constant([value], tf.float32) for name, value in drawn.items()}


@SHAPES
def test_the_bias_field_is_a_polynomial_within_its_range(shape):
    images = np.stack([smooth(shape)] * 5) + 0.1
    strength = np.log1p(np.array([0.0, 0.1, 0.2, 0.5, 0.5]))
    new = pixels.bias_field(tf.constant(images), *on(strength), tf.constant([3, 4], tf.int64)).numpy()
    field = np.log(new / images)
    assert np.abs(field - field[..., :1]).max() < 1e-5, "all channels share one field"
    field = field[..., 0].astype(float)
    np.testing.assert_allclose(np.abs(field).reshape(5, -1).max(axis=1), strength, atol=1e-5)
    np.testing.assert_allclose(field.reshape(5, -1).mean(axis=1), 0, atol=1e-5)
    assert np.corrcoef(field[3].ravel(), field[4].ravel())[0, 1] < 0.99, "each image has its own"
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij"), -1).reshape(
        -1, len(shape)
    )
    powers = [p for p in np.ndindex(*(4,) * len(shape)) if sum(p) <= 3]
    design = np.stack([np.prod(places**p, axis=1) for p in powers], axis=1)
    rest = field[3].ravel() - design @ np.linalg.lstsq(design, field[3].ravel(), rcond=None)[0]
    assert np.abs(rest).max() < 1e-5, "nothing but a polynomial of the third degree"


@SHAPES
@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_are_copies_a_part_of_the_field_of_view_away(shape, axis):
    """Modulated k-space is the image plus two shifted copies with opposite phases, added as complex numbers."""
    image = smooth(shape)
    strength, ghosts, phase = 0.3, 4, 0.7
    drawn = {"ghosting": strength, "ghosts": ghosts, "ghost_phase": phase, "phase_axis": axis}
    new = pixels.ghosting(tf.constant(image[None]), named(drawn)).numpy()[0]
    where = len(shape) - 2 + axis
    shift = shape[where] // ghosts
    ahead, behind = np.roll(image, shift, where), np.roll(image, -shift, where)
    wanted = np.abs(image + strength / 2 * (np.exp(1j * phase) * behind + np.exp(-1j * phase) * ahead))
    np.testing.assert_allclose(new, wanted, atol=1e-5)


@SHAPES
@pytest.mark.parametrize("axis", [0, 1])
def test_motion_takes_the_late_lines_from_the_moved_anatomy(shape, axis):
    image = smooth(shape)
    size, rows = shape[-2:], len(shape) - 2
    down = 3 / size[0]
    drawn = {
        "motion": 1,
        "motion_time": 0.7,
        "motion_turn": 0,
        "motion_row": down,
        "motion_column": 0,
        "phase_axis": axis,
    }
    new = pixels.motion(tf.constant(image[None]), named(drawn)).numpy()[0]
    moved = np.zeros_like(image)
    moved[(slice(None),) * rows + (slice(3, None),)] = image[(slice(None),) * rows + (slice(None, -3),)]
    where = rows + axis
    one, other = (np.fft.fftshift(np.fft.fftn(np.moveaxis(a, where, 0), axes=(0, 1)), axes=0) for a in (image, moved))
    late = np.arange(shape[where]) / shape[where] >= 0.7
    one[late] = other[late]
    wanted = np.moveaxis(np.abs(np.fft.ifftn(np.fft.ifftshift(one, axes=0), axes=(0, 1))), 0, where)
    np.testing.assert_allclose(new, wanted, atol=2e-5)


def test_a_movement_after_the_centre_leaves_the_anatomy_where_it_was():
    """So that the mask, which is not touched, still fits."""
    image = np.zeros((64, 64, 1), np.float32)
    image[20:40, 25:45] = 1.0
    preset = augmentation.Preset("moving", operations=(motion(4, 0.03, 1.0),))
    batch = np.repeat(image[None], 32, axis=0)
    new = preset.apply(batch * 255, drawn=preset.draw(32, seed=3))[0].numpy() / 255
    assert np.abs(new - image).max() > 0.05
    overlap = [2 * ((one > 0.5) & (image > 0.5)).sum() / ((one > 0.5).sum() + (image > 0.5).sum()) for one in new]
    assert min(overlap) > 0.93


def test_speckle_grows_with_the_root_of_the_signal_and_fluid_stays_black():
    image = np.zeros((1, 90, 90, 3), np.float32)
    image[:, 30:60], image[:, 60:] = 0.16, 0.64
    new = pixels.speckle(tf.constant(image), *on(0.05), tf.constant([1, 2], tf.int64)).numpy()
    assert np.all(new[:, :30] == 0)
    np.testing.assert_array_equal(new[..., 0], new[..., 1])
    low, high = new[0, 31:59, :, 0].std(), new[0, 61:89, :, 0].std()
    assert low == pytest.approx(0.05 * 0.4, rel=0.1)
    assert high == pytest.approx(0.05 * 0.8, rel=0.1)
    grain = new[0, 60:, :, 0] - 0.64
    neighbours = np.corrcoef(grain[:, 1:].ravel(), grain[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(2 / 3, abs=0.05), "the kernel (1, 2, 1) correlates neighbours by 4/6"
    assert stats.kstest(grain[::4, ::4].ravel() / grain.std(), stats.norm.cdf).pvalue > 0.01


def test_colour_turns_the_hue_and_keeps_the_luma():
    rng = np.random.default_rng(2)
    image = rng.uniform(0.2, 0.8, (3, 7, 9, 3)).astype(np.float32)
    degrees, saturation = np.array([0.0, 30.0, 0.0]), np.array([1.0, 1.0, 0.5])
    new = pixels.colour(tf.constant(image), hue_degrees=on(degrees)[0], saturation=on(saturation)[0]).numpy()
    np.testing.assert_allclose(new[0], image[0], atol=1e-5)
    from skimage.color import rgb2yiq

    before, after = rgb2yiq(image.astype(float)), rgb2yiq(new.astype(float))
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=2e-3)
    angle = np.angle(
        (after[1, ..., 1] + 1j * after[1, ..., 2]) / (before[1, ..., 1] + 1j * before[1, ..., 2]), deg=True
    )
    np.testing.assert_allclose(angle, 30, atol=0.6)
    np.testing.assert_allclose(after[2, ..., 1:], before[2, ..., 1:] / 2, atol=2e-3)


def test_stains_are_multiplied_in_optical_density():
    image = np.random.default_rng(3).uniform(0, 1, (2, 6, 8, 3)).astype(np.float32)
    amounts = np.array([[1.0, 1.0, 1.0], [1.15, 0.9, 1.05]])
    new = pixels.stain(tf.constant(image), tf.constant(amounts, tf.float32)).numpy()
    np.testing.assert_allclose(new[0], image[0], atol=1e-4)
    density = -np.log((image[1].astype(float) * 255 + 1) / 256)
    wanted = (256 * np.exp(-(density @ hed_from_rgb * amounts[1]) @ rgb_from_hed) - 1) / 255
    np.testing.assert_allclose(new[1], wanted, atol=1e-4)
    white = pixels.stain(tf.ones((1, 2, 2, 3)), tf.constant([[1.18, 0.85, 1.0]])).numpy()
    np.testing.assert_allclose(white, 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("operation", "name", "most"),
    [(bias_field(0.4, 0.3), "bias", np.log(1.4)), (ghosting(0.2, (3, 5), 0.3), "ghosting", 0.2),
     (motion(3, 0.02, 0.3), "motion", 1.0)],
    ids=str,
)  # fmt: skip
def test_artefacts_happen_as_often_as_they_say_and_evenly(operation, name, most):
    drawn = augmentation.Preset("one", operations=(operation,)).draw(3000, seed=9)[name].numpy()
    happened = drawn[drawn > 0]
    assert len(happened) / 3000 == pytest.approx(0.3, abs=0.03)
    assert stats.kstest(happened, stats.uniform(0, most).cdf).pvalue > 0.01
    assert f"{0.3:.0%} of the images" in str(operation)


@SHAPES
@pytest.mark.parametrize("operation", [bias_field(0.5, 0.5), ghosting(0.3, (3, 6), 0.5), motion(4, 0.03, 0.5)], ids=str)
def test_images_that_were_not_drawn_are_left_alone(operation, shape):
    preset = augmentation.Preset("one", operations=(operation,))
    images = np.stack([smooth(shape, channels=1)] * 12) * 200 + 10
    drawn = preset.draw(12, seed=1)
    strength = drawn[next(iter(drawn))].numpy()
    new = preset.apply(images, drawn=drawn)[0].numpy()
    changed = np.abs(new - images).reshape(12, -1).max(axis=1)
    assert 0 < (strength > 0).sum() < 12
    assert np.all(changed[strength == 0] < 1e-3)
    assert np.all(changed[strength > 0] > 1e-3)
    still = dict(drawn, **{next(iter(drawn)): tf.zeros(12)})
    np.testing.assert_allclose(preset.apply(images, drawn=still)[0], images, atol=1e-3)


@pytest.mark.parametrize(
    "operation", [bias_field(0.5, 1), ghosting(0.3, (3, 6), 1), motion(4, 0.03, 1), speckle(0.1)], ids=str
)
def test_16_bit_keeps_its_levels_and_its_window(operation):
    images = (np.stack([smooth((40, 40), channels=1)] * 4) * 60000).astype(np.uint16)
    preset = augmentation.Preset("one", operations=(operation,))
    drawn = preset.draw(4, seed=2)
    new = preset.apply(images, drawn=drawn, units="relative", window=(0.0, 65535.0))[0].numpy()
    eight = preset.apply(images / 257.0, drawn=drawn)[0].numpy()
    np.testing.assert_allclose(new / 257.0, eight, atol=0.01)
    assert len(np.unique(new)) > 1500
    assert new.min() >= 0 and new.max() <= 65535


@pytest.mark.parametrize("name", list(augmentation.presets().query("kind == 'preset'")["name"]))
@SHAPES
def test_on_hounsfield_units_air_stays_air_and_bone_is_not_cut(name, shape):
    """Every preset: what happens to values, without the movement, is noise and a stated offset at most."""
    image = np.full((6, *shape, 1), 40.0, np.float32)
    image[..., : shape[-1] // 3, :], image[..., -shape[-1] // 3 :, :] = -1000.0, 2500.0
    preset = augmentation.preset(name).adapted(dimension=len(shape), units="HU")
    values = ("noise", "noise_seed", "offset_hu", "speckle", "speckle_seed", "bias", "bias_seed", "hue_degrees")
    drawn = {key: value for key, value in preset.draw(6, seed=4).items() if key in values}
    new = preset.apply(image, drawn=drawn, units="HU", window=(-160.0, 240.0))[0].numpy()
    change = np.abs((new - image).reshape(6, -1).mean(axis=1))
    assert change.max() <= 5 + 1.0
    assert np.abs(new - image).max() < 5 + 6 * 15
    moving = any(operation.name == "rotation" for operation in preset.operations)
    assert moving == (name != "none")


@pytest.mark.parametrize("operation", [colour(10, (0.5, 2.0)), stain(0.5, 2.0)], ids=str)
def test_hue_and_stains_leave_images_without_three_channels_alone(operation):
    images = np.stack([smooth((10, 12), channels=2)] * 3) * 255
    preset = augmentation.Preset("one", operations=(operation,))
    np.testing.assert_allclose(preset.apply(images, drawn=preset.draw(3))[0], images, atol=1e-3)
    three = np.stack([smooth((10, 12), channels=3)] * 3) * 255
    assert np.abs(preset.apply(three, drawn=preset.draw(3))[0] - three).max() > 5
