"""The default training against a logistic regression on frozen features and a small network, both by hand.

Run: EASYDL_REAL_DATA=... python benchmarks/quick_result.py [--sets brain nih ...] [--seeds 3] [--by-hand]
The regression is scikit-learn's on the features of EfficientNet-Lite0 at the same size, its penalty chosen by
`GridSearchCV` on folds by patient; like the network it learns from the training part only and is asked for the
test part. `brain` are 253 MR slices from the web (no patients known); `nih` 500 chest films of 64 pixels, by patient; `covid` 344
films of COVID-19 or something else, by patient; `openi` 75 films of chest or abdomen; `pneumonia` 500 films of PneumoniaMNIST.
With ``--by-hand`` also a small network written in plain Keras (four convolutions, batch normalisation, flips and shifts, the best of
40 epochs by the validation loss), at 64 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import easydl
from easydl.evaluation import paired_difference
from easydl.evaluation.paired import Difference
from easydl.networks import feature_extractor

FILMS, HAND = 500, 64


def brain() -> tuple[pd.DataFrame, dict[str, Any]]:
    files = sorted(p for label in ("yes", "no") for p in (common.real_data() / "brain_mri_tumor").rglob(f"{label}/*"))
    return pd.DataFrame({"image": map(str, files), "label": [p.parent.name for p in files]}), {"patient": None}


def nih() -> tuple[pd.DataFrame, dict[str, Any]]:
    folder = common.real_data() / "nih1000_cxr"
    table = pd.read_csv(folder / "metadata.csv").sample(FILMS, random_state=0)
    rows = {
        "image": [str(folder / name) for name in table["filename"]],
        "label": table["label"],
        "patient": table["patient_id"],
    }
    return pd.DataFrame(rows).reset_index(drop=True), {}


def covid() -> tuple[pd.DataFrame, dict[str, Any]]:
    folder = common.real_data() / "covid_cxr_metadata"
    table = pd.read_csv(folder / "metadata.csv")
    label = np.where(table["finding"] == "COVID-19", "COVID-19", "something else")
    rows = {"image": [str(folder / "images" / name) for name in table["filename"]], "label": label}
    return pd.DataFrame(rows | {"patient": table["patientid"].astype(str)}), {}


def openi() -> tuple[pd.DataFrame, dict[str, Any]]:
    folder = common.real_data() / "openi_abd_vs_cxr"
    files = sorted(p for part in ("train", "val") for p in (folder / part).rglob("*.png"))
    return pd.DataFrame({"image": map(str, files), "label": [p.parent.name for p in files]}), {"patient": None}


def pneumonia() -> tuple[pd.DataFrame, dict[str, Any]]:
    data, folder = common.pneumonia(), Path(tempfile.gettempdir()) / "easydl-benchmark-pneumonia"
    folder.mkdir(exist_ok=True)
    chosen = np.random.default_rng(0).permutation(len(data["train_images"]))[:FILMS]
    images, labels = data["train_images"][chosen], data["train_labels"][chosen]
    return common.pneumonia_table(folder, images, labels, [""] * FILMS).drop(columns="split"), {"patient": None}


SETS = {"brain": brain, "nih": nih, "covid": covid, "openi": openi, "pneumonia": pneumonia}


def regression(train: Any, test: Any) -> np.ndarray:
    """The scores of the second class of a regression by hand."""
    extractor = feature_extractor(easydl.classifier("efficientnetlite0", train, pretrained=True))
    size = tuple(extractor.input_shape[1:3])

    def features(part: Any) -> tuple[np.ndarray, np.ndarray]:
        # In the order of the frame, as are the patients that the folds go by.
        batches = list(part.batches(32, size=size, shuffle=False))
        return np.concatenate([extractor(x, training=False) for x, _ in batches]), np.concatenate(
            [y for _, y in batches]
        )

    (x, y), (asked, _) = features(train), features(test)
    y = y.argmax(axis=1)
    people = train.frame["patient"] if train.patients_known else train.frame.index
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, y, people))
    penalties = {"logisticregression__C": np.logspace(-4, 2, 7)}
    made = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return GridSearchCV(made, penalties, cv=folds, scoring="neg_log_loss").fit(x, y).predict_proba(asked)[:, 1]


def network_by_hand(train: Any, val: Any, test: Any, seed: int) -> np.ndarray:
    """The scores of the second class of a small network in plain Keras."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)

    def pixels(part: Any) -> np.ndarray:
        return np.concatenate([np.asarray(x) for x, _ in part.batches(64, size=(HAND, HAND))])

    model = keras.Sequential([keras.Input((HAND, HAND, train.channels)), layers.Rescaling(1 / 255)])
    model.add(layers.RandomTranslation(0.05, 0.05))
    for filters in (16, 32, 64, 128):
        for layer in (
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
        ):
            model.add(layer)
    for layer in (layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(2, activation="softmax")):
        model.add(layer)
    model.compile(keras.optimizers.Adam(1e-3), "categorical_crossentropy")
    best = keras.callbacks.EarlyStopping(patience=40, restore_best_weights=True)
    held = pixels(val), val.targets()
    model.fit(pixels(train), train.targets(), 16, 40, verbose=0, validation_data=held, callbacks=[best])
    return np.asarray(model.predict(pixels(test), verbose=0)[:, 1])


def compared(found: Difference) -> list[float] | str:
    """The difference with its interval, or why there is none."""
    if np.isfinite(found.low):
        return [round(x, 3) for x in (found.difference, found.low, found.high)]
    return "the same ranking" if found.p == 1 else f"{found.difference:.3f}, {found.note}"


def once(name: str, seed: int, by_hand: bool) -> dict[str, Any]:
    frame, options = SETS[name]()
    study = easydl.load(frame, **options)
    train, val, test = study.split(seed=seed, override="copies in the set")
    scores, seconds = {}, {}
    start = time.process_time()
    model = easydl.classifier("efficientnetlite0", train, pretrained=True, seed=seed)
    plan = easydl.fit(model, train, val, seed=seed, verbose=False).params["plan"]
    seconds["default"] = round(time.process_time() - start, 1)
    scores["default"] = easydl.predict(model, test).frame[f"p({study.classes[1]})"].to_numpy()
    said = [one for one in plan if one.startswith(("Quick result", "Fine-tuning is", "No epoch"))]
    start = time.process_time()
    scores["regression"] = regression(train, test)
    seconds["regression"] = round(time.process_time() - start, 1)
    if by_hand:
        start = time.process_time()
        scores["network"] = network_by_hand(train, val, test, seed)
        seconds["network"] = round(time.process_time() - start, 1)
    truth = test.targets().argmax(axis=1)
    people = test.frame["patient"] if test.patients_known else test.frame.index
    facts: dict[str, Any] = {
        "train_images": len(train),
        "test_images": len(test),
        "processor_seconds": seconds,
        "said": said,
    }
    facts |= {f"auc_{way}": round(float(roc_auc_score(truth, score)), 3) for way, score in scores.items()}
    for other in scores.keys() - {"default"}:
        found = paired_difference(truth, scores["default"], scores[other], people)
        facts[f"default_minus_{other}"] = compared(found)
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by-hand", action="store_true")
    given = parser.parse_args()
    found = {}
    for name in given.sets:
        for seed in range(given.seeds):
            found[f"{name}_seed_{seed}"] = once(name, seed, given.by_hand)
            # After each, so that what was measured is not lost with the last of them.
            common.write("quick_result", found)
