"""Where patches are drawn, which of them are augmented, and in which order data come."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from easydl.studies.dataset import dataset
from easydl.training.patches import Patches
from easydl.training.pipeline import image_feed, pair_feed, patch_feed
from easydl.training.segmentation import augmented_fraction

pytestmark = pytest.mark.quick


def test_patches_see_the_structure_and_pad_small_scans():
    labels = np.zeros((40, 40), np.uint8)
    labels[30:33, 30:33] = 1
    patches = Patches([np.zeros((40, 40, 1), np.float32)], [labels], (16, 16), 2)
    rng = np.random.default_rng(0)
    assert all(patches.draw(0, rng, True)[1].any() for _ in range(20))


def test_a_scan_smaller_than_the_patch_lies_anywhere_in_it():
    pixels = np.arange(1, 5 * 20 + 1, dtype=np.float32).reshape(5, 20, 1)
    small = Patches([pixels], [np.ones((5, 20), np.uint8)], (16, 16), 2)
    rng = np.random.default_rng(0)
    rows, columns = set(), set()
    for image, label in (small.draw(0, rng, number % 2 == 0) for number in range(200)):
        assert image.shape == (16, 16, 1)
        inside = np.argwhere(label)
        row = inside[0, 0]
        assert label.sum() == 5 * 16
        column = int(image[row, 0, 0]) - 1
        np.testing.assert_array_equal(image[row : row + 5], pixels[:, column : column + 16])
        np.testing.assert_array_equal(image[:row], np.repeat(image[row : row + 1], row, axis=0))
        np.testing.assert_array_equal(image[row + 5 :], np.repeat(image[row + 4 : row + 5], 11 - row, axis=0))
        rows.add(int(row))
        columns.add(column)
    assert rows == set(range(12))
    assert columns == set(range(5))


def test_small_structures_come_up_as_often_as_large_ones():
    labels = np.zeros((64, 64), np.uint8)
    labels[:, :40] = 1
    labels[60:62, 60:62] = 2
    patches = Patches([np.zeros((64, 64, 1), np.float32)], [labels], (8, 8), 3)
    rng = np.random.default_rng(0)
    seen = [patches.draw(0, rng, True)[1] for _ in range(400)]
    assert 0.35 < np.mean([(one == 2).any() for one in seen]) < 0.6


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_half_of_the_patches_are_drawn_around_a_structure_whatever_the_batch(batch):
    labels = np.zeros((400, 400), np.uint8)
    labels[200, 200] = 1
    patches = Patches([np.zeros((400, 400, 1), np.float32)] * 4, [labels] * 4, (8, 8), 2)
    feed = patch_feed(patches, batch, 60 // batch, seed=0)
    seen = np.concatenate([y.numpy()[..., 1].any(axis=(1, 2)) for _, y in feed])
    assert len(seen) == 60
    assert seen.mean() == pytest.approx(0.5, abs=0.05)


def test_a_fraction_of_the_patches_is_augmented_and_the_same_ones_again():
    images = [np.full((8, 8, 8, 1), 10, np.float32)] * 4
    patches = Patches(images, [np.zeros((8, 8, 8), np.uint8)] * 4, (8, 8, 8), 2)

    augmented = []

    def augment(x, y, counter):
        tf.py_function(lambda n: augmented.append(int(n)), [tf.shape(x)[0]], [])
        return x + 1, y + 1

    def marks(fraction, **options):
        augmented.clear()
        feed = patch_feed(patches, 2, 150, seed=3, augment=augment, fraction=lambda epoch: fraction, **options)
        pairs = [(x.numpy()[:, 0, 0, 0, 0], y.numpy().argmax(-1)[:, 0, 0, 0]) for x, y in feed]
        x, y = (np.concatenate(one) for one in zip(*pairs, strict=True))
        np.testing.assert_array_equal(x == 11, y == 1)
        assert sum(augmented) == (x == 11).sum(), "only what is used is augmented"
        return x

    third = marks(1 / 3)
    assert set(third) == {10, 11}
    assert 0.25 < (third == 11).mean() < 0.42
    np.testing.assert_array_equal(marks(1 / 3), third)
    assert (marks(1.0) == 11).all()
    assert (marks(0.0) == 10).all()
    later = patch_feed(patches, 2, 150, seed=3, augment=augment, fraction=lambda epoch: epoch == 4, first_epoch=3)
    fractions = [np.mean([x.numpy()[:, 0, 0, 0, 0] == 11 for x, _ in later]) for _ in range(3)]
    assert fractions == [0.0, 1.0, 0.0]


def test_volumes_are_augmented_less_and_less_and_images_always():
    of_volumes, of_images = augmented_fraction(3, 31), augmented_fraction(2, 31)
    assert of_volumes(0) == pytest.approx(1 / 3)
    assert of_volumes(15) == pytest.approx(1 / 6)
    assert of_volumes(30) == pytest.approx(0)
    assert augmented_fraction(3, 1)(0) == pytest.approx(1 / 3)
    assert of_images(0) == of_images(30) == 1.0


def test_the_order_depends_on_seed_and_epoch_only():
    images, targets = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1), np.eye(10, dtype=np.float32)

    def epochs(**options):
        feed = image_feed(images, targets, 4, seed=5, **options)
        return [np.concatenate([x.numpy().ravel() for x, _ in feed]) for _ in range(2)]

    first, second = epochs()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(epochs(first_epoch=1)[0], second)
    assert sorted(first) == list(range(10))
    x, _ = next(iter(dataset(images, targets, 3)))
    assert x.numpy().ravel().tolist() == [0, 1, 2]


class Pixels(np.ndarray):
    """An array that can be watched."""


def masked(pixels):
    return Patches([pixels], [np.ones(pixels.shape[:-1], np.int32)], (8, 8), 2)


FEEDS = {
    "dataset": lambda pixels: dataset(pixels, np.zeros((len(pixels), 2), np.float32), 4),
    "image_feed": lambda pixels: image_feed(
        pixels, np.zeros((len(pixels), 2), np.float32), 4, seed=0, augment=lambda x, targets, counter: (x, targets)
    ),
    "patch_feed": lambda pixels: patch_feed(
        masked(pixels[0]), 2, 2, seed=0, augment=lambda x, y, counter: (x, y), fraction=lambda epoch: 0.5
    ),
    "pair_feed": lambda pixels: pair_feed(masked(pixels[0]), 2, 2, lambda image, rng: (image, image), seed=0),
}


@pytest.mark.parametrize("name", FEEDS)
def test_images_live_as_long_as_the_dataset_that_gives_them(name):
    """TensorFlow never lets a Python function of a dataset go: what it held would stay until the process ends."""
    pixels = np.ones((8, 16, 16, 1), np.float32).view(Pixels)
    known, feed = weakref.ref(pixels), FEEDS[name](pixels)
    del pixels
    gc.collect()
    batches = iter(feed)
    del feed
    gc.collect()
    assert len(list(batches)) == 2, "an iterator is enough"
    del batches
    gc.collect()
    assert known() is None
