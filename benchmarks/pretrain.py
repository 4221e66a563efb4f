"""50 labelled images: a network pretrained on images without labels against random weights, over seeds.

Run: EASYDL_REAL_DATA=... python benchmarks/pretrain.py [--method simclr|autoencoder|stacked_denoising] [--network tiny] [--whole] [--write]
PneumoniaMNIST, a network of 32 pixels. For every seed the network is pretrained anew, on images of the official training set without
their labels, and 50 of these get their labels back: 40 to train, 10 to validate. 1,000 other images of the training set are kept for
the test, as the official test set (624 images) is of another distribution: AUCs on both are given.
Both networks are trained by `easydl.fit` with its defaults (with --whole the pretrained one also as a whole); beside them a logistic
regression on the frozen features of both.
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

WHOLE = {"strategy": "finetune", "learning_rate": 1e-3, "epochs": 40}
HELD_OUT = 1000
POSITIVE = common.PNEUMONIA_CLASSES[1]


def auc_of(model: object, test: object) -> float:
    predictions = easydl.predict(model, test).frame
    return float(roc_auc_score(predictions["label"] == POSITIVE, predictions[f"p({POSITIVE})"]))


def auc_of_fit(model: object, train: object, val: object, test: object, seed: int, **options: object) -> float:
    easydl.fit(model, train, val, seed=seed, verbose=False, **options)
    return auc_of(model, test)


def auc_of_features(model: object, labelled: object, test: object) -> float:
    x, asked = (easydl.features(model, part).filter(regex=r"^\d+$|^feature") for part in (labelled, test))
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(
        x, labelled.frame["label"] == POSITIVE
    )
    return float(roc_auc_score(test.frame["label"] == POSITIVE, fitted.predict_proba(asked)[:, 1]))


def once(seed: int, given: argparse.Namespace) -> dict[str, float]:
    data = common.pneumonia()
    chosen = np.random.default_rng(seed).permutation(len(data["train_images"]))[: given.images + HELD_OUT]
    # The labelled ones first; the others have a label in the table, which nothing reads but the test.
    parts = ["val" if k % 5 == 0 else "train" for k in range(given.labels)]
    parts += ["train"] * (len(chosen) - HELD_OUT - given.labels) + ["test"] * HELD_OUT
    with tempfile.TemporaryDirectory() as folder:
        study = common.pneumonia_study(Path(folder), data, chosen, parts)
        pool, val, tests = study.split()
        held_out = tests.rows(tests.frame.index[:HELD_OUT])
        official = tests.rows(tests.frame.index[HELD_OUT:])
        train = pool.rows(pool.frame.index[: given.labels - len(val)])
        labelled = study.rows(study.frame.index[: given.labels])
        start = time.process_time()
        own = easydl.pretrain(
            pool, given.network, method=given.method, epochs=given.epochs, size=32, seed=seed, verbose=False
        )
        result = {"pretraining_cpu_s": time.process_time() - start}
        models = {
            "random": easydl.classifier(given.network, study, size=32, seed=seed),
            "pretrained": easydl.classifier(given.network, study, pretrained=own, seed=seed),
        }
        for name, model in models.items():
            for test, part in (("", held_out), ("_official", official)):
                result[f"{name}_features{test}"] = auc_of_features(model, labelled, part)
        if given.whole:
            models["pretrained_whole"] = easydl.classifier(given.network, study, pretrained=own, seed=seed)
        for name, model in models.items():
            options = WHOLE if name == "pretrained_whole" else {}
            result[name] = auc_of_fit(model, train, val, held_out, seed, **options)
            result[f"{name}_official"] = auc_of(model, official)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", default="simclr")
    parser.add_argument("--network", default="tiny")
    parser.add_argument("--images", type=int, default=3708)
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--epochs", type=int, help="as many as easydl.pretrain chooses")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--whole", action="store_true", help="also train the pretrained network as a whole")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    runs = []
    for seed in range(given.first, given.first + given.seeds):
        runs.append(once(seed, given))
        print({key: round(value, 3) for key, value in runs[-1].items()}, flush=True)
    names = [name for name in runs[0] if not name.endswith("_s")]
    facts = {f"auc_{name}_mean_and_95ci_over_seeds": common.interval([run[name] for run in runs]) for name in names}
    for one in ("pretrained", "pretrained_whole", "pretrained_features"):
        other = "random_features" if one.endswith("features") else "random"
        for test in ("", "_official"):
            if one + test in names:
                differences = [run[one + test] - run[other + test] for run in runs]
                facts[f"{one}_minus_{other}{test}"] = common.interval(differences)
    seconds = round(float(np.median([run["pretraining_cpu_s"] for run in runs])), 1)
    facts |= {"pretraining_cpu_s": seconds, **vars(given)}
    name = f"pretrain_{given.method}" + ("" if given.network == "tiny" else f"_{given.network}")
    common.write(name if given.write else None, facts)
