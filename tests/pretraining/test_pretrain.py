"""Weights without labels: the losses by hand, what they are taken by, and what a test may not count any more."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from made import mask_study, png_study
from typer.testing import CliRunner

import easydl
from easydl.cli import app
from easydl.errors import InputError, LeakageError, ModelError
from easydl.networks import backbone_layers, metadata_of


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """16 images of 8 patients, whose labels are unknown."""
    table = png_study(tmp_path_factory.mktemp("unlabelled"), per_class=4, images_per_patient=2)
    frame = pd.read_csv(table, dtype=str).drop(columns="label")
    return easydl.load(frame.assign(image=[str(table.parent / one) for one in frame["image"]]))


@pytest.fixture(scope="module")
def own(study):
    return easydl.pretrain(study, "tiny", size=32, epochs=2, batch_size=8, verbose=False)


def test_the_contrastive_loss_is_chens_without_images_of_the_same_patient():
    from easydl.pretraining.contrastive import TEMPERATURE, nt_xent

    rng = np.random.default_rng(0)
    z, patients = rng.normal(size=(6, 4)).astype("float32"), np.array([7, 7, 9], "int32")
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    alike, both = unit @ unit.T / TEMPERATURE, np.concatenate([patients, patients])
    losses = []
    for k in range(6):
        pair = (k + 3) % 6
        counted = [j for j in range(6) if j == pair or both[j] != both[k]]
        losses.append(-alike[k, pair] + np.log(np.exp(alike[k, counted]).sum()))
    assert float(nt_xent(z, patients)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_crop_shows_at_least_its_part_of_the_image():
    import tensorflow as tf

    from easydl.pretraining.contrastive import SMALLEST_CROP, cropped

    ramp = np.broadcast_to(np.linspace(0, 1, 32, dtype="float32")[None, :, None, None], (40, 32, 32, 1))
    out = cropped(tf.constant(ramp), tf.constant([1, 2], tf.int64)).numpy()
    shown = out.max((1, 2, 3)) - out.min((1, 2, 3))
    assert shown.min() >= SMALLEST_CROP**0.5 - 1e-3 and shown.max() <= 1 + 1e-6 and shown.std() > 0.02


def test_a_classifier_starts_from_them(own, study):
    assert own.images == 16 and own.patients == 8 and set(own.losses) == {"simclr"} and len(own.losses["simclr"]) == 2
    model = easydl.classifier("tiny", classes=["a", "b"], pretrained=own)
    assert metadata_of(model).size == (32, 32)
    pairs = zip(backbone_layers(model), backbone_layers(own.model), strict=True)
    for one, other in pairs:
        assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    random = easydl.classifier("tiny", classes=["a", "b"], size=32, seed=0)
    assert not np.array_equal(
        random.get_layer("stage4_2_conv").get_weights()[0], model.get_layer("stage4_2_conv").get_weights()[0]
    )
    assert "own model" in metadata_of(model).pretrained


def test_a_file_of_them_and_a_unet_take_them_too(own, tmp_path):
    path = own.save(tmp_path / "own.keras")
    model = easydl.classifier("tiny", classes=["a", "b"], pretrained=path)
    assert metadata_of(model).size == (32, 32), "that of the pretraining"
    assert metadata_of(easydl.classifier("tiny", classes=["a", "b"], size=48, pretrained=path)).size == (48, 48)
    outlined = easydl.unet(easydl.load(mask_study(tmp_path / "m", cases=3)), pretrained=own, width=4, size=32)
    kernel = own.model.get_layer("stage2_1_conv").get_weights()[0]
    assert np.array_equal(model.get_layer("stage2_1_conv").get_weights()[0], kernel)
    assert np.array_equal(outlined.get_layer("stage2_1_conv").get_weights()[0], kernel)
    assert metadata_of(outlined).arguments["encoder"] == "tiny"


def test_a_test_of_these_images_is_refused(own, study):
    model = easydl.classifier("tiny", classes=["disease", "healthy"], pretrained=own)
    labels = ["disease" if "/disease/" in one else "healthy" for one in study.frame["image"]]
    test = easydl.load(study.frame[["image", "patient"]].assign(label=labels))
    with pytest.raises(LeakageError, match="All 16 images were in the training"):
        easydl.evaluate(model, test)


def test_images_of_a_test_part_are_refused_before_anything(tmp_path):
    split = easydl.load(png_study(tmp_path, per_class=10)).split(seed=1)
    with pytest.raises(LeakageError, match="test part"):
        easydl.pretrain(split[0].parent)
    both = split[0].parent.frame["split"] != "val"
    with pytest.raises(LeakageError, match="4 of these 16 images are in the test part"):
        easydl.pretrain(split[0].parent.rows(split[0].parent.frame.index[both]))


def test_what_cannot_be_trained_is_refused(study):
    with pytest.raises(InputError, match="holds 3 images"):
        easydl.pretrain(study.rows(study.frame.index[:3]))
    with pytest.raises(ModelError, match="3D"):
        easydl.pretrain(study, "tiny3d")
    with pytest.raises(InputError, match="vector"):
        easydl.pretrain(study, "lenet", method="autoencoder", size=32, epochs=1, verbose=False)
    with pytest.raises(easydl.EasyDLError, match="simlcr"):
        easydl.pretrain(study, method="simlcr")


@pytest.mark.everything
def test_the_layers_of_a_network_are_trained_one_after_the_other(study):
    found = easydl.pretrain(
        study, "tiny", method="stacked_denoising", size=16, epochs=8, batch_size=16, learning_rate=5e-3, verbose=False
    )
    assert list(found.losses) == [f"stage{k}_conv" for k in ("1_1", "2_1", "2_2", "3_1", "3_2", "4_1", "4_2")]
    assert all(one[-1] < one[0] for one in found.losses.values())
    assert "stage4_2_conv" in found.sentence and found.show().axes[0].get_legend() is not None
    assert set(found.to_dict()["losses"]) == set(found.losses)


def test_layers_begin_where_the_one_before_ends_also_with_shortcuts():
    from easydl.pretraining.reconstruction import layers_of

    parts = layers_of(easydl.classifier("resnet18", size=32))
    assert 6 <= len(parts) <= 17
    assert all(one.end is two.begin for one, two in pairwise(parts))


@pytest.mark.everything
def test_an_autoencoder_builds_the_image_again(study):
    found = easydl.pretrain(study, "tiny", method="autoencoder", size=16, epochs=6, batch_size=8, verbose=False)
    (losses,) = found.losses.values()
    assert losses[-1] < 0.7 * losses[0]


def test_the_command_writes_a_file_that_pretrained_takes(tmp_path):
    png_study(tmp_path / "s", per_class=5)
    words = ["pretrain", str(tmp_path / "s"), "-o", str(tmp_path / "own.keras"), "--epochs", "1", "--size", "32"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "10 images" in done.stdout and easydl.RESEARCH_USE in done.stdout
    assert easydl.classifier("tiny", classes=["a", "b"], pretrained=tmp_path / "own.keras").name == "tiny"


def test_an_autoencoder_builds_the_image_from_what_a_head_sees():
    from easydl.pretraining.reconstruction import autoencoder_loss

    model = easydl.classifier("tiny", size=32)
    _, variables = autoencoder_loss(model, 0)
    own = {id(one) for one in model.trainable_variables}
    first = next(one for one in variables if id(one) not in own)
    # 128 features are all there is to build 32 x 32 pixels from; the maps before them hold 2,048 values.
    assert tuple(first.shape) == (128, 4 * 4 * 64)
    assert own - {id(one) for one in variables} == {id(one) for one in model.get_layer("logits").trainable_variables}


def test_the_features_of_a_copy_have_to_hold_it_too(monkeypatch):
    import tensorflow as tf

    from easydl.networks import feature_extractor
    from easydl.pretraining import contrastive
    from easydl.pretraining.reconstruction import image_decoder
    from easydl.pretraining.steps import Images

    monkeypatch.setattr(contrastive, "view", lambda x, *_: x)
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype("float32")
    x, patients = tf.constant(pixels), np.arange(4, dtype="int32")
    images, losses = Images(pixels, patients, 4, 0), []
    model = easydl.classifier("tiny", size=32)
    for counts in (0.0, 100.0):
        monkeypatch.setattr(contrastive, "REBUILT", counts)
        loss, variables = contrastive.simclr_loss(model, images, 0)
        losses.append(float(loss(x, patients, tf.constant(0, tf.int64))))
    both = np.concatenate([pixels, pixels])
    built = image_decoder(model, 0)(feature_extractor(model)(both, training=True), training=True)
    assert losses[1] - losses[0] == pytest.approx(100 * np.mean((built - both / 255) ** 2), rel=1e-3)
    assert any(tuple(one.shape) == (128, 4 * 4 * 64) for one in variables)
    # From a vector no image is built: such a network is trained by the contrastive loss alone.
    _, alone = contrastive.simclr_loss(easydl.classifier("lenet", size=32), images, 0)
    assert len(alone) == len(feature_extractor(easydl.classifier("lenet", size=32)).trainable_variables) + 4
