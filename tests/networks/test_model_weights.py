"""Pretrained weights: cache, mirror, damage, and what a file of another kind meets. No network is used."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from easydl.errors import InputError, WeightsError
from easydl.networks import backbone_layers, classifier, feature_extractor, metadata_of, save_model
from easydl.networks.listing import ENTRIES
from easydl.networks.pretrained import sources
from easydl.networks.pretrained.weights_file import room
from easydl.studies import StudySummary
from easydl.tasks import Task

ENTRY = ENTRIES["mobilenet_025"]


def cache():
    return sources.folders()[0]


def left_over():
    return sorted(path.name for path in cache().iterdir()) if cache().is_dir() else []


def test_downloads_once_and_then_needs_no_network(mirror, official, monkeypatch, capsys):
    path = sources.fetch(ENTRY)
    assert path == cache() / ENTRY.weights_file
    assert path.read_bytes() == official.read_bytes()
    assert mirror.asked == [f"/keras/{ENTRY.weights_file}"]
    assert "Downloading" in capsys.readouterr().err
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "http://127.0.0.1:9")
    assert sources.fetch(ENTRY) == path
    assert left_over() == [ENTRY.weights_file]


def test_kerass_own_cache_is_looked_at_too(official, monkeypatch):
    folder = Path(os.environ["KERAS_HOME"]) / "models"
    folder.mkdir(parents=True)
    shutil.copy(official, folder)
    assert sources.fetch(ENTRY) == folder / ENTRY.weights_file
    monkeypatch.delenv("EASYDL_WEIGHTS")
    assert sources.folders() == [folder, sources.shipped()]
    monkeypatch.delenv("KERAS_HOME")
    assert sources.folders()[0].parts[-2:] == (".keras", "models")


def refused(entry=ENTRY, timeout_s=5.0):
    with pytest.raises(WeightsError) as caught:
        sources.fetch(entry, timeout_s=timeout_s)
    assert left_over() == [], "nothing half is kept"
    text = str(caught.value)
    for needed in (entry.weights_file, str(cache()), entry.weights_url, "efficientnetlite0", "pretrained=False"):
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
    assert "checksum" in refused(replace(ENTRY, weights_hash="0" * 32))


def test_the_right_checksum_is_accepted(mirror):
    md5 = hashlib.md5(mirror.body).hexdigest()
    assert sources.fetch(replace(ENTRY, weights_hash=md5)).is_file()


def test_not_found_is_said_at_once(mirror):
    mirror.codes = [404]
    assert "404" in refused()
    assert len(mirror.asked) == 1


def test_a_busy_server_is_asked_again(mirror):
    mirror.codes = [503, 503, 200]
    assert sources.fetch(ENTRY).is_file()
    assert len(mirror.asked) == 3
    assert left_over() == [ENTRY.weights_file]


def test_a_server_that_stays_busy_is_given_up(mirror):
    mirror.codes = [503]
    assert "503" in refused()
    assert len(mirror.asked) == 3


def test_the_waits_before_asking_again_grow(mirror, monkeypatch):
    waits = []
    monkeypatch.setattr("easydl.networks.pretrained.download.WAIT_S", 2.0)
    monkeypatch.setattr("easydl.networks.pretrained.download.time.sleep", waits.append)
    mirror.codes = [503]
    refused()
    assert waits == [2.0, 4.0]


def test_two_processes_may_fetch_at_once(mirror, official):
    """Both are in the middle of the download at the same time: the server answers only when both have asked."""
    mirror.together = threading.Barrier(2)
    code = (
        "from easydl.networks.pretrained import sources; from easydl.networks.registry import ENTRIES; "
        f"print(sources.fetch(ENTRIES['{ENTRY.name}']))"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for run in runs:
        out, problem = run.communicate(timeout=120)
        assert out.strip() == str(cache() / ENTRY.weights_file), problem
    assert left_over() == [ENTRY.weights_file]
    assert (cache() / ENTRY.weights_file).read_bytes() == official.read_bytes()


def test_a_part_that_a_killed_process_left_is_never_used(official):
    cache().mkdir(parents=True)
    left = cache() / f"{ENTRY.weights_file}.0badcafe.part"
    shutil.copy(official, left)
    with pytest.raises(WeightsError, match="no connection"):
        sources.fetch(ENTRY)
    assert left_over() == [left.name]


def test_a_proxy_is_used(server, official, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.address)
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "http://weights.hospital.invalid/keras")
    assert sources.fetch(ENTRY).read_bytes() == official.read_bytes()
    assert server.asked == [f"http://weights.hospital.invalid/keras/{ENTRY.weights_file}"]


def test_a_proxy_is_used_for_the_official_address(server, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.delenv("EASYDL_WEIGHTS_URL")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, server.address)
    assert "403" in refused()
    assert set(server.asked) == {"CONNECT storage.googleapis.com:443"}


def test_one_line_counts_up_on_a_terminal(mirror, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    sources.fetch(ENTRY)
    text = capsys.readouterr().err
    assert text.startswith(f"\rDownloading {ENTRY.weights_file}: 0 of 1 MB\r")
    assert text.endswith("1 of 1 MB\n")
    assert text.count("\n") == 1


def test_an_endless_answer_is_cut(mirror):
    mirror.body = b"\0" * (room(ENTRY) + 1_000_000)
    assert "more than" in refused()


def test_weights_of_another_network_are_not_kept(mirror):
    assert "it holds 218,544 weights" in refused(replace(ENTRIES["mobilenet"], name="mobilenet"))


def test_an_odd_mirror_address_is_said(monkeypatch):
    monkeypatch.setenv("EASYDL_WEIGHTS_URL", "file:///etc")
    assert "not a web address" in refused()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_said(mirror):
    cache().parent.chmod(0o500)
    assert "cannot be written" in refused()


def test_a_file_where_the_folder_should_be_is_said(mirror):
    cache().write_text("not a folder")
    with pytest.raises(WeightsError, match="pretrained=False"):
        sources.fetch(ENTRY)


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
def test_unknown_sources_list_the_choices(word):
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
    assert metadata_of(model).pretrained.startswith("ImageNet (mobilenet_2_5_224_tf_no_top.h5, sha256 ")
    assert "pretrained" not in metadata_of(model).arguments


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
    assert "our own model (old.keras" in metadata_of(new).pretrained


@pytest.mark.parametrize(("have", "want"), [(1, 3), (3, 1), (2, 5)])
def test_equal_channels_are_seen_as_the_model_of_ours_saw_them(tmp_path, stir, have, want):
    old = stir(classifier("tiny", channels=have, size=32, seed=1))
    path = save_model(old, tmp_path / "old.keras")
    new = classifier("tiny", channels=want, size=32, pretrained=path, seed=2)
    grey = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype("float32")
    expected = np.asarray(feature_extractor(old)(np.repeat(grey, have, -1), training=False))
    found = feature_extractor(new)(np.repeat(grey, want, -1), training=False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert f"for {want} instead of {have} channel(s)" in metadata_of(new).pretrained


def test_dense_layers_of_another_size_are_refused_and_never_left_random(tmp_path):
    path = save_model(classifier("lenet", size=32), tmp_path / "old.keras")
    with pytest.raises(WeightsError, match=r"dense1 has the shape \(400, 120\) in old\.keras") as caught:
        classifier("lenet", size=64, pretrained=path)
    assert "32 x 32" in caught.value.do
    classifier("lenet", classes=5, size=32, pretrained=path)


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
def test_small_images_are_upsampled_for_pretrained_filters(real, monkeypatch):
    monkeypatch.setenv("EASYDL_WEIGHTS", str(real / "keras_weights"))
    small = StudySummary(Task.CLASSIFICATION, ("normal", "pneumonia"), image_size=(28, 28))
    assert classifier("mobilenet_025", small, pretrained=True).input_shape[1:3] == (96, 96)
    assert classifier("mobilenet_025", small).input_shape[1:3] == (32, 32)
    assert classifier("mobilenet_025", small, pretrained=True, size=64).input_shape[1:3] == (64, 64)
