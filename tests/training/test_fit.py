import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from made import nifti_study, png_study

import easydl
from easydl.errors import InputError, LeakageError, ModelError
from easydl.networks import feature_extractor, metadata_of
from easydl.studies.dataset import dataset, decode
from easydl.training.classification import features
from easydl.training.pipeline import Patches, image_feed, patch_feed
from easydl.training.segmentation import _share_of


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("s"), per_class=20)).split(seed=1)


def test_a_small_network_learns_and_keeps_its_best_epoch(parts):
    train, val, test = parts
    model = easydl.classifier("tiny", classes=train.classes, size=32)
    history = easydl.fit(model, train, val, augment="none", epochs=40, verbose=False)
    assert isinstance(history, keras.callbacks.History)
    found = easydl.predict(model, test).frame
    assert (found["prediction"] == found["label"]).mean() > 0.8
    x, y = decode(val, size=(32, 32), channels=1, units="0-255"), val.targets()
    loss = float(keras.losses.categorical_crossentropy(y, model(x.astype("float32"), training=False)).numpy().mean())
    # The first epochs are left out: batch normalisation has not settled (SETTLE_STEPS).
    assert loss == pytest.approx(min(history.history["val_loss"][17:]), abs=1e-4)
    training = metadata_of(model).training
    assert (training["patients"], training["seed"], training["patients_known"]) == (train.n_patients, 0, True)


def test_the_seed_repeats_a_training(parts):
    train, val, _ = parts
    weights = []
    for seed in (3, 3, 4):
        model = easydl.classifier("tiny", classes=train.classes, size=32, seed=1)
        easydl.fit(model, train, val, augment="chest_xray", epochs=2, seed=seed, verbose=False)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-5)
    assert np.abs(weights[0] - weights[2]).max() > 1e-3


def _small_backbone(train):
    """A MobileNet with made weights that counts as pretrained, so that both phases run without a download."""
    from easydl.networks import attach

    model = easydl.classifier("mobilenet_025", classes=train.classes, size=32, seed=2)
    images = decode(train, size=(32, 32), channels=1, units="0-255").astype("float32")
    for _ in range(100):  # batch normalisation gets statistics, without which a random network passes nothing on
        model(images, training=True)
    return attach(model, metadata_of(model).model_copy(update={"pretrained": "made for this test"}))


def test_the_head_is_trained_on_cached_features_while_the_backbone_stays(parts):
    train, val, _ = parts
    model = _small_backbone(train)
    before = [np.array(w) for w in feature_extractor(model).get_weights()]
    head = model.get_layer("logits").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="none", epochs=3, fine_tune=False, verbose=False)
    for old, new in zip(before, feature_extractor(model).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(model.get_layer("logits").get_weights()[0] - head).max() > 0
    assert len(history.history["val_loss"]) == 3


def test_cached_features_are_those_of_the_frozen_network(parts):
    train, _, _ = parts
    model = _small_backbone(train)
    images = decode(train, size=(32, 32), channels=1, units="0-255")
    cached = features(model, images)
    np.testing.assert_allclose(cached, feature_extractor(model)(images.astype("float32"), training=False), atol=1e-4)


def test_fine_tuning_moves_convolutions_but_not_batch_statistics(parts):
    train, val, _ = parts
    model = _small_backbone(train)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [layer.moving_mean.numpy().copy() for layer in norms]
    kernel = model.get_layer("conv1").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="none", epochs=3, fine_tune=True, learning_rate=1e-3, verbose=False)
    for layer, old in zip(norms, statistics, strict=True):
        np.testing.assert_array_equal(layer.moving_mean.numpy(), old)
    assert np.abs(model.get_layer("conv1").get_weights()[0] - kernel).max() > 0
    assert len(history.history["loss"]) == 6
    assert min(history.history["val_loss"][3:]) < min(history.history["val_loss"][:3]), "else the head alone is kept"
    assert "Then the whole network is fine-tuned" in " ".join(history.params["plan"])
    assert not any("is kept" in line for line in history.params["plan"])


def test_fine_tuning_that_does_worse_leaves_the_model_with_its_head(parts):
    train, val, _ = parts
    model = _small_backbone(train)
    history = easydl.fit(model, train, val, augment="none", epochs=3, fine_tune=True, learning_rate=1.0, verbose=False)
    head, tuned = np.split(np.array(history.history["val_loss"]), [3])
    assert not np.any(tuned < head.min()), "or this test shows nothing"
    x, y = decode(val, size=(32, 32), channels=1, units="0-255"), val.targets()
    loss = keras.losses.categorical_crossentropy(y, model(x.astype("float32"), training=False)).numpy().mean()
    assert loss == pytest.approx(head.min(), rel=1e-3)
    assert any("than the head alone, which is kept" in line for line in history.params["plan"])


def test_options_are_heard(parts):
    train, val, _ = parts
    model = easydl.classifier("tiny", classes=train.classes, size=32)
    history = easydl.fit(
        model, train, val, augment="none", epochs=1, batch_size=4, learning_rate=1e-9, window=(10, 200), verbose=False,
        class_weight={"disease": 2.0},
    )  # fmt: skip
    assert metadata_of(model).window == (10, 200)
    assert model.get_layer("window").scale == pytest.approx(255 / 190)
    assert "Class weights were given." in history.params["plan"]
    still = easydl.classifier("tiny", classes=train.classes, size=32)
    np.testing.assert_allclose(model.get_layer("logits").kernel, still.get_layer("logits").kernel, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"augment": "nothing"}, InputError),
        ({"window": "lung"}, InputError),
        ({"window": (5, 5)}, InputError),
        ({"class_weight": {"cat": 1.0}}, InputError),
        ({"class_weight": "some"}, InputError),
    ],
)
def test_wrong_options_are_refused(parts, options, kind):
    train, val, _ = parts
    with pytest.raises(kind) as caught:
        easydl.fit(easydl.classifier("tiny", classes=train.classes, size=32), train, val, epochs=1, **options)
    assert caught.value.do


def test_leaks_other_classes_and_missing_parts_are_refused(parts):
    train, val, _ = parts
    model = easydl.classifier("tiny", classes=train.classes, size=32)
    with pytest.raises(LeakageError):
        easydl.fit(model, train, train, epochs=1)
    with pytest.raises(InputError, match="no validation"):
        easydl.fit(model, train)
    with pytest.raises(ModelError):
        easydl.fit(easydl.classifier("tiny", classes=["x", "y"], size=32), train, val)
    with pytest.raises(ModelError, match="3D"):
        easydl.fit(easydl.classifier("tiny3d", classes=list(train.classes), size=16), train, val)
    with pytest.raises(ModelError, match=r"The model takes 3D images, the study \(train\) holds 2D ones") as caught:
        easydl.fit(easydl.image_to_image("autoencoder3d"), train, val)
    assert "easydl.image_to_image('denoising_autoencoder')" in str(caught.value)


def test_any_keras_model_on_any_dataset_is_fitted(parts):
    train, val, _ = parts
    model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    history = easydl.fit(model, train.batches(8, size=(32, 32)), val.batches(8, size=(32, 32)), epochs=2, verbose=False)
    assert len(history.history["val_loss"]) == 2


def test_rare_classes_count_more(tmp_path):
    path = png_study(tmp_path / "s", per_class=18)
    frame = pd.read_csv(path, dtype=str)
    pd.concat([frame[:6], frame[18:]]).to_csv(path, index=False)
    train, val, _ = easydl.load(path).split(seed=0)
    model = easydl.classifier("tiny", classes=train.classes, size=32)
    history = easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
    assert any("Rare classes count more" in line for line in history.params["plan"])


def test_a_segmenter_learns_a_ball_and_opens_in_plain_keras(tmp_path):
    study = easydl.load(nifti_study(tmp_path / "n", cases=10), mask="mask")
    train, val, test = study.split(seed=0)
    model = easydl.unet3d(study)
    history = easydl.fit(model, train, val, augment="none", epochs=3, verbose=False)
    assert history.history["val_dice"][-1] > 0.7
    metadata = metadata_of(model)
    assert metadata.spacing_mm == pytest.approx((2.0, 1.5, 1.5))
    assert all(side % metadata.multiple == 0 for side in metadata.patch)
    metrics = easydl.evaluate(model, test)
    dice = metrics.table.set_index("name").filter(like="Dice", axis=0)["value"]
    assert float(dice.iloc[0]) > 0.7
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").output_shape == model.output_shape


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


def test_a_share_of_the_patches_is_augmented_and_the_same_ones_again():
    images = [np.full((8, 8, 8, 1), 10, np.float32)] * 4
    patches = Patches(images, [np.zeros((8, 8, 8), np.uint8)] * 4, (8, 8, 8), 2)

    bent = []

    def augment(x, y):
        tf.py_function(lambda n: bent.append(int(n)), [tf.shape(x)[0]], [])
        return x + 1, y + 1

    def marks(share, **options):
        bent.clear()
        feed = patch_feed(patches, 2, 150, seed=3, augment=augment, share=lambda epoch: share, **options)
        pairs = [(x.numpy()[:, 0, 0, 0, 0], y.numpy().argmax(-1)[:, 0, 0, 0]) for x, y in feed]
        x, y = (np.concatenate(one) for one in zip(*pairs, strict=True))
        np.testing.assert_array_equal(x == 11, y == 1)
        assert sum(bent) == (x == 11).sum(), "only what is used is bent"
        return x

    third = marks(1 / 3)
    assert set(third) == {10, 11}
    assert 0.25 < (third == 11).mean() < 0.42
    np.testing.assert_array_equal(marks(1 / 3), third)
    assert (marks(1.0) == 11).all()
    assert (marks(0.0) == 10).all()
    later = patch_feed(patches, 2, 150, seed=3, augment=augment, share=lambda epoch: epoch == 4, first_epoch=3)
    shares = [np.mean([x.numpy()[:, 0, 0, 0, 0] == 11 for x, _ in later]) for _ in range(3)]
    assert shares == [0.0, 1.0, 0.0]


def test_volumes_are_augmented_less_and_less_and_images_always():
    of_volumes, of_images = _share_of(3, 31), _share_of(2, 31)
    assert of_volumes(0) == pytest.approx(1 / 3)
    assert of_volumes(15) == pytest.approx(1 / 6)
    assert of_volumes(30) == pytest.approx(0)
    assert _share_of(3, 1)(0) == pytest.approx(1 / 3)
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


TRAIN = """
import easydl, sys
train, val, _ = easydl.load(sys.argv[1]).split(seed=1)
model = easydl.classifier("tiny", classes=train.classes, size=32)
import easydl.training.checkpoint as c; c.LEAST_SECONDS = 0
h = easydl.fit(model, train, val, augment="none", epochs=int(sys.argv[3]), run=sys.argv[2], verbose=False)
print("EPOCHS", len(h.history["loss"]), "STOPPED", h.params["stopped"])
"""


def _child(table, folder, epochs):
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(table), str(folder), str(epochs)], stdout=subprocess.PIPE)


def _wait_for(path, child, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert child.poll() is None, child.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_training_goes_on_and_a_stopped_one_stops(tmp_path):
    table, run = png_study(tmp_path / "s", per_class=20), tmp_path / "run"
    run.mkdir()
    child = _child(table, run, 400)
    _wait_for(run / "checkpoint.npz", child)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = len(pd.read_csv(run / "history.csv"))
    assert done >= 1
    again = _child(table, run, 400)
    end = time.monotonic() + 120
    while len(pd.read_csv(run / "history.csv")) <= done:
        assert again.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    rows = pd.read_csv(run / "history.csv")
    assert rows["epoch"].tolist() == list(range(1, len(rows) + 1))
    (run / "stop").touch()
    out, _ = again.communicate(timeout=60)
    assert b"STOPPED True" in out
    assert json.loads((run / "status.json").read_text())["epoch"] >= done
    assert not list(run.glob("*.tmp"))
