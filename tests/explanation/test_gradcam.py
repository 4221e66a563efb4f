import gc
import warnings
import weakref

import numpy as np
import pytest

import easydl
from easydl.errors import ModelError
from easydl.explanation import gradcam
from easydl.explanation.gradcam import Network, network_of
from easydl.explanation.graph import Graph
from easydl.explanation.layers import evidence_step
from easydl.networks import set_window

ONE = np.ones((1,), np.float32)


def correlate(image, kernel):
    """'Same' convolution as networks do it, from its definition."""
    reach = [(side // 2, side // 2) for side in kernel.shape[: image.ndim - 1]]
    padded = np.pad(image, [*reach, (0, 0)])
    out = np.zeros((*image.shape[:-1], kernel.shape[-1]))
    for offset in np.ndindex(*kernel.shape[: image.ndim - 1]):
        view = tuple(slice(o, o + side) for o, side in zip(offset, image.shape, strict=False))
        out += padded[view] @ kernel[offset]
    return out


@pytest.mark.parametrize("dimension", [2, 3])
def test_one_convolution_by_hand(dimension, build):
    side = 12
    model = build(dimension=dimension, side=side, filters=())
    image = np.random.default_rng(0).uniform(0, 255, (side,) * dimension + (1,)).astype(np.float32)
    kernel, bias = model.get_layer("last").get_weights()
    weights, offset = model.get_layer("logits").get_weights()
    maps = np.maximum(correlate(image / 127.5 - 1, kernel) + bias, 0)
    logits = maps.reshape(-1, 16).mean(axis=0) @ weights + offset
    for target in (0, 1):
        # d(logit - mean logit) / d(map) is the dense weight over the number of points.
        importance = (weights[:, target] - weights.mean(axis=1)) / side**dimension
        by_hand = np.maximum(maps @ importance, 0)
        mine, mine_logits = network_of(model, image.shape[:-1]).cam(image[None], target, ONE)
        np.testing.assert_allclose(mine, by_hand, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(mine_logits, logits, rtol=1e-4)
        assert by_hand.max() > 0


@pytest.mark.parametrize("dimension", [2, 3])
def test_it_agrees_with_tf_keras_vis(dimension, build):
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tf_keras_vis.gradcam import Gradcam

    model = build(dimension=dimension, side=16, classes=("a", "b", "c"))
    image = np.random.default_rng(1).uniform(0, 255, (1, *(16,) * dimension, 1)).astype(np.float32)
    strongest = 0.0
    for target in range(3):
        oracle = Gradcam(keras.Model(model.inputs, model.get_layer("logits").output))
        theirs = oracle(
            lambda logits, target=target: logits[:, target] - (logits[:, 0] + logits[:, 1] + logits[:, 2]) / 3,
            image,
            penultimate_layer="last",
            expand_cam=False,
            normalize_cam=False,
        )
        mine, _ = Network(model, image.shape[1:-1], segmenter=False, softmax=True).cam(image, target, ONE)
        np.testing.assert_allclose(mine, np.asarray(theirs)[0], rtol=1e-3, atol=1e-6)
        strongest = max(strongest, mine.max())
    assert strongest > 1e-4


def test_a_segmentation_model_is_explained_where_its_segmentation_is():
    """One convolution and a 1x1: the evidence of a point is its own, and only inside the segmentation."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    image = layers.Input((None, None, 1), name="image")
    maps = layers.Conv2D(4, 3, padding="same", activation="relu", name="maps")(image)
    logits = layers.Conv2D(3, 1, name="logits")(maps)
    model = keras.Model(image, layers.Softmax(name="probability")(logits))
    x = np.random.default_rng(0).normal(size=(1, 16, 20, 1)).astype(np.float32)
    region = (np.random.default_rng(1).uniform(size=(1, 16, 20)) < 0.3).astype(np.float32)
    kernel, bias = model.get_layer("maps").get_weights()
    mixing, _ = model.get_layer("logits").get_weights()
    activity = np.maximum(correlate(x[0], kernel) + bias, 0)
    importance = mixing[0, 0, :, 2] - mixing[0, 0].mean(axis=1)
    by_hand = np.maximum((activity @ importance) * region[0] / region.sum(), 0)
    mine, _ = Network(model, (16, 20), segmenter=True, softmax=True).cam(x, 2, region)
    np.testing.assert_allclose(mine, by_hand, rtol=1e-4, atol=1e-8)
    assert mine.max() > 0


def test_fine_maps_of_segmentation_models_are_averaged_in_blocks(build):
    network = network_of(easydl.unet(classes=2, width=4), (48, 70))
    evidence = np.random.default_rng(0).normal(size=(48, 70))
    means = network._block_means(evidence)
    assert means.shape == (24, 24)
    np.testing.assert_allclose(means[3, 5], evidence[6:8, 15:18].mean())


def explained(model, size, segmenter=False):
    graph = Graph(model, size)
    return graph.steps[evidence_step(graph, size, segmenter=segmenter)]


def named(model, size, segmenter=False):
    return explained(model, size, segmenter).name


def test_the_layer_is_the_last_through_which_everything_passes():
    assert named(easydl.classifier("tiny", size=64), (64, 64)) == "stage3_2_relu"
    assert named(easydl.classifier("tiny", size=128), (128, 128)) == "stage4_2_relu"
    assert named(easydl.unet(classes=2, width=4), (64, 64), True) == "down1_relu2"
    assert named(easydl.unet3d(classes=2, width=4), (16, 16, 16), True) == "down1_relu2"


def test_small_images_take_a_map_that_still_shows_a_place():
    model = easydl.classifier("mobilenet_025", size=64)
    assert {step.name: step.shape for step in Graph(model, (64, 64)).steps}["conv_pw_13_relu"] == (1, 2, 2, 256)
    assert explained(model, (64, 64)).shape[1:3] == (4, 4)
    assert named(easydl.classifier("mobilenet_025", size=128), (128, 128)) == "conv_pw_13_relu"


def test_side_branches_are_not_explained():
    """A residual branch sees only part of what passes."""
    import keras
    from keras import layers

    image = layers.Input((16, 16, 1))
    trunk = layers.Conv2D(4, 3, padding="same", name="trunk")(image)
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(trunk)
    both = layers.Add(name="both")([trunk, branch])
    logits = layers.Dense(2, name="logits")(layers.Flatten()(both))
    model = keras.Model(image, logits)
    assert named(model, (16, 16)) == "both"
    graph = Graph(model, (16, 16))
    assert [graph.steps[number].name for number in graph.wanted][1:4] == ["trunk", "branch", "both"]


@pytest.mark.parametrize("size", [24, None])
def test_sums_written_as_operators_are_walked_through(size):
    import keras

    layers = keras.layers
    image = keras.Input((size, size, 1))
    one, two = (layers.Conv2D(4, 3, padding="same", activation="relu", name=name)(image) for name in ("one", "two"))
    last = layers.Conv2D(4, 3, padding="same", name="last")(one + two * 0.5)
    answer = layers.Softmax()(layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(last)))
    model = keras.Model(image, answer)
    assert named(model, (24, 24)) == "last"
    sums = {step.shape for step in Graph(model, (24, 24)).steps if step.name.startswith(("add", "mul"))}
    assert sums == {(1, 24, 24, 4)}


def test_without_logits_or_maps_the_error_says_what_to_do():
    import keras
    from keras import layers

    image = layers.Input((8, 8, 1))
    flat = layers.Dense(2, name="logits")(layers.Flatten()(image))
    with pytest.raises(ModelError, match="no convolution"):
        named(keras.Model(image, flat), (8, 8))
    two = keras.Model(image, [layers.Conv2D(1, 1)(image), layers.Conv2D(1, 1)(image)])
    with pytest.raises(ModelError, match="no layer called logits"):
        named(two, (8, 8))
    tight = layers.GlobalAveragePooling2D(keepdims=True)(image)
    tight = layers.Dense(2, name="logits")(layers.Flatten()(layers.Conv2D(2, 1)(tight)))
    with pytest.raises(ModelError, match="larger than one point"):
        named(keras.Model(image, tight), (8, 8))


def test_nothing_is_traced_twice(planted):
    network = network_of(planted.model, (64, 64))
    start = network.traces  # by tests that came before
    for target in (0, 1):
        network.cam(planted.images[:1], target, ONE)
        network.scores(planted.images[: 2 + target], target, ONE)
        network.answer(planted.images[:1], weights=network.random_weights(target))
    before = network.traces
    assert before - start <= 3
    assert network_of(planted.model, (64, 64)) is network
    network.cam(planted.images[1:2], 0, ONE, network.random_weights(9))
    network.scores(planted.images, 1, ONE)
    assert network.traces == before


def test_scores_are_the_logit_against_the_mean_and_come_in_any_number(planted):
    network = network_of(planted.model, (64, 64))
    many = np.concatenate([planted.images] * 4)
    logits = np.concatenate([network.answer(one[None]).logits[None] for one in many])
    np.testing.assert_allclose(network.scores(many, 1, ONE), logits[:, 1] - logits.mean(axis=1), rtol=1e-4, atol=1e-4)


def test_random_weights_leave_the_model_alone_and_differ(planted):
    network = network_of(planted.model, (64, 64))
    before = [weight.copy() for weight in planted.model.get_weights()]
    first, again, second = (network.random_weights(draw) for draw in (1, 1, 2))
    for mine, same, other, trained in zip(first, again, second, before, strict=True):
        np.testing.assert_array_equal(mine, same)
        assert mine.shape == trained.shape
        if trained.ndim > 1:
            assert not np.allclose(mine, other)
            assert abs(np.corrcoef(np.ravel(mine), trained.ravel())[0, 1]) < 0.4
    network.answer(planted.images[:1], weights=first)
    for now, then in zip(planted.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_the_cascade_goes_from_the_logits_down(planted):
    network = network_of(planted.model, (64, 64))
    own = network.weights()
    changed = {
        fraction: [not np.array_equal(a, b) for a, b in zip(own, network.random_weights(3, fraction), strict=True)]
        for fraction in (0.0, 0.5, 1.0)
    }
    assert changed[0.0] == [False] * 4 + [True] * 2
    assert changed[0.5] == [False] * 2 + [True] * 4
    assert all(changed[1.0])


def test_weights_that_were_trained_on_are_used_at_once(build):
    model = build(side=16)
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 1)).astype(np.float32)
    network = network_of(model, (16, 16))
    before = network.answer(image).logits
    model.get_layer("logits").bias.assign([1.0, -1.0])
    np.testing.assert_allclose(network.answer(image).logits - before, [1.0, -1.0], atol=1e-5)


def test_a_new_window_is_compiled_in():
    model = easydl.classifier("tiny", size=32)
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    before = network_of(model, (32, 32)).answer(image).logits
    set_window(model, (0.0, 100.0), "0-255")
    assert not np.allclose(network_of(model, (32, 32)).answer(image).logits, before)


def test_the_cache_does_not_keep_a_model_alive(build):
    model = build(side=16)
    network_of(model, (16, 16)).answer(np.zeros((1, 16, 16, 1), np.float32))
    watched = weakref.ref(model)
    assert model in gradcam._networks
    del model
    gc.collect()
    assert watched() is None
