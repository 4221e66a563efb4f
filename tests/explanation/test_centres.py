"""Where the points of maps lie: arithmetic by hand, and a planted point."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

import easydl
from easydl.explanation.centres import Centres, centres_of, on_image
from easydl.explanation.gradcam import network_of
from easydl.explanation.graph import Graph
from easydl.networks import ModelMetadata, attach

pytestmark = pytest.mark.quick


def strided(dimension=2, side=32, padding="same"):
    """Two convolutions with stride 2 and even weights: what a point sees is its receptive field and no more."""
    import keras
    from keras import layers

    convolution = layers.Conv2D if dimension == 2 else layers.Conv3D
    pad = layers.ZeroPadding2D if dimension == 2 else layers.ZeroPadding3D
    average = layers.GlobalAveragePooling2D if dimension == 2 else layers.GlobalAveragePooling3D
    x = image = layers.Input((side,) * dimension + (1,), name="image")
    for number in range(2):
        if padding == "before":
            x = pad(((1, 0),) * dimension)(x)
        x = convolution(
            1, 3, 2, "valid" if padding == "before" else padding, kernel_initializer="ones", name=f"c{number}"
        )(x)
    logits = layers.Dense(2, kernel_initializer=lambda *_, **__: [[-1.0, 1.0]], name="logits")(average()(x))
    facts = {"classes": ("no", "yes"), "dimension": dimension, "channels": 1, "size": (side,) * dimension}
    metadata = ModelMetadata(builder="classifier", task="classification", units="0-255", **facts)
    return attach(keras.Model(image, layers.Softmax(name="probability")(logits)), metadata)


@pytest.mark.parametrize(
    ("padding", "first"),
    # Stride 2, kernel 3. Even side, "same": one pixel is padded behind, the windows stand on 1, 3, 5...; of those again on
    # the second: 1 + 2 * 1. "valid" is the same here. Padded before: on 0, 2, 4..., and of those 0.
    [("same", 3), ("valid", 3), ("before", 0)],
)
@pytest.mark.parametrize("dimension", [2, 3])
def test_strides_begin_where_the_padding_puts_them(dimension, padding, first):
    model = strided(dimension, 32, padding)
    graph = Graph(model, (32,) * dimension)
    place = next(number for number, step in enumerate(graph.steps) if step.name == "c1")
    assert centres_of(graph, place, (32,) * dimension) == Centres((first,) * dimension, (4,) * dimension)
    # The gradient of one inner point of the map: the middle of the pixels that it sees.
    import keras
    import tensorflow as tf

    maps = keras.Model(model.input, model.get_layer("c1").output)
    x = tf.ones((1, *(32,) * dimension, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        point = maps(x)[(0, *(3,) * dimension, 0)]
    seen = np.argwhere(np.asarray(tape.gradient(point, x))[0, ..., 0] > 0)
    np.testing.assert_allclose((seen.min(axis=0) + seen.max(axis=0)) / 2, first + 4 * 3)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_planted_point_lies_under_the_peak_of_its_map(dimension):
    """On the mean of many places; where points were taken to share the image evenly, maps lie 1.5 pixels before them."""
    model, off = strided(dimension), []
    for at in itertools.product((9, 10, 11, 12), repeat=dimension):
        image = np.zeros((32,) * dimension, np.float32)
        image[at] = 255
        heat = easydl.saliency(model, image, target="yes", verdict=False).array
        off.append(np.argwhere(heat >= heat.max()).mean(axis=0) - at)
    assert np.abs(np.mean(off, axis=0)).max() < 0.6
    assert np.abs(off).max() <= 2.5


def built(name, size):
    model = easydl.classifier(name, classes=["a", "b"], size=size)
    network = network_of(model, (size,) * len(model.input_shape[1:-1]))
    return network.centres("layercam", (size,) * network.dimension)


@pytest.mark.parametrize(
    ("name", "size", "first", "step"),
    [
        ("tiny", 64, 1.5, 4),  # two poolings of 2: (0.5 + 2 * 0.5)
        ("tiny3d", 16, 1.5, 4),
        # 3D pooling "same" of an odd side of 21 stands on pixels 0 and 1 first, as of an even one: 0.5, then 11 points: 0.5.
        ("tiny3d", 21, 1.5, 4),
        ("squeezenet", 96, None, None),
    ],
)
def test_the_networks_of_the_registry(name, size, first, step):
    found = built(name, size)
    if first is None:
        # conv 3, stride 2, valid: 1. 47 points; poolings of 3, stride 2, same: 24 points, 1 padded before: 0; 12 points, 0
        # padded before, 1 behind: 1 point of 4 pixels; 6 points: 1 of 8.
        counts = {4: 1, 8: 1 + 4, 16: 1 + 4 + 8}
        first, step = counts[found.step[0]], found.step[0]
    assert found == Centres((first,) * len(found.first), (step,) * len(found.step))


def test_paddings_dilation_branches_and_enlargement_by_hand():
    import keras
    from keras import layers

    image = layers.Input((64, 48, 1), name="image")
    x = layers.ZeroPadding2D(3, name="pad")(image)
    x = layers.Conv2D(2, 7, 2, name="stem")(x)  # -3 + 3 = 0, 2, 4...: ResNet
    pooled = layers.MaxPooling2D(2, name="pooled")(x)  # 0 + 2 * 0.5
    dilated = layers.Conv2D(2, 3, dilation_rate=2, name="dilated")(pooled)  # 1 + 4 * 2
    wide = layers.UpSampling2D(2, name="wide")(dilated)  # 9 - (4 - 2) / 2
    cropped = layers.Cropping2D(1, name="cropped")(wide)  # 8 + 2
    short = layers.Conv2D(2, 1, 2, padding="same", name="short")(x)  # 0
    met = layers.Add(name="met")([pooled, short])  # (1 + 0) / 2
    flat = layers.Flatten()(layers.Concatenate(axis=1)([layers.Flatten()(cropped), layers.Flatten()(met)]))
    model = keras.Model(image, layers.Dense(2, name="logits")(flat))
    graph = Graph(model, (64, 48))
    expected = {
        "stem": (0, 2),
        "pooled": (1, 4),
        "dilated": (9, 4),
        "wide": (8, 2),
        "cropped": (10, 2),
        "met": (0.5, 4),
    }
    for number, step in enumerate(graph.steps):
        if step.name in expected:
            first, apart = expected[step.name]
            assert centres_of(graph, number, (64, 48)) == Centres((first,) * 2, (apart,) * 2), step.name


def test_means_of_blocks_lie_in_the_middle_of_their_points():
    assert Centres((3.0, 0.5), (4.0, 2.0)).in_blocks((2, 3)) == Centres((5.0, 2.5), (8.0, 6.0))


def test_a_map_is_linear_between_its_points_and_constant_beyond():
    fine = on_image(np.array([0.0, 4.0, 2.0], np.float32), (10,), Centres((1.0,), (4.0,)))
    np.testing.assert_allclose(fine, np.interp(np.arange(10), [1, 5, 9], [0, 4, 2]), atol=1e-6)
    from skimage.transform import resize

    coarse = np.random.default_rng(0).uniform(size=(5, 7)).astype(np.float32)
    np.testing.assert_allclose(on_image(coarse, (33, 40)), resize(coarse, (33, 40), order=1, mode="edge"), atol=1e-5)


def test_the_map_of_a_small_network_is_the_product_of_two_and_of_what_each_pixel_adds(build):
    """Grad-CAM by hand of the explained map, enlarged, times that of the last map with more points, times gradient and difference."""
    import keras
    import tensorflow as tf

    side, axes = 16, (0, 1)
    model = build(side=side, filters=(4, 6))
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (side, side, 1)).astype(np.float32)  # whole, as pixels are

    def by_hand(name):
        maps = keras.Model(model.input, [model.get_layer(name).output, model.get_layer("logits").output])
        with tf.GradientTape() as tape:
            found, logits = maps(image[None])
            score = logits[0, 1] - tf.reduce_mean(logits)
        weights = np.asarray(tape.gradient(score, found))[0].mean(axis=axes)
        return np.maximum(np.asarray(found)[0] @ weights, 0)

    network = network_of(model, (side, side))
    assert network.layer == "conv1"
    coarse, finer = by_hand("conv1"), by_hand("conv0")
    assert coarse.max() > 0 and finer.max() > 0
    for axis in axes:  # 8 points at 0.5, 2.5... of 16
        coarse = np.apply_along_axis(
            lambda line: np.interp(np.arange(side), 0.5 + 2 * np.arange(8), line), axis, coarse
        )
    given = tf.constant(image[None])
    with tf.GradientTape() as tape:
        tape.watch(given)
        logits = keras.Model(model.input, model.get_layer("logits").output)(given)
        score = logits[0, 1] - tf.reduce_mean(logits)
    added = tape.gradient(score, given)[0].numpy() * (image - image.mean())
    added = ndimage.gaussian_filter(added[..., 0], 0.5, mode="nearest")  # half a point of conv0, which is one pixel
    product = coarse * finer * np.maximum(added, 0)
    expected = product / product.max()
    heat = easydl.saliency(model, image, target="square", verdict=False).array
    np.testing.assert_allclose(heat, expected, atol=1e-4)


def test_a_deep_network_keeps_its_last_map_alone():
    model = easydl.classifier("mobilenet_025", classes=["a", "b"], size=64)
    network = network_of(model, (64, 64))
    assert network.centres("gradcam", (64, 64)) == network.centres("layercam", (64, 64))
    # Five convolutions or so of stride 2, "same": each stands on the second of two pixels.
    assert set(network.centres("gradcam", (64, 64)).first) == {network.centres("gradcam", (64, 64)).step[0] - 1}
