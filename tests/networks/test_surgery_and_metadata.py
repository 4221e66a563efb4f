"""Metadata and surgery: what a model knows of itself, and how it is taken apart without copying a weight."""

import keras
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from easydl.errors import InputError, ModelError
from easydl.networks import (
    ModelMetadata,
    attach,
    backbone_layers,
    classifier,
    feature_extractor,
    freeze_backbone,
    head,
    load_network,
    metadata_of,
    save_model,
    set_classes,
    set_target_scale,
    unet,
    unfreeze,
)
from easydl.networks.decision import Threshold
from easydl.prediction import encode_covariates, set_covariates


def images(n=4, size=32, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, 1)).astype("float32")


@pytest.mark.parametrize("name", ["tiny", "mobilenet_025", pytest.param("efficientnet", marks=pytest.mark.everything)])
def test_extractor_and_head_are_the_model(name, stir):
    model = stir(classifier(name, size=32, classes=3))
    x = images()
    features = feature_extractor(model)(x, training=False)
    assert features.shape == (4, model.get_layer("logits").kernel.shape[0])
    np.testing.assert_allclose(head(model)(features, training=False), model(x, training=False), atol=1e-6)


def test_training_the_head_trains_the_model_and_nothing_else(tmp_path):
    model = freeze_backbone(classifier("tiny", size=32))
    before = [weight.numpy() for layer in backbone_layers(model) for weight in layer.weights]
    x, y = images(16), np.eye(2, dtype="float32")[[0, 1] * 8]
    features = np.asarray(feature_extractor(model)(x, training=False))
    top = head(model)
    top.compile("adam", "categorical_crossentropy")
    kernel = model.get_layer("logits").kernel.numpy()
    top.fit(features, y, epochs=3, verbose=0)
    assert np.abs(model.get_layer("logits").kernel.numpy() - kernel).max() > 0
    for old, new in zip(before, (w for layer in backbone_layers(model) for w in layer.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    path = save_model(model, tmp_path / "m.keras")
    np.testing.assert_allclose(load_network(path)(x, training=False), model(x, training=False), atol=1e-6)


def test_freeze_and_unfreeze_keep_batch_statistics():
    model = freeze_backbone(classifier("mobilenet_025", size=32))
    assert {weight.path.split("/")[0] for weight in model.trainable_weights} == {"logits"}
    assert [layer.name for layer in backbone_layers(model)][-1] == "features"
    unfreeze(model)
    normal = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normal) == 27
    assert not any(layer.trainable for layer in normal)
    assert model.get_layer("conv1").trainable
    before = [layer.moving_mean.numpy() for layer in normal]
    model.compile("sgd", "categorical_crossentropy")
    model.fit(images(), np.eye(2, dtype="float32")[[0, 1, 0, 1]], verbose=0)
    for old, layer in zip(before, normal, strict=True):
        np.testing.assert_array_equal(old, layer.moving_mean)


@pytest.mark.parametrize("part", [feature_extractor, head, backbone_layers, freeze_backbone])
def test_a_segmenter_has_no_features(part):
    with pytest.raises(ModelError, match="features"):
        part(unet(width=4))


@pytest.mark.parametrize("task", ["classification", "ordinal", "multilabel", "regression"])
def test_tasks_end_as_they_should(task, stir):
    model = stir(classifier("tiny", task=task, size=32, classes=3))
    y = np.asarray(model(images(), training=False))
    z = np.asarray(keras.Model(model.input, model.get_layer("logits").output)(images(), training=False))
    expected = {
        "classification": np.exp(z) / np.exp(z).sum(-1, keepdims=True),
        "ordinal": np.exp(z) / np.exp(z).sum(-1, keepdims=True),
        "multilabel": 1 / (1 + np.exp(-z)),
        "regression": z,
    }[task]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    assert model.layers[-1].name == ("value" if task == "regression" else "probability")
    assert metadata_of(model).task == task


def test_the_metadata_do_not_disturb_keras(capsys):
    model = classifier("tiny", size=32)
    model.summary()
    assert "logits" in capsys.readouterr().out
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_allclose(clone(images()), model(images()), atol=1e-6)
    assert metadata_of(clone).builder == "keras"
    with pytest.raises(ValidationError):
        metadata_of(model).classes = ("x", "y")


def test_attach_refuses_metadata_of_another_model():
    model = classifier("tiny", size=32)
    for change in ({"classes": ("a", "b", "c")}, {"channels": 3}):
        with pytest.raises(ModelError, match="metadata"):
            attach(model, metadata_of(model).model_copy(update=change))
    assert metadata_of(model).classes == ("class 0", "class 1")


def test_set_classes_names_the_outputs():
    model = set_classes(classifier("tiny", size=32), ["abdomen", "chest"])
    assert metadata_of(model).classes == ("abdomen", "chest")
    with pytest.raises(ModelError, match="2 outputs, 3"):
        set_classes(model, ["a", "b", "c"])
    with pytest.raises(InputError):
        set_classes(model, ["a", "a"])


def small(*layers, shape=(8, 8, 1)):
    return keras.Sequential([keras.Input(shape), *layers])


def test_metadata_of_models_built_by_hand():
    pool, dense, conv = keras.layers.GlobalMaxPooling2D, keras.layers.Dense, keras.layers.Conv2D
    found = metadata_of(small(pool(), dense(3), keras.layers.Softmax()))
    assert (found.builder, found.task, found.size, found.dimension) == ("keras", "classification", (8, 8), 2)
    assert metadata_of(small(pool(), dense(4, activation="sigmoid"))).task == "multilabel"
    assert metadata_of(small(pool(), dense(1))).task == "regression"
    mask = metadata_of(small(conv(2, 1, activation="softmax"), shape=(None, None, 3)))
    assert (mask.task, mask.channels, mask.size) == ("segmentation", 3, (None, None))
    assert mask.classes == ("background", "class 1")
    volume = metadata_of(small(keras.layers.Conv3D(2, 1, activation="softmax"), shape=(8, 8, 8, 1)))
    assert volume.dimension == 3


def test_models_that_cannot_be_used_are_refused():
    pool, dense = keras.layers.GlobalMaxPooling2D, keras.layers.Dense
    two = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    joined = keras.layers.Softmax()(dense(2)(pool()(keras.layers.Concatenate()(two))))
    bad = [
        small(pool(), dense(3)),
        small(pool(), dense(1, activation="softmax")),
        small(dense(2, activation="softmax"), shape=(8,)),
        keras.Model(two, joined),
        keras.Sequential([dense(2)]),
        "model.keras",
        None,
    ]
    for model in bad:
        with pytest.raises(ModelError) as caught:
            metadata_of(model)
        assert caught.value.do


@pytest.mark.parametrize(
    "facts", [{"window": (1, 0)}, {"window": (0, float("nan"))}, {"classes": ()}, {"classes": ("a", "a")}]
)
def test_metadata_out_of_order_are_refused(facts):
    given = {"builder": "classifier", "classes": ("a", "b"), "task": "classification"} | {
        "dimension": 2, "channels": 1, "size": (8, 8),
    }  # fmt: skip
    assert ModelMetadata(**given).units == "0-255"
    with pytest.raises(ValidationError):
        ModelMetadata(**given | facts)


def patients(n=6):
    return pd.DataFrame({
        "age": [50.0, None, 70.0, 60.0, 40.0, 80.0][:n],
        "sex": ["F", "M", None, "F", "unknown", " M"][:n],
    })  # fmt: skip


def with_covariates(**options):
    return classifier("tiny", size=32, covariates={"age": None, "sex": ["F", "M"]}, **options)


def test_covariates_are_standardised_and_missing_ones_said():
    model = set_covariates(with_covariates(), patients())
    age, _ = metadata_of(model).covariates
    known = np.array([50, 70, 60, 40, 80.0])
    assert (age.mean, age.std) == (known.mean(), pytest.approx(known.std()))
    found = encode_covariates(metadata_of(model), patients())
    z = (50 - known.mean()) / known.std()
    np.testing.assert_allclose(found[0], [z, 0, 1, 0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [0, 1, 0, 1])
    np.testing.assert_array_equal(found[2][2:], [0, 0])
    np.testing.assert_array_equal(found[4][2:], [0, 0])
    np.testing.assert_array_equal(found[5][2:], [0, 1])
    assert found.dtype == np.float32
    assert found.shape == (6, 4)


def test_covariates_reach_the_output_and_travel_with_the_file(tmp_path):
    model = set_covariates(with_covariates(), patients())
    x = {"image": images(6), "covariates": encode_covariates(metadata_of(model), patients())}
    y = np.asarray(model(x, training=False))
    older = {**x, "covariates": x["covariates"] + np.array([1, 0, 0, 0], "float32")}
    assert np.abs(np.asarray(model(older, training=False)) - y).max() > 1e-4
    path = save_model(model, tmp_path / "m.keras")
    for again in (load_network(path), keras.models.load_model(path)):
        np.testing.assert_allclose(again(x, training=False), y, atol=1e-6)
    assert metadata_of(load_network(path)).covariates == metadata_of(model).covariates
    features = np.asarray(feature_extractor(model)(x["image"], training=False))
    top = head(model)({"features": features, "covariates": x["covariates"]}, training=False)
    np.testing.assert_allclose(top, y, atol=1e-6)


def test_covariates_that_do_not_fit_are_refused():
    model = with_covariates()
    with pytest.raises(InputError, match="no column 'sex'"):
        encode_covariates(metadata_of(model), patients()[["age"]])
    with pytest.raises(InputError, match="1 value"):
        encode_covariates(metadata_of(model), patients().assign(age=["50", "old", "", "1", "2", "3"]))
    with pytest.raises(InputError, match="no number"):
        set_covariates(model, patients().assign(age=[None] * 6))
    assert encode_covariates(metadata_of(model), patients().assign(age="7"))[0][0] == 7


def test_several_heads_give_a_dict_and_travel_with_the_file(tmp_path):
    model = classifier("tiny", size=32, heads={"cancer": ["no", "yes"], "density": 4, "Age (years)": 1})
    metadata = metadata_of(model)
    assert metadata.task == "multitask"
    assert metadata.classes == ("cancer", "density", "Age (years)")
    assert metadata.heads["cancer"].classes == ("no", "yes")
    assert metadata.heads["Age (years)"].task == "regression"
    y = model(images(), training=False)
    assert {name: tuple(one.shape) for name, one in y.items()} == {
        "cancer": (4, 2), "density": (4, 4), "Age (years)": (4, 1),
    }  # fmt: skip
    np.testing.assert_allclose(np.asarray(y["density"]).sum(-1), 1, atol=1e-5)
    assert {"cancer_logits", "density_probability", "age_years_value"} <= {layer.name for layer in model.layers}
    set_target_scale(model, 60.0, 12.0, head="Age (years)")
    y = model(images(), training=False)
    path = save_model(model, tmp_path / "m.keras")
    for again in (load_network(path), keras.models.load_model(path)):
        found = again(images(), training=False)
        for name in y:
            np.testing.assert_allclose(found[name], y[name], atol=1e-5)
    with pytest.raises(ModelError, match="one task"):
        set_classes(model, ["a", "b", "c"])


def test_a_value_comes_in_its_own_unit(tmp_path):
    model = classifier("tiny", size=32, task="regression")
    z = np.asarray(model(images(), training=False))
    set_target_scale(model, 62.0, 11.5)
    np.testing.assert_allclose(model(images(), training=False), 62 + 11.5 * z, rtol=1e-5)
    path = save_model(model, tmp_path / "m.keras")
    np.testing.assert_allclose(load_network(path)(images(), training=False), 62 + 11.5 * z, rtol=1e-5)
    assert metadata_of(load_network(path)).target == {"": (62.0, 11.5)}
    for wrong in ((0, 0), (float("nan"), 1), (0, -1), (0, float("inf"))):
        with pytest.raises(InputError, match="finite numbers"):
            set_target_scale(model, *wrong)
    with pytest.raises(ModelError, match="regression"):
        set_target_scale(classifier("tiny", size=32), 0, 1)


def test_a_threshold_follows_the_name_of_its_class():
    model = classifier("tiny", size=32)
    known = {"class 1": Threshold(value=0.2, n=24)}
    attach(model, metadata_of(model).model_copy(update={"thresholds": known}))
    assert metadata_of(set_classes(model, ["no", "yes"])).thresholds == {"yes": known["class 1"]}
