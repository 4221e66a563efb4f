"""One contract for every network in the catalogue: shape, learning, flat graph, heatmap, channels, sizes, files.

Each network is built once, small and for one channel, and handed from test to test. What a test changes it puts back.
"""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import easydl
from easydl.explanation.gradcam import Network
from easydl.images import Scan
from easydl.networks import backbone_layers, classifier, load_model, metadata_of, save_model, set_window
from easydl.networks.cost import operations
from easydl.networks.registry import ENTRIES
from easydl.prediction.image_to_image import reconstruct
from easydl.prediction.segmentation import segment

# All tests of one network run in one process, which builds it once (pytest -n 2 --dist loadgroup).
NAMES = [pytest.param(name, marks=pytest.mark.xdist_group(f"contract-{name}")) for name in ENTRIES]
# The graph of these differs from a brother's only in how wide or deep it is.
BROTHERS = {
    "resnet34", "resnet101v2", "densenet169", "densenet201", "vgg19", "mobilenet_075", "mobilenet_050", "mobilenetv2_140",
    "mobilenetv2_130", "mobilenetv2_075", "mobilenetv2_050", "mobilenetv3large", "convnextsmall", "convnextbase",
    "resnet3d18", "resnet3d34", *(f"efficientnetb{k}" for k in range(1, 8)), *(f"efficientnetv2b{k}" for k in (1, 2, 3)),
    "efficientnetv2s", "efficientnetv2m", "efficientnetv2l", "tiramisu103",
}  # fmt: skip
FAMILIES = [one for one in NAMES if one.values[0] not in BROTHERS]
# The sizes of the dense layers of these two follow the image.
SIZED = {"alexnet", "lenet"}


def odd(entry) -> tuple[int, ...]:
    """The smallest sensible size, but odd and with unequal sides."""
    side = max(entry.smallest, 32 if entry.dimension == 2 else 16)
    return (side + 1, side + 6, side + 3)[: entry.dimension]


def build(name: str, **options) -> keras.Model:
    """A small network; classifiers for an odd size. The others take any size: see what `outline` pads."""
    entry = ENTRIES[name]
    if entry.kind == "classifier":
        return classifier(name, **{"size": odd(entry), "classes": 3} | options)
    if entry.kind == "segmenter":
        options = {"classes": 3} | options
    return getattr(easydl, entry.kind)(name, **{"width": 8} | options)


def side_of(name: str) -> int:
    entry = ENTRIES[name]
    return -(-(32 if entry.dimension == 2 else 16) // entry.multiple) * entry.multiple


def batch(model: keras.Model, n: int = 2, seed: int = 0) -> np.ndarray:
    shape = [side or side_of(model.name) for side in model.input_shape[1:-1]]
    return np.random.default_rng(seed).uniform(0, 255, (n, *shape, model.input_shape[-1])).astype("float32")


def call(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(model(x, training=False))


def without_dropout(model: keras.Model) -> keras.Model:
    for layer in model._flatten_layers():
        if hasattr(layer, "rate") and "ropout" in type(layer).__name__:
            layer.rate = 0.0
    return model


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected_between_networks():
    """A network is hundreds of thousands of objects: looking them through again and again takes a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture(scope="module", params=NAMES)
def network(request) -> keras.Model:
    keras.backend.clear_session()
    return build(request.param)


STRANGER = """
import gc, sys; sys.modules["easydl"] = None
import keras, numpy as np
gc.disable()
for path in sys.stdin:
    keras.backend.clear_session()
    model = keras.models.load_model(path.strip() + ".keras")
    x = np.load(path.strip() + ".npy")
    np.save(path.strip() + ".answer.npy", np.asarray(model(x, training=False)))
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def stranger():
    """A fresh process that knows Keras and no easydl: it opens a file and says what the model makes of an input."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as elsewhere:
        process = subprocess.Popen(
            [sys.executable, "-c", STRANGER], env=environment, cwd=elsewhere, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip

        def ask(path: Path, x: np.ndarray) -> np.ndarray:
            name = path.with_suffix("")
            np.save(f"{name}.npy", x)
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            while (said := process.stdout.readline().strip()) != "done":
                log.seek(0)
                assert said or process.poll() is None, log.read()[-2000:]
            return np.load(f"{name}.answer.npy")

        yield ask
        process.stdin.close()
        assert process.wait(60) == 0


def test_gives_an_answer_of_the_right_shape_and_range(network):
    entry = ENTRIES[network.name]
    x = batch(network)
    y = call(network, x)
    assert y.shape == (2, *(() if entry.kind == "classifier" else x.shape[1:-1]), len(metadata_of(network).classes))
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    if entry.kind != "image_to_image":
        assert y.min() >= 0
        np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)


def test_is_flat_and_made_of_named_built_in_layers(network):
    kinds = {type(layer) for layer in network.layers}
    assert not any(issubclass(kind, keras.Model) for kind in kinds)
    assert not any("Lambda" in kind.__name__ for kind in kinds)
    assert network.operations == network.layers, "operators have no place in the graph"
    assert all(kind.__module__.startswith("keras.src.layers") for kind in kinds), kinds
    names = [layer.name for layer in network.layers]
    assert names[:3] == ["image", "window", "clip"]
    if ENTRIES[network.name].kind != "image_to_image":
        assert names[-2:] == ["logits", "probability"]
    if ENTRIES[network.name].kind == "classifier":
        assert names[-4:-2] == ["features", "dropout"]


def test_has_the_cost_that_the_catalogue_says(network):
    entry = ENTRIES[network.name]
    if entry.kind == "classifier":
        model = classifier(entry.name) if entry.name in SIZED else network
        layers = backbone_layers(model)
    else:
        model = getattr(easydl, entry.kind)(entry.name)
        layers = model.layers
    assert sum(layer.count_params() for layer in layers) == entry.parameters
    assert entry.gflops > 0


def test_a_heatmap_shows_something(network, monkeypatch):
    entry = ENTRIES[network.name]
    if entry.kind == "image_to_image":
        pytest.skip("a translator's image is its own explanation")
    x = batch(network, 1)
    size, outlines = x.shape[1:-1], entry.kind == "segmenter"
    explained = Network(network, size, segmenter=outlines, softmax=True)
    # Compiling takes seven times as long as drawing. A brother's graph is compiled.
    monkeypatch.setattr(explained, "_cam", explained._run_cam if network.name in BROTHERS else explained._cam)
    region = np.ones((1, *size) if outlines else (1,), "float32")
    # An untrained network may answer with a constant; one of its draws does not.
    assert any(
        explained.cam(x, target, region, weights)[0].max() > 0
        for weights in map(explained.random_weights, range(3))
        for target in range(3)
    ), explained.layer


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
        y = np.random.default_rng(1).integers(0, 3, (1, *size)).repeat(4, 0)
        y[0] = (y[0] + 1) % 3

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


def test_opens_again_in_easydl_and_in_a_fresh_process_without_it(network, stranger, tmp_path):
    set_window(network, (-10.0, 300.0), "HU")
    path = save_model(network, tmp_path / f"{network.name}.keras")
    x = batch(network)
    known = call(network, x)
    most = max(1.0, float(np.abs(known).max()))
    np.testing.assert_allclose(stranger(path, x), known, rtol=0, atol=1e-6 * most)
    if network.name not in BROTHERS:
        again = load_model(path)
        np.testing.assert_allclose(call(again, x), known, rtol=0, atol=1e-6 * most)
        assert metadata_of(again) == metadata_of(network).model_copy(update={"easydl": metadata_of(again).easydl})
    # Half a gigabyte for the largest of them.
    path.unlink()
    set_window(network, (0.0, 255.0), "0-255")


@pytest.mark.parametrize("name", FAMILIES)
def test_takes_three_or_five_channels_and_scans_of_odd_sizes(name):
    """One channel is what every other test gives it."""
    entry = ENTRIES[name]
    size = odd(entry) if entry.kind == "classifier" else (side_of(name) + 1, side_of(name) + 6, side_of(name) + 3)
    size = size[: entry.dimension]
    keras.backend.clear_session()
    for channels in (3, 5):
        model = without_dropout(build(name, channels=channels))
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


@pytest.mark.parametrize("name", ["mobilenet_025", "tiny", "tiny3d", "unet", "unet3d"])
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


# Published counts of numbers to learn, with the head of the paper: (name, size, channels, classes, count, ours more).
PUBLISHED = [
    ("resnet18", 224, 3, 1000, 11_689_512, 0),  # He 2016, as torchvision counts
    ("resnet34", 224, 3, 1000, 21_797_672, 0),
    ("squeezenet", 224, 3, 1000, 1_235_496, 0),  # version 1.1, as torchvision counts
    ("lenet", 32, 1, 10, 61_706, 0),
    ("alexnet", 227, 3, 1000, 62_378_344, 2 * (96 + 256)),  # one column, and batch for response normalisation
    ("nin", 32, 3, 10, 966_986, 2 * (96 + 192 + 192)),  # batch normalisation
    ("vgg16", 224, 3, 1000, 14_714_688 + 513_000, 0),  # Simonyan 2015 without its dense layers
    ("densenet121", 224, 3, 1000, 7_978_856, 0),
    ("mobilenetv2", 224, 3, 1000, 3_504_872, 0),
    ("convnexttiny", 224, 3, 1000, 28_589_128, 0),  # Liu 2022: 28.6 million
]


@pytest.mark.parametrize(("name", "size", "channels", "classes", "count", "more"), PUBLISHED)
def test_has_the_published_number_of_parameters(name, size, channels, classes, count, more):
    model = classifier(name, size=size, channels=channels, classes=classes)
    assert sum(weight.numpy().size for weight in model.trainable_weights) == count + more


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
