"""Real ImageNet weights from the file to the number: films on disk, features as Keras has them, a training, a test."""

import keras
import numpy as np
import pytest
from PIL import Image

import easydl
from easydl.networks import feature_extractor
from easydl.networks.listing import ENTRIES
from easydl.prediction import inputs

SIDE = 128


@pytest.fixture
def films(real, tmp_path):
    """Chest and abdomen films (Lakhani 2018) as files of 128 x 128, so that nothing has to be resized."""
    folder = tmp_path / "films"
    for label in ("abdomen", "chest"):
        (folder / label).mkdir(parents=True)
        for part in ("train", "val"):
            for path in sorted((real / "openi_abd_vs_cxr" / part / label).iterdir()):
                Image.open(path).convert("L").resize((SIDE, SIDE)).save(folder / label / f"{part}_{path.stem}.png")
    return folder


@pytest.mark.real
def test_films_reach_the_network_as_keras_shows_them_and_a_training_tells_them_apart(films, real_weights, tmp_path):
    study = easydl.load(films, patient=None)
    model = easydl.classifier("mobilenet_025", study, pretrained=True, size=SIDE)
    theirs = keras.applications.MobileNet(
        alpha=0.25, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3),
        weights=str(real_weights / ENTRIES["mobilenet_025"].weights_file),
    )  # fmt: skip
    for path in sorted(films.glob("*/train_*"))[::20]:
        pixels = np.asarray(Image.open(path).convert("RGB"), "float32")[None]
        expected = theirs(keras.applications.mobilenet.preprocess_input(pixels.copy()), training=False)
        own = feature_extractor(model)(inputs(model, easydl.read(path)), training=False)
        np.testing.assert_allclose(own, expected, atol=1e-4)
    train, val, test = study.split(seed=0)
    easydl.fit(model, train, val, epochs=5, verbose=False)
    table = easydl.evaluate(model, test, resamples=200).table.set_index("name")
    assert table.loc["AUC", "value"] > 0.9
    easydl.save_model(model, tmp_path / "m.keras")
    one, other = (easydl.predict(which, test).frame for which in (model, easydl.load_model(tmp_path / "m.keras")))
    np.testing.assert_allclose(one.filter(like="p(").to_numpy(), other.filter(like="p(").to_numpy(), atol=1e-6)
