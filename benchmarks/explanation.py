"""How often each verdict is given where the truth is known: models that learned a nodule, a marker, shuffled labels, nothing.

    python benchmarks/explanation.py [seeds] [the first of them]

Each seed simulates a study of chest slices and trains `tiny` on it. Answers are counted by what the model said and whether
it was right. What a seed found is written before the next begins; seeds that were done are not done again.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import write
from PIL import Image
from scipy.stats import binomtest

import easydl
from easydl.explanation.gradcam import network_of

SIZE, PATIENTS, EPOCHS, IMAGES = 64, 200, {"nodule": 24, "marker": 24, "shuffled": 12}, 60
CLASSES = ["no nodule", "nodule"]
FOUND = Path(tempfile.gettempdir()) / "easydl-benchmark-explanation"


def shuffled(table: Path, seed: int) -> Path:
    """The table with the labels of whole patients exchanged."""
    frame = pd.read_csv(table)
    labels = frame.groupby("patient")["label"].first()
    drawn = pd.Series(np.random.default_rng(seed).permutation(labels.to_numpy()), index=labels.index)
    frame["label"] = frame["patient"].map(drawn)
    path = table.with_name("shuffled.csv")
    frame.to_csv(path, index=False)
    return path


def trained(table: Path, kind: str, seed: int) -> tuple[Any, Any]:
    """A model, and the test part that it has not seen."""
    study = easydl.load(table, label="label", classes=CLASSES, mask=None)
    train, val, test = study.split(sizes=(0.55, 0.1, 0.35), seed=seed)
    model = easydl.classifier("tiny", study)
    easydl.fit(model, train, val, epochs=EPOCHS[kind], seed=seed, verbose=False)
    return model, test


def untrained(model: Any, seed: int) -> None:
    """Take away what was learned."""
    network = network_of(model, (SIZE, SIZE))
    for variable, value in zip(network.variables, network.random_weights(seed), strict=True):
        variable.assign(value)


def counted(model: Any, test: Any, kind: str) -> list[dict[str, Any]]:
    """The verdict on each image, and whether the peak of its map lies in the nodule, or within one point of the map."""
    rows = []
    for row in range(min(IMAGES, len(test))):
        begin = time.process_time()
        heatmap = easydl.saliency(model, test, row=row)
        seconds = time.process_time() - begin
        path = Path(test.addresses(row)[0])
        mask = np.asarray(Image.open(path.parents[2] / "masks" / f"{path.stem}.png")) > 0
        peak = np.array(np.unravel_index(heatmap.array.argmax(), heatmap.array.shape))
        point = SIZE / heatmap.verdict.numbers.get("points_across", SIZE)
        away = np.abs(np.argwhere(mask) - peak).max(axis=1).min() if mask.any() else np.inf
        found = {"kind": kind, "said": heatmap.target, "right": bool(heatmap.right), "level": heatmap.verdict.level}
        rows.append(found | {"inside": bool(away == 0), "near": bool(away <= point), "seconds": seconds})
    return rows


def one_seed(seed: int) -> list[dict[str, Any]]:
    """All verdicts of a seed; kept on disk."""
    kept = FOUND / f"{seed}.json"
    if kept.exists():
        return list(json.loads(kept.read_text()))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder, options = Path(name), {"patients": PATIENTS, "size": SIZE, "seed": seed}
        plain = easydl.simulate(folder / "plain", **options)
        marked = easydl.simulate(folder / "marked", traps="marker", **options)
        for kind, table in (("nodule", plain), ("marker", marked), ("shuffled", shuffled(plain, seed))):
            model, test = trained(table, kind, seed)
            rows += counted(model, test, kind)
            if kind == "nodule":
                untrained(model, seed)
                rows += counted(model, test, "random")
    FOUND.mkdir(exist_ok=True)
    kept.write_text(json.dumps(rows))
    return rows


def rate(hits: int, n: int) -> dict[str, float]:
    """With its 95% interval (Wilson), in which images count as independent."""
    if not n:
        return {"n": 0}
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    return {"rate": round(hits / n, 3), "low": round(low, 3), "high": round(high, 3), "n": n}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rates over all seeds."""
    frame = pd.DataFrame(rows)
    right = frame[(frame["kind"] == "nodule") & frame["right"] & (frame["said"] == "nodule")]
    passed, wrong = right[right["level"] == "PASS"], frame[(frame["kind"] == "nodule") & ~frame["right"]]
    absent = frame[(frame["kind"] == "nodule") & frame["right"] & (frame["said"] == "no nodule")]
    facts = {
        "right nodules trusted": rate(len(passed), len(right)),
        "trusted peaks in the nodule": rate(int(passed["inside"].sum()), len(passed)),
        "trusted peaks within one point of it": rate(int(passed["near"].sum()), len(passed)),
        "wrong answers trusted": rate(int((wrong["level"] == "PASS").sum()), len(wrong)),
        "right absences": dict(Counter(absent["level"])),
        "seconds of processor time, median": round(float(frame["seconds"].median()), 3),
    }
    for kind in ("marker", "random", "shuffled"):
        part = frame[frame["kind"] == kind]
        facts[f"{kind} not trusted (FAIL)"] = rate(int((part["level"] == "FAIL").sum()), len(part))
        facts[f"{kind} trusted"] = rate(int((part["level"] == "PASS").sum()), len(part))
    return facts


def main(seeds: int, first: int = 1) -> None:
    """All seeds, with the rates so far after each."""
    rows: list[dict[str, Any]] = []
    for seed in range(first, first + seeds):
        rows += one_seed(seed)
        print(seed, json.dumps(summary(rows), indent=1), flush=True)
    write("explanation", {"rates": summary(rows), "seeds": seeds, "first": first})


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3] or ("3",)))
