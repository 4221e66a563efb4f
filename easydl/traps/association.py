"""How well something that is not the image tells the classes apart. The number is out-of-fold, by patient."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import PatientBootstrap, auc_interval, auc_statistic

FOLDS = 5
PERMUTATIONS = 199
ENOUGH = 10
MIN_PATIENTS = 10
RESAMPLES = 1000
MAX_CATEGORIES = 20


@dataclass(frozen=True)
class Association:
    """AUC of predicting the class from a field alone, its interval, and the permutation p value."""

    auc: float
    low: float
    high: float
    p: float
    n: int


def associate(columns: pd.DataFrame, label: pd.Series, patient: pd.Series, *, seed: int = 0) -> Association | None:
    """Predict the class from some columns with a shallow tree, five-fold by patient, and measure the AUC.

    Numbers are used as numbers, other text as categories. With more than two classes it is the most frequent one
    against the rest. None when the columns do not vary or there are too few patients to tell. Zech 2018, PLOS Medicine
    1002683 (the hospital alone: AUC 0.861); permutation test: Phipson & Smyth 2010.
    """
    features = _features(columns)
    positive = (label == label.value_counts().index[0]).to_numpy()
    per_class = [patient[positive].nunique(), patient[~positive].nunique()]
    if features is None or min(per_class) < MIN_PATIENTS // 2 or patient.nunique() < MIN_PATIENTS:
        return None
    codes = pd.factorize(patient)[0]
    scores = _out_of_fold(features, positive, codes, seed)
    bootstrap = PatientBootstrap(patient.to_numpy(), positive.astype(int), resamples=RESAMPLES, seed=seed)
    statistic = auc_statistic(scores, positive, bootstrap.index)
    auc = float(statistic(np.ones((1, len(bootstrap.names))))[0])
    interval = auc_interval(auc, bootstrap.run(lambda weights: statistic(weights)[:, None])[:, 0], *per_class)
    p = 1.0
    if auc > 0.5 and interval.low > 0.45:
        rng = np.random.default_rng(seed)
        exceed = done = 0
        # Besag & Clifford 1991: once ten permutations have done as well, the result is clear and the rest is spared.
        while done < PERMUTATIONS and exceed < ENOUGH:
            exceed += _permuted(features, positive, codes, rng, seed) >= auc
            done += 1
        p = exceed / done if exceed == ENOUGH else (1 + exceed) / (1 + done)
    return Association(auc, interval.low, interval.high, p, int(patient.nunique()))


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """False-discovery-rate adjusted p values (q), in the order given."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(p_values)] if p_values else []


def _features(columns: pd.DataFrame) -> np.ndarray | None:
    parts = []
    for name in columns:
        text = columns[name].astype(str).str.strip()
        numbers = pd.to_numeric(text, errors="coerce")
        if numbers.notna().mean() > 0.5:
            parts.append(numbers.fillna(-1.0).to_numpy(float)[:, None])
        elif text.nunique() <= MAX_CATEGORIES:
            parts.append(pd.get_dummies(text).to_numpy(float))
    features = np.concatenate(parts, axis=1) if parts else np.empty((len(columns), 0))
    return features if features.shape[1] and (np.ptp(features, axis=0) > 0).any() else None


def _out_of_fold(features: np.ndarray, positive: np.ndarray, patient: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.tree import DecisionTreeClassifier

    scores = np.full(len(positive), 0.5)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for train, test in folds.split(features, positive, patient):
            tree = DecisionTreeClassifier(max_depth=3, min_samples_leaf=3, random_state=seed)
            tree.fit(features[train], positive[train])
            # Centring on the fold's own prevalence keeps folds of unequal prevalence from pulling the AUC below 0.5.
            prevalence = positive[train].mean()
            probability = tree.predict_proba(features[test])[:, -1] if 0 < prevalence < 1 else prevalence
            scores[test] = probability - prevalence
    return scores


def _permuted(
    features: np.ndarray, positive: np.ndarray, patient: np.ndarray, rng: np.random.Generator, seed: int
) -> float:
    """The AUC after the labels were shuffled between patients (a patient's rows keep one common label)."""
    first = np.unique(patient, return_index=True)[1]
    shuffled = rng.permutation(positive[first])[patient] if len(first) < len(patient) else rng.permutation(positive)
    if shuffled.all() or not shuffled.any():
        return 0.5
    scores = _out_of_fold(features, shuffled, patient, seed)
    return float(auc_statistic(scores, shuffled, np.arange(len(scores)))(np.ones((1, len(scores))))[0])
