"""RandAugment, Cutout, GridMask, MixUp and CutMix: against NumPy and Pillow, and repeated from their draws."""

import subprocess
import sys
from types import SimpleNamespace

import keras_cv
import numpy as np
import pytest
import tensorflow as tf

from easydl import augmentation
from easydl.augmentation import catalogue, mixing
from easydl.augmentation.extras import cutmix, cutout, gridmask, mixup, randaugment
from easydl.errors import InputError, MissingPackageError

EXTRAS = ["mixup", "cutmix", "cutout", "gridmask", "randaugment"]
EYE = np.eye(3, dtype=np.float32)


def batch(count=12, channels=3, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, 24, 30, channels)).astype(np.float32)


def augmenter(name, *, dimension=2, units="0-255", seed=5, **more):
    window = (-160.0, 240.0) if units == "HU" else (0.0, 255.0)
    return augmentation.preset(name).augmenter(dimension=dimension, units=units, window=window, seed=seed, **more)


def test_mixup_adds_images_and_labels_with_the_same_weights():
    images, targets = batch(), EYE[np.arange(12) % 3]
    preset = augmentation.preset("mixup")
    drawn = preset.draw(12, seed=1)
    new, labels = preset.mix(images, targets, drawn=drawn)
    weight, partner = drawn["mixup"].numpy(), np.argsort(drawn["partner"].numpy())
    assert sorted(partner) == list(range(12))
    wide = weight[:, None, None, None]
    np.testing.assert_allclose(new, (1 - wide) * images + wide * images[partner], atol=1e-3)
    np.testing.assert_allclose(labels, (1 - weight)[:, None] * targets + weight[:, None] * targets[partner], atol=1e-6)
    np.testing.assert_allclose(labels.numpy().sum(axis=1), 1, atol=1e-6)


def test_the_weights_of_mixup_are_beta_distributed():
    from scipy import stats

    drawn = augmentation.Preset("mine", operations=(mixup(0.4),)).draw(4000, seed=3)
    assert stats.kstest(drawn["mixup"].numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    assert np.isfinite(augmentation.preset("mixup").draw(100_000, seed=1)["mixup"]).all()


@pytest.mark.parametrize("shape", [(24, 30), (5, 24, 30)], ids=["2D", "3D"])
def test_cutmix_divides_the_label_by_the_pixels_that_were_pasted(shape):
    images = np.arange(12, dtype=np.float32).reshape(12, *(1,) * (len(shape) + 1)) * np.ones((*shape, 1), np.float32)
    targets = np.eye(12, dtype=np.float32)
    preset = augmentation.preset("cutmix")
    drawn = preset.draw(12, seed=2)
    new, labels = preset.mix(images, targets, drawn=drawn)
    partner, new = np.argsort(drawn["partner"].numpy()), new.numpy()
    for k in range(12):
        pasted = new[k] == partner[k]
        assert np.all(pasted | (new[k] == k))
        share = 0.0 if partner[k] == k else pasted.mean()
        assert labels.numpy()[k, partner[k]] == pytest.approx(1.0 if partner[k] == k else share, abs=1e-5)
        rows, columns = (
            np.flatnonzero(pasted.any(axis=tuple(set(range(pasted.ndim)) - {axis})))
            for axis in (-3 % pasted.ndim, -2 % pasted.ndim)
        )
        if partner[k] != k and pasted.any():
            box = pasted[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, :]
            assert box.all(), "one rectangle"
    shares = [labels.numpy()[k, partner[k]] for k in range(12) if partner[k] != k]
    assert min(shares) < 0.2 < max(shares)


def test_several_labels_keep_their_own_fractions():
    images, targets = batch(), np.random.default_rng(1).integers(0, 2, (12, 5)).astype(np.float32)
    new, labels = augmenter("mixup+cutmix", task="multilabel")(images, targets=targets, counter=0)
    assert labels.shape == (12, 5) and labels.numpy().min() >= 0 and labels.numpy().max() <= 1
    assert not np.array_equal(labels, targets) and not np.array_equal(new, images)


def test_without_targets_nothing_is_mixed_and_without_mixing_targets_stay():
    images, targets = batch(), EYE[np.arange(12) % 3]
    np.testing.assert_allclose(augmenter("mixup")(images, counter=0)[0], images, atol=1e-4)
    _, same = augmenter("chest_xray")(images, targets=targets, counter=0)
    assert same is targets
    _, same = augmenter("chest_xray")(images, targets={"a": targets}, counter=0)
    np.testing.assert_array_equal(same["a"], targets)


def test_cutout_hides_one_square_as_keras_cv_does():
    images = batch()
    preset = augmentation.Preset("mine", operations=(cutout(0.5, 0.7),))
    drawn = preset.draw(12, seed=4)
    new = preset.apply(images, drawn=drawn)[0].numpy()
    side, rows, columns = (drawn[name].numpy() for name in ("cutout", "cutout_row", "cutout_column"))
    assert 3 < (side > 0).sum() < 12
    for k in range(12):
        wanted = images[k].copy()
        row, column, high, wide = int(rows[k] * 24), int(columns[k] * 30), int(side[k] * 24), int(side[k] * 30)
        y, x = np.mgrid[:24, :30]
        hidden = (y >= row - high / 2) & (y < row + high / 2) & (x >= column - wide / 2) & (x < column + wide / 2)
        wanted[hidden] = images[k].mean(axis=(0, 1))
        np.testing.assert_allclose(new[k], wanted, atol=1e-2)
        assert hidden.mean() <= 0.5**2 + 0.02


def test_gridmask_hides_the_squared_ratio_of_the_image():
    images = np.random.default_rng(0).uniform(0, 255, (40, 200, 240, 1)).astype(np.float32)
    preset = augmentation.Preset("mine", operations=(gridmask(0.5, 1.0),))
    drawn = preset.draw(40, seed=4)
    new = preset.apply(images, drawn=drawn)[0].numpy()
    hidden = (np.abs(new - images) > 1e-2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(hidden, drawn["gridmask"].numpy() ** 2, atol=0.08)
    straight = dict(drawn, gridmask_degrees=tf.zeros(40), gridmask_row=tf.zeros(40), gridmask_column=tf.zeros(40))
    new = preset.apply(images, drawn=straight)[0].numpy()
    unit = drawn["gridmask_unit"].numpy()[0] * 200
    down, right = (np.arange(side) % unit / unit < drawn["gridmask"].numpy()[0] for side in (200, 240))
    changed = np.abs(new[0, ..., 0] - images[0, ..., 0]) > 1e-2
    assert np.mean(changed != np.outer(down, right)) < 0.02


def one_change(which, much, images, strength=0.2):
    """The batch with the same change of the five in every image, and no second one."""
    preset = augmentation.Preset("mine", operations=(randaugment(strength),))
    count = len(images)
    drawn = {
        "randaugment_first": tf.fill([count], which + 0.5), "randaugment_first_strength": tf.fill([count], float(much)),
        "randaugment_second": tf.fill([count], 3.5), "randaugment_second_strength": tf.zeros([count]),
    }  # fmt: skip
    return preset.apply(images, drawn=drawn)[0].numpy()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_randaugment_changes_are_the_published_ones(channels):
    from PIL import Image, ImageOps

    images = np.round(batch(3, channels) * 0.6 + 40)
    low, high = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    stretched = (images - low) / (high - low) * 255
    np.testing.assert_allclose(one_change(0, 1, images), images + 0.5 * (stretched - images), atol=0.05)
    equal = np.stack([
        np.stack([np.asarray(ImageOps.equalize(Image.fromarray(one[..., c].astype(np.uint8)))) for c in range(channels)], -1)
        for one in images
    ])  # fmt: skip
    assert np.abs(one_change(1, -1, images) - (images + 0.5 * (equal - images))).max() <= 1.0
    mean = images.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(one_change(3, -1, images), mean + (images - mean) * 0.8, atol=0.05)
    np.testing.assert_allclose(one_change(4, 1, images), np.clip(images + 25.5, 0, 255), atol=0.05)
    if channels == 3:
        grey = images @ np.array([0.2989, 0.5870, 0.1140])
        np.testing.assert_allclose(one_change(2, 1, images), images + 0.2 * (grey[..., None] - images), atol=0.1)
    else:
        np.testing.assert_allclose(one_change(2, 1, images), images, atol=0.01)


def test_randaugment_stays_within_0_255_and_16_bit_is_scaled_around_it():
    images = batch(16, 1)
    preset = augmentation.preset("randaugment")
    drawn = preset.draw(16, seed=3)
    assert set(np.floor(drawn["randaugment_first"].numpy())) == {0, 1, 2, 3, 4}
    eight = preset.apply(images, drawn=drawn)[0].numpy()
    assert eight.min() >= 0 and eight.max() <= 255.001
    sixteen = preset.apply((images * 257).astype(np.uint16), drawn=drawn, units="relative", window=(0.0, 65535.0))[0]
    # Equalisation looks values up in 256 steps, where a rounding of the 16 bits may fall to the other side.
    assert np.quantile(np.abs(sixteen.numpy() / 257 - eight), 0.99) < 1.0


@pytest.mark.parametrize(
    "name",
    [
        "dermoscopy+mixup",
        "dermoscopy+cutout",
        *(
            pytest.param(name, marks=pytest.mark.everything)
            for name in (
                "dermoscopy+cutmix",
                "dermoscopy+gridmask",
                "dermoscopy+randaugment",
                "histology+mixup+randaugment",
            )
        ),
    ],
)
def test_every_batch_is_repeated_in_tf_data_whatever_ran_before(name):
    images, targets = batch(24), EYE[np.arange(24) % 3]

    def epoch(calls):
        augment = augmenter(name, classes=["a", "b", "c"], channels=3, task="classification")
        data = tf.data.Dataset.from_tensor_slices((images, targets)).batch(8).enumerate()
        data = data.map(
            lambda number, pair: augment(pair[0], targets=pair[1], counter=number), num_parallel_calls=calls
        )
        return [(x.numpy(), y.numpy()) for x, y in data]

    first = epoch(1)
    tf.random.uniform((7,))
    tf.random.get_global_generator().normal((3,))
    for (x, y), (again_x, again_y) in zip(first, epoch(2), strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)
    assert not np.array_equal(first[0][0], first[1][0])


def test_keras_cvs_own_call_is_not_repeated_by_a_seed():
    """Why the parameters are drawn here: the same seed gives another batch."""
    layer = keras_cv.layers.MixUp(alpha=0.2, seed=1)
    inputs = {"images": tf.constant(batch()), "labels": tf.constant(EYE[np.arange(12) % 3])}
    first = layer(dict(inputs))["images"].numpy()
    again = keras_cv.layers.MixUp(alpha=0.2, seed=1)(dict(inputs))["images"].numpy()
    assert not np.array_equal(first, again)


@pytest.mark.parametrize("name", ["cutout", "gridmask", "randaugment"])
@pytest.mark.parametrize(("dimension", "units"), [(3, "0-255"), (2, "HU"), (3, "HU")])
def test_volumes_and_hounsfield_units_are_refused_where_plane_images_are_needed(name, dimension, units):
    with pytest.raises(InputError, match=name) as caught:
        augmenter(f"ct+{name}", dimension=dimension, units=units)
    assert ("volumes" if dimension == 3 else "Hounsfield units") in caught.value.found


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize(
    "task", ["segmentation", "regression", "ordinal", "multitask", "classification with covariates"]
)
def test_mixing_is_refused_where_labels_cannot_be_shared(name, task):
    with pytest.raises(InputError, match=name) as caught:
        augmenter(f"mri+{name}", task=task)
    assert task in caught.value.found
    assert caught.value.do.endswith(f'augment="mri+{name}".')


@pytest.mark.parametrize("task", ["classification", "multilabel"])
@pytest.mark.parametrize(("dimension", "units"), [(2, "0-255"), (3, "HU")])
def test_mixing_works_for_classes_in_any_units_and_says_what_it_does_to_the_figures(task, dimension, units):
    augment = augmenter("mixup+cutmix", dimension=dimension, units=units, task=task)
    assert "training accuracy and AUC" in " ".join(augment.notes)


@pytest.mark.parametrize("wrong", ["chest_xray+mri", "mixup+mixup", "chest_xray+chest_xray"])
def test_what_cannot_be_joined_is_said(wrong):
    with pytest.raises(InputError, match="joins two presets"):
        augmentation.preset(wrong)


@pytest.mark.parametrize("wrong", ["chest_xray+", "+", "chest_xray+mixdown", ""])
def test_a_part_without_a_name_is_said(wrong):
    with pytest.raises(InputError, match="no augmentation preset called"):
        augmentation.preset(wrong)


def test_joined_presets_hold_both_and_none_adds_nothing():
    joined = augmentation.preset("histology + mixup+cutout")
    assert joined.name == "histology+mixup+cutout"
    assert joined.operations == (*augmentation.preset("histology").operations, mixup(), cutout())
    assert joined.mirrored and joined.rules[-1].startswith("Not for small findings")
    alone = augmentation.preset("none+cutmix")
    assert (alone.name, alone.operations) == ("cutmix", (cutmix(),))


@pytest.mark.everything
def test_keras_cv_is_loaded_only_when_it_is_asked_for():
    code = (
        "import sys, numpy as np, easydl\n"
        "from easydl.augmentation import preset\n"
        "easydl.presets(); preset('chest_xray+randaugment')\n"
        "make = lambda name: preset(name).augmenter(dimension=2, units='0-255', window=(0, 255), seed=1)\n"
        "make('chest_xray+mixup+gridmask')(np.zeros((4, 8, 8, 1)), targets=np.eye(4))\n"
        "print('keras_cv' in sys.modules)\n"
        "make('chest_xray+cutout')\n"
        "print('keras_cv' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_without_keras_cv_the_message_says_what_to_install(monkeypatch):
    mixing.layers.cache_clear()
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    with pytest.raises(MissingPackageError, match="pip install keras-cv"):
        augmenter("chest_xray+randaugment")
    assert augmentation.presets() is not None and augmentation.preset("chest_xray+randaugment")
    augmenter("chest_xray+mixup+gridmask")(batch(4), targets=np.eye(4, dtype=np.float32))
    monkeypatch.undo()
    assert mixing.layers()


def test_an_extra_whose_library_is_missing_is_not_offered(monkeypatch):
    study = SimpleNamespace(dimension=2, units="0-255", task="classification")
    offered = set(augmentation.presets(study)["name"])
    assert {"randaugment", "cutout", "cutmix", "mixup", "gridmask"} <= offered
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)
    assert offered - set(augmentation.presets(study)["name"]) == {"randaugment", "cutout", "cutmix"}


def test_equalisation_does_not_warn_of_its_loop(capfd):
    one_change(1, 1, batch(4))
    augment = augmenter("randaugment")
    for _ in tf.data.Dataset.from_tensor_slices(batch(4)).batch(4).map(lambda x: augment(x)[0]):
        assert tf.get_logger().level != 40
    assert "while_loop" not in "".join(capfd.readouterr())
