"""A7: labels that the images contradict, from out-of-fold probabilities. It changes no label."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from easydl.errors import missing_package
from easydl.evaluation.intervals import wilson
from easydl.traps.association import column_aucs
from easydl.traps.issues import Issue, images, shown, unit_of_n

if TYPE_CHECKING:
    from easydl.prediction.views import ModelView
    from easydl.studies import Study

FOLDS = 5
FEWEST = 20
"""Patients of every class, so that each fold has some."""
KNOWS = 0.85
"""AUC of the learner below which its doubts are no better than chance."""
LISTED = 12
COMPONENTS = 40


def doubtful_labels(study: Study, looks: np.ndarray, seed: int = 0) -> list[Issue]:
    """The images whose label disagrees with what a cheap learner, trained on the other patients, is sure of.

    Args:
        study: With one class for each image.
        looks: ``(images, numbers)``, what the learner sees.
        seed: Of the folds.

    References:
        Northcutt, Jiang, Chuang 2021, Confident learning, J Artif Intell Res 70:1373.
    """
    names, code, patient = _coded(study, np.arange(len(study)))
    if few := _too_few(study, code, patient, len(names)):
        return few
    probabilities = out_of_fold(looks, code, folds_of(code, patient, seed))
    return _said(study, np.arange(len(study)), code, probabilities, "a small look at each image")


def doubted_by(study: Study, view: ModelView, held: np.ndarray) -> list[Issue]:
    """The same from the answers of a model, on images that it has not seen; nothing when these are too few."""
    rows = np.flatnonzero(held)
    names, code, patient = _coded(study, rows)
    if len(names) < len(view.classes) or _too_few(study, code, patient, len(names)):
        return []
    probabilities = view.probabilities[rows][:, [view.classes.index(name) for name in names]]
    return _said(study, rows, code, probabilities, "the model")


def _coded(study: Study, rows: np.ndarray) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The classes, and for some rows the class as a number and the patient."""
    frame = study.frame.iloc[rows]
    names, code = np.unique(frame["label"].to_numpy(str), return_inverse=True)
    return names.tolist(), code, frame["patient"].to_numpy(str)


def _too_few(study: Study, code: np.ndarray, patient: np.ndarray, classes: int) -> list[Issue]:
    least = min((len(np.unique(patient[code == k])) for k in range(classes)), default=0)
    if classes < 2 or least < FEWEST:
        sentence = f"Doubtful labels were not looked for: it takes {FEWEST} {unit_of_n(study)} of every class; there are {least}."
        return [Issue("A7", "UNTESTED", sentence, "Have a second reader label them.", n=study.n_patients)]
    if importlib.util.find_spec("cleanlab") is None:
        missing = missing_package("cleanlab", "labels", "Looking for doubtful labels")
        return [Issue("A7", "UNTESTED", missing.found, missing.do, n=study.n_patients)]
    return []


def _said(study: Study, rows: np.ndarray, code: np.ndarray, probabilities: np.ndarray, by: str) -> list[Issue]:
    auc = float(np.nanmean(column_aucs(probabilities, np.eye(int(code.max()) + 1)[code])))
    n, who = int(study.frame["patient"].iloc[rows].nunique()), unit_of_n(study)
    if auc < KNOWS:
        sentence = (
            f"Doubtful labels were not looked for: {by} separates the classes with an AUC of {auc:.2f} only; it takes "
            f"{KNOWS} (n = {n})."
        )
        return [Issue("A7", "UNTESTED", sentence, "Train a model, and give it: easydl.audit(study, model=model).", n=n)]
    found = suspects(code, probabilities)
    if not len(found):
        return [Issue("A7", "OK", f"No label disagrees with what {by} is sure of (AUC {auc:.2f}).", n=n)]
    chosen, fraction = found[:LISTED], wilson(len(found) / len(rows), n)
    sentence = (
        f"Look at {'this label' if len(chosen) == 1 else f'these {len(chosen)} labels'} again"
        + (f", of {len(found)} doubtful ones" if len(found) > len(chosen) else "")
        + f": {by} says otherwise (AUC {auc:.2f} on {who} it was not trained on; {len(found) / len(rows):.0%} of the "
        f"labels of {n} {who}, 95% CI {fraction.low:.0%}-{fraction.high:.0%})."
    )
    fix = "A difficult image is doubtful, too: let a reader who does not know the label decide."
    values = (len(found) / len(rows), fraction.low, fraction.high)
    named = images(study, rows[chosen])
    return [Issue("A7", "NOTE", sentence, fix, *values, n=n, rows=shown(rows[chosen]), exclude=named)]


def out_of_fold(looks: np.ndarray, code: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Probabilities ``(images, classes)`` of a logistic regression that was trained on the other folds."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.zeros((len(code), int(code.max()) + 1))
    width = min(COMPONENTS, looks.shape[1], len(code) // 3)
    for one in range(FOLDS):
        train, test = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        learner = make_pipeline(
            StandardScaler(), PCA(width, random_state=0), StandardScaler(), LogisticRegression(C=0.05, max_iter=500)
        )
        learner.fit(looks[train], code[train])
        found[np.ix_(test, learner.classes_)] = learner.predict_proba(looks[test])
    return found


def folds_of(code: np.ndarray, patient: np.ndarray, seed: int = 0) -> np.ndarray:
    """The number of each image's fold, by patient and stratified by class."""
    from sklearn.model_selection import StratifiedGroupKFold

    fold = np.zeros(len(code), int)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(np.zeros(len(code)), code, patient)
    for number, (_, test) in enumerate(folds):
        fold[test] = number
    return fold


def suspects(code: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The positions of doubtful labels, the most doubtful first (cleanlab)."""
    from cleanlab.filter import find_label_issues

    return np.asarray(
        find_label_issues(
            code, probabilities, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1, verbose=False
        ),
        int,
    )
