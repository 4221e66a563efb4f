"""`easydl.features`: what Keras gives at the layer, for every kind of model; scikit-learn takes the table."""

import keras
import numpy as np
import pytest

import easydl
from easydl.errors import ModelError
from easydl.networks.ensembles import ensembled
from easydl.prediction.feature_table import deepest_layer


def test_they_are_those_of_the_layer_that_answers(two_scanners, untrained):
    table = easydl.features(untrained, two_scanners)
    part = keras.Model(untrained.input, untrained.get_layer("features").output)
    images = np.stack([two_scanners.scan(row).pixels for row in range(60)])
    np.testing.assert_allclose(table.to_numpy(), part.predict(images, verbose=0), rtol=1e-4, atol=1e-5)
    assert table.index.equals(two_scanners.frame.index)
    assert list(table.columns[:2]) == ["feature 1", "feature 2"]


def test_scikit_learn_takes_them_beside_the_table(two_scanners, untrained):
    from sklearn.linear_model import LogisticRegression

    table = easydl.features(untrained, two_scanners)
    scanner = two_scanners.frame.join(table)["scanner"]
    assert LogisticRegression(max_iter=500).fit(table, scanner).score(table, scanner) == 1.0


def test_one_image_has_the_features_it_has_in_a_study(two_scanners, untrained):
    alone = easydl.features(untrained, two_scanners.scan(3))
    np.testing.assert_allclose(alone.iloc[0], easydl.features(untrained, two_scanners).iloc[3], rtol=1e-4, atol=1e-5)


def test_members_of_an_ensemble_stand_side_by_side(two_scanners, untrained):
    first, other = (easydl.classifier("tiny", two_scanners, size=32, seed=seed) for seed in (0, 1))
    table = easydl.features(ensembled(first, [first, other]), two_scanners)
    assert table.shape == (60, 2 * easydl.features(untrained, two_scanners).shape[1])
    assert table.columns[0] == "member 1: feature 1" and table.columns[-1].startswith("member 2: ")


@pytest.mark.parametrize("side", [64, 300])
def test_a_network_of_masks_gives_the_mean_of_its_deepest_map(side):
    model = easydl.unet(classes=("background", "disc"), width=4)
    image = np.random.default_rng(0).uniform(0, 255, (side, side)).astype(np.float32)
    table = easydl.features(model, image)
    layer = deepest_layer(model, (64, 64))
    assert table.shape == (1, model.get_layer(layer).output.shape[-1]) and np.isfinite(table).all(axis=None)
    if side == 64:
        part = keras.Model(model.input, model.get_layer(layer).output)
        expected = part.predict(image[None, ..., None], verbose=0).mean(axis=(0, 1, 2))
        np.testing.assert_allclose(table.iloc[0], expected, rtol=1e-3, atol=1e-4)


def test_the_deepest_map_of_a_unet_is_its_bottleneck():
    model = easydl.unet(classes=("background", "disc"), width=4)
    part = keras.Model(model.input, model.get_layer(deepest_layer(model, (64, 64))).output)
    sides = [
        keras.Model(model.input, layer.output).compute_output_spec(keras.KerasTensor((1, 64, 64, 1))).shape[1]
        for layer in model.layers
        if len(layer.output.shape) == 4
    ]
    assert part.compute_output_spec(keras.KerasTensor((1, 64, 64, 1))).shape[1] == min(sides)


def test_a_cascade_is_asked_for_one_of_its_models():
    first = easydl.unet(classes=("background", "organ"), width=4)
    second = easydl.unet(classes=("background", "lesion"), width=4)
    with pytest.raises(ModelError, match="find_organ"):
        easydl.features(easydl.cascade(first, second), np.zeros((64, 64), np.float32))
