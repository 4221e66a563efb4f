"""The augmentation inside a training: mixed labels, cached features, and what is refused before anything is read."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from small_models import as_pretrained, tiny

import easydl
from easydl.augmentation import preset
from easydl.errors import InputError
from easydl.networks import feature_extractor
from easydl.training.classification import features
from easydl.training.pipeline import image_feed


def mixer(name="mixup", **more):
    return preset(name).augmenter(dimension=2, units="0-255", window=(0.0, 255.0), seed=3, **more)


def test_the_feed_mixes_images_and_labels_alike_and_leaves_other_inputs():
    images = np.arange(12, dtype=np.float32)[:, None, None, None] * np.ones((4, 4, 1), np.float32)
    targets, covariates = np.eye(12, dtype=np.float32), np.arange(24, dtype=np.float32).reshape(12, 2)
    for x, y in image_feed(images, targets, 6, seed=1, augment=mixer()):
        # Each image is its own number, so a mixture is the mean of the numbers by their labels.
        np.testing.assert_allclose(x[:, 0, 0, 0], y.numpy() @ np.arange(12), atol=1e-4)
        assert np.any((y.numpy() > 0.001) & (y.numpy() < 0.999))
    for x, y in image_feed(
        {"image": images, "covariates": covariates}, {"a": targets}, 6, seed=1, augment=mixer("chest_xray")
    ):
        np.testing.assert_allclose(x["covariates"][:, 0] / 2, y["a"].numpy() @ np.arange(12), atol=1e-4)


def test_cached_features_of_mixtures_carry_the_labels_of_mixtures(parts):
    """70 images, so that the last batch has to be filled up, which must not bring black images into a mixture."""
    model = tiny(parts[0])
    images = np.random.default_rng(0).uniform(0, 255, (70, 32, 32, 1)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[np.arange(70) % 2]
    cached, labels = features(model, images, augment=mixer(), targets=targets)
    assert cached.shape[0] == labels.shape[0] == 70
    again = mixer()
    first, wanted = again(images[:32], targets=targets[:32], counter=0)
    np.testing.assert_allclose(labels[:32], wanted, atol=1e-6)
    np.testing.assert_allclose(cached[:32], feature_extractor(model)(first, training=False), atol=1e-3)
    rows = np.arange(64, 96) % 70
    last, wanted = again(images[rows], targets=targets[rows], counter=2)
    np.testing.assert_allclose(labels[64:], wanted[:6], atol=1e-6)
    np.testing.assert_allclose(cached[64:], feature_extractor(model)(last, training=False)[:6], atol=1e-3)
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "augment",
    [
        "auto+mixup",
        pytest.param("chest_xray+cutmix+cutout+randaugment+gridmask", marks=pytest.mark.everything),
    ],
)
def test_a_classifier_learns_with_extras_and_the_plan_says_so(parts, augment):
    train, val, _ = parts
    model = tiny(train)
    history = easydl.fit(model, train, val, augment=augment, epochs=1, verbose=False)
    assert np.isfinite(history.history["loss"]).all()
    plan = " ".join(history.params["plan"])
    assert "those of mixtures, not of patients" in plan
    assert ("Added as asked: mixup." in plan) == (augment == "auto+mixup")


def test_a_head_on_frozen_features_learns_with_mixup(parts):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    before = model.get_layer("logits").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="chest_xray+mixup", epochs=3, strategy="features", verbose=False)
    assert np.isfinite(history.history["val_loss"]).all()
    assert np.abs(model.get_layer("logits").get_weights()[0] - before).max() > 0


def test_notes_of_what_was_left_out_reach_the_plan(parts, stages):
    train, val, _ = parts
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="dermoscopy", epochs=1, verbose=False)
    assert any("Left out: colour" in line for line in history.params["plan"])


@pytest.mark.parametrize(("names", "mirrored"), [(("pale", "dark"), True), (("left", "right"), False)])
def test_images_of_classes_that_name_a_side_are_never_mirrored(tmp_path, monkeypatch, names, mirrored):
    rng, rows, brighter = np.random.default_rng(0), [], []
    for number in range(24):
        pixels = rng.integers(20, 90, (32, 32)).astype(np.uint8)
        pixels[:, :16] += 120
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "label": names[number % 2], "patient": f"p{number}"})
    train, val, _ = easydl.load(pd.DataFrame(rows), root=tmp_path).split(seed=1)

    def stage(stage, objective, data, *given, **more):
        for _ in range(5):
            brighter.extend(np.mean(x[:, :, :16] - x[:, :, 16:], axis=(1, 2, 3)) for x, _ in data.feed())

    monkeypatch.setattr("easydl.training.loop.run_stage", stage)
    model = tiny(train)
    easydl.fit(model, train, val, augment="fundus", epochs=1, verbose=False)
    assert np.any(np.concatenate(brighter) < 0) == mirrored


def test_a_segmenter_refuses_mixing_and_volumes_refuse_hiding(volume_parts):
    train, val, _ = volume_parts
    model = easydl.unet3d(train, width=4)
    with pytest.raises(InputError, match="mixup"):
        easydl.fit(model, train, val, augment="mri+mixup", epochs=1, verbose=False)
    with pytest.raises(InputError, match="cutout"):
        easydl.fit(model, train, val, augment="mri+cutout", epochs=1, verbose=False)


def test_masks_keep_their_values_on_the_way_to_a_segmenter():
    from easydl.training.patches import Patches
    from easydl.training.pipeline import patch_feed

    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (64, 64, 1)).astype(np.float32) for _ in range(4)]
    labels = [np.kron(rng.integers(0, 3, (4, 4)), np.ones((16, 16), np.uint8)).astype(np.uint8) for _ in range(4)]
    feed = patch_feed(
        Patches(images, labels, (64, 64), 3), 2, 4, seed=1, augment=mixer("microscopy", task="segmentation", channels=1)
    )
    for x, y in feed:
        assert x.shape == (2, 64, 64, 1) and y.shape == (2, 64, 64, 3)
        np.testing.assert_array_equal(tf.reduce_sum(y, axis=-1), 1)
        assert set(np.unique(y)) == {0, 1}
