"""A6: whether a field can be predicted from what a network's last layer sees. Whether it is used, `uses` asks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from easydl.evaluation.intervals import Interval, PatientBootstrap, auc_interval, auc_statistic
from easydl.traps.doubtful import FOLDS, folds_of, out_of_fold
from easydl.traps.looks import standardised

COMPONENTS = 10
"""Of the features: what answers rest on is among the strongest, and forty of a hundred images would fit chance."""
PER_COMPONENT = 8
IN_GROUP = 10
"""Patients of a group: each fold has some."""
TELLS_LOW = 0.60
"""The lower end of the interval from which features are said to predict a field, as in the audit before training."""


@dataclass(frozen=True)
class Known:
    """How well features predict the groups of a field among images of one class.

    Attributes:
        auc: Of logistic regression, each patient judged by others; the mean over groups, classes and folds, by their pairs.
        interval: Its interval by patient.
        n: Patients.
    """

    auc: float
    interval: Interval
    n: int

    @property
    def tells(self) -> bool:
        """Whether the features predict the field."""
        return self.interval.low > TELLS_LOW

    def numbers(self, who: str) -> str:
        """As text; ``who`` is counted."""
        low, high = self.interval.low, self.interval.high
        return f"AUC {self.auc:.2f} (95% CI {low:.2f}-{high:.2f}) among images of one class, n = {self.n} {who}"


def knows(
    features: np.ndarray, label: np.ndarray, patient: np.ndarray, fields: Iterable[tuple[str, np.ndarray]], seed: int
) -> dict[str, Known]:
    """How well features predict each field; one that too few patients have is left out.

    Within a class, because features that know the disease predict whatever goes with it.

    Args:
        features: ``(images, features)``, what the last layer sees.
        label: The class of each image.
        patient: The patient of each.
        fields: Name, and for each image its group.
        seed: Of folds and intervals.

    References:
        Glocker B et al. Algorithmic encoding of protected characteristics in chest X-ray disease detection models.
        eBioMedicine 2023;89:104467.
    """
    from sklearn.decomposition import PCA

    width = max(1, min(COMPONENTS, features.shape[1], len(features) // PER_COMPONENT))
    reduced = PCA(width, random_state=0).fit_transform(standardised(features))  # once for all fields: it sees no group
    found = {}
    for name, groups in fields:
        names, code = np.unique(groups.astype(str), return_inverse=True)
        kept = [k for k in range(len(names)) if len(np.unique(patient[code == k])) >= max(IN_GROUP, FOLDS)]
        chosen = np.isin(code, kept)
        if len(kept) > 1:
            given = reduced[chosen], label[chosen], patient[chosen], np.unique(code[chosen], return_inverse=True)[1]
            if (known := _known(*given, seed)) is not None:
                found[name] = known
    return found


def _known(features: np.ndarray, label: np.ndarray, patient: np.ndarray, code: np.ndarray, seed: int) -> Known | None:
    # Scores of two folds are no one scale: the more of a group one holds, the less the others expect of it.
    classes, fold = np.unique(label, return_inverse=True)[1], folds_of(code, patient, seed)
    probabilities = out_of_fold(features, code, fold)
    bootstrap, parts = PatientBootstrap(patient, classes, seed=seed), []
    for stratum in np.unique(classes * FOLDS + fold):
        inside = classes * FOLDS + fold == stratum
        for group in range(int(code.max()) + 1 if code.max() > 1 else 1):  # two groups are one question
            own = code[inside] == group
            if own.any() and not own.all():
                parts.append((inside, own, probabilities[inside, group]))
    if not parts:
        return None
    aucs = [auc_statistic(score, own, bootstrap.index[inside]) for inside, own, score in parts]

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = [weights[:, bootstrap.index[inside]] for inside, _, _ in parts]
        pairs = [each[:, own].sum(1) * each[:, ~own].sum(1) for each, (_, own, _) in zip(drawn, parts, strict=True)]
        values = np.nan_to_num(np.stack([auc(weights) for auc in aucs]))
        return ((values * pairs).sum(axis=0) / np.maximum(1, np.sum(pairs, axis=0)))[:, None]

    value = float(statistic(np.ones((1, len(bootstrap.names))))[0, 0])
    sizes = sorted(len(np.unique(patient[code == group])) for group in np.unique(code))
    n = len(bootstrap.names)
    return Known(value, auc_interval(value, bootstrap.run(statistic)[:, 0], sizes[0], n - sizes[0]), n)
