"""A small network that learned a bright square planted in the corner, and its untrained twin."""

from types import SimpleNamespace

import numpy as np
import pytest

SIDE, SQUARE = 64, 8


def images(count, rng, planted=None):
    """Noise with, in every other image, a bright square in the upper left corner."""
    x = rng.normal(110, 25, (count, SIDE, SIDE, 1))
    y = np.arange(count) % 2 if planted is None else np.full(count, int(planted))
    x[y == 1, :SQUARE, :SQUARE] = 220
    return np.clip(x, 0, 255).astype(np.float32), np.eye(2, dtype=np.float32)[y]


def network(seed=1, *, dimension=2, side=SIDE, classes=("plain", "square"), task="classification", filters=(8,)):
    """A flat network of the layers every builder of easydl has; no batch normalisation, so seconds are enough."""
    import keras
    from keras import layers

    from easydl.networks import ModelMetadata, attach

    keras.utils.set_random_seed(seed)
    convolution = layers.Conv2D if dimension == 2 else layers.Conv3D
    pool = layers.MaxPooling2D if dimension == 2 else layers.MaxPooling3D
    average = layers.GlobalAveragePooling2D if dimension == 2 else layers.GlobalAveragePooling3D
    size = (side,) * dimension
    image = layers.Input((*size, 1), name="image")
    x = layers.ReLU(255, name="clip")(layers.Rescaling(1.0, name="window")(image))
    x = layers.Rescaling(1 / 127.5, -1, name="scaling")(x)
    for number, count in enumerate(filters):
        x = convolution(count, 3, padding="same", activation="relu", name=f"conv{number}")(x)
        x = pool(2, name=f"pool{number}")(x)
    x = convolution(16, 3, padding="same", activation="relu", name="last")(x)
    logits = layers.Dense(len(classes), name="logits")(average(name="features")(x))
    if task == "classification":
        out = layers.Softmax(name="probability")(logits)
    elif task == "multilabel":
        out = layers.Activation("sigmoid", name="probability")(logits)
    else:
        out = layers.Activation("linear", name="value")(logits)
    metadata = ModelMetadata(
        builder="classifier", classes=classes, task=task, dimension=dimension, channels=1, size=size
    )
    return attach(keras.Model(image, out), metadata)


def trained(path):
    """Weights of `network` that tell the square from none."""
    model, (x, y) = network(), images(192, np.random.default_rng(0))
    model.compile("adam", "categorical_crossentropy")
    model.optimizer.learning_rate = 3e-3
    model.fit(x, y, epochs=6, batch_size=16, verbose=0, shuffle=False)
    model.save_weights(path)


@pytest.fixture(scope="session")
def planted(once):
    model, untrained = network(), network(seed=2)
    model.load_weights(once("planted.weights.h5", trained))
    rng = np.random.default_rng(1)
    fresh, _ = images(6, rng, planted=True)
    plain, _ = images(6, rng, planted=False)
    return SimpleNamespace(model=model, untrained=untrained, images=fresh, plain=plain, square=SQUARE)


@pytest.fixture(scope="session")
def build():
    return network
