"""Model files: written without loss, opened without trust. Every bad file meets one three-part error."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile

import h5py
import keras
import numpy as np
import pytest

from easydl.errors import RESEARCH_USE, ModelError
from easydl.networks import attach, classifier, load_network, metadata_of, save_model, unet
from easydl.networks.model_file.save import metadata_sum

LOGITS = "layers/dense/vars/0"


@pytest.fixture(scope="module")
def model():
    return classifier("tiny", classes=["abdomen", "chest"], size=16)


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    return save_model(model, tmp_path_factory.mktemp("good") / "good.keras")


def parts_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, parts, *, resign=True, kind=zipfile.ZIP_STORED):
    """A zip of the given parts; with checksums put right, as somebody with bad intentions would."""
    parts = dict(parts)
    if resign and "easydl.json" in parts:
        text = json.loads(parts["easydl.json"])
        text["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
        text["sha256"]["metadata"] = metadata_sum(text["metadata"])
        parts["easydl.json"] = json.dumps(text).encode()
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def refused(path, seconds=20.0):
    """The error with which the file is refused, in time and in three parts."""
    begin = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        load_network(path)
    assert time.perf_counter() - begin < seconds
    error = caught.value
    assert error.found
    assert error.expected
    assert error.do
    assert "Traceback" not in str(error)
    return error


def edited(good, tmp_path, change):
    """The good file with its metadata changed and signed anew."""
    parts = parts_of(good)
    text = json.loads(parts["easydl.json"])
    change(text)
    parts["easydl.json"] = json.dumps(text).encode()
    return write(tmp_path / "edited.keras", parts)


def with_weights(good, tmp_path, change):
    """The good file with its HDF5 part changed and signed anew."""
    parts = parts_of(good)
    buffer = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(buffer, "a") as file:
        change(file)
    parts["model.weights.h5"] = buffer.getvalue()
    return write(tmp_path / "weights.keras", parts)


def test_the_file_tells_what_it_is(good, model):
    parts = parts_of(good)
    assert set(parts) == {"config.json", "metadata.json", "model.weights.h5", "easydl.json"}
    text = json.loads(parts["easydl.json"])
    assert text["note"] == RESEARCH_USE
    assert text["metadata"]["classes"] == ["abdomen", "chest"]
    assert "pretrained" not in text["metadata"]["arguments"]
    assert text["sha256"]["model.weights.h5"] == hashlib.sha256(parts["model.weights.h5"]).hexdigest()
    again = load_network(good)
    assert metadata_of(again).model_dump(exclude={"easydl"}) == metadata_of(model).model_dump(exclude={"easydl"})


def test_a_trained_model_leaves_its_optimizer_and_loss_at_home(tmp_path):
    def our_own_loss(y, p):
        return keras.ops.mean((y - p) ** 2)

    model = classifier("tiny", size=16)
    model.compile("adam", our_own_loss)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 255, (8, 16, 16, 1)).astype("float32"), np.eye(2, dtype="float32")[rng.integers(0, 2, 8)]
    model.fit(x, y, epochs=2, verbose=0)
    path = save_model(model, tmp_path / "new" / "folder" / "model.keras")
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(load_network(path)(x, training=False), expected, atol=1e-6)
    plain = keras.models.load_model(path)
    np.testing.assert_allclose(plain(x, training=False), expected, atol=1e-6)
    assert not plain.compiled
    assert model.compiled, "the model itself stays compiled"
    assert path.stat().st_size < 1.3 * 4 * model.count_params() + 200_000
    assert [entry.name for entry in path.parent.iterdir()] == ["model.keras"]


def test_saving_over_a_file_replaces_it(tmp_path, model):
    path = save_model(classifier("tiny", size=16, seed=9), tmp_path / "m.keras")
    before = path.read_bytes()
    save_model(model, path)
    assert path.read_bytes() != before
    assert metadata_of(load_network(path)).classes == ("abdomen", "chest")


@pytest.mark.skipif(os.name != "posix", reason="limits on file sizes are POSIX")
def test_a_full_disk_leaves_the_old_file_as_it_was(good, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(good.read_bytes())
    script = (
        "import resource, sys\n"
        "from easydl.errors import ModelError\n"
        "from easydl.networks import classifier, save_model\n"
        "model = classifier('tiny', size=16, seed=4)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n"
        "    save_model(model, sys.argv[1])\n"
        "except ModelError as error:\n"
        "    print('REFUSED', error.found)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert "REFUSED The model could not be written" in done.stdout, done.stderr[-2000:]
    assert path.read_bytes() == good.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def test_drafts_of_a_killed_process_are_swept_away(tmp_path, model):
    old, young = tmp_path / ".m.1.tmp.keras", tmp_path / ".m.2.tmp.keras"
    for draft in (old, young):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    save_model(model, tmp_path / "m.keras")
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("name", ["model.h5", "model", "model.keras.zip"])
def test_other_suffixes_are_refused_when_saving(tmp_path, model, name):
    with pytest.raises(ModelError, match=r"\.keras"):
        save_model(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_refused(tmp_path, model):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelError, match="could not be written"):
        save_model(model, tmp_path / "file" / "m.keras")


def test_saving_something_else_is_refused(tmp_path):
    with pytest.raises(ModelError):
        save_model("model", tmp_path / "m.keras")


def test_files_of_other_kinds_are_named(tmp_path, good):
    assert "does not exist" in str(refused(tmp_path / "absent.keras"))
    assert "is a folder" in str(refused(tmp_path))
    files = {
        "empty.keras": (b"", "not a model file"),
        "random.keras": (np.random.default_rng(0).bytes(5000), "not a model file"),
        "old.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        "model.pkl": (pickle.dumps({"a": 1}), "pickle"),
        "cut.keras": (good.read_bytes()[:-3000], "cannot be used"),
        "start.keras": (b"PK\x03\x04" + bytes(300), "cannot be used"),
    }
    for name, (data, word) in files.items():
        (tmp_path / name).write_bytes(data)
        assert word in str(refused(tmp_path / name))
    assert "PyTorch" in str(refused(write(tmp_path / "torch.pt", {"archive/data.pkl": b"x"})))
    assert "some other zip" in str(refused(write(tmp_path / "some.zip", {"notes.txt": b"x"})))


def test_a_plain_keras_file_is_refused_with_the_way_out(tmp_path, model):
    keras.Model(model.input, model.output).save(tmp_path / "plain.keras")
    error = refused(tmp_path / "plain.keras")
    assert "easydl did not make" in error.found
    assert "keras.saving.load_model" in error.do


def test_a_hand_made_model_is_saved_but_opened_by_plain_keras_only(tmp_path):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    own = keras.Sequential(layers)
    own.compile("adam", "categorical_crossentropy")
    path = save_model(own, tmp_path / "own.keras")
    error = refused(path)
    assert "built by hand" in error.found
    assert "keras.saving.load_model" in error.do
    x = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(keras.models.load_model(path)(x), own(x), atol=1e-6)


def test_any_changed_part_is_noticed(good, tmp_path):
    for name, data in parts_of(good).items():
        if name != "easydl.json":
            parts = parts_of(good)
            parts[name] = data[:-1] + bytes([data[-1] ^ 1])
            assert "checksum" in str(refused(write(tmp_path / "changed.keras", parts, resign=False)))
    parts = parts_of(good)
    parts["easydl.json"] = parts["easydl.json"].replace(b"abdomen", b"abdumen")
    assert "checksum" in str(refused(write(tmp_path / "changed.keras", parts, resign=False)))


def test_flipped_bytes_are_refused_or_change_nothing(good, tmp_path, model):
    data = good.read_bytes()
    x = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 1)).astype("float32")
    expected = np.asarray(model(x, training=False))
    rng, passed = np.random.default_rng(1), 0
    for place in rng.choice(len(data), 40, replace=False):
        path = tmp_path / "flipped.keras"
        path.write_bytes(data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :])
        try:
            again = load_network(path)
        except ModelError:
            continue
        passed += 1
        np.testing.assert_array_equal(again(x, training=False), expected)
        assert metadata_of(again).classes == ("abdomen", "chest")
    assert passed <= 4


def test_members_that_do_not_belong_are_refused(good, tmp_path):
    for extra in ("assets/x.txt", "../evil.txt", "/etc/cron.d/x", "model.weights.npz"):
        assert "besides or instead" in str(refused(write(tmp_path / "extra.keras", parts_of(good) | {extra: b"x"})))
    assert not (tmp_path.parent / "evil.txt").exists()
    parts = parts_of(good)
    del parts["config.json"]
    assert "fewer" in str(refused(write(tmp_path / "fewer.keras", parts)))
    twice = tmp_path / "twice.keras"
    twice.write_bytes(good.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("easydl.json", b"{}")
    assert "besides or instead" in str(refused(twice))


def test_bombs_are_refused(good, tmp_path):
    parts = parts_of(good)
    parts["model.weights.h5"] = bytes(300_000_000)
    path = write(tmp_path / "bomb.keras", parts, kind=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2_000_000
    assert "absurd size" in str(refused(path, seconds=2))
    parts = parts_of(good)
    parts["easydl.json"] = b"[" * 9_000_000
    assert "absurd size" in str(refused(write(tmp_path / "long.keras", parts, resign=False), seconds=2))
    parts["easydl.json"] = b"[" * 200_000 + b"]" * 200_000
    assert "not as easydl writes it" in str(refused(write(tmp_path / "deep.keras", parts, resign=False), seconds=2))


def test_a_newer_schema_says_update(good, tmp_path):
    path = edited(good, tmp_path, lambda text: text.update(schema=3))
    error = refused(path)
    assert "newer easydl" in error.found
    assert "Update easydl" in error.do


def test_a_model_trained_on_volumes_in_the_order_of_their_files_is_refused(good, tmp_path):
    """Schema 1: before volumes were read in one orientation. For images nothing has changed."""
    assert load_network(edited(good, tmp_path, lambda text: text.update(schema=1))) is not None
    volumes = save_model(classifier("tiny3d", size=(16, 16, 16)), tmp_path / "volumes.keras")
    error = refused(edited(volumes, tmp_path, lambda text: text.update(schema=1)))
    assert "in one orientation" in error.found
    assert "Train it again" in error.do


ARGUMENTS = {
    "name": "tiny", "channels": 1, "size": [16, 16], "task": "classification", "heads": None, "covariates": None,
    "scaling": "imagenet", "seed": 0,
}  # fmt: skip


def test_the_arguments_below_are_those_of_the_good_file(good):
    assert json.loads(parts_of(good)["easydl.json"])["metadata"]["arguments"] == ARGUMENTS


@pytest.mark.parametrize(
    "change",
    [
        {"builder": "os.system"},
        {"surprise": 1},
        {"arguments": {"name": "tiny"}},
        {"arguments": ARGUMENTS | {"pretrained": "https://example.org/net.h5"}},
        {"arguments": ARGUMENTS | {"name": "no"}},
        {"arguments": ARGUMENTS | {"size": [10**9] * 2}},
        {"arguments": ARGUMENTS | {"size": "16"}},
        {"arguments": ARGUMENTS | {"seed": []}},
        {"arguments": ARGUMENTS | {"size": [17, 17]}},
        {"arguments": ARGUMENTS | {"heads": {"a": 2}}},
        {"arguments": ARGUMENTS | {"covariates": {"age": None}}},
        {"channels": 3},
        {"dimension": 3},
        {"task": "multilabel"},
        {"window": [5.0, 1.0]},
        {"classes": ["a"] * 2},
        {"classes": []},
        {"builder": "unet"},
    ],
)
def test_metadata_that_describe_no_network_of_ours_are_refused(good, tmp_path, change):
    assert "easydl.json" in str(refused(edited(good, tmp_path, lambda text: text["metadata"].update(change))))


def test_classes_and_weights_must_agree(good, tmp_path):
    path = edited(good, tmp_path, lambda text: text["metadata"].update(classes=["a", "b", "c"]))
    assert "names 3 classes, but its weights are for 2" in str(refused(path))


def test_hostile_hdf5_is_refused_before_it_is_read(good, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones((128, 2), "float32")

    def soft(file):
        file[LOGITS] = h5py.SoftLink("/layers/dense/vars/1")

    def external(file):
        file[LOGITS] = h5py.ExternalLink(str(secret), "x")

    def virtual(file):
        layout = h5py.VirtualLayout((128, 2), "float32")
        layout[:] = h5py.VirtualSource(str(secret), "x", (128, 2))
        file.create_virtual_dataset(LOGITS, layout)

    def outside(file):
        file.create_dataset(LOGITS, (128, 2), "float32", external=[(str(secret), 0, 1024)])

    def sparse(file):
        file.create_dataset(LOGITS, (128, 2), "float32", chunks=(128, 2))

    def huge(file):
        file.create_dataset(LOGITS, (10**6, 10**6), "float32", chunks=(1000, 1000))

    def packed(file):
        file.create_dataset(LOGITS, data=np.ones((128, 2), "float32"), compression="gzip")

    def double(file):
        file[LOGITS] = np.ones((128, 2), "float64")

    def texts(file):
        file[LOGITS] = [["a", "b"]] * 128

    def nan(file):
        file[LOGITS] = np.full((128, 2), np.nan, "float32")

    def loop(file):
        file["layers/again"] = file["layers"]

    def surplus(file):
        file[LOGITS] = np.ones((128, 2), "float32")
        file["optimizer/vars/0"] = np.ones(3, "float32")

    for change, word in {
        soft: "link",
        external: "link",
        virtual: "outside",
        outside: "outside",
        sparse: "not stored whole",
        huge: "not stored whole",
        packed: "not stored whole",
        double: "shape",
        texts: "no plain numbers",
        nan: "NaN",
        loop: "more than",
        surplus: "another network",
    }.items():

        def replaced(file, change=change):
            del file[LOGITS]
            change(file)

        assert word in str(refused(with_weights(good, tmp_path, replaced)))


def test_weights_that_are_no_hdf5_are_refused(good, tmp_path):
    assert "HDF5" in str(refused(write(tmp_path / "x.keras", parts_of(good) | {"model.weights.h5": b"pickle"})))


def test_a_lambda_in_the_config_is_never_looked_at(good, tmp_path, model):
    canary = tmp_path / "canary"
    evil = {"class_name": "Lambda", "config": {"function": f"__import__('pathlib').Path({str(canary)!r}).touch()"}}
    path = write(tmp_path / "evil.keras", parts_of(good) | {"config.json": json.dumps(evil).encode()})
    x = np.zeros((1, 16, 16, 1), "float32")
    np.testing.assert_array_equal(load_network(path)(x), model(x))
    assert not canary.exists()


def test_a_segmenter_keeps_its_patch_spacing_and_label_values(tmp_path):
    model = unet(classes=["background", "lung"], width=4)
    facts = {"patch": (64, 64), "max_side": 256, "label_values": (0, 7), "training": {"patients": 12}}
    attach(model, metadata_of(model).model_copy(update=facts))
    again = metadata_of(load_network(save_model(model, tmp_path / "u.keras")))
    assert {key: getattr(again, key) for key in facts} == facts
