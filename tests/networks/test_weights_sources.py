"""Where weights may come from beside ImageNet's files, and that the network then sees the pixels they know."""

import hashlib
import shutil

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from easydl.errors import InputError, WeightsError
from easydl.networks import classifier, feature_extractor, load_network, metadata_of, save_model, segmenter
from easydl.networks.classifiers import rebuilt
from easydl.networks.common_layers import scaled
from easydl.networks.pretrained import sources, transfer
from easydl.networks.registry import ENTRIES

TINY = ENTRIES["mobilenet_025"]
RADIMAGENET = [name for name, entry in ENTRIES.items() if entry.radimagenet_file]


def image(size=64, channels=3, n=2, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (n, size, size, channels)).astype("float32")


def features(model, x):
    return np.asarray(feature_extractor(model)(x, training=False))


def up_to(model, layer):
    return keras.Model(model.input, model.get_layer(layer).output)


def cache():
    return sources.folders()[0]


def sum_of(file, kind="sha256"):
    return hashlib.new(kind, file.read_bytes()).hexdigest()


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_an_address_with_its_checksum_is_fetched_once(server, official, kind):
    address = f"{server.address}/files/my%20net.h5?token=secret#{kind}={sum_of(official, kind).upper()}"
    first = classifier("mobilenet_025", pretrained=address, size=64)
    again = classifier("mobilenet_025", pretrained=address, size=64)
    assert server.asked == ["/files/my%20net.h5?token=secret"]
    file = cache() / f"my_net.{kind}-{sum_of(official, kind)}.h5"
    assert file.read_bytes() == official.read_bytes()
    assert metadata_of(first).pretrained.startswith(f"weights file ({file.name}, sha256 ")
    known = features(classifier("mobilenet_025", pretrained=official, size=64), x := image(channels=1))
    np.testing.assert_array_equal(features(first, x), known)
    np.testing.assert_array_equal(features(again, x), known)


def test_a_file_with_another_checksum_is_not_kept(server):
    with pytest.raises(WeightsError, match="another checksum") as caught:
        sources.locate(TINY, f"{server.address}/net.h5?token=secret#sha256={'0' * 64}")
    assert not list(cache().iterdir())
    assert "secret" not in str(caught.value)
    assert f"net.sha256-{'0' * 64}.h5" in caught.value.expected


def test_an_address_that_fails_says_which_file_to_put_where(official):
    name = f"net.sha256-{sum_of(official)}.h5"
    address = f"http://127.0.0.1:9/net.h5#sha256={sum_of(official)}"
    with pytest.raises(WeightsError, match="no connection") as caught:
        sources.locate(TINY, address)
    assert name in caught.value.expected
    assert str(cache()) in caught.value.expected
    cache().mkdir(exist_ok=True)
    shutil.copy(official, cache() / name)
    assert sources.locate(TINY, address) == cache() / name
    (cache() / name).write_bytes(b"changed")
    with pytest.raises(WeightsError, match="not have the checksum"):
        sources.locate(TINY, address)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("https://example.org/net.h5", "without a checksum"),
        ("https://example.org/net.h5#sha256=12", "without a checksum"),
        ("https://example.org/net.h5#crc=" + "0" * 64, "without a checksum"),
        ("https://example.org/net.h5#md5=" + "g" * 32, "without a checksum"),
        ("http://example.org/net.h5#md5=" + "0" * 32, "not encrypted"),
        ("https://example.org/net.pt?key=secret#md5=" + "0" * 32, "does not end in"),
    ],
)
def test_an_address_is_refused_unless_it_is_safe(address, why):
    with pytest.raises(InputError, match=why) as caught:
        classifier("mobilenet_025", pretrained=address)
    assert "#sha256=" in caught.value.expected
    assert "secret" not in str(caught.value)


# Our own models ------------------------------------------------------------------------------------------------------


def test_a_run_folder_stands_for_its_model(tmp_path, stir):
    old = stir(classifier("mobilenet_025", classes=4, size=64))
    with pytest.raises(InputError, match=r"a folder without model\.keras"):
        classifier("mobilenet_025", pretrained=tmp_path)
    save_model(old, tmp_path / "model.keras")
    new = classifier("mobilenet_025", size=64, pretrained=tmp_path)
    x = image(channels=1)
    np.testing.assert_array_equal(features(new, x), features(old, x))
    assert "our own model (model.keras" in metadata_of(new).pretrained


# RadImageNet ---------------------------------------------------------------------------------------------------------


def as_its_makers_feed_it(x):
    """The generator of RadImageNet's own scripts: caffe mode first, then 1/255. Blue first."""
    generator = ImageDataGenerator(
        preprocessing_function=keras.applications.imagenet_utils.preprocess_input, rescale=1.0 / 255
    )
    return np.stack([generator.standardize(one.copy()) for one in x])


@pytest.fixture(scope="module")
def radimagenet(tmp_path_factory, stir):
    """A whole model as Keras saves one, with what its optimizer remembers: the layout of RadImageNet's files."""
    shape = {"include_top": False, "weights": None, "input_shape": (64, 64, 3), "pooling": "avg"}
    model = stir(keras.applications.ResNet50(**shape))
    path = tmp_path_factory.mktemp("radimagenet") / ENTRIES["resnet50"].radimagenet_file
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(path)
    with h5py.File(path) as file:
        assert set(file) == {"model_weights", "optimizer_weights"}
    return path, model


def test_there_are_four_and_all_are_scaled_as_their_makers_did():
    assert RADIMAGENET == ["resnet50", "densenet121", "inceptionv3", "inceptionresnetv2"]
    x = image()
    for name in RADIMAGENET:
        entry = ENTRIES[name].trained_on("radimagenet")
        assert entry.bgr
        np.testing.assert_allclose(scaled(x, entry.scaling), as_its_makers_feed_it(x)[..., ::-1], atol=1e-5)


def test_without_the_file_one_sentence_says_where_to_get_it(monkeypatch):
    monkeypatch.delenv("EASYDL_WEIGHTS_URL")
    with pytest.raises(WeightsError, match="RadImageNet weights of resnet50") as caught:
        classifier("resnet50", pretrained="radimagenet")
    assert caught.value.expected == f"the file RadImageNet-ResNet50_notop.h5 in the folder {cache()}."
    assert "https://github.com/BMEII-AI/RadImageNet" in caught.value.do
    with pytest.raises(WeightsError, match="no RadImageNet weights for mobilenet") as caught:
        classifier("mobilenet", pretrained="radimagenet")
    assert "densenet121" in caught.value.expected


def test_a_whole_model_is_read_and_sees_radimagenets_pixels(radimagenet, mirror, tmp_path):
    path, theirs = radimagenet
    mirror.body = path.read_bytes()
    ours = classifier("resnet50", pretrained="radimagenet", channels=3, size=64)
    assert mirror.asked == [f"/keras/{path.name}"]
    x = image()
    expected = np.asarray(theirs(as_its_makers_feed_it(x), training=False))
    np.testing.assert_allclose(features(ours, x), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert metadata_of(ours).pretrained.startswith("RadImageNet (RadImageNet-ResNet50_notop.h5, sha256 ")
    assert metadata_of(ours).arguments["scaling"] == "radimagenet"
    saved = save_model(ours, tmp_path / "rad.keras")
    np.testing.assert_allclose(features(load_network(saved), x), features(ours, x), atol=1e-6)
    heir = classifier("resnet50", pretrained=saved, channels=3, size=64, classes=3)
    np.testing.assert_allclose(features(heir, x), features(ours, x), atol=1e-6)
    with pytest.raises(InputError, match="was trained with that of radimagenet"):
        classifier("resnet50", pretrained=saved, scaling="imagenet")
    renamed = shutil.copy(path, tmp_path / "renamed.h5")
    told = classifier("resnet50", pretrained=renamed, channels=3, size=64, scaling="radimagenet")
    np.testing.assert_allclose(features(told, x), features(ours, x), atol=1e-6)
    untold = classifier("resnet50", pretrained=renamed, channels=3, size=64)
    assert np.abs(features(untold, x) - features(ours, x)).max() > 1e-2 * np.abs(expected).max()


@pytest.mark.everything
def test_an_encoder_of_a_segmenter_sees_radimagenets_pixels(radimagenet, mirror, tmp_path):
    path, theirs = radimagenet
    mirror.body = path.read_bytes()
    x = image()
    net = segmenter("linknet", encoder="resnet50", pretrained="radimagenet", channels=3, size=64, width=4)
    assert metadata_of(net).arguments["scaling"] == "radimagenet"
    assert metadata_of(net).pretrained.startswith("RadImageNet (RadImageNet-ResNet50_notop.h5, sha256 ")
    # The same map of the whole network as it was published: the last before the classes.
    deepest = next(layer.output for layer in reversed(net.layers) if layer.output.shape[-1] == 2048)
    found = np.asarray(keras.Model(net.input, deepest)(x, training=False)).mean(axis=(1, 2))
    expected = np.asarray(theirs(as_its_makers_feed_it(x), training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    again = load_network(save_model(net, tmp_path / "rad.keras"))
    np.testing.assert_allclose(again(x, training=False), net(x, training=False), atol=1e-6)
    renamed = shutil.copy(path, tmp_path / "renamed.h5")
    told = segmenter(
        "linknet", encoder="resnet50", pretrained=renamed, channels=3, size=64, width=4, scaling="radimagenet"
    )
    np.testing.assert_allclose(told(x, training=False), net(x, training=False), atol=1e-6)
    with pytest.raises(InputError, match="without `encoder`"):
        segmenter("fpn", scaling="radimagenet")


def test_weights_never_meet_another_scaling_than_their_own(radimagenet):
    model = classifier("resnet50", size=64)
    with pytest.raises(WeightsError, match="scales them otherwise"):
        transfer.apply(model, ENTRIES["resnet50"], radimagenet[0], rebuilt)


def test_a_scaling_that_the_network_never_had_is_refused():
    with pytest.raises(InputError, match="'radimagenet'") as caught:
        classifier("mobilenet_025", scaling="radimagenet")
    assert caught.value.expected == "one of imagenet for mobilenet_025."
    with pytest.raises(InputError, match="'0-1'"):
        classifier("resnet50", scaling="0-1")


# Channels ------------------------------------------------------------------------------------------------------------


def test_grey_meets_the_first_convolution_summed_over_its_colours(official):
    model = classifier("mobilenet_025", pretrained=official, channels=1, size=64)
    x = image(channels=1)
    kernel = np.asarray(model.get_layer("conv1").kernel).sum(axis=2, keepdims=True)
    expected = keras.ops.conv(x / 127.5 - 1, kernel, strides=2, padding="same")
    np.testing.assert_allclose(up_to(model, "conv1")(x), expected, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 5])
def test_several_channels_that_are_equal_are_seen_as_grey(official, channels):
    x = image(channels=1)
    grey = classifier("mobilenet_025", pretrained=official, channels=1, size=64)
    many = classifier("mobilenet_025", pretrained=official, channels=channels, size=64)
    np.testing.assert_allclose(features(many, np.repeat(x, channels, -1)), features(grey, x), atol=1e-4)


# Volumes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deep", "stem"),
    [("resnet3d50", "conv1_conv"), pytest.param("densenet3d", "conv1_conv", marks=pytest.mark.everything)],
)
def test_a_volume_of_one_picture_is_seen_as_the_image(deep, stem, tmp_path, stir, write_official):
    flat_name = ENTRIES[deep].inflates
    make = getattr(keras.applications, ENTRIES[flat_name].application)
    path = write_official(stir(make(include_top=False, weights=None, input_shape=(64, 64, 3))), tmp_path / "flat.h5")
    flat = classifier(flat_name, pretrained=path, channels=1, size=64)
    model = classifier(deep, pretrained=path, channels=1, size=(32, 64, 64))
    assert "repeated along the depth (flat.h5" in metadata_of(model).pretrained
    x = image(channels=1, n=1)
    maps = np.asarray(up_to(model, stem)(np.repeat(x[:, None], 32, axis=1)))
    expected = np.asarray(up_to(flat, stem)(x))
    # The kernel is 7 deep with a stride of 2 and a border of 3 empty slices: slices 2 to 14 see none of it.
    assert maps.shape == (1, 16, *expected.shape[1:])
    for number in range(2, 15):
        np.testing.assert_allclose(maps[:, number], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(maps[:, 0] - expected).max() > 1e-2 * np.abs(expected).max(), "the border is seen"
    pairs = [(layer, flat.get_layer(layer.name)) for layer in model.layers if layer.weights and layer.name != "logits"]
    assert len(pairs) == sum(bool(layer.weights) for layer in flat.layers) - 1
    for mine, theirs in pairs:
        for slot, value in zip(mine.weights, theirs.weights, strict=True):
            summed = np.asarray(slot) if slot.shape == value.shape else np.asarray(slot).sum(axis=0)
            np.testing.assert_allclose(summed, value, rtol=1e-5, atol=1e-6)
