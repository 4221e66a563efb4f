"""Networks and training loops as a tutorial would write them in plain Keras: what easydl is compared with."""

from __future__ import annotations

import time
from collections.abc import Iterator

import keras
import nibabel
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers, ops

PATCH = (40, 56, 40)


def small_cnn(data: dict[str, np.ndarray], seed: int, seconds: float) -> np.ndarray:
    """A small CNN on the arrays of PneumoniaMNIST, stopped by the clock; the best epoch on the validation part counts."""
    keras.utils.set_random_seed(seed)
    body = [keras.Input((28, 28, 1)), layers.Rescaling(1 / 255), layers.RandomTranslation(0.07, 0.07)]
    for filters in (32, 64, 128):
        for _ in range(2):
            body += [
                layers.Conv2D(filters, 3, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
            ]
        body += [layers.MaxPooling2D()]
    model = keras.Sequential([*body, layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=[keras.metrics.AUC(name="auc")])
    end = time.perf_counter() + seconds

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if time.perf_counter() > end:
                self.model.stop_training = True

    best = keras.callbacks.EarlyStopping("val_auc", mode="max", patience=1000, restore_best_weights=True)
    images = {part: data[f"{part}_images"][..., None].astype("float32") for part in ("train", "val", "test")}
    model.fit(
        images["train"],
        data["train_labels"],
        batch_size=64,
        epochs=1000,
        verbose=0,
        validation_data=(images["val"], data["val_labels"]),
        callbacks=[best, Clock()],
    )
    return model.predict(images["test"], verbose=0)[:, 0]


def residual_unet_3d(train: pd.DataFrame, test: pd.DataFrame, seed: int, seconds: float) -> Iterator[np.ndarray]:
    """Masks of the test volumes by a residual 3D U-Net of 1.4 million parameters; reading counts in its seconds."""
    keras.utils.set_random_seed(seed)
    begin = time.perf_counter()
    x = [_scaled(path) for path in train["image"]]
    y = [np.asarray(nibabel.load(path).dataobj).astype(np.int32) for path in train["mask"]]
    model = _residual_unet_3d()
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(pixels, labels):
        target = tf.one_hot(labels, 3)
        with tf.GradientTape() as tape:
            probability = model(pixels, training=True)
            entropy = ops.mean(keras.losses.categorical_crossentropy(target, probability))
            both, either = (ops.sum(part, axis=(0, 1, 2, 3)) for part in (target * probability, target + probability))
            loss = entropy + 1 - ops.mean(((2 * both + 1e-5) / (either + 1e-5))[1:])
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables)

    rng, queue = np.random.default_rng(seed), []
    while (spent := (time.perf_counter() - begin) / seconds) < 1:
        # Polynomial decay over the time there is.
        optimizer.learning_rate = 2e-3 * (1 - spent) ** 0.9
        batch = []
        for _ in range(2):
            queue = queue or list(rng.permutation(len(x)))
            case = queue.pop()
            corner = tuple(int(rng.integers(0, max(0, a - b) + 1)) for a, b in zip(y[case].shape, PATCH, strict=True))
            batch.append((_patch(x[case], PATCH, corner), _patch(y[case], PATCH, corner)))
        step(np.stack([pixels for pixels, _ in batch])[..., None], np.stack([labels for _, labels in batch]))
    for path in test["image"]:
        pixels = _scaled(path)
        whole = tuple(-(-side // 8) * 8 for side in pixels.shape)
        probability = np.asarray(model(_patch(pixels, whole, (0, 0, 0))[None, ..., None], training=False))[0]
        yield probability.argmax(-1)[tuple(slice(0, side) for side in pixels.shape)]


def _residual_unet_3d() -> keras.Model:
    x = inputs = layers.Input((None, None, None, 1))
    skips = []
    for filters in (16, 32, 64):
        x = _residual_block(x, filters)
        skips.append(x)
        x = layers.MaxPooling3D(2)(x)
    x = _residual_block(x, 128)
    for filters in (64, 32, 16):
        x = layers.Conv3DTranspose(filters, 2, strides=2)(x)
        x = _residual_block(layers.Concatenate()([x, skips.pop()]), filters)
    return keras.Model(inputs, layers.Conv3D(3, 1, activation="softmax")(x))


def _residual_block(x, filters: int):
    shortcut = layers.Conv3D(filters, 1, use_bias=False)(x) if x.shape[-1] != filters else x
    for last in (False, True):
        x = layers.GroupNormalization(8)(layers.Conv3D(filters, 3, padding="same", use_bias=False)(x))
        x = layers.Add()([x, shortcut]) if last else x
        x = layers.ReLU()(x)
    return x


def _scaled(path: str) -> np.ndarray:
    pixels = nibabel.load(path).get_fdata(dtype=np.float32)
    low, high = np.percentile(pixels, [0.5, 99.5])
    return np.clip((pixels - low) / (high - low), 0, 1) * 2 - 1


def _patch(volume: np.ndarray, shape: tuple[int, ...], corner: tuple[int, ...]) -> np.ndarray:
    part = volume[tuple(slice(a, a + side) for a, side in zip(corner, shape, strict=True))]
    return np.pad(part, [(0, side - have) for side, have in zip(shape, part.shape, strict=True)])
