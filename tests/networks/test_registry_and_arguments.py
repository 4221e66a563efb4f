"""The registry, and the arguments of the builders: what is refused. No network is trained here."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from easydl.errors import InputError
from easydl.networks import arguments, pooling
from easydl.networks.cost import advice
from easydl.networks.listing import ENTRIES, find, models, names
from easydl.networks.registry import facts
from easydl.studies import StudySummary
from easydl.tasks import Task

pytestmark = pytest.mark.quick


def summary(task=Task.CLASSIFICATION, classes=("a", "b"), **facts):
    """What a builder is told of a study."""
    return StudySummary(task, classes, **facts)


def masks(**facts):
    return summary(Task.SEGMENTATION, ("background", "a"), **facts)


def test_the_registry_is_a_table_with_one_row_per_network():
    table = models()
    assert list(table.columns) == [
        "name", "kind", "dimension", "parameters", "megabytes", "gflops", "step", "pretrained", "paper",
    ]  # fmt: skip
    assert list(table["name"]) == list(ENTRIES)
    assert (table["parameters"] > 0).all()
    assert (table["gflops"] > 0).all()
    assert set(table["step"]) == {"light", "medium", "heavy"}
    assert all(entry.step > 0 for entry in ENTRIES.values())
    assert (table["paper"].str.len() > 0).all()
    row = table.set_index("name").loc["resnet"]
    assert row["megabytes"] == 94.3
    assert row["pretrained"] == "imagenet"
    assert table.set_index("name").loc["densenet121", "pretrained"] == "imagenet, radimagenet"
    assert set(facts()) == set(ENTRIES)


def test_the_registry_is_filtered():
    small = models(kind="classifier", dimension=2, pretrained="imagenet", at_most_megabytes=10)
    assert {"mobilenet_025", "mobilenetv3small"} <= set(small["name"])
    assert (small["megabytes"] <= 10).all()
    assert (small["pretrained"] == "imagenet").all()
    assert set(models(dimension=3, kind="segmenter")["name"]) >= {"unet3d"}
    assert set(models(pretrained="radimagenet")["name"]) == {
        "resnet50", "densenet121", "inceptionv3", "inceptionresnetv2", "resnet3d50", "densenet3d",
    }  # fmt: skip
    assert len(models(pretrained=True)) > len(models(pretrained="radimagenet"))
    light = models(cost="light")
    assert set(light["step"]) == {"light"}
    assert {"mobilenetv2", "squeezenet"} <= set(light["name"])
    assert models(kind="segmenter", at_most_megabytes=0.001).empty


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "detector"}, {"dimension": 4}, {"pretrained": "cifar"}, {"cost": "cheap"}, {"pretrained": False}],
)
def test_unknown_filters_are_refused(wrong):
    with pytest.raises(InputError, match="one of"):
        models(**wrong)


def test_other_names_find_the_same_network():
    assert find("resnet50v2", "classifier").name == "resnet"
    assert find("efficientnet", "classifier").name == "efficientnetb0"
    every = [name for entry in ENTRIES.values() for name in (entry.name, *entry.also)]
    assert len(set(every)) == len(every)


def test_weights_are_published_where_keras_has_them():
    """The addresses, against keras.applications' own source; file and checksum are asked of it by the script."""
    from keras.src.applications import convnext, efficientnet, resnet

    assert ENTRIES["resnet"].weights_hash == resnet.WEIGHTS_HASHES["resnet50v2"][1]
    assert ENTRIES["efficientnetb3"].weights_hash == efficientnet.WEIGHTS_HASHES["b3"][1]
    assert ENTRIES["convnextbase"].weights_hash == convnext.WEIGHTS_HASHES["convnext_base"][1]
    having = [entry for entry in ENTRIES.values() if entry.weights_file and entry.name != "efficientnetlite0"]
    assert {entry.name for entry in having} == {
        entry.name for entry in ENTRIES.values() if entry.application and not entry.inflates
    }
    for entry in having:
        assert entry.weights_url.startswith("https://storage.googleapis.com/")
        assert (
            len(entry.weights_hash) in (32, 64)
            or entry.name.startswith(("mobilenet_", "mobilenetv2"))
            or (entry.name == "mobilenet")
        )


@pytest.mark.parametrize(
    ("name", "images", "pretrained", "expected"),
    [
        ("resnet", 80, False, "23.6 million parameters and 80 training images"),
        ("resnet", 80, True, ""),
        ("resnet", 30, True, "densenet121 is smaller"),
        ("resnet", 8, True, "efficientnetlite0 is smaller"),
        ("tiny", 80, False, ""),
        ("tiny", 12, False, "no smaller network"),
        ("resnet3d34", 200, False, "tiny3d is smaller"),
        ("unet3d", 200, False, ""),
    ],
)
def test_a_network_that_is_too_large_for_the_data_is_said_so(name, images, pretrained, expected):
    text = advice(ENTRIES[name], images, pretrained=pretrained)
    assert re.search(expected, text) if expected else text == ""
    if text:
        better = re.search(r"(\w+) is smaller", text)
        assert better is None or ENTRIES[better.group(1)].parameters < ENTRIES[name].parameters


def test_names_that_need_no_tensorflow_do_not_load_it():
    script = (
        "import sys\n"
        "from easydl.networks import load_network, save_model, metadata_of, set_window, models, ModelMetadata\n"
        "assert not {'tensorflow', 'keras', 'h5py'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["vgg11", "", "Resnet", None, 3])
def test_unknown_name_lists_the_choices(name):
    with pytest.raises(InputError, match="tiny3d") as caught:
        find(name, "classifier")
    assert "resnet" in caught.value.expected


def test_a_segmenter_is_not_a_classifier_and_says_what_to_call():
    with pytest.raises(InputError, match=r'easydl\.segmenter\("unet"\)'):
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
    assert arguments.class_names(classes, Task(task)) == names


@pytest.mark.parametrize(
    "classes", [1, 0, -4, 10**9, True, 2.0, "chest", ["only"], [], ["a", "a"], ["a", " "], {"a": 1, "b": 2}]
)
def test_bad_classes_are_refused(classes):
    with pytest.raises(InputError):
        arguments.class_names(classes, Task.CLASSIFICATION)


@pytest.mark.parametrize(
    ("given", "study", "channels"),
    [
        (None, None, 1),
        (None, summary(channels=3), 3),
        (4, summary(channels=3), 4),
        (np.int32(2), None, 2),
    ],
)
def test_channels(given, study, channels):
    assert arguments.channel_count(given, study) == channels


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
    assert arguments.image_size(given, summary(image_size=known), ENTRIES[name]) == size


@pytest.mark.parametrize("size", [31, 4097, 0, -5, (64,), (64, 64, 64), (64, 64.0), "64", (True, 64), {64: 64}])
def test_bad_sizes_are_refused(size):
    with pytest.raises(InputError, match="32 to 4096"):
        arguments.image_size(size, None, ENTRIES["resnet"])


def test_size_of_a_segmenter_must_fit_its_levels():
    assert arguments.grid_size(None, ENTRIES["unet3d"]) == (None, None, None)
    assert arguments.grid_size((32, 48, 32), ENTRIES["unet3d"]) == (32, 48, 32)
    with pytest.raises(InputError, match="Use 80 x 48"):
        arguments.grid_size((65, 48), ENTRIES["unet"])


@pytest.mark.parametrize(
    ("name", "given", "known", "levels"),
    [
        ("unet3d", None, None, 3), ("unet3d", None, (36, 50, 35), 3), ("unet3d", None, (20, 512, 512), 2),
        ("unet3d", None, (128, 128, 128), 4), ("unet3d", 5, (36, 50, 35), 5), ("unet", None, None, 4),
        ("unet", None, (512, 512), 4), ("unet", None, (40, 60), 3), ("unet", None, (8, 8), 2),
    ],
)  # fmt: skip
def test_levels_follow_the_images(name, given, known, levels):
    from easydl.networks import metadata_of, segmenter

    study = masks(image_size=known, dimension=ENTRIES[name].dimension)
    assert pooling.pooling_strides(given, study, ENTRIES[name]) == ((2,) * ENTRIES[name].dimension,) * levels
    model = segmenter(name, study, levels=given, width=4)
    assert metadata_of(model).multiple == 2**levels
    assert f"down{levels}_pool" in {layer.name for layer in model.layers}


FINE, ALL = (1, 2, 2), (2, 2, 2)


@pytest.mark.parametrize(
    ("size", "spacing_mm", "strides"),
    [
        ((20, 512, 512), (5.0, 0.5, 0.5), (FINE, FINE, FINE, ALL)),
        ((22, 320, 280), (6.5, 0.7, 0.7), (FINE, FINE, FINE, ALL)),
        ((40, 256, 256), (2.5, 1.0, 1.0), (FINE, ALL, ALL, ALL)),
        ((256, 256, 24), (1.0, 1.0, 4.0), ((2, 2, 1), ALL, ALL, (2, 2, 1))),
        ((5, 12, 12), (5.0, 1.0, 1.0), (FINE, FINE)),
        ((36, 50, 35), (1.0, 1.0, 1.0), (ALL, ALL, ALL)),
    ],
)
def test_thick_slices_are_downsampled_later(size, spacing_mm, strides):
    from easydl.networks import metadata_of, unet3d

    study = masks(image_size=size, spacing_mm=spacing_mm, dimension=3)
    assert pooling.pooling_strides(None, study, ENTRIES["unet3d"]) == strides
    model = unet3d(study, width=4)
    assert [tuple(model.get_layer(f"down{k + 1}_pool").pool_size) for k in range(len(strides))] == list(strides)
    assert metadata_of(model).multiples == tuple(np.prod(strides, axis=0))
    small = [2 * multiple for multiple in metadata_of(model).multiples]
    assert model(np.zeros((1, *small, 1), "float32")).shape == (1, *small, 2)


def test_a_list_of_strides_is_taken_as_it_is():
    from easydl.networks import metadata_of, unet3d

    model = unet3d(levels=[FINE, [2, 2, 2]], size=(6, 8, 12), width=4)
    assert metadata_of(model).multiples == (2, 4, 4)
    with pytest.raises(InputError, match="Use 8 x 8 x 12"):
        unet3d(levels=[FINE, ALL], size=(7, 8, 12))
    with pytest.raises(InputError, match="deep_supervision"):
        unet3d(levels=2, deep_supervision=True)


@pytest.mark.parametrize(
    "levels", [0, 1, 6, 2.0, True, "3", [], [ALL], [(2, 2)] * 3, [(1, 1, 1)] * 2, [(3, 2, 2)] * 2, [2, 2]]
)
def test_bad_levels_are_refused(levels):
    from easydl.networks import segmenter

    with pytest.raises(InputError, match="from 2 to 5"):
        pooling.pooling_strides(levels, None, ENTRIES["unet3d"])
    with pytest.raises(InputError, match="unet or unet3d"):
        segmenter("fcn", levels=3)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "0", None, True])
def test_bad_seed_is_refused(seed):
    with pytest.raises(InputError):
        arguments.integer("seed", seed)


@pytest.mark.parametrize(
    ("name", "dimension", "advice"),
    [("resnet", 3, "resnet3d18"), ("unet3d", 2, r"unet\("), ("tiny3d", 2, "resnet")],
)
def test_a_study_of_the_other_dimension_is_refused(name, dimension, advice):
    with pytest.raises(InputError, match=advice):
        arguments.fits_study(ENTRIES[name], summary(dimension=dimension))
    arguments.fits_study(ENTRIES[name], summary(dimension=5 - dimension))


@pytest.mark.parametrize("width", [0, 3, 6, 128, 16.0, "16"])
def test_bad_width_is_refused(width):
    with pytest.raises(InputError, match="multiple of 4"):
        arguments.integer("width", width)


def test_bad_task_is_refused():
    from easydl.networks import classifier

    with pytest.raises(InputError, match="multilabel"):
        classifier("tiny", task="segmentation")
    with pytest.raises(InputError, match="either `heads`"):
        classifier("tiny", heads={"a": 2}, task="multilabel")
    with pytest.raises(InputError, match="either `heads`"):
        classifier("tiny", heads={"a": 2}, classes=3)


@pytest.mark.parametrize(
    "heads", [{}, [("a", 2)], {"a": 0}, {"a": ["x", "x"]}, {"": 2}, {3: 2}, {"a b": 2, "a-b": 2}, {"a": True}]
)
def test_bad_heads_are_refused(heads):
    with pytest.raises(InputError):
        arguments.head_classes(heads)


def test_covariates_are_looked_up_in_the_study():
    study = summary(covariates={"age": None, "sex": ("F", "M")})
    age, sex = arguments.covariate_columns(["age", "sex"], study)
    assert (age.name, age.categories, age.width) == ("age", None, 2)
    assert (sex.name, sex.categories, sex.width) == ("sex", ("F", "M"), 2)
    assert arguments.covariate_columns(["age"], None)[0].categories is None
    assert arguments.covariate_columns({"sex": ["F", "M"]}, None)[0].categories == ("F", "M")
    assert arguments.covariate_columns(None, study) == arguments.covariate_columns([], study) == ()
    with pytest.raises(InputError, match="age, sex"):
        arguments.covariate_columns(["weight"], study)


@pytest.mark.parametrize(
    "covariates", ["age", 3, ["age", "age"], {"sex": ["F"]}, {"sex": "FM"}, {"": None}, {"sex": ["F", "F"]}, [3]]
)
def test_bad_covariates_are_refused(covariates):
    with pytest.raises(InputError):
        arguments.covariate_columns(covariates, None)


def test_builders_take_what_they_need_of_a_study():
    from easydl.networks import classifier, image_to_image, metadata_of, unet

    films = summary(channels=3, image_size=(40, 60), covariates={"sex": ("F", "M")})
    model = classifier("tiny", films, covariates=["sex"])
    assert model.input["image"].shape == (None, 60, 60, 3)
    assert metadata_of(model).covariates[0].categories == ("F", "M")
    values = summary(Task.REGRESSION, ("size_mm",))
    assert metadata_of(classifier("tiny", values, size=32)).task.is_value
    several = summary(Task.MULTITASK, ("cancer", "size_mm"), heads={"cancer": ("no", "yes"), "size_mm": 1})
    assert metadata_of(classifier("tiny", several, size=32)).heads["cancer"].classes == ("no", "yes")
    lungs = masks(channels=2, image_size=(40, 60), label_values=(0, 255))
    facts = metadata_of(unet(lungs, classes=["a", "background"], width=4))
    assert (facts.channels, facts.label_values, facts.multiple) == (2, (255, 0), 8), "values follow their classes"
    assert metadata_of(image_to_image("autoencoder", films, width=4)).channels == 3
    plain = metadata_of(classifier("tiny", classes=["a", "b"]))
    assert (plain.channels, plain.size) == (1, (128, 128)), "a list of names says nothing else"


SMALL = {"classifier": "tiny", "segmenter": "unet", "image_to_image": "autoencoder"}


@pytest.mark.parametrize(
    ("builder", "study", "options"),
    [
        ("classifier", summary(), {"task": "ordinal"}),
        ("classifier", summary(), {"classes": ["a", "c"]}),
        ("classifier", summary(), {"classes": 3}),
        ("classifier", summary(), {"heads": {"a": 2}}),
        ("classifier", summary(Task.MULTITASK, ("x",), heads={"x": ("a", "b")}), {"classes": ["a", "b"]}),
        ("classifier", summary(Task.MULTITASK, ("x",), heads={"x": ("a", "b")}), {"heads": {"y": 2}}),
        ("classifier", masks(), {}),
        ("classifier", ["a", "b"], {}),
        ("segmenter", summary(), {}),
        ("segmenter", masks(), {"classes": ["background", "b"]}),
        ("segmenter", masks(dimension=3), {}),
        ("image_to_image", masks(dimension=3), {}),
    ],
)
def test_what_contradicts_the_study_is_refused(builder, study, options):
    import easydl

    with pytest.raises(InputError) as caught:
        getattr(easydl, builder)(SMALL[builder], study, **options)
    assert caught.value.found and caught.value.expected and caught.value.do


def test_the_page_of_coverage_names_networks_that_exist():
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text("utf-8")
    named = set(re.findall(r'`(classifier|segmenter|image_to_image)\("(\w+)"', page))
    assert len(named) > 40
    for kind, name in named:
        assert find(name, kind).name == name
    for kind in ("segmenter", "image_to_image"):
        assert {name for one, name in named if one == kind} == set(names(kind))
