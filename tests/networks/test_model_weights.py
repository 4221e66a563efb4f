"""Pretrained weights: cache, mirror, damage, and what a file of another kind meets. No network is used."""

import hashlib
import http.server
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from easydl.errors import InputError, WeightsError
from easydl.networks import backbone_layers, classifier, feature_extractor, recipe_of, save_model, weights
from easydl.networks.catalogue import ENTRIES

ENTRY = ENTRIES["mobilenet_025"]


@pytest.fixture(scope="module")
def official(tmp_path_factory, stir, write_official):
    """A file in the official layout with random weights, and the network it was written from."""
    model = stir(keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(64, 64, 3)))
    return write_official(model, tmp_path_factory.mktemp("official") / ENTRY.weights_file)


class Mirror(http.server.BaseHTTPRequestHandler):
    """A web server of one file that can be told to misbehave."""

    body = b""
    promised: int | None = None
    code = 200
    asked: list[str]

    def do_GET(self):
        type(self).asked.append(self.path)
        self.send_response(self.code)
        if self.code == 200:
            self.send_header("Content-Length", str(self.promised or len(self.body)))
        self.end_headers()
        if self.code == 200:
            self.wfile.write(self.body)

    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture
def mirror(monkeypatch, official):
    handler = type("Handler", (Mirror,), {"body": official.read_bytes(), "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/keras/")
    yield handler
    server.shutdown()
    server.server_close()


def cache():
    return weights.folders()[0]


def left_over():
    return sorted(path.name for path in cache().iterdir()) if cache().is_dir() else []


def test_downloads_once_and_then_needs_no_network(mirror, official, monkeypatch, capsys):
    path = weights.fetch(ENTRY)
    assert path == cache() / ENTRY.weights_file
    assert path.read_bytes() == official.read_bytes()
    assert mirror.asked == [f"/keras/{ENTRY.weights_file}"]
    assert "Downloading" in capsys.readouterr().err
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "http://127.0.0.1:9")
    assert weights.fetch(ENTRY) == path
    assert left_over() == [ENTRY.weights_file]


def test_kerass_own_cache_is_looked_at_too(official, monkeypatch):
    folder = Path(os.environ["KERAS_HOME"]) / "models"
    folder.mkdir(parents=True)
    shutil.copy(official, folder)
    assert weights.fetch(ENTRY) == folder / ENTRY.weights_file
    monkeypatch.delenv("EASYDL_WEIGHTS")
    assert weights.folders() == [folder]
    monkeypatch.delenv("KERAS_HOME")
    assert weights.folders()[0].parts[-2:] == (".keras", "models")


def refused(entry=ENTRY, timeout_s=5.0):
    with pytest.raises(WeightsError) as caught:
        weights.fetch(entry, timeout_s=timeout_s)
    assert left_over() == [], "nothing half is kept"
    text = str(caught.value)
    for needed in (entry.weights_file, str(cache()), entry.weights_url, "pretrained=False"):
        assert needed in text
    return text


def test_no_network_and_empty_cache_is_one_clear_error():
    assert "no connection" in refused()


def test_a_download_that_breaks_off_is_not_used(mirror):
    mirror.promised = len(mirror.body)
    mirror.body = mirror.body[: len(mirror.body) // 2]
    assert "broke off" in refused()


def test_a_file_cut_short_at_the_server_is_not_used(mirror):
    mirror.body = mirror.body[: len(mirror.body) // 2]
    assert "HDF5" in refused()


def test_a_web_page_instead_of_weights_is_not_used(mirror):
    mirror.body = b"<html>Please log in to the hospital network</html>"
    assert "HDF5" in refused()


def test_another_checksum_is_refused(mirror):
    assert "checksum" in refused(replace(ENTRY, weights_md5="0" * 32))


def test_the_right_checksum_is_accepted(mirror):
    md5 = hashlib.md5(mirror.body).hexdigest()
    assert weights.fetch(replace(ENTRY, weights_md5=md5)).is_file()


def test_not_found_is_said(mirror):
    mirror.code = 404
    assert "404" in refused()


def test_an_endless_answer_is_cut(mirror):
    mirror.body = b"\0" * (weights.room(ENTRY) + 1_000_000)
    assert "more than" in refused()


def test_weights_of_another_network_are_not_kept(mirror):
    assert "it holds 218,544 weights" in refused(replace(ENTRIES["mobilenet"], name="mobilenet"))


def test_an_odd_mirror_address_is_said(monkeypatch):
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "file:///etc")
    assert "no web address" in refused()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_said(mirror):
    cache().parent.chmod(0o500)
    assert "cannot be written" in refused()


def test_a_file_where_the_folder_should_be_is_said(mirror):
    cache().write_text("not a folder")
    with pytest.raises(WeightsError, match="pretrained=False"):
        weights.fetch(ENTRY)


def test_a_damaged_file_in_the_cache_is_named_and_never_used():
    cache().mkdir(parents=True)
    (cache() / ENTRY.weights_file).write_bytes(b"half a file")
    with pytest.raises(WeightsError, match="damaged") as caught:
        classifier("mobilenet_025", pretrained=True)
    assert str(cache() / ENTRY.weights_file) in str(caught.value)


def test_networks_without_weights_say_which_have_some():
    with pytest.raises(WeightsError, match="resnet"):
        classifier("tiny", pretrained=True)


@pytest.mark.parametrize("word", ["radiology", "imagenet21k", "/no/such/file.h5", 3, 1.0, "", b"imagenet"])
def test_unknown_words_list_the_choices(word):
    with pytest.raises(InputError, match="imagenet") as caught:
        classifier("mobilenet_025", pretrained=word)
    assert "False" in caught.value.expected


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_an_h5_file_is_copied_whatever_the_channels(official, channels):
    model = classifier("mobilenet_025", pretrained=official, channels=channels, size=64)
    with h5py.File(official) as file:
        stem = file["conv1/conv1/kernel_0:0"][()]
        last = file["conv_pw_13_bn/conv_pw_13_bn/moving_mean_2:0"][()]
    np.testing.assert_array_equal(model.get_layer("conv1").kernel, stem)
    np.testing.assert_array_equal(model.get_layer("conv_pw_13_bn").moving_mean, last)
    assert recipe_of(model).pretrained.startswith("ImageNet (mobilenet_2_5_224_tf_no_top.h5, sha256 ")
    assert "pretrained" not in recipe_of(model).arguments


def test_an_h5_file_of_another_network_is_refused(official):
    with pytest.raises(WeightsError, match="another network than mobilenet_050"):
        classifier("mobilenet_050", pretrained=official, size=64)


@pytest.mark.parametrize("channels", [1, 5])
def test_a_model_of_ours_hands_on_its_backbone(tmp_path, stir, channels):
    old = stir(classifier("mobilenet_025", classes=4, channels=channels, size=64, seed=1))
    path = save_model(old, tmp_path / "old.keras")
    new = classifier("mobilenet_025", classes=2, channels=channels, size=48, pretrained=path, seed=2)
    for a, b in zip(backbone_layers(old), backbone_layers(new), strict=True):
        for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
            np.testing.assert_array_equal(x, y)
    assert "our own model (old.keras" in recipe_of(new).pretrained


def test_a_model_of_ours_of_another_kind_is_refused(tmp_path):
    path = save_model(classifier("tiny", size=32), tmp_path / "tiny.keras")
    with pytest.raises(WeightsError, match="is a tiny"):
        classifier("mobilenet_025", pretrained=path)
    (tmp_path / "bad.keras").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(WeightsError, match=r"bad\.keras"):
        classifier("mobilenet_025", pretrained=tmp_path / "bad.keras")


def copy_of(official, tmp_path):
    return shutil.copy(official, tmp_path / "copy.h5")


def test_hdf5_files_that_point_outside_are_refused(official, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.zeros(8, "float32")
    name = "conv1_bn/conv1_bn/gamma_0:0"

    def soft(file):
        file[name] = h5py.SoftLink("/conv1/conv1/kernel_0:0")

    def external(file):
        file[name] = h5py.ExternalLink(str(secret), "x")

    def virtual(file):
        layout = h5py.VirtualLayout((8,), "float32")
        layout[:] = h5py.VirtualSource(str(secret), "x", (8,))
        file.create_virtual_dataset(name, layout)

    def outside(file):
        file.create_dataset(name, (8,), "float32", external=[(str(secret), 0, 32)])

    for change, word in ((soft, "link"), (external, "link"), (virtual, "outside"), (outside, "outside")):
        path = copy_of(official, tmp_path)
        with h5py.File(path, "a") as file:
            del file[name]
            change(file)
        with pytest.raises(WeightsError, match=word):
            classifier("mobilenet_025", pretrained=path, size=64)


@pytest.mark.parametrize("kind", ["huge", "nan", "text", "missing", "empty", "keras3"])
def test_hdf5_files_that_are_not_weights_are_refused(official, tmp_path, kind):
    path = copy_of(official, tmp_path)
    name = "conv1_bn/conv1_bn/gamma_0:0"
    with h5py.File(path, "a") as file:
        if kind == "keras3":
            del file.attrs["layer_names"]
        else:
            del file[name]
        if kind == "huge":
            file.create_dataset(name, (10**11,), "float32", chunks=(1024,))
        elif kind == "nan":
            file[name] = np.full(8, np.nan, "float32")
        elif kind == "text":
            file[name] = ["a"] * 8
        elif kind == "empty":
            file[name] = h5py.Empty("float32")
    with pytest.raises(WeightsError, match=r"copy\.h5"):
        classifier("mobilenet_025", pretrained=path, size=64)


@pytest.mark.real
def test_real_mobilenet_gives_the_features_of_keras_applications(real_weights):
    x = np.random.default_rng(0).uniform(0, 255, (2, 128, 128, 3)).astype("float32")
    file = real_weights / ENTRY.weights_file
    theirs = keras.applications.MobileNet(
        alpha=0.25, include_top=False, pooling="avg", input_shape=(128, 128, 3), weights=str(file)
    )
    expected = theirs(keras.applications.mobilenet.preprocess_input(x.copy()), training=False)
    model = classifier("mobilenet_025", pretrained=True, channels=3, size=128)
    np.testing.assert_allclose(feature_extractor(model)(x, training=False), expected, atol=1e-4)
    assert float(np.abs(expected).max()) > 0.5
    grey = np.random.default_rng(1).uniform(0, 255, (2, 128, 128, 1)).astype("float32")
    model = classifier("mobilenet_025", pretrained="imagenet", channels=1, size=128)
    expected = theirs(np.repeat(grey, 3, -1) / 127.5 - 1, training=False)
    np.testing.assert_allclose(feature_extractor(model)(grey, training=False), expected, atol=1e-4)


@pytest.mark.real
def test_small_images_are_enlarged_for_trained_filters(real, monkeypatch):
    from easydl.studies import Classes

    monkeypatch.setenv("EASYDL_WEIGHTS", str(real / "keras_weights"))
    small = Classes(["normal", "pneumonia"], image_size=(28, 28))
    assert classifier("mobilenet_025", classes=small, pretrained=True).input_shape[1:3] == (96, 96)
    assert classifier("mobilenet_025", classes=small).input_shape[1:3] == (32, 32)
    assert classifier("mobilenet_025", classes=small, pretrained=True, size=64).input_shape[1:3] == (64, 64)
