"""Dropout and mirror images: against passes made by hand, with batch normalisation as it is, and reached by the command."""

import keras
import numpy as np
import pandas as pd
import pytest
from made_tasks import discs
from typer.testing import CliRunner

import easydl
from easydl.cli import app
from easydl.errors import InputError, ModelError
from easydl.networks import attach, metadata_of
from easydl.prediction.doubt import PASSES
from easydl.studies.dataset import decode


def tiny(study):
    return easydl.classifier("tiny", study, size=32)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(discs(tmp_path_factory.mktemp("d") / "s", n=24), label="outcome")


@pytest.fixture(scope="module")
def model(study):
    """A random network with statistics of its images, that was trained with left-right mirror images."""
    network = tiny(study)
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    network(images_of(study), training=True)
    network.get_layer("logits").kernel.assign(30 * network.get_layer("logits").kernel)
    classes = metadata_of(network).classes
    training = {
        "mirrors": ["left-right"],
        "conformal": {"": {name: [float(one) for one in np.linspace(0.01, 0.9, 30)] for name in classes}},
    }
    return attach(network, metadata_of(network).model_copy(update={"training": training}))


def images_of(study):
    return decode(study, size=(32, 32), channels=1, units="0-255").astype("float32")


def test_dropout_is_on_and_batch_normalisation_is_as_it_was(study, model):
    before = [np.asarray(weight).copy() for weight in model.weights]
    found = easydl.predict(model, study, uncertainty="mc_dropout")
    again = easydl.predict(model, study, uncertainty="mc_dropout")
    pd.testing.assert_frame_equal(found.frame, again.frame)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(new))
    assert all(layer.trainable for layer in model.layers)
    # By hand: dropout of the features alone, at the rate of the layer.
    features = np.asarray(keras.Model(model.input, model.get_layer("features").output)(images_of(study)))
    kernel, bias = (np.asarray(one) for one in model.get_layer("logits").weights)
    rng, rate = np.random.default_rng(0), model.get_layer("dropout").rate
    logits = [(features * (rng.random(features.shape) >= rate) / (1 - rate)) @ kernel + bias for _ in range(2000)]
    by_hand = 1 / (1 + np.exp([one[:, 0] - one[:, 1] for one in logits]))
    error = by_hand.std(axis=0) / np.sqrt(PASSES)
    assert (np.abs(found.frame["p(yes)"] - by_hand.mean(axis=0)) < 4.5 * error + 1e-3).all()
    assert np.corrcoef(found.frame["spread"], by_hand.std(axis=0))[0, 1] > 0.8
    assert any(f"over {PASSES} passes with dropout on" in note for note in found.notes)
    # An answer does not depend on the images beside it, as it would with the statistics of the batch.
    alone = easydl.predict(model, study.rows([study.frame.index[0]]), uncertainty="mc_dropout").frame
    assert abs(alone["p(yes)"][0] - found.frame["p(yes)"][0]) < 4.5 * 1.5 * error[0] + 1e-3
    assert "spread" not in easydl.predict(model, study).frame


def test_only_the_mirror_images_of_the_training_are_averaged(study, model):
    found = easydl.predict(model, study, uncertainty="augmentation").frame
    images = images_of(study)
    both = np.stack([np.asarray(model(images)), np.asarray(model(images[:, :, ::-1]))])[..., 1]
    np.testing.assert_allclose(found["p(yes)"], both.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found["spread"], both.std(axis=0), atol=1e-4)
    chest = metadata_of(model).model_copy(update={"training": {"mirrors": []}})
    plain = tiny(study)
    attach(plain, chest)
    with pytest.raises(InputError, match="trained without mirror images"):
        easydl.predict(plain, study, uncertainty="augmentation")


def test_sets_come_from_the_model_and_the_test_says_what_they_covered(study, model):
    found = easydl.predict(model, study, coverage=0.9)
    one = easydl.predict(model, study.scan(0), coverage=0.9).frame
    assert one["set"][0] == found.frame["set"][0]
    inside = [row["label"] in row["set"].removeprefix("uncertain: ").split(" or ") for _, row in found.frame.iterrows()]
    (note,) = [one for one in easydl.evaluate(found, resamples=100).notes if one.startswith("The sets")]
    assert f"of {np.mean(inside):.2f} (95% CI" in note and "24 patients" in note


def test_what_has_no_doubt_to_show_is_refused(study, model):
    with pytest.raises(InputError, match="together"):
        easydl.predict(model, study, uncertainty="mc_dropout", coverage=0.9)
    with pytest.raises(InputError, match="mc_dropouts"):
        easydl.predict(model, study, uncertainty="mc_dropouts")
    with pytest.raises(InputError, match="uncertainty was given"):
        easydl.predict(easydl.unet(width=4, levels=2), study.scan(0), uncertainty="mc_dropout")
    bare = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    with pytest.raises(ModelError, match="no dropout layer"):
        easydl.predict(bare, study.scan(0), uncertainty="mc_dropout")


def test_the_command_has_both(study, model, tmp_path):
    path = easydl.save_model(model, tmp_path / "m.keras")
    for words, column in ((["--uncertainty", "augmentation"], "spread"), (["--coverage", "0.9"], "set")):
        result = CliRunner().invoke(app, ["predict", str(path), study.addresses(0)[0], *words])
        assert result.exit_code == 0 and column in result.output, result.output
