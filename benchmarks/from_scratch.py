"""What a small network from random weights does on 100 training images: its validation loss, epoch by epoch, and its calibration.

Run: EASYDL_REAL_DATA=... python benchmarks/from_scratch.py [--seeds 3] [--only NAME] [--averaged]
`tiny` at 64 pixels with the defaults of `fit`; 100 images in training, 40 in validation, up to 400 in the test, drawn anew with each seed
(patients apart where they are known, copies counted once). All probabilities are those of the finished model, and what is said
of them is computed here, not by easydl. Chest or abdomen has 75 films only: 40, 15 and 19, too few to calibrate on.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import common
import keras
import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import easydl
from easydl.evaluation import temperature
from easydl.training.classification import ClassifierFeeder

SIZE, PARTS, BINS = 64, {"train": 100, "val": 40, "test": 400}, 10
FEW = {"train": 40, "val": 15, "test": 400}


def pneumoniamnist(folder: Path) -> pd.DataFrame:
    data = common.pneumonia()
    return common.pneumonia_table(folder, data["train_images"][:1500], data["train_labels"][:1500], [""] * 1500)


def brain_mri_tumor(folder: Path) -> pd.DataFrame:
    return _by_folder(common.real_data() / "brain_mri_tumor")


def openi_abd_vs_cxr(folder: Path) -> pd.DataFrame:
    root = common.real_data() / "openi_abd_vs_cxr"
    return pd.concat([_by_folder(root / part) for part in ("train", "val")])


def nih1000_cxr(folder: Path) -> pd.DataFrame:
    root = common.real_data() / "nih1000_cxr"
    table = pd.read_csv(root / "metadata.csv", dtype={"patient_id": str})
    images = [str(root / name) for name in table["filename"]]
    return pd.DataFrame({"image": images, "label": table["label"], "patient": table["patient_id"]})


SETS = {one.__name__: one for one in (pneumoniamnist, brain_mri_tumor, nih1000_cxr, openi_abd_vs_cxr)}


def _by_folder(root: Path) -> pd.DataFrame:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return pd.DataFrame({"image": [str(path) for path in files], "label": [path.parent.name for path in files]})


def drawn(table: pd.DataFrame, counts: dict[str, int], seed: int) -> pd.DataFrame:
    """The table with a column split: whole patients, in a random order, until each part has its images."""
    digests = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in table["image"]]
    table = table[~pd.Series(digests).duplicated().to_numpy()].reset_index(drop=True)
    groups = table["patient"] if "patient" in table else pd.Series(table.index.astype(str))
    parts = pd.Series("", index=table.index)
    wanted = list(counts)
    for name in np.random.default_rng(seed).permutation(groups.unique()):
        while wanted and (parts == wanted[0]).sum() >= counts[wanted[0]]:
            wanted.pop(0)
        if wanted:
            parts[groups == name] = wanted[0]
    return table.assign(split=parts)[parts != ""].reset_index(drop=True)


def found_in(truth: np.ndarray, said: np.ndarray) -> dict[str, float]:
    """Log-loss, expected calibration error in ten bins of equally many images, slope, and AUC."""
    said = np.clip(said, 1e-7, 1 - 1e-7)
    order = np.array_split(np.argsort(said), BINS)
    ece = sum(len(rows) * abs(said[rows].mean() - truth[rows].mean()) for rows in order) / len(truth)
    slope = LogisticRegression(C=1e6).fit(logit(said)[:, None], truth).coef_[0, 0]
    found = {"log_loss": log_loss(truth, said), "ece": ece, "slope": slope, "auc": roc_auc_score(truth, said)}
    return {name: round(float(value), 3) for name, value in found.items()}


def trained(name: str, seed: int, folder: Path, *, averaged: bool) -> dict[str, Any]:
    """The curves of one training, and what its network says of validation and test, before any temperature."""
    counts = FEW if name == "openi_abd_vs_cxr" else PARTS
    table = drawn(SETS[name](folder), counts, seed)
    columns = [column for column in table if column in ("image", "label", "patient", "split")]
    override = "a benchmark that is drawn by patient where these are known"
    patient = "patient" if "patient" in table else None
    train, val, test = easydl.load(table[columns], patient=patient, split="split", override=override).split()
    keras.backend.clear_session()
    model = easydl.classifier("tiny", train, size=SIZE, seed=seed)
    plain = ClassifierFeeder.main_stage
    with mock.patch.object(ClassifierFeeder, "main_stage", lambda self: replace(plain(self), average=averaged)):
        history = easydl.fit(model, train, val, seed=seed, verbose=False, calibrate=False, override=override)
    said = {part: easydl.predict(model, study).frame for part, study in (("val", val), ("test", test))}
    positive = train.classes[1]
    return {
        "loss": history.history["loss"],
        "val_loss": history.history["val_loss"],
        "prevalence": float((train.frame["label"].astype(str) == positive).mean()),
        **{f"{part}_truth": (one["label"].astype(str) == positive).to_numpy(int) for part, one in said.items()},
        **{f"{part}_said": one[f"p({positive})"].to_numpy(float) for part, one in said.items()},
    }


def judged(one: dict[str, Any]) -> dict[str, Any]:
    """What the curves and the probabilities of a training come to."""
    validation = np.asarray(one["val_loss"], float)
    best = int(validation.argmin())
    outputs, targets = (np.column_stack([1 - x, x]) for x in (one["val_said"], one["val_truth"]))
    # The lowest log-loss on the validation part, as easydl chose it before; and as it chooses now.
    lowest, now = (_temperature(outputs, targets, fit) for fit in (temperature._lowest, temperature.fitted))
    truth, test = one["test_truth"], np.column_stack([1 - one["test_said"], one["test_said"]])
    return {
        "test": len(truth),
        "epochs": len(validation),
        "best_epoch": best + 1,
        "training_loss_last": round(float(one["loss"][-1]), 3),
        "validation_loss_best": round(float(validation[best]), 3),
        "validation_loss_highest": round(float(validation.max()), 2),
        "highest_after_best_to_best": round(float(validation[best:].max() / validation[best]), 2),
        "log_loss_of_prevalence": round(log_loss(truth, np.full(len(truth), one["prevalence"])), 3),
        "uncalibrated": found_in(truth, test[:, 1]),
        "lowest_log_loss": {"temperature": round(lowest, 2), **found_in(truth, tempered(test, lowest))},
        "easydl": {"temperature": round(now, 2), **found_in(truth, tempered(test, now))},
    }


def _temperature(outputs: np.ndarray, targets: np.ndarray, fit: Any) -> float:
    """As `easydl.fit` chooses it with this way of fitting: 1 where it does not help, or the images are few."""
    with mock.patch.object(
        temperature, "fitted", lambda one, two, *, exclusive=True: fit(one, two, exclusive=exclusive)
    ):
        return temperature.calibration([outputs], targets, None).temperature


def tempered(outputs: np.ndarray, by: float) -> np.ndarray:
    return temperature.tempered([outputs], by)[:, 1]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds with 95% intervals."""
    means: dict[str, Any] = {}
    for column in ("validation_loss_highest", "highest_after_best_to_best", "log_loss_of_prevalence"):
        means[column] = common.interval([float(row[column]) for row in rows])
    for way in ("uncalibrated", "lowest_log_loss", "easydl"):
        means[way] = {name: common.interval([row[way][name] for row in rows]) for name in rows[0]["uncalibrated"]}
    return means


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--averaged", action="store_true", help="average the weights of the epochs, as for U-Nets")
    options = parser.parse_args()
    facts: dict[str, Any] = {}
    for name in [options.only] if options.only else SETS:
        rows = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(judged(trained(name, seed, Path(folder), averaged=options.averaged)))
            print(name, seed, rows[-1], flush=True)
        facts[name] = {"mean_and_95ci_over_seeds": summary(rows), "seeds": rows}
    name = "from_scratch_averaged" if options.averaged else "from_scratch"
    common.write(None if options.only else name, {"size": SIZE, "parts": PARTS, **facts})
