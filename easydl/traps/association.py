"""How well something that is not the image predicts the class: an out-of-fold AUC, its interval, a permutation p."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from easydl.evaluation.intervals import PatientBootstrap, auc_interval, auc_statistic

FOLDS = 5
BLOCKS = (20, 180, 800)
"""Permutations, in blocks: the smallest p is 1 in 1,001, which forty tests at a false discovery rate of 5% need."""
ENOUGH = 10
MIN_PATIENTS = 10
"""Fewest patients; and half as many of a class. Below, an AUC without any signal has a standard deviation of 0.13."""
RESAMPLES = 1000
CELLS = 2_000_000
"""Scores held in memory together, however many images there are: 16 MB, and as much for each of their ranks and orders."""
PRIOR = 2.0
"""Rows of average label added to every category: three rows of one hospital prove little."""
RIDGE = 0.1
MOST_CLASSES = 8
MOST_SPOTS = 3
AT_ONCE, TOGETHER = 1000, 400
"""Rows, and labels, of which `Spots` has floating-point numbers together: 6 and 11 MB for the border of thumbnails."""


@dataclass(frozen=True)
class Association:
    """How well something alone predicts the class.

    Attributes:
        auc: Out-of-fold AUC of the class that is predicted most certainly.
        low: Lower end of its 95% interval, by patient.
        high: Upper end.
        p: Permutation p value of the largest AUC over classes, each in its own standard deviations under chance.
        n: Patients behind it.
        label: That class.
        scores: Out-of-fold score of every row for that class; higher means more like it.
    """

    auc: float
    low: float
    high: float
    p: float
    n: int
    label: str
    scores: np.ndarray


class Evidence(Protocol):
    """Something that might predict the class. It is asked for many labels at once."""

    def aucs(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """The AUC of each column of 0 and 1 in ``labels`` (rows, columns), predicted from the other folds."""

    def scores(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """The scores behind it, (rows, columns)."""


class Categories:
    """One category for each row: the class's proportion among the other folds' rows of that category (target encoding).

    Micci-Barreca 2001, SIGKDD Explor 3:27. Hundreds of hospitals cost no more than two: rows are counted once.
    """

    def __init__(self, cells: pd.Series) -> None:
        self._code, names = pd.factorize(cells.astype(str))
        self._count = len(names)

    def scores(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`."""
        return self._table(labels, fold)[0].reshape(-1, labels.shape[1])[fold * self._count + self._code]

    def aucs(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`."""
        table, ones, rows = self._table(labels, fold)
        cells = table.reshape(-1, labels.shape[1])
        return _auc_of_cells(cells, ones, rows)

    def _table(self, labels: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The score of each (fold, category), and how many rows of 1, and rows, each has."""
        folds = int(fold.max()) + 1
        cell = fold * self._count + self._code
        shape = (folds * self._count, len(cell))
        inside = sparse.csr_matrix((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=shape)
        rows = np.asarray(inside.sum(axis=1)).ravel()
        ones = np.asarray(inside @ labels)
        per_fold = ones.reshape(folds, self._count, -1)
        rows_per_fold = rows.reshape(folds, self._count)
        others = per_fold.sum(axis=0) - per_fold
        other_rows = (rows_per_fold.sum(axis=0) - rows_per_fold)[..., None]
        prior = (others.sum(axis=1) / np.maximum(1, other_rows.sum(axis=1)))[:, None]
        return (others + PRIOR * prior) / (other_rows + PRIOR) - prior, ones, rows


class Features:
    """Numbers for each row: a ridge regression on them, fitted on the other folds.

    Args:
        values: ``(rows, features)``; each is brought to mean 0 and standard deviation 1, which looks at no label.
    """

    def __init__(self, values: np.ndarray) -> None:
        values = np.asarray(values, np.float32)
        spread = values.std(axis=0)
        varying = spread > 1e-6 * (np.abs(values).mean(axis=0) + 1e-12)
        self.values = values[:, varying]  # a copy, so that it is changed in place: of 10,000 borders it has 56 MB
        self.values -= self.values.mean(axis=0)
        self.values /= spread[varying]

    def aucs(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`."""
        return column_aucs(self.scores(labels, fold), labels)

    def scores(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`."""
        scores = np.zeros(labels.shape, np.float32)
        width = max(1, self.values.shape[1])
        for one in range(int(fold.max()) + 1):
            inside = fold == one
            known, target = self.values[~inside], labels[~inside].astype(np.float32)
            target = target - target.mean(axis=0)  # centred on its own prevalence, as the scores then are
            if width <= len(known):
                gram = known.T @ known + RIDGE * len(known) * np.eye(width, dtype=np.float32)[: known.shape[1]]
                scores[inside] = self.values[inside] @ np.linalg.solve(gram, known.T @ target)
            else:
                gram = known @ known.T + RIDGE * width * np.eye(len(known), dtype=np.float32)
                scores[inside] = self.values[inside] @ (known.T @ np.linalg.solve(gram, target))
        return scores


class Spots:
    """Many numbers for each row of which few may be predictive: those that differ most in the other folds.

    What is always at one place (a marker, a letter) differs there by far; a regression on all places would lose it.

    Args:
        values: ``(rows, places)``, kept as they are: bytes stay bytes, and a part at a time becomes floating-point numbers.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = np.asarray(values)
        rows = max(1, len(self._values))
        mean, squares = np.zeros(self._values.shape[1]), np.zeros(self._values.shape[1])
        for part in self._parts(np.arange(len(self._values))):
            mean += self._values[part].sum(axis=0, dtype=float) / rows
        for part in self._parts(np.arange(len(self._values))):
            squares += np.square(self._values[part] - mean).sum(axis=0) / rows
        spread = np.sqrt(squares)
        self._varying = np.flatnonzero(spread > 1e-6 * (np.abs(mean) + 1e-12))  # of a black border few do
        self._mean, self._spread = mean[self._varying].astype(np.float32), spread[self._varying].astype(np.float32)

    def aucs(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`."""
        return column_aucs(self.scores(labels, fold), labels)

    def scores(self, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """As of `Evidence`; not linear, for the places are chosen by the labels of the other folds."""
        scores = np.zeros(labels.shape, np.float32)
        for begin in range(0, labels.shape[1], TOGETHER):
            columns = slice(begin, begin + TOGETHER)
            self._score(labels[:, columns], fold, scores[:, columns])
        return scores

    def _score(self, labels: np.ndarray, fold: np.ndarray, scores: np.ndarray) -> None:
        """Write the scores of some columns; each row is multiplied once, for the sums of folds add up."""
        folds = [np.flatnonzero(fold == one) for one in range(int(fold.max()) + 1)]
        products = np.zeros((len(folds), len(self._varying), labels.shape[1]), np.float32)
        sums, ones = np.zeros(products.shape[:2], np.float32), np.zeros((len(folds), labels.shape[1]), np.float32)
        for one, inside in enumerate(folds):
            for part in self._parts(inside):
                values, target = self._standard(part), labels[part].astype(np.float32)
                products[one] += values.T @ target
                sums[one] += values.sum(axis=0)
                ones[one] += target.sum(axis=0)
        every, of_all, positive = products.sum(axis=0), sums.sum(axis=0), ones.sum(axis=0)
        for one, inside in enumerate(folds):
            known = max(1, len(fold) - len(inside))
            prevalence = (positive - ones[one]) / known
            differ = every - products[one] - np.outer(of_all - sums[one], prevalence)
            places = np.argpartition(-np.abs(differ), min(MOST_SPOTS, len(differ)) - 1, axis=0)[:MOST_SPOTS]
            weights = np.take_along_axis(differ, places, axis=0) / known
            for part in self._parts(inside):
                values = self._standard(part)
                for place, weight in zip(places, weights, strict=True):
                    scores[part] += values[:, place] * weight

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        """The places that vary, with mean 0 and standard deviation 1."""
        return np.asarray((self._values[np.ix_(rows, self._varying)] - self._mean) / self._spread, np.float32)

    @staticmethod
    def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
        return (rows[begin : begin + AT_ONCE] for begin in range(0, len(rows), AT_ONCE))


class Labels:
    """The classes of a study's rows, and the same shuffled between its patients; made once for all tests of an audit.

    Args:
        label: The class of every row.
        patient: The patient of every row. Its rows keep one class when the classes are shuffled.
        seed: Of the folds and the shuffles.
    """

    def __init__(self, label: pd.Series, patient: pd.Series, *, seed: int = 0) -> None:
        text = label.astype(str).to_numpy()
        names, counts = np.unique(text, return_counts=True)
        rarest = names[np.argsort(counts, kind="stable")]
        self._text, self.patient, self.seed = text, patient.astype(str).to_numpy(), seed
        self._code = pd.factorize(self.patient)[0]
        self.patients = int(self._code.max(initial=-1)) + 1
        self.counts = {str(name): len(np.unique(self._code[text == name])) for name in names}
        # Two classes are one question; of many, the most frequent are asked for, and none that too few patients have.
        enough = [str(name) for name in rarest if self.counts[str(name)] >= MIN_PATIENTS // 2]
        self.classes = enough[:1] if len(names) == 2 else enough[::-1][:MOST_CLASSES]
        # The AUC of a rare class varies most: its chance results would hide what predicts a frequent one.
        ones = np.array([self.counts[name] for name in self.classes], float)
        zeros = np.maximum(1, self.patients - ones)
        self._spread = np.sqrt((ones + zeros + 1) / (12 * ones * zeros))
        # The number of each row's class among those asked for; shuffled texts would take sixteen times the memory.
        self._asked = pd.Index(self.classes).get_indexer(pd.Index(text)).astype(np.int8)
        # Folds that do not look at the labels keep the shuffles exchangeable with the truth.
        order = np.random.default_rng(seed).permutation(self.patients)
        self.fold = (np.argsort(order) % FOLDS)[self._code]

    @property
    def testable(self) -> bool:
        """Whether there are enough patients, and of two classes half as many."""
        enough = sum(count >= MIN_PATIENTS // 2 for count in self.counts.values())
        return enough > 1 and self.patients >= MIN_PATIENTS

    @cached_property
    def truth(self) -> np.ndarray:
        """bool ``(rows, classes)``."""
        return self._text[:, None] == np.array(self.classes)

    def shuffled(self, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Blocks of bool ``(rows, shuffles, classes)``."""
        rng = np.random.default_rng([self.seed, 1])
        first = np.unique(self._code, return_index=True)[1]
        together = len(first) < len(self._code)
        for block in BLOCKS:
            step = max(1, CELLS // max(1, len(self._text) * len(self.classes)))
            for start in range(0, block, step):
                drawn = [
                    self._asked[first][rng.permutation(self.patients)][self._code]
                    if together
                    else rng.permutation(self._asked)
                    for _ in range(min(step, block - start))
                ]
                yield np.stack(drawn, axis=1)[..., None] == np.arange(len(self.classes), dtype=np.int8)

    def associate(self, evidence: Evidence) -> Association:
        """Predict each class out of fold, by patient, and compare the best AUC with those of shuffled classes.

        Besag & Clifford 1991: once ten shuffles did as well, the result is clear and the rest is spared.
        """
        aucs = evidence.aucs(self.truth, self.fold)
        best = int(np.nanargmax((aucs - 0.5) / self._spread))
        auc, positive = float(aucs[best]), self.truth[:, best]
        exceed = done = 0
        if auc > 0.5:
            for block in self.shuffled():
                flat = evidence.aucs(block.reshape(len(block), -1), self.fold)
                largest = np.nanmax((flat.reshape(block.shape[1:]) - 0.5) / self._spread, axis=1)
                exceed += int((largest >= (auc - 0.5) / self._spread[best] - 1e-9).sum())
                done += len(largest)
                if exceed >= ENOUGH:
                    break
        p = (1 + exceed) / (1 + done) if done else 1.0
        scores = evidence.scores(self.truth[:, best : best + 1], self.fold)[:, 0]
        low, high = self._interval(scores, positive, auc) if p < 0.05 else (np.nan, np.nan)
        return Association(auc, low, high, p, self.patients, self.classes[best], scores)

    def _interval(self, scores: np.ndarray, positive: np.ndarray, auc: float) -> tuple[float, float]:
        bootstrap = PatientBootstrap(self.patient, positive.astype(int), resamples=RESAMPLES, seed=self.seed)
        statistic = auc_statistic(scores, positive, bootstrap.index)
        drawn = bootstrap.run(lambda weights: statistic(weights)[:, None])[:, 0]
        counts = [len(np.unique(self._code[part])) for part in (positive, ~positive)]
        interval = auc_interval(auc, drawn, *counts)
        return interval.low, interval.high


def column_aucs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The AUC of every column of scores for the same column of 0 and 1; NaN where a column holds one class only."""
    ranks = rankdata(scores, axis=0)
    ones = labels.sum(axis=0).astype(float)
    zeros = len(labels) - ones
    sums = np.einsum("rc,rc->c", ranks, labels.astype(float)) - ones * (ones + 1) / 2
    return np.divide(sums, ones * zeros, out=np.full(len(ones), np.nan), where=ones * zeros > 0)


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """False-discovery-rate adjusted p values (q), in the order given."""
    from scipy.stats import false_discovery_control

    return [float(q) for q in false_discovery_control(p_values)] if p_values else []


def _auc_of_cells(scores: np.ndarray, ones: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The AUC of rows that share the score of their cell: ``scores`` and ``ones`` are (cells, columns)."""
    held = rows > 0
    scores, ones, rows = scores[held], ones[held], rows[held]
    total = np.zeros(scores.shape[1])
    # Cells of equal score count half: once each of two comes first.
    for flip in (slice(None), slice(None, None, -1)):
        order = np.argsort(scores[flip], axis=0, kind="stable")
        hits = np.take_along_axis(ones[flip], order, axis=0)
        misses = rows[flip][order] - hits
        total += (hits * (np.cumsum(misses, axis=0) - misses / 2)).sum(axis=0) / 2
    pairs = ones.sum(axis=0) * (rows.sum() - ones.sum(axis=0))
    return np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
