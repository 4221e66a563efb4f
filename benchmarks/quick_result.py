"""The default training against a logistic regression on frozen features by hand.

Run: EASYDL_REAL_DATA=... python benchmarks/quick_result.py [--sets brain nih] [--seeds 2] [--scratch]
The regression is scikit-learn's on the features of EfficientNet-Lite0 at the same size, its penalty chosen by
`GridSearchCV` on folds by patient; like the network it learns from the training part only and is asked for the
test part. `brain` are 253 MR slices from the web (no patients known), too few for fine-tuning; `nih` are 500 chest films
of 64 pixels, by patient, which are fine-tuned. With ``--scratch`` also `tiny` from random weights, which takes minutes.
"""

from __future__ import annotations

import argparse
import time
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

FILMS = 500


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


SETS = {"brain": brain, "nih": nih}


def regression(train: Any, test: Any) -> np.ndarray:
    """The scores of the second class of a regression by hand."""
    extractor = feature_extractor(easydl.classifier("efficientnetlite0", train, pretrained=True))
    size = tuple(extractor.input_shape[1:3])

    def features(part: Any) -> tuple[np.ndarray, np.ndarray]:
        batches = list(part.batches(32, size=size))
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


def compared(found: Difference) -> list[float] | str:
    """The difference with its interval, or why there is none."""
    if np.isfinite(found.low):
        return [round(x, 3) for x in (found.difference, found.low, found.high)]
    return "the same ranking" if found.p == 1 else f"{found.difference:.3f}, {found.note}"


def once(name: str, seed: int, ways: dict[str, str]) -> dict[str, Any]:
    frame, options = SETS[name]()
    study = easydl.load(frame, **options)
    train, val, test = study.split(seed=seed, override="copies in the set")
    scores, seconds = {}, {}
    for way, network in ways.items():
        start = time.perf_counter()
        model = easydl.classifier(network, train, pretrained=way == "default", seed=seed)
        history = easydl.fit(model, train, val, seed=seed, verbose=False)
        seconds[way] = round(time.perf_counter() - start, 1)
        scores[way] = easydl.predict(model, test).frame[f"p({study.classes[1]})"].to_numpy()
        if way == "default":
            said = [
                one for one in history.params["plan"] if one.startswith(("Quick result", "Fine-tuning is", "No epoch"))
            ]
    start = time.perf_counter()
    scores["regression"] = regression(train, test)
    seconds["regression"] = round(time.perf_counter() - start, 1)
    truth = test.targets().argmax(axis=1)
    people = test.frame["patient"] if test.patients_known else test.frame.index
    facts: dict[str, Any] = {"train_images": len(train), "test_images": len(test), "seconds": seconds, "said": said}
    facts |= {f"auc_{way}": round(float(roc_auc_score(truth, score)), 3) for way, score in scores.items()}
    for other in scores.keys() - {"default"}:
        found = paired_difference(truth, scores["default"], scores[other], people)
        facts[f"default_minus_{other}"] = compared(found)
    return facts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--scratch", action="store_true")
    given = parser.parse_args()
    ways = {"default": "efficientnetlite0"} | ({"scratch": "tiny"} if given.scratch else {})
    found = {}
    for name in given.sets:
        for seed in range(given.seeds):
            found[f"{name}_seed_{seed}"] = once(name, seed, ways)
            # After each, so that what was measured is not lost with the last of them.
            common.write("quick_result", found)
