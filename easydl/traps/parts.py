"""A3, A10 and A14: what lies between the parts of a split: slices of one series, any leakage at all, another kind of image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as student

from easydl.traps.association import Features, Labels, column_aucs
from easydl.traps.fields import Field
from easydl.traps.issues import Issue, shown, unit_of_n
from easydl.traps.patients import stem

if TYPE_CHECKING:
    from easydl.studies import Study

SERIES_COLUMNS = ("series", "series_uid", "seriesinstanceuid", "series_instance_uid", "volume", "examination")
SHUFFLES = 100
NEIGHBOURS = 3
BLOCKING = 0.001
"""One-sided p. Every study that is split is tested, and a leak is far beyond it."""
DRIFT = 0.01
FEWEST = 20
"""Patients (or groups of images) in the training and in the test part together that the canary takes."""
_SEPARATE = "Use study.split(seed=0, group=...) with a column that says which images belong together."


def slices(study: Study) -> list[Issue]:
    """A3: images of one series or file, or with one name and a number, in two parts."""
    from easydl.studies.cohort import crossing

    frame = study.frame
    if "split" not in frame.columns:
        return []
    part = frame["split"].to_numpy(str)
    for name, code in _certain(study).items():
        across = crossing(code, part)
        if across.any():
            many = len(np.unique(code[across]))
            sentence = (
                f"{many} {name} have images in more than one part of the split: slices of one scan are nearly copies."
            )
            rows = np.flatnonzero(across)
            return [Issue("A3", "BLOCK", sentence, _SEPARATE, value=many, n=study.n_patients, rows=shown(rows))]
    stems = _named(study)
    # Where patients have several images each, they are known better than by the names of files.
    single = not study.patients_known or frame["patient"].is_unique
    across = crossing(stems, part) if single else np.zeros(len(frame), bool)
    if across.any():
        many = len(np.unique(stems[across]))
        sentence = (
            f"{int(across.sum())} images whose file names differ by a number at the end only ({many} names) are in more "
            "than one part of the split; slices and views of one patient are often called so."
        )
        fix = f"Check whether they are of one patient. {_SEPARATE}"
        return [Issue("A3", "WARN", sentence, fix, value=many, n=len(study), rows=shown(np.flatnonzero(across)))]
    return [Issue("A3", "OK", "No slices of one scan are in two parts.", n=study.n_patients)]


def canary(study: Study, looks: np.ndarray, seed: int = 0) -> list[Issue]:
    """A10: labels drawn anew for every patient cannot be learned; if they can, the parts are not separate.

    The labels of the training part are shuffled between patients, the three nearest training images of each test image
    vote, and the AUC of `SHUFFLES` such draws must be 0.5 on average.

    Args:
        study: Split, with classes.
        looks: ``(images, numbers)``, what a learner sees of each image.
        seed: Of the shuffles.

    References:
        Yagis 2021, Sci Rep 11:22544 (random labels reach 96% accuracy when slices are split).
    """
    frame = study.frame
    if "split" not in frame.columns:
        return []
    train, test = (np.flatnonzero((frame["split"] == part).to_numpy()) for part in ("train", "test"))
    # Unknown patients are guessed from the names of files: wrong guesses only make the draws coarser.
    unit = pd.factorize(frame["patient"].to_numpy(str) if study.patients_known else _named(study))[0]
    patients = len(np.unique(unit[np.concatenate([train, test])]))
    alone = patients == len(train) + len(test)  # each image has a name of its own
    what = "patients" if study.patients_known else "images" if alone else "names of files"
    if patients < FEWEST or min(len(train), len(test)) < FEWEST // 2:
        sentence = f"Whether labels drawn at random can be learned was not tested: it takes {FEWEST} {what}, in training and test."
        return [Issue("A10", "UNTESTED", sentence, "Add patients.", n=patients)]
    labels, rng = frame["label"].to_numpy(str), np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)
    positive = labels == names[counts.argmin()]
    of_unit = np.zeros(int(unit.max()) + 1, bool)
    of_unit[unit] = positive
    drawn = np.stack([of_unit[rng.permutation(len(of_unit))][unit] for _ in range(SHUFFLES)], axis=1)
    votes = drawn[train][_nearest(looks[test], looks[train])].mean(axis=1)
    aucs = column_aucs(votes, drawn[test])
    aucs = aucs[np.isfinite(aucs)]
    if len(aucs) < SHUFFLES // 2:
        return [
            Issue(
                "A10", "UNTESTED", "The test part is too small for labels drawn at random.", "Add patients.", n=patients
            )
        ]
    mean, error = float(aucs.mean()), float(aucs.std(ddof=1) / np.sqrt(len(aucs)))
    p = float(student.sf((mean - 0.5) / max(error, 1e-12), len(aucs) - 1))
    half = float(student.ppf(0.975, len(aucs) - 1)) * error
    numbers = f"AUC {mean:.2f} (95% CI {mean - half:.2f}-{mean + half:.2f}; {len(aucs)} shuffles, {patients} {what})"
    values = (mean, mean - half, mean + half, p, patients)
    if p >= BLOCKING:
        return [Issue("A10", "OK", f"Labels drawn at random cannot be learned: {numbers}.", "", *values)]
    sentence = (
        f"Labels drawn at random are learned from the training part: {numbers}. The test part is not separate from it."
    )
    fix = "Find what the parts share: slices, copies, one patient under several names. " + _SEPARATE
    return [Issue("A10", "BLOCK" if study.patients_known else "WARN", sentence, fix, *values)]


def drift(study: Study, looks: np.ndarray, known: list[Field], seed: int = 0) -> list[Issue]:
    """A14: whether the training and the test part can be distinguished, by the table and by the images.

    Args:
        study: Split.
        looks: ``(images, numbers)``, what a learner sees of each image.
        known: The study's fields, of which other checks ask, too.
        seed: Of the shuffles.

    References:
        Lopez-Paz & Oquab 2017, Revisiting classifier two-sample tests, ICLR.
    """
    frame = study.frame
    if "split" not in frame.columns:
        return []
    chosen = frame["split"].isin(["train", "test"]).to_numpy()
    labels = Labels(frame["split"][chosen], frame["patient"][chosen], seed=seed)
    if not labels.testable:
        return []
    given = [field.features for field in known if field.kind != "order" and field.features.shape[1]]
    asked = {"the images": looks, **({"the table and the files": np.concatenate(given, axis=1)} if given else {})}
    found, alike = [], []
    for name, values in asked.items():
        one = labels.associate(Features(values[chosen]))
        if one.p >= DRIFT:
            alike.append(name)
            continue
        what = unit_of_n(study)
        sentence = (
            f"Training and test part can be distinguished by {name}: AUC {one.auc:.2f} (95% CI {one.low:.2f}-{one.high:.2f}), "
            f"{one.n} {what}."
        )
        fix = "Wanted when the test is of another hospital or time; else split at random by patient."
        found.append(Issue("A14", "NOTE", sentence, fix, one.auc, one.low, one.high, one.p, one.n))
    if alike:
        sentence = f"Training and test part are alike by {' and by '.join(alike)}."
        found.append(Issue("A14", "OK", sentence, n=labels.patients))
    return found


def _certain(study: Study) -> dict[str, np.ndarray]:
    """What certainly is one scan: a code for each row, by what it is called."""
    frame = study.frame
    found = {}
    names = frame[study.image_columns[0]].astype(str)
    inside = names.str.rpartition("#")[0].to_numpy(str)
    if (inside != "").any():  # frames of one file; the series of a folder have keys that are not frames
        frames = names.str.rpartition("#")[2].str.isdigit().to_numpy()
        found["files"] = np.where((inside != "") & frames, inside, names)
    for column in frame.columns:
        if str(column).lower().replace(" ", "_") in SERIES_COLUMNS:
            cells = frame[column].astype(str).to_numpy(str)
            found["series"] = np.where(cells == "", names, cells)
    return found


def _named(study: Study) -> np.ndarray:
    """For every row its folder and the name of its file without a number at the end."""
    names = study.frame[study.image_columns[0]].astype(str)
    return (names.str.extract(r"^(.*[\\/])", expand=False).fillna("") + names.map(stem)).to_numpy(str)


def _nearest(test: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The positions of the three training rows that are most like each test row (cosine), in blocks."""
    one, other = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6) for values in (test, train))
    blocks = [
        np.argpartition(-(part @ other.T), NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        for part in np.array_split(one, len(one) // 1024 + 1)
    ]
    return np.concatenate(blocks)
