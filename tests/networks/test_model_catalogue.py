"""Names, facts and arguments: what is refused, and in which words. No network is trained here."""

import subprocess
import sys

import numpy as np
import pytest

from easydl.errors import InputError
from easydl.networks import arguments
from easydl.networks.catalogue import ENTRIES, find, models


class Names(list):
    """Class names that know the study's images, as a Study hands them out."""

    def __init__(self, names, **facts):
        super().__init__(names)
        vars(self).update(facts)


def test_catalogue_is_a_table_with_one_row_per_network():
    table = models()
    assert list(table.columns) == [
        "name", "makes", "dimension", "parameters", "megabytes", "pretrained", "paper",
    ]  # fmt: skip
    assert list(table["name"]) == list(ENTRIES)
    assert (table["parameters"] > 0).all()
    assert (table["paper"].str.len() > 0).all()
    row = table.set_index("name").loc["resnet"]
    assert row["megabytes"] == 94.3
    assert row["pretrained"] == "imagenet"
    assert set(table.loc[table["dimension"] == 3, "name"]) == {"tiny3d", "unet3d"}


def test_weights_are_published_where_keras_has_them():
    """The file names, addresses and checksums, against keras.applications' own source."""
    from keras.src.applications import efficientnet, mobilenet, resnet

    hashes = {
        "resnet": resnet.WEIGHTS_HASHES["resnet50v2"][1],
        "efficientnet": efficientnet.WEIGHTS_HASHES["b0"][1],
    }
    bases = {
        "resnet": resnet.BASE_WEIGHTS_PATH,
        "efficientnet": efficientnet.BASE_WEIGHTS_PATH,
        "mobilenet": mobilenet.BASE_WEIGHT_PATH,
    }
    having = [entry for entry in ENTRIES.values() if entry.weights_file]
    assert len(having) == 6
    for entry in having:
        family = entry.name.split("_")[0]
        assert entry.weights_url == bases[family] + entry.weights_file
        assert entry.weights_md5 == hashes.get(family, "")
        assert entry.weights_url.startswith("https://")


def test_room_and_its_light_words_load_no_tensorflow():
    script = (
        "import sys\n"
        "from easydl.networks import load_model, save_model, recipe_of, set_window, models, Recipe\n"
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["vgg", "", "Resnet", None, 3])
def test_unknown_name_lists_the_choices(name):
    with pytest.raises(InputError, match="tiny3d") as caught:
        find(name, "classifier")
    assert "resnet" in caught.value.expected


def test_a_segmenter_is_no_classifier_and_says_what_to_call():
    with pytest.raises(InputError, match=r"easydl\.unet\(\)"):
        find("unet", "classifier")


@pytest.mark.parametrize(
    ("classes", "task", "names"),
    [
        (None, "classification", ("class 0", "class 1")),
        (None, "regression", ("class 0",)),
        (2, "segmentation", ("background", "class 1")),
        (np.int64(3), "multilabel", ("class 0", "class 1", "class 2")),
        (["abdomen", "chest"], "classification", ("abdomen", "chest")),
        ((0, 1), "classification", ("0", "1")),
    ],
)
def test_class_names(classes, task, names):
    assert arguments.class_names(classes, task) == names


@pytest.mark.parametrize(
    "classes", [1, 0, -4, 10**9, True, 2.0, "chest", ["only"], [], ["a", "a"], ["a", " "], {"a": 1, "b": 2}]
)
def test_bad_classes_are_refused(classes):
    with pytest.raises(InputError):
        arguments.class_names(classes, "classification")


@pytest.mark.parametrize(
    ("given", "classes", "channels"),
    [
        (None, 2, 1),
        (None, Names("ab", channels=3), 3),
        (4, Names("ab", channels=3), 4),
        (np.int32(2), None, 2),
    ],
)
def test_channels(given, classes, channels):
    assert arguments.channel_count(given, classes) == channels


@pytest.mark.parametrize("channels", [0, -1, 65, 1.0, True, "3"])
def test_bad_channels_are_refused(channels):
    with pytest.raises(InputError, match="1 to 64"):
        arguments.channel_count(channels, None)


@pytest.mark.parametrize(
    ("name", "given", "known", "size"),
    [
        ("resnet", None, None, (128, 128)),
        ("resnet", None, (64, 64), (64, 64)),
        ("resnet", None, (28, 28), (32, 32)),
        ("tiny", None, (28, 28), (28, 28)),
        ("tiny", None, (512, 440), (128, 128)),
        ("tiny", None, (60, 100), (100, 100)),
        ("tiny", None, (20, 64, 64), (128, 128)),
        ("tiny3d", None, (20, 64, 4), (20, 48, 8)),
        ("tiny", 65, (28, 28), (65, 65)),
        ("tiny", [65, np.int64(70)], None, (65, 70)),
    ],
)
def test_size(name, given, known, size):
    assert arguments.image_size(given, Names("ab", image_size=known), ENTRIES[name]) == size


@pytest.mark.parametrize("size", [31, 4097, 0, -5, (64,), (64, 64, 64), (64, 64.0), "64", (True, 64), {64: 64}])
def test_bad_sizes_are_refused(size):
    with pytest.raises(InputError, match="32 to 4096"):
        arguments.image_size(size, None, ENTRIES["resnet"])


def test_size_of_a_segmenter_must_fit_its_levels():
    assert arguments.grid_size(None, ENTRIES["unet3d"]) == (None, None, None)
    assert arguments.grid_size((32, 48, 32), ENTRIES["unet3d"]) == (32, 48, 32)
    with pytest.raises(InputError, match="Use 80 x 48"):
        arguments.grid_size((65, 48), ENTRIES["unet"])


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "0", None, True])
def test_bad_seed_is_refused(seed):
    with pytest.raises(InputError):
        arguments.seed_of(seed)


@pytest.mark.parametrize(
    ("name", "dimension", "advice"),
    [("resnet", 3, "tiny3d"), ("unet3d", 2, r"unet\("), ("tiny3d", 2, "resnet")],
)
def test_a_study_of_the_other_dimension_is_refused(name, dimension, advice):
    with pytest.raises(InputError, match=advice):
        arguments.fits_study(ENTRIES[name], Names("ab", dimension=dimension))
    arguments.fits_study(ENTRIES[name], Names("ab", dimension=5 - dimension))


@pytest.mark.parametrize("width", [0, 3, 6, 128, 16.0, "16"])
def test_bad_width_is_refused(width):
    from easydl.networks import unet

    with pytest.raises(InputError, match="multiple of 4"):
        unet(width=width)


def test_bad_task_is_refused():
    from easydl.networks import classifier

    with pytest.raises(InputError, match="multilabel"):
        classifier("tiny", task="segmentation")
