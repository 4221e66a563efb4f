"""One contract for every network: shape, flat graph, cost, learning, heatmap, channels, sizes, files.

All networks are built once, small and for one channel, and handed from test to test. By default families are built,
learn and explain, and one network per kind of layer is saved and opened; those that differ from another in width or depth
only, and the rest, are for --everything. What a test changes it
puts back.
"""

import gc
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract_networks import (
    FAMILIES,
    FILES,
    KINDS,
    LEARNING,
    NETWORKS,
    ONLY_IN_LARGE,
    QUICK,
    SIZED,
    VARIANTS,
    batch,
    build,
    call,
    cases,
    odd,
    side_of,
    without_dropout,
)

from easydl.explanation.gradcam import Network
from easydl.images import Scan
from easydl.networks import backbone_layers, classifier, load_network, metadata_of, save_model, set_window
from easydl.networks.cost import operations
from easydl.networks.registry import ENTRIES
from easydl.prediction.image_to_image import reconstruct
from easydl.prediction.segmentation import segment


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected_between_networks():
    """A network is hundreds of thousands of objects: looking them through again and again takes a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture(scope="module")
def network(request) -> keras.Model:
    keras.backend.clear_session()
    name, options = NETWORKS[request.param]
    return build(name, **options)


@cases(FAMILIES, QUICK)
def test_has_outputs_of_the_right_shape_and_range(network):
    entry, metadata = ENTRIES[network.name], metadata_of(network)
    size = () if entry.kind == "classifier" else network.input_shape[1:-1]
    assert network.output_shape == (None, *size, len(metadata.classes))
    if entry.name in VARIANTS:
        return  # The values are those of another network's layers.
    x = batch(network)
    y = call(network, x)
    assert y.shape == (2, *(() if entry.kind == "classifier" else x.shape[1:-1]), len(metadata.classes))
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    if entry.kind != "image_to_image":
        assert y.min() >= 0
        np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)


@cases(FAMILIES, QUICK)
def test_is_flat_and_made_of_named_built_in_layers(network):
    kinds = {type(layer) for layer in network.layers}
    assert not any(issubclass(kind, keras.Model) for kind in kinds)
    assert {kind.__name__ for kind in kinds} <= KINDS | ONLY_IN_LARGE
    assert network.operations == network.layers, "operators have no place in the graph"
    assert all(kind.__module__.startswith("keras.src.layers") for kind in kinds), kinds
    names = [layer.name for layer in network.layers]
    assert names[:3] == ["image", "window", "clip"]
    if ENTRIES[network.name].kind == "image_to_image":
        assert names[-1] == "image_out"
    else:
        assert names[-2:] == ["logits", "probability"]
    if ENTRIES[network.name].kind == "classifier":
        assert names[-4:-2] == ["features", "dropout"]


@cases(FAMILIES, QUICK)
def test_has_the_cost_that_the_registry_says(network):
    entry = ENTRIES[network.name]
    model = classifier(entry.name) if entry.name in SIZED else network
    layers = backbone_layers(model) if entry.kind == "classifier" else model.layers
    assert sum(layer.count_params() for layer in layers) == entry.parameters
    assert entry.gflops > 0


@cases({name for name in LEARNING if ENTRIES[NETWORKS[name][0]].kind != "image_to_image"})
def test_a_heatmap_shows_something(network, monkeypatch):
    entry = ENTRIES[network.name]
    if entry.kind == "image_to_image":
        pytest.skip("the image of an image-to-image model is its own explanation")
    x = batch(network, 1)
    size, segments = x.shape[1:-1], entry.kind == "segmenter"
    explained = Network(network, size, segmenter=segments, softmax=True)
    if network.name in FAMILIES:  # compiling takes seven times as long as drawing; a variant's graph is compiled

        def drawn(run, types, given, weights):
            tensors = [tf.constant(one, kind.dtype) for one, kind in zip(given, types, strict=True)]
            return run(*tensors, *([] if weights is None else [weights]))

        monkeypatch.setattr(explained, "_call", drawn)
    region = np.ones((1, *size) if segments else (1,), "float32")
    # An untrained network may have constant outputs; one of its draws does not.
    assert any(
        explained.cam(x, target, region, weights)[0].max() > 0
        for weights in map(explained.random_weights, range(3))
        for target in range(len(metadata_of(network).classes))
    ), explained.layer


@cases(LEARNING, QUICK)
def test_one_step_down_the_gradient_lowers_the_loss(network):
    model, entry = network, ENTRIES[network.name]
    statistics = [weight.numpy().copy() for weight in model.non_trainable_weights]
    rates = [(layer, layer.rate) for layer in model.layers if "ropout" in type(layer).__name__]
    without_dropout(model)
    x = batch(model, 4)
    if entry.kind == "image_to_image":
        # Some start as the identity, to which the image itself would teach nothing.
        y = 255.0 - x

        def loss() -> tf.Tensor:
            return tf.reduce_mean(tf.square(model(x, training=False) - y)) / 255.0**2
    else:
        size = () if entry.kind == "classifier" else x.shape[1:-1]
        count = len(metadata_of(model).classes)
        y = np.random.default_rng(1).integers(0, count, (1, *size)).repeat(4, 0)
        y[0] = (y[0] + 1) % count

        def loss() -> tf.Tensor:
            return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))

    with tf.GradientTape() as tape:
        before = loss()
    variables = [weight.value for weight in model.trainable_weights]
    gradients = tape.gradient(before, variables)
    assert all(gradient is not None for gradient in gradients)
    norm = tf.linalg.global_norm(gradients)
    assert float(norm) > 0
    # Batch statistics of four small images make a rough landscape: the step may have to be short.
    gone, lower = 0.0, False
    for length in (1e-3, 1e-4, 1e-5):
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.assign_sub((length - gone) * gradient / norm)
        gone, lower = length, float(loss()) < float(before)
        if lower:
            break
    assert lower
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_add(gone * gradient / norm)
    for weight, value in zip(model.non_trainable_weights, statistics, strict=True):
        weight.assign(value)
    for layer, rate in rates:
        layer.rate = rate


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    """The file of a network with a window of its own, what it makes of an input, and its metadata then."""
    set_window(network, (-10.0, 300.0), "HU")
    path = save_model(network, tmp_path_factory.mktemp("saved") / f"{network.name}.keras")
    x = batch(network)
    yield path, x, call(network, x), metadata_of(network)
    # Half a gigabyte for the largest of them.
    path.unlink()
    set_window(network, (0.0, 255.0), "0-255")


# What travels in other ways: a state beside the weights, activations with weights, noise.
@cases(QUICK | {"efficientnetb0", "vnet", "variational_autoencoder"}, QUICK)
def test_opens_again_in_easydl(saved):
    path, x, known, metadata = saved
    again = load_network(path)
    np.testing.assert_allclose(call(again, x), known, rtol=0, atol=1e-6 * max(1.0, float(np.abs(known).max())))
    assert metadata_of(again) == metadata.model_copy(update={"easydl": metadata_of(again).easydl})


@cases(FILES)
def test_opens_in_a_fresh_process_without_easydl(saved, fresh_process):
    path, x, known, _ = saved
    most = max(1.0, float(np.abs(known).max()))
    np.testing.assert_allclose(fresh_process(path, x), known, rtol=0, atol=1e-6 * most)


# Colours, mixing, own first convolutions, inflated ones: the ways to take channels. The others share them.
BY_CHANNELS = {"tiny", "lenet", "mobilenet_025", "tiny3d", "unet", "segnet", "unet3d"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[pytest.mark.xdist_group(f"contract-{name}")] + [pytest.mark.everything] * (name not in BY_CHANNELS),
        )
        for name in ENTRIES
        if name in FAMILIES
    ],
)
def test_takes_three_or_five_channels_and_scans_of_odd_sizes(name):
    """One channel is what every other test gives it."""
    entry = ENTRIES[name]
    size = odd(entry) if entry.kind == "classifier" else (side_of(name) + 1, side_of(name) + 6, side_of(name) + 3)
    size = size[: entry.dimension]
    keras.backend.clear_session()
    for channels in (3, 5):
        options = {} if entry.kind == "classifier" else {"width": 8}
        model = without_dropout(build(name, channels=channels, **options))
        assert metadata_of(model).channels == channels
        x = batch(model, 2)
        changed = x.copy()
        changed[..., -1] = 255 - changed[..., -1]
        # With the statistics of the batch: an untrained MobileNet lets next to nothing through with its own.
        y = np.asarray(model(np.concatenate([x, changed]), training=True))
        assert y.shape[-1] == len(metadata_of(model).classes)
        assert np.abs(y[:2] - y[2:]).max() > 1e-6, "the last channel is looked at"
        if entry.kind == "classifier":
            assert metadata_of(model).size == size
        else:
            scan = Scan(np.random.default_rng(2).uniform(0, 255, (*size, channels)).astype("float32"), "0-255")
            made = segment if entry.kind == "segmenter" else reconstruct
            answer = made(
                lambda patch, model=model: call(model, patch), model.input_shape[1:-1], metadata_of(model), scan
            )
            answer = getattr(answer, "array", np.asarray(answer)[..., None])
            assert answer.shape == (*size, channels if entry.kind == "image_to_image" else 1)
            assert np.isfinite(answer).all()


@pytest.mark.parametrize("name", ["mobilenet_025", "tiny", "unet3d"])
def test_seed_settles_the_weights_and_leaves_the_callers_alone(name):
    import random

    random.seed(5)
    np.random.seed(5)
    keras.utils.set_random_seed(5)
    expected = (random.random(), np.random.rand(), float(tf.random.uniform(())))
    keras.utils.set_random_seed(5)
    one = build(name, seed=3)
    assert (random.random(), np.random.rand(), float(tf.random.uniform(()))) == expected
    two, other = build(name, seed=3), build(name, seed=4)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


# Published counts of trainable parameters, with the head of the paper: (name, size, channels, classes, count, ours more).
PUBLISHED = [
    ("resnet18", 32, 3, 1000, 11_689_512, 0),  # He 2016, as torchvision counts
    ("resnet34", 32, 3, 1000, 21_797_672, 0),
    ("squeezenet", 32, 3, 1000, 1_235_496, 0),  # version 1.1, as torchvision counts
    ("lenet", 32, 1, 10, 61_706, 0),
    ("alexnet", 227, 3, 1000, 62_378_344, 2 * (96 + 256)),  # one column, and batch for response normalisation
    ("nin", 32, 3, 10, 966_986, 2 * (96 + 192 + 192)),  # batch normalisation
    (
        "googlenet",
        32,
        3,
        1000,
        6_998_552,
        7_280,
    ),  # as its authors' file for Caffe, without the auxiliary classifiers; normalised
    ("convnexttiny", 32, 3, 1000, 28_589_128, 0),  # Liu 2022: 28.6 million
    ("efficientnetlite0", 32, 3, 1000, 4_652_008, 0),  # as timm counts
]
# The graphs of these are Keras' own, but for the last.
PUBLISHED_WITH_EVERYTHING = [
    ("vgg16", 32, 3, 1000, 14_714_688 + 513_000, 0),  # Simonyan 2015 without its dense layers
    ("densenet121", 32, 3, 1000, 7_978_856, 0),
    ("mobilenetv2", 32, 3, 1000, 3_504_872, 0),
    ("inceptionv4", 75, 3, 1000, 42_679_816, 0),  # ours, and large: as timm counts
]


@pytest.mark.parametrize(
    ("name", "size", "channels", "classes", "count", "more"),
    [*PUBLISHED, *(pytest.param(*one, marks=pytest.mark.everything) for one in PUBLISHED_WITH_EVERYTHING)],
)
def test_has_the_published_number_of_parameters(name, size, channels, classes, count, more):
    model = classifier(name, size=size, channels=channels, classes=classes)
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == count + more


def test_operations_are_those_that_tensorflow_counts():
    """TensorFlow's own profiler is the oracle; it also counts what costs next to nothing."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    for name in ("tiny", "mobilenet_025", "squeezenet", "tiny3d"):
        model = classifier(name, size=48 if name != "tiny3d" else 16)
        signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
        frozen = convert_variables_to_constants_v2(tf.function(model).get_concrete_function(signature))
        with tf.Graph().as_default() as graph:
            tf.graph_util.import_graph_def(frozen.graph.as_graph_def(), name="")
            options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
            options["output"] = "none"
            counted = tf.compat.v1.profiler.profile(graph, options=options).total_float_ops
        assert 0.9 < operations(model) / counted <= 1.0, name
