"""An ensemble is one model: trained, calibrated, tested, explained, saved, opened by plain Keras and gone on with."""

import keras
import numpy as np
import pandas as pd
import pytest
from made_tasks import discs
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import ModelError
from easydl.networks import members_of, metadata_of, set_temperature, set_window
from easydl.networks.freezing import freeze_statistics
from easydl.studies.dataset import decode


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return easydl.load(discs(tmp_path_factory.mktemp("d") / "s", n=60), label="outcome").split(seed=1)


def in_no_time(stage, objective, data, progress, *, key=""):
    """In the place of a stage of training: one epoch in the history, and statistics under which images differ."""
    model = objective.learner
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    model(next(iter(data.sample(0))), training=True)
    for norm in norms:
        norm.momentum = 0.99
    progress.begin(stage.name, 1)
    progress.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0})
    model.compile("sgd", objective.loss)


@pytest.fixture(scope="module")
def ensemble(parts, tmp_path_factory):
    train, val, _ = parts
    model, folder = tiny(train), tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("easydl.training.loop.run_stage", in_no_time)
        history = easydl.fit(model, train, val, augment="none", epochs=1, members=3, seed=4, run=folder, verbose=False)
    return model, history, folder


def images_of(study):
    return decode(study, size=(32, 32), channels=1, units="0-255").astype("float32")


def test_the_model_that_was_given_is_the_mean_of_its_members(ensemble, parts):
    model, history, folder = ensemble
    test = parts[2]
    assert history.model is model and metadata_of(model).members == 3 == len(members_of(model))
    each = np.stack([np.asarray(member(images_of(test))) for member in members_of(model)])
    np.testing.assert_allclose(np.asarray(model(images_of(test))), each.mean(axis=0), atol=1e-6)
    assert (each.std(axis=0) > 0).any()  # other seeds are other networks
    frame = easydl.predict(model, test).frame
    np.testing.assert_allclose(frame["p(yes)"], each[..., 1].mean(axis=0), atol=1e-5)
    chosen = (frame["prediction"] == "yes").to_numpy().astype(int)
    np.testing.assert_allclose(frame["spread"], each.std(axis=0)[np.arange(len(test)), chosen], atol=1e-5)
    assert any("over the 3 members of the ensemble" in note for note in easydl.predict(model, test).notes)
    assert any("3 members were trained with the seeds 4 to 6" in one for one in history.params["plan"])
    stages = pd.read_csv(folder / "history.csv")
    assert (
        stages["stage"].iloc[-1] == "train"
        and stages["epoch"].tolist() == [1, 2, 3]
        and stages["stage"].iloc[0] == "member 1: train"
    )
    assert len(history.epoch) == 3 and not (folder / "members").exists()


def test_it_is_one_file_that_plain_keras_opens_too(ensemble, parts, tmp_path):
    model, test = ensemble[0], parts[2]
    path = easydl.save_model(model, tmp_path / "m.keras")
    again = easydl.load_model(path)
    assert metadata_of(again).members == 3
    pd.testing.assert_frame_equal(easydl.predict(again, test).frame, easydl.predict(model, test).frame)
    plain = keras.models.load_model(path)
    np.testing.assert_allclose(np.asarray(plain(images_of(test))), np.asarray(model(images_of(test))), atol=1e-6)
    metrics = easydl.evaluate(again, test, resamples=100)
    assert metrics.to_dict() == easydl.evaluate(model, test, resamples=100).to_dict()
    one = easydl.predict(again, test.scan(0)).frame
    assert one["spread"][0] == pytest.approx(easydl.predict(model, test).frame["spread"][0], abs=1e-5)


def test_the_heatmap_is_the_mean_of_those_of_the_members(ensemble, parts):
    model, test = ensemble[0], parts[2]
    heatmap = easydl.saliency(model, test, verdict=False)
    assert heatmap.target == easydl.predict(model, test.scan(0)).frame["prediction"][0]
    each = [easydl.saliency(one, test, target=heatmap.target, verdict=False).array for one in members_of(model)]
    np.testing.assert_allclose(heatmap.array, np.mean(each, axis=0), atol=1e-5)
    assert heatmap.verdict is None and any("mean of 3 members" in note for note in heatmap.notes)


def test_the_tests_of_every_member_are_kept_with_the_ensemble(ensemble, parts, tmp_path, monkeypatch):
    model = easydl.load_model(easydl.save_model(ensemble[0], tmp_path / "tested.keras"))
    first = easydl.saliency(model, parts[2]).verdict
    assert [key.split(":")[0] for key in metadata_of(model).heatmaps] == ["member 1", "member 2", "member 3"]
    again = easydl.load_model(easydl.save_model(model, tmp_path / "tested.keras"))

    def drawn(*given):
        raise AssertionError("untrained networks were drawn again")

    monkeypatch.setattr("easydl.explanation.gradcam.Network.random_weights", drawn)
    assert easydl.saliency(again, parts[2]).verdict == first


def test_a_setting_of_the_model_reaches_every_member(parts, stages):
    train, val, test = parts
    model = tiny(train)
    easydl.fit(model, train, val, augment="none", epochs=1, members=2, verbose=False)
    set_window(model, (10.0, 200.0), "0-255")
    set_temperature(model, 2.0)
    for member in members_of(model):
        assert member.get_layer("window").scale == pytest.approx(255 / 190)
    before = metadata_of(model).arguments
    easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)  # gone on with, member by member
    assert metadata_of(model).members == 2 and metadata_of(model).arguments == before
    assert easydl.predict(model, test).frame["spread"].notna().all()
    with pytest.raises(ModelError, match="ensemble of 2 already"):
        easydl.fit(model, train, val, members=3, verbose=False)


def test_a_part_of_a_network_that_has_no_metadata_is_its_own_only_member():
    layers = [keras.Input((8, 8, 1)), keras.layers.BatchNormalization(), keras.layers.Conv2D(4, 3)]
    part = keras.Sequential(layers)
    freeze_statistics(part)
    assert members_of(part) == [part] and not part.layers[0].trainable


def test_members_of_a_pretrained_model_share_its_backbone_to_begin_with(parts, stages):
    train, val, _ = parts
    model = as_pretrained(tiny(train), train)
    first = [np.asarray(one) for one in model.get_layer("stage1_1_conv").weights]
    easydl.fit(model, train, val, augment="none", epochs=1, members=2, strategy="features", verbose=False)
    one, two = members_of(model)
    np.testing.assert_array_equal(one.get_layer("stage1_1_conv").weights[0], two.get_layer("stage1_1_conv").weights[0])
    np.testing.assert_array_equal(first[0], two.get_layer("stage1_1_conv").weights[0])
    assert (np.asarray(one.get_layer("logits").weights[0]) != np.asarray(two.get_layer("logits").weights[0])).any()


@pytest.mark.slow
def test_a_member_that_was_trained_is_not_trained_again(parts, tmp_path, monkeypatch):
    train, val, _ = parts
    from easydl.training.callbacks import Progress

    begun, real = [], Progress.begin_member

    def interrupted(self, number, of):
        real(self, number, of)
        begun.append(number)
        if number == 2 and len(begun) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("easydl.training.callbacks.Progress.begin_member", interrupted)
    options = {"augment": "none", "epochs": 1, "members": 2, "run": tmp_path, "verbose": False}
    with pytest.raises(KeyboardInterrupt):
        easydl.fit(tiny(train), train, val, **options)
    fitted = []
    fit = keras.Model.fit

    def counted(self, *args, **given):
        fitted.append(given["epochs"] - given["initial_epoch"])
        return fit(self, *args, **given)

    monkeypatch.setattr(keras.Model, "fit", counted)
    model = tiny(train)
    history = easydl.fit(model, train, val, **options)
    assert fitted == [0, 1] and metadata_of(model).members == 2 and len(history.epoch) == 2
