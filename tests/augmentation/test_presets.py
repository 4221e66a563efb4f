import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from easydl import augmentation
from easydl.augmentation.artefacts import bias_field, colour, ghosting, motion, speckle, stain
from easydl.augmentation.augmenter import draw
from easydl.augmentation.extras import cutmix, cutout, gridmask, randaugment
from easydl.augmentation.operations import (
    COLUMNS,
    elastic,
    flip,
    noise,
    offset,
    rotation,
    scale,
)
from easydl.augmentation.pixels import normal
from easydl.errors import InputError

NAMES = [
    "none", "chest_xray", "bone_xray", "mammography", "ct", "mri", "ultrasound", "fundus", "oct", "dermoscopy",
    "histology", "microscopy", "endoscopy",
]  # fmt: skip
EXTRAS = ["mixup", "cutmix", "cutout", "gridmask", "randaugment"]
FLIPPING = {
    "bone_xray": {"left-right"},
    "mammography": {"left-right"},
    "ultrasound": {"left-right"},
    "fundus": {"left-right", "up-down"},
    "oct": {"left-right"},
    "dermoscopy": {"left-right", "up-down"},
    "histology": {"left-right", "up-down"},
    "microscopy": {"left-right", "up-down", "depth"},
    "endoscopy": {"left-right"},
}
WINDOW = {"0-255": (0.0, 255.0), "HU": (-160.0, 240.0)}


def augmenter(name, *, dimension=2, units="0-255", seed=5, **more):
    return augmentation.preset(name).augmenter(
        dimension=dimension, units=units, window=WINDOW[units], seed=seed, **more
    )


@pytest.mark.parametrize("dtype", ["uint8", pytest.param("int32", marks=pytest.mark.everything)])
@pytest.mark.parametrize(("units", "channels"), [("0-255", 3), ("HU", 1)])
@pytest.mark.parametrize("shape", [(45, 52), (12, 36, 32)], ids=["2D", "3D"])
@pytest.mark.parametrize("name", NAMES)
def test_the_set_of_mask_values_survives(name, shape, units, channels, dtype, make):
    """Keras 3.15.1 reads masks between their pixels in RandomFlip, RandomCrop, CenterCrop and CutMix."""
    mask = make.mask(shape)
    mask[..., 15:-15, -shape[-1] // 4 : -shape[-1] // 7] = 255
    assert set(np.unique(mask)) == {0, 1, 4, 255}
    images = np.repeat(make.image(shape, channels)[None], 8, axis=0)
    masks = np.repeat(mask[None], 8, axis=0).astype(dtype)
    augment = augmenter(name, dimension=len(shape), units=units, spacing_mm=(3.0, 1.0, 1.0)[-len(shape) :])
    new_images, new_masks = augment(images, masks)
    assert new_images.dtype == tf.float32
    assert new_images.shape == images.shape
    assert new_masks.dtype.name == dtype
    assert all(set(np.unique(one)) == {0, 1, 4, 255} for one in new_masks.numpy())
    assert (name == "none") == bool(np.array_equal(new_masks, masks))


@pytest.mark.parametrize("name", ["cutout", "gridmask", "randaugment"])
def test_extras_that_hide_or_shade_leave_masks_as_they_are(name, make):
    images, masks = np.repeat(make.image((32, 32))[None], 8, axis=0), np.repeat(make.mask((32, 32))[None], 8, axis=0)
    new_images, new_masks = augmenter(name)(images, masks)
    np.testing.assert_array_equal(new_masks, masks)
    assert not np.array_equal(new_images, images)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_masks_keep_their_type(dtype, make):
    masks = np.repeat(make.mask((20, 20))[None], 2, axis=0).astype(dtype)
    _, moved = augmenter("chest_xray")(np.zeros((2, 20, 20, 1), np.float32), masks)
    assert moved.dtype.name == dtype


@pytest.mark.parametrize("shape", [(48, 40), (18, 40, 36)], ids=["2D", "3D"])
@pytest.mark.parametrize("name", NAMES[1:])
def test_image_and_mask_move_together(name, shape, make):
    """A mask drawn as an image, moved as an image and thresholded, is the moved mask."""
    mask = (make.mask(shape) > 0).astype(np.int32)
    batch = np.repeat(mask[None], 6, axis=0)
    preset = augmentation.preset(name).adapted(dimension=len(shape), units="HU", spacing_mm=(2.5, 1, 1)[-len(shape) :])
    drawn = {key: value for key, value in preset.draw(6, seed=8).items() if key not in ("noise", "offset_hu")}
    assert ("elastic" in drawn) == (name in ("histology", "microscopy"))
    images, masks = preset.apply(
        batch[..., None].astype(np.float32), batch, drawn=drawn, units="HU", window=(0.0, 1.0),
        spacing_mm=(2.5, 1, 1)[-len(shape):],
    )  # fmt: skip
    again, moved = images.numpy()[..., 0] > 0.5, masks.numpy() > 0
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(again, moved, strict=True)]
    assert min(dice) > (0.98 if len(shape) == 2 else 0.9)
    stayed = [2 * (a & (mask > 0)).sum() / (a.sum() + mask.sum()) for a in moved]
    assert min(stayed) < 0.98


@pytest.mark.parametrize("name", NAMES + [name for name in EXTRAS if name not in ("mixup", "cutmix")])
def test_the_same_seed_gives_the_same_pixels_and_another_does_not(name, make):
    images = np.repeat(make.image((24, 24))[None], 12, axis=0)
    first, _ = augmenter(name, seed=1)(images)
    second, _ = augmenter(name, seed=1)(images)
    np.testing.assert_array_equal(first, second)
    if name == "none":
        np.testing.assert_array_equal(first, images)
    else:
        assert not np.array_equal(first, augmenter(name, seed=2)(images)[0])
        assert len({one.tobytes() for one in first.numpy()}) > 3


def test_the_counter_replays_a_batch_and_the_calls_count_themselves(make):
    images = np.repeat(make.image((16, 16))[None], 3, axis=0)
    augment = augmenter("mri")
    calls = [augment(images)[0].numpy() for _ in range(3)]
    assert not np.array_equal(calls[0], calls[1])
    np.testing.assert_array_equal(augmenter("mri")(images, counter=2)[0], calls[2])


def test_draw_then_apply_is_what_the_augmenter_does(make):
    images = np.repeat(make.image((16, 16))[None], 3, axis=0)
    preset = augmentation.preset("fundus")
    by_hand, _ = preset.apply(images, drawn=preset.draw(3, seed=5, counter=7))
    np.testing.assert_array_equal(by_hand, augmenter("fundus")(images, counter=7)[0])


def test_a_sample_does_not_depend_on_the_size_of_its_batch():
    preset = augmentation.preset("mri")
    small, large = preset.draw(2, seed=3, counter=1), preset.draw(9, seed=3, counter=1)
    for name in (name for name in small if not name.endswith("_seed")):
        np.testing.assert_allclose(small[name], large[name][:2], rtol=1e-6)


def test_it_runs_in_tf_data_in_parallel_and_stays_reproducible(make):
    images = np.repeat(make.image((16, 16))[None], 12, axis=0)
    masks = np.repeat(make.mask((16, 16))[None], 12, axis=0)

    def epoch():
        augment = augmenter("chest_xray")
        data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4).enumerate()
        data = data.map(lambda number, pair: augment(*pair, counter=number), num_parallel_calls=2)
        assert data.element_spec[0].shape[1:] == (16, 16, 1)
        return [(a.numpy(), b.numpy()) for a, b in data]

    for (first, first_mask), (second, second_mask) in zip(epoch(), epoch(), strict=True):
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first_mask, second_mask)


def test_it_counts_for_itself_in_tf_data(make):
    images = np.repeat(make.image((16, 16))[None], 12, axis=0)
    augment = augmenter("chest_xray")
    data = tf.data.Dataset.from_tensor_slices(images).batch(4).map(lambda batch: augment(batch)[0])
    mine = [batch.numpy() for batch in data]
    for number, batch in enumerate(mine):
        np.testing.assert_array_equal(batch, augmenter("chest_xray")(images[:4], counter=number)[0])


def test_draws_fill_their_range_evenly():
    operations = (rotation(10), scale(0.5, 2.0), flip("left-right", "depth"))
    drawn = draw(operations, 4000, seed=0, counter=0)
    degrees = drawn["rotation_degrees"].numpy()
    assert stats.kstest(degrees, stats.uniform(-10, 20).cdf).pvalue > 0.01
    assert stats.kstest(np.log2(drawn["scale"].numpy()), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert abs(drawn["flip_left_right"].numpy().mean() - 0.5) < 0.03
    assert abs(np.corrcoef(degrees, drawn["flip_depth"].numpy())[0, 1]) < 0.05
    assert set(drawn) <= set(COLUMNS)


def test_hounsfield_units_stay_hounsfield_units():
    """A phantom of air, water and bone keeps its numbers but for the stated noise and offset."""
    image = np.full((8, 64, 64, 1), 0.0, np.float32)
    image[:, :20], image[:, 44:] = -1000.0, 1000.0
    preset = augmentation.preset("ct").adapted(units="HU")
    drawn = {
        name: value for name, value in preset.draw(8, seed=0).items() if name in ("noise", "noise_seed", "offset_hu")
    }
    new, _ = preset.apply(image, drawn=drawn, units="HU", window=(-160.0, 240.0))
    change = new.numpy() - image
    for k in range(8):
        for rows in (slice(0, 20), slice(20, 44), slice(44, 64)):
            assert abs(change[k, rows].mean() - drawn["offset_hu"][k]) < 1.5
        assert abs(change[k].std() - 15 * drawn["noise"][k]) < 0.6
    assert np.abs(drawn["offset_hu"]).max() <= 5


@pytest.mark.parametrize("name", NAMES[1:])
def test_on_ct_no_preset_touches_contrast_brightness_or_gamma(name):
    adapted = augmentation.preset(name).adapted(units="HU")
    assert not any(operation.name in ("brightness", "contrast", "gamma") for operation in adapted.operations)
    assert name == "ct" or "measurements" in " ".join(adapted.notes)


def test_the_noise_is_normal_and_odd_sizes_work():
    noise = normal(tf.constant([3, 41, 163, 1]), tf.constant([4, 2], tf.int64)).numpy()
    assert noise.shape == (3, 41, 163, 1)
    assert stats.kstest(noise.ravel(), stats.norm.cdf).pvalue > 0.01
    assert abs(np.corrcoef(noise.ravel()[:10000], noise.ravel()[-10000:])[0, 1]) < 0.05


def test_what_comes_in_from_outside_is_air():
    image = np.full((16, 32, 32, 1), 900.0, np.float32)
    new, _ = augmenter("ct", units="HU")(image)
    assert new.numpy().min() > -160 - 6 * 15 - 5
    assert new.numpy().min() < -100
    assert new.numpy().max() < 900 + 6 * 15 + 5


def test_grey_values_stay_in_the_window_and_16_bit_is_not_cut(make):
    images = (np.repeat(make.image((24, 24))[None], 4, axis=0) * 257).astype(np.uint16)
    preset = augmentation.preset("mri")
    new, _ = preset.apply(images, drawn=preset.draw(4, seed=0), units="relative", window=(0.0, 65535.0))
    assert new.numpy().min() >= 0
    assert 40000 < new.numpy().max() <= 65535
    assert len(np.unique(new)) > 2000


@pytest.mark.parametrize("name", NAMES + [name for name in EXTRAS if name != "randaugment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_varied_as_8_bits_are(name, channels, make):
    """Nothing is rounded or cut to 255 on the way; RandAugment's equalisation, which is, has its own test."""
    images = np.stack([make.image((24, 30), channels) for _ in range(6)]).astype(np.uint8)
    preset = augmentation.preset(name).adapted(units="relative")
    drawn = preset.draw(6, seed=2)
    eight = preset.apply(images, drawn=drawn)[0].numpy()
    sixteen, _ = preset.apply(images.astype(np.uint16) * 257, drawn=drawn, units="relative", window=(0.0, 65535.0))
    np.testing.assert_allclose(sixteen.numpy() / 257, eight, atol=0.02)
    assert sixteen.numpy().max() > 60000


@pytest.mark.parametrize("name", ["contrast", "gamma", "brightness"])
def test_grey_operations_are_the_textbook_ones(name, make):
    image = make.image((10, 12)).clip(30, 220)[None]
    preset = augmentation.preset("mri")
    drawn = {key: value for key, value in preset.draw(1, seed=4).items() if key == name}
    new, _ = preset.apply(image, drawn=drawn)
    value, grey = float(drawn[name][0]), image / 255
    wanted = {
        "contrast": grey.mean() + (grey - grey.mean()) * value,
        "gamma": grey**value,
        "brightness": grey + value,
    }[name]
    np.testing.assert_allclose(new.numpy(), np.clip(wanted * 255, 0, 255), atol=0.02)


def test_the_depth_flip_reverses_the_slices():
    preset = augmentation.Preset("mine", operations=(flip("depth"),))
    volume = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4, 1)
    new, masks = preset.apply(volume, volume[..., 0].astype(int), drawn={"flip_depth": tf.constant([1.0, 0.0])})
    np.testing.assert_array_equal(new[0], volume[0, ::-1])
    np.testing.assert_array_equal(new[1], volume[1])
    np.testing.assert_array_equal(masks[0], volume[0, ::-1, ..., 0])
    assert preset.adapted(dimension=3).operations
    with pytest.warns(UserWarning, match="changes nothing"):
        assert preset.adapted(dimension=2).operations == ()


@pytest.mark.parametrize("name", NAMES + EXTRAS)
def test_what_mirrors_and_how(name):
    flips = [operation for operation in augmentation.preset(name).operations if operation.name == "flip"]
    assert {axis for flip in flips for axis in flip.values["axes"]} == FLIPPING.get(name, set())
    drawn = augmentation.preset(name).draw(4)
    for axis, key in (("left-right", "flip_left_right"), ("up-down", "flip_up_down")):
        assert (key in drawn) == (axis in FLIPPING.get(name, set()))


@pytest.mark.parametrize("name", ["chest_xray", "ct", "mri", "bone_xray", "mammography", "ultrasound", "oct"])
def test_what_has_a_top_is_never_upside_down(name):
    preset = augmentation.preset(name)
    assert next(op for op in preset.operations if op.name == "rotation").values["degrees"] <= 15
    assert "up-down" not in FLIPPING.get(name, set())


@pytest.mark.parametrize("names", [["left eye", "right eye"], ["OD", "OS"], ["lesion", "disc_L"], ["situs"]])
@pytest.mark.parametrize("name", FLIPPING)
def test_a_side_in_a_name_forbids_mirrors_and_half_turns(name, names):
    augment = augmenter(name, classes=names)
    assert not any(operation.name == "flip" for operation in augment.preset.operations)
    assert next(op for op in augment.preset.operations if op.name == "rotation").values["degrees"] <= 15
    assert any("names a side" in note for note in augment.notes)
    image = np.zeros((64, 33, 33, 1), np.float32)
    image[:, 8:25, 4:10] = 200
    # Only the movement is asked for: noise would put weight everywhere.
    moves = ("rotation_degrees", "scale", "shift_row", "shift_column", "elastic", "elastic_seed")
    drawn = {key: value for key, value in augment.preset.draw(64, seed=5).items() if key in moves}
    moved = augment.preset.apply(image, drawn=drawn)[0].numpy()[..., 0].sum(axis=1)
    assert ((moved * np.arange(33)).sum(axis=1) / moved.sum(axis=1)).max() < 16.5


@pytest.mark.parametrize("name", FLIPPING)
def test_without_a_side_it_mirrors_about_half_of_the_images(name):
    augment = augmenter(name, classes=["healthy", "glaucoma"])
    drawn = augment.preset.draw(400, seed=1)
    assert 0.4 < drawn["flip_left_right"].numpy().mean() < 0.6
    assert not any("names a side" in note for note in augment.notes)


@pytest.mark.parametrize(
    ("name", "sided"),
    [("left", True), ("Left lung", True), ("kidney-R", True), ("LungLeft", True), ("situs inversus", True),
     ("hippocampus_l", True), ("bright", False), ("cleft", False), ("normal", False), ("lesion 1", False),
     ("upright", False), ("RCC", False)],
)  # fmt: skip
def test_words_count_not_letters(name, sided):
    assert augmentation.sided_names([name]) == ([name] if sided else [])


def test_volumes_tilt_only_when_the_spacing_is_known():
    preset = augmentation.preset("mri")
    flat = preset.adapted(dimension=3)
    assert "tilt_row_degrees" not in flat.draw(1)
    assert "spacing is not known" in " ".join(flat.notes)
    tilted = preset.adapted(dimension=3, spacing_mm=(3.0, 1.0, 1.0))
    assert "tilt_row_degrees" in tilted.draw(1)
    assert tilted.notes == ()
    assert "tilt_row_degrees" not in preset.adapted(dimension=2).draw(1)


def test_a_preset_that_changes_nothing_says_so():
    with pytest.warns(UserWarning, match="changes nothing"):
        augmentation.Preset("idle", operations=(rotation(0), noise(0, 0), offset(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmentation.Preset("none")
        augmentation.Preset("mine", operations=(rotation(5),))
    for idle in (bias_field(0), bias_field(0.3, 0), ghosting(0), motion(0, 0), motion(3, 0.02, 0), speckle(0), stain(1, 1),
                 colour(0, (1, 1)), elastic(0), randaugment(0), cutout(0), gridmask(0), cutmix(0)):  # fmt: skip
        with pytest.warns(UserWarning, match="changes nothing"):
            augmentation.Preset("idle", operations=(idle,))


def test_an_unknown_preset_lists_the_choices():
    with pytest.raises(InputError, match="chest_xray") as caught:
        augmentation.preset("xray")
    assert all(name in str(caught.value) for name in NAMES + EXTRAS)


def test_the_catalogue_is_one_row_a_preset():
    table = augmentation.presets()
    assert list(table["name"]) == NAMES + EXTRAS
    assert list(table.columns) == ["name", "kind", "for what", "what it does", "anatomy rule"]
    assert list(table["kind"]) == ["preset"] * len(NAMES) + ["extra"] * len(EXTRAS)
    assert (table.map(len) > 0).all(axis=None)
    assert "heart" in table.set_index("name").loc["chest_xray", "anatomy rule"]


def test_colour_is_left_out_of_grey_images_and_said(make):
    grey = augmenter("dermoscopy", channels=1)
    assert not any(operation.name == "colour" for operation in grey.preset.operations)
    assert any("1 channels" in note for note in grey.notes)
    assert any(operation.name == "colour" for operation in augmenter("dermoscopy", channels=3).preset.operations)
    assert "Stain".lower() in " ".join(augmenter("histology", channels=4).notes)


def test_artefacts_are_described():
    assert "in 15% of the images" in str(augmentation.preset("mri"))
    assert "bias field" in " ".join(augmenter("mri", units="HU").notes)


@pytest.mark.parametrize(
    ("dimension", "units", "task", "extras"),
    [(2, "0-255", "classification", EXTRAS), (2, "relative", "multilabel", EXTRAS),
     (2, "0-255", "segmentation", ["cutout", "gridmask", "randaugment"]), (3, "HU", "classification", ["mixup", "cutmix"]),
     (3, "HU", "segmentation", []), (2, "HU", "regression", [])],
)  # fmt: skip
def test_only_the_extras_that_work_are_offered(dimension, units, task, extras):
    table = augmentation.presets(SimpleNamespace(dimension=dimension, units=units, task=task))
    assert list(table["name"]) == NAMES + extras
