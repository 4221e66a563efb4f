"""Outlining the hippocampus (Medical Segmentation Decathlon, task 4): the defaults of ``fit`` beside hand-written Keras.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/msd_hippocampus.py [--seed 0]
180 volumes with masks: 50 drawn for the test, 10 by which easydl chooses its best epoch, 120 on which both train, the
hand-written network for as many seconds as easydl took (reading included for both). Left and right of
one person are separate files without a name, so a person may be on both sides; it is the same for both.
Published, five folds of 260 volumes: nnU-Net 0.8975 / 0.8807 (10.1038/s41592-020-01008-z), on a graphics card, in hours.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import keras
import nibabel
import numpy as np
import tensorflow as tf
from keras import layers, ops

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

import easydl

TEST, HELD = 50, 10
PATCH = (40, 56, 40)
PUBLISHED = {"nnU-Net, five folds of 260": [0.8975, 0.8807]}


def block(x, filters: int):
    shortcut = layers.Conv3D(filters, 1, use_bias=False)(x) if x.shape[-1] != filters else x
    for last in (False, True):
        x = layers.GroupNormalization(8)(layers.Conv3D(filters, 3, padding="same", use_bias=False)(x))
        x = layers.Add()([x, shortcut]) if last else x
        x = layers.ReLU()(x)
    return x


def network() -> keras.Model:
    """A residual 3D U-Net of 1.4 million parameters, as a tutorial would write it."""
    x = given = layers.Input((None, None, None, 1))
    skips = []
    for filters in (16, 32, 64):
        x = block(x, filters)
        skips.append(x)
        x = layers.MaxPooling3D(2)(x)
    x = block(x, 128)
    for filters in (64, 32, 16):
        x = layers.Conv3DTranspose(filters, 2, strides=2)(x)
        x = block(layers.Concatenate()([x, skips.pop()]), filters)
    return keras.Model(given, layers.Conv3D(3, 1, activation="softmax")(x))


def fitted(volume: np.ndarray, shape: tuple[int, ...], corner: tuple[int, ...]) -> np.ndarray:
    part = volume[tuple(slice(a, a + side) for a, side in zip(corner, shape, strict=True))]
    return np.pad(part, [(0, side - have) for side, have in zip(shape, part.shape, strict=True)])


def by_hand(
    images: list[Path], masks: list[Path], chosen: list[int], test: list[int], seed: int, seconds: float
) -> dict:
    keras.utils.set_random_seed(seed)
    begin = time.perf_counter()
    x, y = [], []
    for image, mask in zip(images, masks, strict=True):
        pixels = nibabel.load(image).get_fdata(dtype=np.float32)
        low, high = np.percentile(pixels, [0.5, 99.5])
        x.append(np.clip((pixels - low) / (high - low), 0, 1) * 2 - 1)
        y.append(np.asarray(nibabel.load(mask).dataobj).astype(np.int32))
    model = network()
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(pixels, labels):
        target = tf.one_hot(labels, 3)
        with tf.GradientTape() as tape:
            found = model(pixels, training=True)
            entropy = ops.mean(keras.losses.categorical_crossentropy(target, found))
            both, either = ops.sum(target * found, axis=(0, 1, 2, 3)), ops.sum(target + found, axis=(0, 1, 2, 3))
            loss = entropy + 1 - ops.mean(((2 * both + 1e-5) / (either + 1e-5))[1:])
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables)

    rng, queue, steps = np.random.default_rng(seed), [], 0
    while (spent := (time.perf_counter() - begin) / seconds) < 1:
        # Polynomial decay over the time there is.
        optimizer.learning_rate = 2e-3 * (1 - spent) ** 0.9
        batch = []
        for _ in range(2):
            queue = queue or list(rng.permutation(chosen))
            case = queue.pop()
            corner = tuple(int(rng.integers(0, max(0, a - b) + 1)) for a, b in zip(y[case].shape, PATCH, strict=True))
            batch.append((fitted(x[case], PATCH, corner), fitted(y[case], PATCH, corner)))
        step(np.stack([one for one, _ in batch])[..., None], np.stack([one for _, one in batch]))
        steps += 1
    took = time.perf_counter() - begin
    scores = []
    for case in test:
        whole = tuple(-(-side // 8) * 8 for side in y[case].shape)
        found = np.asarray(model(fitted(x[case], whole, (0, 0, 0))[None, ..., None], training=False))[0].argmax(-1)
        scores.append(dice(found[tuple(slice(0, side) for side in y[case].shape)], y[case]))
    return {"seconds": took, "steps": steps, "parameters": model.count_params(), "scores": scores}


def dice(found: np.ndarray, truth: np.ndarray) -> list[float]:
    return [
        2 * float(((found == k) & (truth == k)).sum()) / float((found == k).sum() + (truth == k).sum()) for k in (1, 2)
    ]


def interval(scores: np.ndarray) -> dict[str, list[float]]:
    """Mean of each label and its 95% interval from 2,000 resamplings of the test volumes."""
    rng = np.random.default_rng(0)
    means = np.stack([scores[rng.integers(0, len(scores), len(scores))].mean(0) for _ in range(2000)])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {
        f"label {k + 1}": [round(float(value), 4) for value in (scores.mean(0)[k], low[k], high[k])] for k in range(2)
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    study = easydl.load(common.real_data() / "msd_hippocampus", patient=None)
    order = [int(row) for row in np.random.default_rng(seed).permutation(len(study))]
    test, chosen = order[:TEST], order[TEST:]
    held, train = (study.rows(study.frame.index[rows]) for rows in (chosen[:HELD], chosen[HELD:]))
    keras.utils.set_random_seed(seed)
    begin = time.perf_counter()
    model = easydl.unet3d(study)
    history = easydl.fit(model, train, held)
    seconds = time.perf_counter() - begin
    scores = []
    for row in test:
        found = easydl.predict(model, study.scan(row)).mask
        scores.append(dice(found, study.reference(row)))
    plan = history.params["plan"]
    print("easydl", round(seconds), interval(np.asarray(scores)), *plan, sep="\n", flush=True)
    images = [Path(study.addresses(row)[0]) for row in range(len(study))]
    masks = [Path(one) for one in study.frame["mask"]]
    hand = by_hand(images, masks, chosen[HELD:], test, seed, seconds)
    mine, other = np.asarray(scores), np.asarray(hand.pop("scores"))
    difference = interval(mine - other)
    common.write(
        "accuracy_msd_hippocampus",
        {
            "test_volumes": TEST, "training_volumes": len(train), "held_out_by_easydl": HELD,
            "easydl": {"seconds": round(seconds), "epochs": len(history.epoch), "dice": interval(mine), "plan": plan},
            "by_hand": {**hand, "dice": interval(other)},
            "difference": difference, "published": PUBLISHED,
        },
        seed,
    )  # fmt: skip
