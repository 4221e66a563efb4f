"""A classifier through fit: it learns, repeats itself, trains its head first, and hears every option."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import InputError, LeakageError, ModelError
from easydl.networks import feature_extractor, metadata_of
from easydl.studies.dataset import decode
from easydl.training.callbacks import Progress
from easydl.training.classification import features


def validation_loss(model, val):
    x = decode(val, size=(32, 32), channels=1, units="0-255").astype("float32")
    return float(np.mean(keras.losses.categorical_crossentropy(val.targets(), model(x, training=False))))


@pytest.mark.quick
def test_a_small_network_learns_and_keeps_its_best_epoch(parts):
    train, val, _ = parts
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="none", epochs=30, verbose=False)
    assert isinstance(history, keras.callbacks.History)
    found = easydl.predict(model, train).frame
    assert (found["prediction"] == found["label"]).mean() > 0.8
    assert validation_loss(model, val) == pytest.approx(min(history.history["val_loss"]), rel=1e-3, abs=1e-4)
    training = metadata_of(model).training
    assert (training["patients"], training["seed"], training["patients_known"]) == (train.n_patients, 0, True)


def test_the_seed_repeats_a_training(parts):
    train, val, _ = parts
    losses = []
    for seed in (3, 3, 4):
        history = easydl.fit(tiny(train, seed=1), train, val, augment="chest_xray", epochs=1, seed=seed, verbose=False)
        losses.append(history.history["loss"][0])
    # Not the weights: Adam makes whole steps of what is rounding where a gradient is nothing else.
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[2], rel=1e-2)


def test_the_head_is_trained_on_cached_features_while_the_backbone_stays(parts):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    before = [np.array(w) for w in feature_extractor(model).get_weights()]
    head = model.get_layer("logits").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="none", epochs=3, strategy="features", verbose=False)
    for old, new in zip(before, feature_extractor(model).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.abs(model.get_layer("logits").get_weights()[0] - head).max() > 0
    assert len(history.history["val_loss"]) == 1, "the linear model is all of the head"


@pytest.mark.parametrize("name", ["tiny", pytest.param("mobilenet_025", marks=pytest.mark.everything)])
def test_cached_features_are_those_of_the_frozen_network(parts, name):
    train, _, _ = parts
    model = as_pretrained(easydl.classifier(name, train, size=32, seed=2), train)
    images = decode(train, size=(32, 32), channels=1, units="0-255")
    cached = features(model, images)
    np.testing.assert_allclose(
        cached, feature_extractor(model)(images.astype("float32"), training=False), rtol=1e-4, atol=1e-4
    )


@pytest.fixture
def epochs_seen(monkeypatch):
    """After every epoch: the stage, a kernel of the backbone, and the statistics of its batch normalisation."""
    seen = []
    true = Progress.on_epoch_end

    def spied(self, epoch, logs=None):
        true(self, epoch, logs)
        if self.stage == "fine-tune":
            norms = [layer for layer in self.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
            kernel = self.model.get_layer("stage1_1_conv").get_weights()[0].copy()
            seen.append((kernel, [norm.moving_mean.numpy().copy() for norm in norms]))

    monkeypatch.setattr(Progress, "on_epoch_end", spied)
    return seen


def test_fine_tuning_moves_convolutions_but_not_batch_statistics(parts, epochs_seen):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    kernel = model.get_layer("stage1_1_conv").get_weights()[0].copy()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [norm.moving_mean.numpy().copy() for norm in norms]
    history = easydl.fit(
        model, train, val, augment="none", epochs=3, strategy="finetune", learning_rate=1e-3, verbose=False
    )
    assert len(history.history["loss"]) == 4 and len(epochs_seen) == 3
    for moved, means in epochs_seen:
        assert np.abs(moved - kernel).max() > 0
        for old, new in zip(statistics, means, strict=True):
            np.testing.assert_array_equal(old, new)
    head, tuned = np.split(np.array(history.history["val_loss"]), [1])
    better = tuned.min() < head.min()  # Rounding decides which; the model and the plan must agree with it.
    kept = epochs_seen[int(tuned.argmin())][0] if better else kernel
    np.testing.assert_array_equal(model.get_layer("stage1_1_conv").get_weights()[0], kept)
    assert "Then the whole network is fine-tuned" in " ".join(history.params["plan"])
    assert any("is kept" in line for line in history.params["plan"]) != better


def test_fine_tuning_that_does_worse_leaves_the_model_with_its_head(parts, monkeypatch):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    lowest = Progress.lowest
    # No loss is below 0: with such a head, no epoch of fine-tuning can be better.
    monkeypatch.setattr(Progress, "lowest", lambda self, stage: -1.0 if stage == "head" else lowest(self, stage))
    history = easydl.fit(
        model, train, val, augment="none", epochs=2, strategy="finetune", learning_rate=0.1, verbose=False
    )
    head, _ = np.split(np.array(history.history["val_loss"]), [1])
    assert validation_loss(model, val) == pytest.approx(head.min(), rel=1e-3)
    assert any("than the head alone, which is kept" in line for line in history.params["plan"])


def test_options_are_heard(parts):
    train, val, _ = parts
    model = tiny(train)
    options = {"batch_size": 4, "learning_rate": 1e-9, "window": (10, 200), "class_weight": {"disease": 2.0}}
    history = easydl.fit(model, train, val, augment="none", epochs=1, verbose=False, **options)
    assert metadata_of(model).window == (10, 200)
    assert model.get_layer("window").scale == pytest.approx(255 / 190)
    assert "Class weights were given." in history.params["plan"]
    np.testing.assert_allclose(model.get_layer("logits").kernel, tiny(train).get_layer("logits").kernel, atol=1e-6)


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
        easydl.fit(tiny(train), train, val, epochs=1, **options)
    assert caught.value.do


def test_leaks_other_classes_and_missing_parts_are_refused(parts):
    train, val, _ = parts
    with pytest.raises(LeakageError):
        easydl.fit(tiny(train), train, train, epochs=1)
    with pytest.raises(InputError, match="no validation"):
        easydl.fit(tiny(train), train)
    with pytest.raises(ModelError):
        easydl.fit(easydl.classifier("tiny", classes=["x", "y"], size=32), train, val)
    with pytest.raises(ModelError, match="3D"):
        easydl.fit(easydl.classifier("tiny3d", classes=list(train.classes), size=16), train, val)
    with pytest.raises(ModelError, match=r"The model takes 3D images, the study \(train\) holds 2D ones") as caught:
        easydl.fit(easydl.image_to_image("autoencoder3d", width=4), train, val)
    assert "easydl.image_to_image('denoising_autoencoder')" in caught.value.do


def test_any_keras_model_on_any_dataset_is_fitted(parts):
    train, val, _ = parts
    model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    history = easydl.fit(model, train.batches(8, size=(32, 32)), val.batches(8, size=(32, 32)), epochs=2, verbose=False)
    assert len(history.history["val_loss"]) == 2


def test_rare_classes_count_more(parts, stages):
    train, val, _ = parts
    diseased = train.frame.index[train.frame["label"] == "disease"]
    rare = train.rows(train.frame.index.difference(diseased[1:]))
    model = tiny(train)
    history = easydl.fit(model, replace(rare, name="train"), val, augment="none", epochs=1, verbose=False)
    assert any("Rare classes count more" in line for line in history.params["plan"])
    (stage, *_), count = stages[0], len(rare)
    assert stage.class_weight == {0: pytest.approx(count / 2), 1: pytest.approx(count / (2 * (count - 1)))}
