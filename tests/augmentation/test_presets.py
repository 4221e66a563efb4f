import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import stats

from easydl import augmentation
from easydl.augmentation.augmenter import _normal, draw
from easydl.augmentation.operations import (
    COLUMNS,
    Brightness,
    Contrast,
    Flip,
    Gamma,
    Noise,
    Offset,
    Rotation,
    Scale,
)
from easydl.errors import InputError

NAMES = ["none", "chest_xray", "ct", "mri", "fundus"]
WINDOW = {"0-255": (0.0, 255.0), "HU": (-160.0, 240.0)}


def augmenter(name, *, dimension=2, units="0-255", seed=5, **more):
    return augmentation.preset(name).augmenter(
        dimension=dimension, units=units, window=WINDOW[units], seed=seed, **more
    )


@pytest.mark.parametrize("units", ["0-255", "HU"])
@pytest.mark.parametrize("shape", [(33, 40), (7, 24, 20)], ids=["2D", "3D"])
@pytest.mark.parametrize("name", NAMES)
def test_the_set_of_label_values_survives(name, shape, units, make):
    mask = make.mask(shape)
    assert set(np.unique(mask)) == {0, 1, 4}
    images = np.repeat(make.image(shape)[None], 8, axis=0)
    masks = np.repeat(mask[None], 8, axis=0)
    augment = augmenter(name, dimension=len(shape), units=units, spacing_mm=(3.0, 1.0, 1.0)[-len(shape) :])
    new_images, new_masks = augment(images, masks)
    assert new_images.dtype == tf.float32
    assert new_images.shape == images.shape
    assert new_masks.dtype == tf.int32
    assert all(set(np.unique(one)) == {0, 1, 4} for one in new_masks.numpy())


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
    images, masks = preset.apply(
        batch[..., None].astype(np.float32), batch, drawn=drawn, units="HU", window=(0.0, 1.0),
        spacing_mm=(2.5, 1, 1)[-len(shape):],
    )  # fmt: skip
    again, moved = images.numpy()[..., 0] > 0.5, masks.numpy() > 0
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(again, moved, strict=True)]
    assert min(dice) > (0.98 if len(shape) == 2 else 0.9)
    stayed = [2 * (a & (mask > 0)).sum() / (a.sum() + mask.sum()) for a in moved]
    assert min(stayed) < 0.97


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_pixels_and_another_does_not(name, make):
    images = np.repeat(make.image((24, 24))[None], 4, axis=0)
    first, _ = augmenter(name, seed=1)(images)
    second, _ = augmenter(name, seed=1)(images)
    np.testing.assert_array_equal(first, second)
    if name == "none":
        np.testing.assert_array_equal(first, images)
    else:
        assert not np.array_equal(first, augmenter(name, seed=2)(images)[0])
        assert not np.array_equal(first[0], first[1])


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
    for name in set(small) - {"noise_seed"}:
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
    operations = (Rotation(10), Scale(0.5, 2.0), Flip(("left-right", "depth")))
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
    assert not any(isinstance(operation, Brightness | Contrast | Gamma) for operation in adapted.operations)
    assert name == "ct" or "measurements" in " ".join(adapted.notes)


def test_the_noise_is_normal_and_odd_sizes_work():
    noise = _normal(tf.constant([3, 41, 163, 1]), tf.constant([4, 2], tf.int64)).numpy()
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


@pytest.mark.parametrize("name", ["contrast", "gamma", "brightness"])
def test_grey_operations_are_the_textbook_ones(name, make):
    image = make.image((10, 12)).clip(30, 220)[None]
    preset = augmentation.preset("mri")
    drawn = {key: value for key, value in preset.draw(1, seed=4).items() if key == name}
    new, _ = preset.apply(image, drawn=drawn)
    value, share = float(drawn[name][0]), image / 255
    wanted = {
        "contrast": share.mean() + (share - share.mean()) * value,
        "gamma": share**value,
        "brightness": share + value,
    }[name]
    np.testing.assert_allclose(new.numpy(), np.clip(wanted * 255, 0, 255), atol=0.02)


def test_the_depth_flip_reverses_the_slices():
    preset = augmentation.Preset("mine", operations=(Flip(("depth",)),))
    volume = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4, 1)
    new, masks = preset.apply(volume, volume[..., 0].astype(int), drawn={"flip_depth": tf.constant([1.0, 0.0])})
    np.testing.assert_array_equal(new[0], volume[0, ::-1])
    np.testing.assert_array_equal(new[1], volume[1])
    np.testing.assert_array_equal(masks[0], volume[0, ::-1, ..., 0])
    assert preset.adapted(dimension=3).operations
    with pytest.warns(UserWarning, match="changes nothing"):
        assert preset.adapted(dimension=2).operations == ()


@pytest.mark.parametrize("name", NAMES)
def test_only_fundus_mirrors(name):
    flips = [operation for operation in augmentation.preset(name).operations if isinstance(operation, Flip)]
    assert bool(flips) == (name == "fundus")


@pytest.mark.parametrize("names", [["left eye", "right eye"], ["OD", "OS"], ["lesion", "disc_L"], ["situs"]])
def test_a_side_in_a_name_forbids_mirrors_and_half_turns(names):
    augment = augmenter("fundus", classes=names)
    assert not any(isinstance(operation, Flip) for operation in augment.preset.operations)
    assert next(op for op in augment.preset.operations if isinstance(op, Rotation)).degrees == 15
    assert any("names a side" in note for note in augment.notes)
    image = np.zeros((64, 33, 33, 1), np.float32)
    image[:, 8:25, 4:10] = 200
    columns = (augment(image)[0].numpy()[..., 0].mean(axis=1) * np.arange(33)).sum(axis=1)
    weight = augment(image, counter=0)[0].numpy()[..., 0].mean(axis=1).sum(axis=1)
    assert (columns / weight).max() < 16.5


def test_without_a_side_fundus_mirrors():
    augment = augmenter("fundus", classes=["healthy", "glaucoma"])
    assert any(isinstance(operation, Flip) for operation in augment.preset.operations)
    assert augment.notes == ()


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
        augmentation.Preset("idle", operations=(Rotation(0), Noise(0, 0), Offset(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        augmentation.Preset("none")
        augmentation.Preset("mine", operations=(Rotation(5),))


def test_an_unknown_preset_lists_the_choices():
    with pytest.raises(InputError, match="chest_xray") as caught:
        augmentation.preset("xray")
    assert all(name in str(caught.value) for name in NAMES)


def test_the_catalogue_is_one_row_a_preset():
    table = augmentation.presets()
    assert list(table["name"]) == NAMES
    assert list(table.columns) == ["name", "for what", "what it does", "anatomy rule"]
    assert (table.map(len) > 0).all(axis=None)
    assert "heart" in table.set_index("name").loc["chest_xray", "anatomy rule"]


def test_suggestions_are_careful(make):
    def suggested(units="0-255", channels=1, path="a.png", header=None, **columns):
        scan = make.scan(np.zeros((4, 4, channels), np.float32), units, header=header or {})
        return augmentation.suggest(make.study([scan], frame=pd.DataFrame({"image": [path], **columns})))

    assert suggested(units="HU")[0] == "ct"
    assert suggested(modality=["MR"])[0] == "mri"
    assert suggested(header={"modality": "MR"})[0] == "mri"
    assert suggested(modality=["DX"])[0] == "chest_xray"
    assert suggested(channels=3, modality=["OP"])[0] == "fundus"
    assert suggested(channels=3, path="data/fundus/1.png")[0] == "fundus"
    for name, sentence in (suggested(), suggested(channels=3), suggested(path="fundus.png")):
        assert name == "chest_xray"
        assert "no mirror image" in sentence
