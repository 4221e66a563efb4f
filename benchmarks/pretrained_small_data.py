"""200 labelled images: real ImageNet weights against random ones, and against a hand-written logistic regression.

Run: EASYDL_REAL_DATA=... EASYDL_WEIGHTS=<folder with the MobileNet 0.25 file> python benchmarks/pretrained_small_data.py
PneumoniaMNIST, official test set (624 images). The 200 images are drawn from the official training set; easydl takes 40
of them for validation, the logistic regression (on standardised features of the same network) trains on all 200.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import easydl

IMAGES, SEEDS, MODEL = 200, 5, "mobilenet_025"
POSITIVE = common.PNEUMONIA_CLASSES[1]


def once(seed: int, size: int) -> dict[str, float]:
    data = common.pneumonia()
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(data["train_images"]))[:IMAGES]
    parts = ["val" if k % 5 == 0 else "train" for k in range(IMAGES)]
    with tempfile.TemporaryDirectory() as folder:
        study = common.pneumonia_study(Path(folder), data, chosen, parts)
        train, val, test = study.split()
        whole = train.parent
        result = {}
        for name, pretrained in (("pretrained", True), ("random", False)):
            start = time.perf_counter()
            model = easydl.classifier(MODEL, study, pretrained=pretrained, size=size, seed=seed)
            easydl.fit(model, train, val, seed=seed, verbose=False)
            result[f"{name}_seconds"] = time.perf_counter() - start
            predictions = easydl.predict(model, test).frame
            result[name] = roc_auc_score(predictions["label"] == POSITIVE, predictions[f"p({POSITIVE})"])
        start = time.perf_counter()
        backbone = easydl.classifier(MODEL, study, pretrained=True, size=size)
        from easydl.networks import feature_extractor

        extractor = feature_extractor(backbone)
        x, y = [], []
        for part in (whole.rows(whole.frame.index[whole.frame["split"] != "test"]), test):
            batches = list(part.batches(64, size=(size, size)))
            x.append(np.concatenate([extractor(b, training=False) for b, _ in batches]))
            y.append(np.concatenate([t.numpy()[:, 1] for _, t in batches]))
        by_hand = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(x[0], y[0])
        result["logistic"] = roc_auc_score(y[1], by_hand.predict_proba(x[1])[:, 1])
        result["logistic_seconds"] = time.perf_counter() - start
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    given = parser.parse_args()
    runs = []
    for seed in range(given.seeds):
        runs.append(once(seed, given.size))
        print({key: round(value, 3) for key, value in runs[-1].items()}, flush=True)
    names = ("pretrained", "random", "logistic")
    facts = {f"auc_{name}_mean_and_95ci_over_seeds": common.interval([run[name] for run in runs]) for name in names}
    facts |= {f"{name}_minus_{other}": common.interval([run[name] - run[other] for run in runs])
              for name, other in (("pretrained", "random"), ("pretrained", "logistic"))}  # fmt: skip
    seconds = {
        f"{name}_seconds": round(float(np.median([run[f"{name}_seconds"] for run in runs])), 1) for name in names
    }
    common.write(
        "pretrained_small_data", {"images": IMAGES, "seeds": given.seeds, "size": given.size, **facts, **seconds}
    )
