"""PneumoniaMNIST at 28 pixels: ``classifier("tiny")`` and the defaults of ``fit``, beside hand-written Keras.

Run: EASYDL_REAL_DATA=... python benchmarks/accuracy/pneumoniamnist.py [--seeds 3]
Official split (4,708 / 524 / 624 images). Published at this size (MedMNIST v2, 10.1038/s41597-022-01721-8): ResNet-18
AUC 0.944, accuracy 0.854; ResNet-50 0.948, 0.854; AutoKeras 0.947, 0.878; Google AutoML Vision 0.991, 0.946.
The hand-written network gets as many seconds as easydl took.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common
from pretrained_small_data import NAMES, interval, table
from sklearn.metrics import accuracy_score, roc_auc_score

import easydl

PUBLISHED = {
    "ResNet-18 (28)": [0.944, 0.854], "ResNet-50 (28)": [0.948, 0.854], "AutoKeras": [0.947, 0.878],
    "Google AutoML Vision": [0.991, 0.946],
}  # fmt: skip


def by_hand(data: dict[str, np.ndarray], seed: int, seconds: float) -> np.ndarray:
    """A small CNN as a tutorial would write it: the best epoch on the validation part, stopped by the clock."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
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
    model.fit(
        data["train_images"][..., None].astype("float32"), data["train_labels"], batch_size=64, epochs=1000, verbose=0,
        validation_data=(data["val_images"][..., None].astype("float32"), data["val_labels"]), callbacks=[best, Clock()],
    )  # fmt: skip
    return model.predict(data["test_images"][..., None].astype("float32"), verbose=0)[:, 0]


def once(seed: int) -> dict[str, float]:
    data = dict(np.load(common.real_data() / "pneumoniamnist/pneumoniamnist.npz"))
    parts = [part for part in ("train", "val", "test") for _ in data[f"{part}_images"]]
    with tempfile.TemporaryDirectory() as folder:
        frame = table(
            Path(folder),
            np.concatenate([data[f"{part}_images"] for part in ("train", "val", "test")]),
            np.concatenate([data[f"{part}_labels"] for part in ("train", "val", "test")]),
            parts,
        )
        study = easydl.load(frame, patient=None, split="split", override="the official split; 1 copy in 5,856")
        train, val, test = study.split()
        model = easydl.classifier("tiny", study, seed=seed)
        start = time.perf_counter()
        history = easydl.fit(model, train, val, seed=seed, verbose=False)
        seconds = time.perf_counter() - start
        found = easydl.predict(model, test).frame
    truth, probability = (found["label"] == NAMES[1]).to_numpy(), found[f"p({NAMES[1]})"].to_numpy()
    other = by_hand(data, seed, seconds)
    labels = data["test_labels"].ravel() == 1
    return {
        "seconds": seconds, "epochs": len(history.epoch),
        "auc": roc_auc_score(truth, probability), "accuracy": accuracy_score(truth, probability > 0.5),
        "hand_auc": roc_auc_score(labels, other), "hand_accuracy": accuracy_score(labels, other > 0.5),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    rows = []
    for seed in range(parser.parse_args().seeds):
        rows.append(once(seed))
        print({key: round(value, 4) for key, value in rows[-1].items()}, flush=True)
    means = {key: interval([row[key] for row in rows]) for key in rows[0]}
    common.write(
        "accuracy_pneumoniamnist", {"test_images": 624, "seeds": rows, "mean_and_95ci": means, "published": PUBLISHED}
    )
