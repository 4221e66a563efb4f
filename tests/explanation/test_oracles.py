"""The maps beside hand-written tapes, arithmetic, and tf-keras-vis."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import easydl
from easydl.explanation import occlusion as hiding
from easydl.explanation.gradcam import Network
from easydl.explanation.gradients import path
from easydl.explanation.methods import METHODS
from easydl.explanation.targets import head_of, target_of
from easydl.networks import metadata_of

SIDE, CLASSES = 16, ("a", "b", "c")


def explained(model, image, target=None):
    metadata = metadata_of(model)
    head, index = head_of(metadata, target)
    # One map alone: `easydl.saliency` multiplies that of a small network by a finer one.
    network = Network(model, image.shape[:-1], segmenter=False, softmax=head.task.exclusive)
    return target_of(network, metadata, head, image[None], index)


@pytest.fixture(scope="module")
def case(build):
    model = build(side=SIDE, classes=CLASSES)
    image = np.random.default_rng(1).uniform(0, 255, (SIDE, SIDE, 1)).astype(np.float32)
    return SimpleNamespace(model=model, image=image, target=explained(model, image, "b"))


def by_hand(model, images, index, layer=None):
    """The gradient of logit less mean logit, image by image, by an eager tape; with ``layer`` to its output."""
    import keras
    import tensorflow as tf

    outputs = [model.get_layer(layer or "image").output, model.get_layer("logits").output]
    part = keras.Model(model.input, outputs)
    found = []
    for image in images:
        given = tf.constant(image[None])
        with tf.GradientTape() as tape:
            tape.watch(given)
            maps, logits = part(given)
            score = logits[0, index] - tf.reduce_mean(logits[0])
        found.append((tape.gradient(score, maps if layer else given)[0].numpy(), maps[0].numpy(), float(score)))
    return found


def test_the_gradient_is_that_of_a_tape(case):
    ((gradient, _, _),) = by_hand(case.model, [case.image], 1)
    mine = METHODS["gradient"].map(case.target).map
    np.testing.assert_allclose(mine, np.abs(gradient).max(axis=-1), rtol=1e-5, atol=1e-5 * np.abs(gradient).max())
    assert mine.max() > 0


def test_the_maps_of_a_layer_are_those_of_a_tape(case):
    ((gradient, maps, _),) = by_hand(case.model, [case.image], 1, "last")
    wanted = {
        "gradcam": (gradient.mean(axis=(0, 1)) * maps).sum(-1),
        "layercam": (np.maximum(gradient, 0) * maps).sum(-1),
    }
    # Equations 18 and 19 of Grad-CAM++, whose score is an exponential: the powers of the gradient are its derivatives.
    below = 2 * gradient**2 + maps.sum(axis=(0, 1)) * gradient**3
    alpha = np.where(gradient != 0, gradient**2 / np.where(below != 0, below, 1), 0)
    wanted["gradcam++"] = ((alpha * np.maximum(gradient, 0)).sum(axis=(0, 1)) * maps).sum(-1)
    for name, one in wanted.items():
        mine = METHODS[name].map(case.target).map
        np.testing.assert_allclose(mine, np.maximum(one, 0), rtol=1e-5, atol=1e-5 * one.max(), err_msg=name)
        assert mine.max() > 0


@pytest.mark.parametrize("name", ["gradient", "gradcam++", "layercam"])
def test_it_ranks_as_tf_keras_vis(name, case):
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
        from tf_keras_vis.layercam import Layercam
        from tf_keras_vis.saliency import Saliency

    part = keras.Model(case.model.inputs, case.model.get_layer("logits").output)
    oracle = {"gradient": Saliency, "gradcam++": GradcamPlusPlus, "layercam": Layercam}[name](part)
    options = {} if name == "gradient" else {"penultimate_layer": "last", "expand_cam": False}

    def score(logits):
        return logits[:, 1] - (logits[:, 0] + logits[:, 1] + logits[:, 2]) / 3

    theirs = np.asarray(oracle(score, case.image[None], **options))[0]
    mine = METHODS[name].map(case.target).map
    assert stats.spearmanr(mine.ravel(), theirs.ravel()).statistic >= 0.98


def test_cam_is_grad_cam_where_the_maps_are_pooled(case):
    for target in CLASSES:
        one = explained(case.model, case.image, target)
        cam = np.maximum(METHODS["cam"].map(one).map, 0)
        gradcam = METHODS["gradcam"].map(one).map
        assert cam.max() > 0
        # Grad-CAM averages the gradient over the points of the map; CAM does not.
        np.testing.assert_allclose(cam / cam.size, gradcam, rtol=1e-4, atol=1e-5 * gradcam.max())


def test_integrated_gradients_are_complete_and_equal_a_fine_sum(case):
    found = path(case.target, None, 32)
    start = hiding.blurred(case.image[None])[0]
    steps = (np.arange(120) + 0.5) / 120
    gradients = [g for g, _, _ in by_hand(case.model, [start + a * (case.image - start) for a in steps], 1)]
    wanted = np.mean(gradients, axis=0) * (case.image - start)
    (_, _, high), (_, _, low) = by_hand(case.model, [case.image, start], 1)
    assert found.rise == pytest.approx(high - low, rel=1e-4)
    assert abs(found.image.sum() - (high - low)) <= 0.01 * abs(high - low)
    np.testing.assert_allclose(found.image, wanted, atol=0.03 * np.abs(wanted).max())
    heatmap = easydl.saliency(case.model, case.image, method="integrated_gradients", target="b", verdict=False)
    assert f"rises by {high - low:.3g}" in heatmap.notes[0]


def test_smoothgrad_is_the_mean_over_a_naive_loop(case):
    noise = np.random.default_rng(3).normal(0, 0.15 * np.ptp(case.image), (8, SIDE, SIDE, 1)).astype(np.float32)
    wanted = np.abs(np.mean([g for g, _, _ in by_hand(case.model, case.image + noise, 1)], axis=0)).max(axis=-1)
    mine = METHODS["smoothgrad"].map(case.target, samples=8, seed=3).map
    np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5 * wanted.max())
    assert not np.allclose(mine, METHODS["smoothgrad"].map(case.target, samples=8, seed=4).map)


def test_guided_backpropagation_by_a_hand_written_rule(case):
    """The same network written with a ReLU that lets only positive gradients pass."""
    import tensorflow as tf

    @tf.custom_gradient
    def rule(x):
        out = tf.nn.relu(x)
        return out, lambda upstream: tf.where((x > 0) & (upstream > 0), upstream, 0.0)

    first, last, dense = (case.model.get_layer(name) for name in ("conv0", "last", "logits"))
    given = tf.constant(case.image[None])
    with tf.GradientTape() as tape:
        tape.watch(given)
        x = rule(tf.nn.conv2d(given / 127.5 - 1, first.kernel.value, 1, "SAME") + first.bias.value)
        x = rule(tf.nn.conv2d(tf.nn.max_pool2d(x, 2, 2, "VALID"), last.kernel.value, 1, "SAME") + last.bias.value)
        logits = tf.reduce_mean(x, axis=(1, 2)) @ dense.kernel.value + dense.bias.value
        score = logits[0, 1] - tf.reduce_mean(logits[0])
    wanted = np.abs(tape.gradient(score, given)[0].numpy()).max(axis=-1)
    mine = METHODS["guided"].map(case.target).map
    np.testing.assert_allclose(mine, wanted, rtol=1e-4, atol=1e-5 * wanted.max())
    assert not np.allclose(mine, METHODS["gradient"].map(case.target).map, atol=1e-3 * wanted.max())


def linear(dimension, side):
    """A model whose value is a weighted sum of its pixels, and the weights."""
    import keras
    from keras import layers

    convolution = layers.Conv2D if dimension == 2 else layers.Conv3D
    image = layers.Input((*(side,) * dimension, 1))
    maps = convolution(1, 1, use_bias=False)(image)
    model = keras.Model(image, layers.Dense(1)(layers.Flatten()(maps)))
    weights = np.random.default_rng(5).normal(size=(side,) * dimension).astype(np.float32)
    model.layers[1].kernel.assign(np.ones((*(1,) * dimension, 1, 1)))
    model.layers[-1].kernel.assign(weights.reshape(-1, 1))
    return model, weights


@pytest.mark.parametrize("dimension", [2, 3])
def test_occlusion_of_a_linear_model_is_the_sum_of_its_weights(dimension):
    side = 14 if dimension == 2 else 9
    model, weights = linear(dimension, side)
    image = np.random.default_rng(6).normal(size=(*(side,) * dimension, 1)).astype(np.float32)
    one = explained(model, image)
    parts = (weights * (image - hiding.blurred(image[None])[0])[..., 0]).astype(float)
    count = 7 if dimension == 2 else 3
    wanted = parts.reshape(*(count, side // count) * dimension).sum(axis=tuple(range(1, 2 * dimension, 2)))
    np.testing.assert_allclose(METHODS["occlusion"].map(one).map, wanted, rtol=1e-3, atol=1e-4)
    attributed = METHODS["integrated_gradients"].map(one).map
    np.testing.assert_allclose(attributed, parts, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dimension", [2, 3])
def test_rise_by_its_definition(dimension):
    """A linear model: the mean score over the masks that keep a point is worked out mask by mask."""
    model, weights = linear(dimension, 8)
    image = np.random.default_rng(6).normal(size=(*(8,) * dimension, 1)).astype(np.float32)
    one, start = explained(model, image), hiding.blurred(image[None])[0]
    rng, count, masks = np.random.default_rng(2), 24, []
    cells = 8 if dimension == 2 else 4
    for begin in range(0, count, 16):
        few = min(16, count - begin)
        grids, shifts = rng.random((few, *(cells + 1,) * dimension)) < 0.5, rng.random((few, dimension))
        masks += [stretched(grid.astype(float), shift, 8) for grid, shift in zip(grids, shifts, strict=True)]
    masks = np.array(masks)
    scores = [float((weights * (start + m[..., None] * (image - start))[..., 0]).sum()) for m in masks]
    wanted = sum((score - np.mean(scores)) * mask for score, mask in zip(scores, masks, strict=True)) / (count * 0.5)
    mine = METHODS["rise"].map(one, samples=count, seed=2).map
    np.testing.assert_allclose(mine, wanted, rtol=1e-3, atol=1e-3)
    assert 0.3 < masks.mean() < 0.7


def stretched(grid, shift, side):
    """Linear interpolation point by point, by SciPy."""
    from scipy.ndimage import map_coordinates

    axes = [s + (np.arange(side) + 0.5) * (n - 1) / side - 0.5 for s, n in zip(shift, grid.shape, strict=True)]
    return map_coordinates(grid, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")


def test_score_cam_by_its_algorithm(case):
    from skimage.transform import resize

    _, maps, _ = by_hand(case.model, [case.image], 1, "last")[0]
    start = hiding.blurred(case.image[None])[0]
    shown = []
    for channel in range(maps.shape[-1]):
        fine = resize(maps[..., channel], (SIDE, SIDE), order=1, mode="edge", anti_aliasing=False)
        span = np.ptp(fine)
        mask = (fine - fine.min()) / span if span > 0 else np.zeros_like(fine)
        shown.append((start + mask[..., None] * (case.image - start)).astype(np.float32))
    scores = np.array([score for _, _, score in by_hand(case.model, [*shown, start], 1)])
    gains = np.exp(scores[:-1] - scores[-1])
    wanted = maps @ (gains / gains.sum())
    np.testing.assert_allclose(METHODS["scorecam"].map(case.target).map, wanted, rtol=1e-3, atol=1e-4 * wanted.max())


def test_the_share_of_the_table_is_that_of_a_linear_model():
    import keras
    from keras import layers

    from easydl.networks import ModelMetadata, attach
    from easydl.networks.metadata import Covariate

    image, table = layers.Input((8, 8, 1), name="image"), layers.Input((2,), name="covariates")
    maps = layers.Conv2D(1, 1, use_bias=False)(image)
    joined = layers.Concatenate()([layers.Flatten()(maps), table])
    out = layers.Activation("linear", name="value")(layers.Dense(1, name="logits")(joined))
    weights = np.random.default_rng(7).normal(size=66).astype(np.float32)
    model = keras.Model({"image": image, "covariates": table}, out)
    next(one for one in model.layers if isinstance(one, layers.Conv2D)).kernel.assign(np.ones((1, 1, 1, 1)))
    model.get_layer("logits").kernel.assign(weights[:, None])
    facts = {"task": "regression", "dimension": 2, "channels": 1, "size": (8, 8)}
    columns = (Covariate(name="age", mean=50, std=10),)
    attach(model, ModelMetadata(builder="keras", classes=("grade",), covariates=columns, **facts))
    pixels = np.random.default_rng(8).integers(0, 255, (8, 8, 1)).astype(np.float32)
    of_image = float((weights[:64] * (pixels - hiding.blurred(pixels[None])[0]).ravel()).sum())
    for age in (250, 60):
        of_table = float(weights[64] * (age - 50) / 10)
        share = abs(of_table) / (abs(of_table) + abs(of_image))
        heatmap = easydl.saliency(model, pixels, covariates={"age": age}, verdict=False)
        note = next(one for one in heatmap.notes if "table's share" in one)
        assert f"The table's share of this answer: {share:.0%}" in note
        assert f"image {of_image:+.2g}, table {of_table:+.2g}" in note
