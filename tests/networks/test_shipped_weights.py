"""The weights that come with the package: whole, licensed, equal to what was published, and there without a network."""

import hashlib
from importlib.resources import files

import h5py
import numpy as np
import pytest

import easydl
from easydl.errors import WeightsError
from easydl.networks import classifier, feature_extractor, metadata_of
from easydl.networks.architectures.encoders import backbone_scales
from easydl.networks.pretrained import inventory
from easydl.networks.pretrained.sources import SHIPPED
from easydl.networks.registry import ENTRIES

ENTRY = ENTRIES[SHIPPED]
FOLDER = files("easydl.networks.pretrained").joinpath("shipped")


@pytest.mark.quick
def test_the_package_holds_the_file_its_licence_and_where_it_is_from():
    content = FOLDER.joinpath(ENTRY.weights_file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == ENTRY.weights_hash
    assert len(content) < 9e6
    assert "Apache License" in FOLDER.joinpath("LICENSE").read_text("utf-8")
    notice = FOLDER.joinpath("NOTICE").read_text("utf-8")
    for needed in (
        ENTRY.weights_file,
        "TensorFlow Authors",
        "ML Illustrated",
        "Apache License, Version 2.0",
        "Changed",
    ):
        assert needed in notice


def test_pretrained_works_where_no_network_is_and_no_folder_holds_weights():
    model = classifier(SHIPPED, pretrained=True, size=32)
    assert metadata_of(model).pretrained.startswith(f"ImageNet ({ENTRY.weights_file}")
    rows = inventory.available().set_index("network")
    assert rows.index[rows["here"]].tolist() == [SHIPPED]


def test_the_first_layers_are_those_of_numpy():
    """Scaling, padding and weights by hand: pixels from 0 to 255, (x - 127) / 128, a 3x3 kernel with stride 2."""
    model = classifier(SHIPPED, pretrained=True, channels=3, size=32)
    x = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")
    with h5py.File(str(FOLDER.joinpath(ENTRY.weights_file))) as file:
        kernel = file["stem_conv/kernel"][()].astype(float)
        gamma, beta, mean, variance = (
            file[f"stem_conv_bn/{name}"][()].astype(float)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
    padded = np.pad((x[0].astype(float) - 127) / 128, ((0, 1), (0, 1), (0, 0)))
    expected = np.empty((16, 16, 32))
    for row, column in np.ndindex(16, 16):
        window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected[row, column] = np.tensordot(window, kernel, 3)
    expected = np.clip((expected - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0, 6)
    import keras

    stem = keras.Model(model.input, model.get_layer("stem_conv_relu").output)
    np.testing.assert_allclose(stem(x, training=False)[0], expected, atol=1e-4)


@pytest.mark.real
def test_logits_are_those_of_the_published_network(real):
    """The original program's, in float32; storing the weights as float16 moves them by some hundredths."""
    reference = np.load(real / "keras_weights" / "efficientnet_lite0.reference.npz")
    head = np.load(real / "keras_weights" / "efficientnet_lite0.float16.npz")
    model = classifier(SHIPPED, pretrained=True, channels=3, size=224)
    features = np.asarray(feature_extractor(model)(reference["x"] * 128 + 127, training=False))
    logits = features @ head["_fc.weight"].astype("float32").T + head["_fc.bias"].astype("float32")
    np.testing.assert_allclose(logits, reference["y"], atol=0.1)
    assert reference["y"].std() > 1
    for row, expected in zip(logits, reference["y"], strict=True):
        assert np.corrcoef(row, expected)[0, 1] > 0.9995


def test_it_is_an_encoder_of_the_u_nets_with_maps_at_five_scales():
    import keras

    scales, _ = backbone_scales(ENTRY, keras.Input((64, 64, 3)))
    assert [(stride, tuple(maps.shape[1:])) for stride, maps in scales.items()] == [
        (2, (32, 32, 96)), (4, (16, 16, 144)), (8, (8, 8, 240)), (16, (4, 4, 672)), (32, (2, 2, 1280))
    ]  # fmt: skip
    model = easydl.unet(encoder=SHIPPED, pretrained=True, size=64)
    assert ENTRY.weights_file in metadata_of(model).pretrained
    with h5py.File(str(FOLDER.joinpath(ENTRY.weights_file))) as file:
        np.testing.assert_array_equal(model.get_layer("last_conv").get_weights()[0], file["last_conv/kernel"][()])


@pytest.mark.parametrize("source", ["imagenet", "radimagenet"])
def test_other_weights_that_are_not_here_name_it(source):
    with pytest.raises(WeightsError, match=rf"{SHIPPED}.* come with easydl"):
        classifier("resnet50", pretrained=source)
