"""How one learns from features: nothing, a regularised linear model, a random forest. Made with scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

FOLDS = 5
STRENGTHS = np.logspace(-4, 2, 7)
"""Of the L2 penalty, as scikit-learn's ``C``; the best is chosen on folds by patient within the training part."""
TREES = 300
MANY = 1000
"""Rows from which a second core pays for the trees."""
SMALLEST = 1e-7
ABSENT = -20.0
"""The logit of a class that no training row has."""


@dataclass(frozen=True)
class Problem:
    """What is to be predicted, row by row.

    Attributes:
        task: One of the tasks with one label, several labels or a value for each image.
        targets: float ``(rows, classes)`` as `Study.targets`; ``(rows, 1)`` for a value.
        known: bool ``(rows,)``: which rows have a label.
        patients: The patient of every row: folds never divide one.
    """

    task: Task
    targets: np.ndarray
    known: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class LinearHead:
    """A linear model as the last layer of a network.

    Attributes:
        kernel: float ``(features, outputs)``.
        bias: float ``(outputs,)``. Features times kernel plus bias are logits (of a softmax, or of a sigmoid for each
            label), or a value in its own unit.
        out_of_fold: float ``(rows, outputs)``, probabilities or values: what a model of the same penalty says of a row
            that has not learnt from its patient. NaN for rows that are not learnt from, and where there are too few
            patients for folds.
        ranked: The same as ranks within each fold, from 0 to 1: models of different folds predict on different scales.
    """

    kernel: np.ndarray
    bias: np.ndarray
    out_of_fold: np.ndarray
    ranked: np.ndarray


def problem_of(study: Study, head: str = "") -> Problem:
    """The labels of a study, or of one of its heads, as what is to be predicted."""
    patients = study.frame["patient"].astype(str)
    if not study.patients_known:
        patients = patients.index.to_series().astype(str)
    schema = study.schema.head(head) if head else study.schema
    targets, cells = study.targets(), study.frame[head or "label"].astype(str)
    if head:
        targets = targets[head]
    known = (cells.str.strip() != "").to_numpy() | (schema.task == Task.MULTILABEL)
    return Problem(Task(schema.task), np.asarray(targets, float), known, patients.to_numpy())


def constant(problem: Problem, train: np.ndarray) -> np.ndarray:
    """The training rows' prevalence of every class, or their median value, for every row."""
    targets = problem.targets[train & problem.known]
    one = np.median(targets, axis=0) if problem.task.is_value else targets.mean(axis=0)
    return np.tile(one, (len(problem.targets), 1))


def linear(values: np.ndarray, problem: Problem, train: np.ndarray, seed: int, *, one_unit: bool = False) -> np.ndarray:
    """Logistic regression (ridge regression of a value), its penalty chosen on folds by patient in the training rows.

    Args:
        values: float ``(rows, features)``.
        problem: What is to be predicted.
        train: bool ``(rows,)``: the rows to learn from. No label of another row is looked at.
        seed: Of the folds.
        one_unit: Whether the features have one unit, as those of a network: they are then scaled alike, else each to a
            standard deviation of 1.

    Returns:
        As `Problem.targets`, for every row: probabilities, or values.
    """
    turned = _turned(values, train & problem.known, one_unit=one_unit)
    if turned.values.shape[1] == 0:
        return constant(problem, train)
    questions = _questions(turned.values, problem, train, seed, _linear_of(problem.task))
    with _one_thread():
        models = [one.fitted(one.best(STRENGTHS)[0], one.rows) for one in questions]
        answers = [one.outputs(model, one.rows) for one, model in zip(questions, models, strict=True)]
    return _joined(answers, problem)


def linear_head(
    values: np.ndarray, problem: Problem, train: np.ndarray, seed: int, weights: np.ndarray | None = None
) -> LinearHead:
    """The model of `linear` as the weights of a last layer, and its answers out of fold.

    Args:
        values: float ``(rows, features)`` of a network: they have one unit.
        problem: What is to be predicted.
        train: bool ``(rows,)``: the rows to learn from.
        seed: Of the folds.
        weights: How much each row counts, ``(rows,)``, or each of its labels, ``(rows, labels)``; None for all alike.
    """
    turned = _turned(values, train & problem.known, one_unit=True)
    questions = _questions(turned.values, problem, train, seed, _linear_of(problem.task), weights)
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    answers: list[np.ndarray] = []
    with _one_thread():
        for one in questions:
            # Features that do not vary say nothing: there is then no penalty to choose.
            nothing = None, np.full((len(values), one.width), np.nan)
            strength, found = one.best(STRENGTHS) if turned.values.shape[1] else nothing
            kernel, bias = one.layer(strength)
            if not (problem.task.is_value or problem.task.exclusive):
                # Of a label the logit that it is there.
                kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
            layers.append((kernel, bias))
            answers.append(found)
    ranks = [one.ranked(found) for one, found in zip(questions, answers, strict=True)]
    kernel, bias = (np.concatenate(parts, axis=-1) for parts in zip(*layers, strict=True))
    kernel = turned.directions @ kernel
    return LinearHead(kernel, bias - turned.mean @ kernel, _joined(answers, problem), _joined(ranks, problem))


def _linear_of(task: Task) -> Callable[[float], Any]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if task.is_value:
        return lambda strength: Ridge(alpha=1 / strength)
    return lambda strength: LogisticRegression(C=strength, max_iter=2000)


def forest(values: np.ndarray, problem: Problem, train: np.ndarray, seed: int) -> np.ndarray:
    """A random forest of 300 trees; arguments and result as of `linear`.

    References:
        Breiman L. Random forests. Mach Learn 2001;45:5-32.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    made = RandomForestRegressor if problem.task.is_value else RandomForestClassifier

    cores = 2 if train.sum() > MANY else 1

    def trees(_strength: float) -> Any:
        return made(TREES, min_samples_leaf=2, random_state=seed, n_jobs=cores)

    questions = _questions(np.asarray(values, float), problem, train, seed, trees)
    with _one_thread():
        return _joined([one.outputs(one.fitted(1.0, one.rows), one.rows) for one in questions], problem)


@dataclass(frozen=True)
class _Turned:
    """Features scaled and turned: ``values = (features - mean) @ directions``."""

    values: np.ndarray
    mean: np.ndarray
    directions: np.ndarray


def _turned(values: np.ndarray, train: np.ndarray, *, one_unit: bool) -> _Turned:
    """Mean 0 and variance 1 in the training rows, turned so that there are no more columns than those rows.

    Features of one unit have that variance in the mean: where a network hardly answers, dividing by the standard deviation would make
    noise as large as what it does see. The penalty is the same in all directions, so turning changes no prediction; it makes
    1,280 features as fast as 200.
    """
    values = np.asarray(values, float)
    mean, spread = values[train].mean(axis=0), values[train].std(axis=0)
    varying = spread > 1e-9 * (np.abs(mean) + 1e-9)
    if one_unit and varying.any():
        spread = np.where(varying, np.sqrt(np.mean(spread[varying] ** 2)), spread)
    directions = np.diag(1 / np.where(varying, spread, 1.0))[:, varying]
    scaled = (values - mean)[:, varying] / spread[varying]
    if scaled.shape[1] > train.sum():
        _, sizes, turns = np.linalg.svd(scaled[train], full_matrices=False)
        turns = turns[sizes > 1e-6 * sizes[0]].T
        scaled, directions = scaled @ turns, directions @ turns
    return _Turned(scaled, mean, directions)


@dataclass(frozen=True)
class _Question:
    """One estimator to fit: classes that exclude one another, one label (of two outputs), or a value.

    Attributes:
        values: float ``(rows, features)`` of all rows.
        target: ``(rows,)``: the position of the class, 0 or 1, or the value.
        rows: The positions of the rows to learn from.
        patients: Of all rows.
        seed: Of the folds.
        make: From the strength of the penalty to an estimator of scikit-learn.
        width: Number of classes; 1 for a value.
        is_value: Whether it is a value.
        weights: ``(rows,)``, or None.
    """

    values: np.ndarray
    target: np.ndarray
    rows: np.ndarray
    patients: np.ndarray
    seed: int
    make: Callable[[float], Any]
    width: int
    is_value: bool
    weights: np.ndarray | None = None

    @cached_property
    def folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows to learn from and rows to ask, no patient in both; none where there are too few patients."""
        from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

        rows, value = self.rows, self.is_value
        target, patients = self.target[rows], self.patients[rows]
        kinds = [slice(None)] if value else [target == one for one in np.unique(target)]
        # A class of one patient is in no two folds, and leaves those of the others as they are.
        counts = [count for kind in kinds if (count := len(np.unique(patients[kind]))) > 1]
        if len(counts) < (1 if value else 2):
            return []
        # Where no patient has two images, grouping would take a second for 5,000 of them, and group nothing.
        alone = len(np.unique(patients)) == len(patients)
        made: Any = GroupKFold if value else StratifiedKFold if alone else StratifiedGroupKFold
        divided = made(min(FOLDS, *counts), shuffle=True, random_state=self.seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The least populated class", UserWarning)
            return [
                (rows[learn], rows[ask])
                for learn, ask in divided.split(rows, target, None if alone and not value else patients)
            ]

    def fitted(self, strength: float, learn: np.ndarray) -> Any:
        """The estimator, or None where all rows are of one class."""
        if not self.is_value and len(np.unique(self.target[learn])) < 2:
            return None
        weighted = {} if self.weights is None else {"sample_weight": self.weights[learn]}
        return self.make(strength).fit(self.values[learn], self.target[learn], **weighted)

    def outputs(self, model: Any, learn: np.ndarray, ask: Any = slice(None)) -> np.ndarray:
        """What it says of rows, ``(rows, width)``."""
        asked = self.values[ask]
        if model is None:
            return np.eye(self.width)[np.full(len(asked), self.target[learn][0])]
        if self.is_value:
            return model.predict(asked)[:, None]
        found = np.zeros((len(asked), self.width))
        found[:, model.classes_] = model.predict_proba(asked)
        return found

    def out_of_fold(self, strength: float) -> np.ndarray:
        """For every row what a model says that has not learnt from its patient; NaN without folds."""
        found = np.full((len(self.values), self.width), np.nan)
        for learn, ask in self.folds:
            found[ask] = self.outputs(self.fitted(strength, learn), learn, ask)
        return found

    def ranked(self, out_of_fold: np.ndarray) -> np.ndarray:
        """The same as ranks within each fold, from 0 to 1."""
        found = np.full_like(out_of_fold, np.nan)
        for _, ask in self.folds:
            found[ask] = rankdata(out_of_fold[ask], axis=0) / (len(ask) + 1)
        return found

    def best(self, strengths: np.ndarray) -> tuple[float, np.ndarray]:
        """The penalty that loses least on the folds, and what it says out of fold.

        Of equal ones it is the strongest, which comes first. Where two in a row lost more than the one before, weaker
        ones are not tried: they lose still more, and take longest.
        """
        tried: list[tuple[float, float, np.ndarray]] = []
        for strength in strengths:
            found = self.out_of_fold(strength)
            tried.append((self._loss(found), float(strength), found))
            if len(tried) > 2 and tried[-3][0] < tried[-2][0] < tried[-1][0]:
                break
        _, strength, found = min(tried, key=lambda one: one[0])
        return strength, found

    def _loss(self, out_of_fold: np.ndarray) -> float:
        found = out_of_fold[self.rows]
        asked = ~np.isnan(found[:, 0])
        if not asked.any():
            return 0.0
        found, truth = found[asked], self.target[self.rows][asked]
        if self.is_value:
            lost = (found[:, 0] - truth) ** 2
        else:
            lost = -np.log(np.maximum(found[np.arange(len(truth)), truth], SMALLEST))
        return float(np.average(lost, weights=None if self.weights is None else self.weights[self.rows][asked]))

    def layer(self, strength: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of the outputs' logits, or of the value.

        Without a strength, which is for features that do not vary, the kernel is 0.
        """
        model = None if strength is None else self.fitted(strength, self.rows)
        kernel, bias = np.zeros((self.values.shape[1], self.width)), np.full(self.width, ABSENT)
        if self.is_value:
            bias = np.array([self.target[self.rows].mean() if model is None else float(model.intercept_)])
            return (kernel if model is None else model.coef_.reshape(-1, 1)), bias
        if model is None:
            for k in range(self.width):
                if share := float(np.mean(self.target[self.rows] == k)):
                    bias[k] = np.log(share)
        elif len(model.classes_) == 2:
            # One score for two classes: half of it for the one, half against the other.
            kernel[:, model.classes_] = model.coef_.T * [-0.5, 0.5]
            bias[model.classes_] = model.intercept_ * np.array([-0.5, 0.5])
        else:
            kernel[:, model.classes_], bias[model.classes_] = model.coef_.T, model.intercept_
        return kernel, bias


def _questions(
    values: np.ndarray,
    problem: Problem,
    train: np.ndarray,
    seed: int,
    make: Callable[[float], Any],
    weights: np.ndarray | None = None,
) -> list[_Question]:
    """What there is to fit: labels that do not exclude one another are a question each."""
    rows = np.flatnonzero(train & problem.known)
    task, targets = problem.task, problem.targets
    if task.is_value:
        columns, width = [targets[:, 0]], 1
    elif task.exclusive:
        columns, width = [targets.argmax(axis=1)], targets.shape[1]
    else:
        columns, width = list(targets.T.astype(int)), 2
    counts = [None] * len(columns) if weights is None else list(weights.reshape(len(weights), -1).T)
    return [
        _Question(values, column, rows, problem.patients, seed, make, width, task.is_value, count)
        for column, count in zip(columns, counts, strict=True)
    ]


def _joined(answers: list[np.ndarray], problem: Problem) -> np.ndarray:
    """The answers to all questions as `Problem.targets`: of a label the probability that it is there."""
    if problem.task.is_value or problem.task.exclusive:
        return answers[0]
    return np.stack([answer[:, 1] for answer in answers], axis=1)


def _one_thread() -> Any:
    """On matrices this small the threads of the linear algebra wait for each other: up to 20 times slower."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")
