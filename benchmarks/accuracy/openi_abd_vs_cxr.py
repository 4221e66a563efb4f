"""Chest or abdomen (Lakhani 2018, "Hello World Deep Learning"): five times five-fold cross-validation of 75 films.

Run: EASYDL_REAL_DATA=... [EASYDL_WEIGHTS=...] python benchmarks/accuracy/openi_abd_vs_cxr.py [--repeats 5] [--model NAME]
Published: InceptionV3 with ImageNet weights was right in 10 of 10 validation films (10.1007/s10278-018-0079-6), which is
72% to 100%. Chest films are all 512 x 512 and abdomens are not, so a network may see the enlargement instead of the body.
Two films are the same file; they are kept in the same part. Every film is tested once in each repeat.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import common

import easydl
from easydl.evaluation.intervals import wilson

TWINS = ("abd3.png", "abd4.png")


def films() -> pd.DataFrame:
    root, rows = common.real_data() / "openi_abd_vs_cxr", []
    for part in ("train", "val"):
        for label in ("abdomen", "chest"):
            for path in sorted((root / part / label).iterdir()):
                same = part == "val" and label == "abdomen" and path.name in TWINS
                rows.append(
                    {"image": str(path), "label": label, "patient": "twins" if same else f"{part}_{label}_{path.stem}"}
                )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", default="mobilenet_025")
    parser.add_argument("--untrained", action="store_true", help="begin with random weights")
    given = parser.parse_args()
    study = easydl.load(films())
    right, seconds = [], []
    for repeat in range(given.repeats):
        begin = time.perf_counter()
        correct = {}
        for train, val, test in study.folds(5, seed=repeat):
            model = easydl.classifier(given.model, study, pretrained=not given.untrained, size=128, seed=repeat)
            easydl.fit(model, train, val, seed=repeat, verbose=False)
            found = easydl.predict(model, test).frame
            correct |= dict(zip(found["image"], found["label"] == found["prediction"], strict=True))
        right.append([correct[name] for name in study.frame["image"]])
        seconds.append(round(time.perf_counter() - begin))
        print(repeat, np.mean(right[-1]), seconds[-1], flush=True)
    per_repeat = [int(sum(one)) for one in right]
    # The repeats are of the same films: the interval is that of 75, around the mean of the repeats.
    accuracy = float(np.mean(per_repeat)) / len(study)
    interval = wilson(accuracy, len(study))
    common.write(
        "accuracy_openi_abd_vs_cxr",
        {
            "films": len(study), "model": given.model, "pretrained": not given.untrained,
            "right_in_each_repeat": per_repeat,
            "accuracy_and_95ci": [round(x, 4) for x in (accuracy, interval.low, interval.high)],
            "seconds_of_five_folds": seconds, "published": {"InceptionV3, 10 films": [1.0, 0.72, 1.0]},
        },
    )  # fmt: skip
