"""How a baseline learns from its features: nothing, a regularised linear model, a random forest. Made with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.tasks import Task

FOLDS = 5
STRENGTHS = np.logspace(-4, 2, 7)
"""Of the L2 penalty, as scikit-learn's ``C``; the best is chosen on folds by patient within the training part."""
TREES = 300
MANY = 1000
"""Rows from which a second core pays for the trees."""
SMALLEST = 1e-7


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


def constant(problem: Problem, train: np.ndarray) -> np.ndarray:
    """The training rows' prevalence of every class, or their median value, for every row."""
    targets = problem.targets[train & problem.known]
    one = np.median(targets, axis=0) if problem.task.is_value else targets.mean(axis=0)
    return np.tile(one, (len(problem.targets), 1))


def linear(values: np.ndarray, problem: Problem, train: np.ndarray, seed: int) -> np.ndarray:
    """Logistic regression (ridge regression of a value), its penalty chosen on folds by patient in the training rows.

    Args:
        values: float ``(rows, features)``.
        problem: What is to be predicted.
        train: bool ``(rows,)``: the rows to learn from. No label of another row is looked at.
        seed: Of the folds.

    Returns:
        As `Problem.targets`, for every row: probabilities, or values.
    """
    from sklearn.linear_model import LogisticRegression, Ridge

    scaled = _scaled(values, train & problem.known)
    if scaled.shape[1] == 0:
        return constant(problem, train)

    def probabilities(strength: float) -> Any:
        return LogisticRegression(C=strength, max_iter=2000)

    def value(strength: float) -> Any:
        return Ridge(alpha=1 / strength)

    return _learn(scaled, problem, train, seed, value if problem.task.is_value else probabilities, STRENGTHS)


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

    return _learn(np.asarray(values, float), problem, train, seed, trees, STRENGTHS[:1])


def _scaled(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 in the training rows, turned so that there are no more columns than those rows.

    The penalty is the same in all directions, so turning changes no prediction; it makes 1,280 features as fast as 200.
    """
    values = np.asarray(values, float)
    mean, spread = values[train].mean(axis=0), values[train].std(axis=0)
    varying = spread > 1e-9 * (np.abs(mean) + 1e-9)
    scaled = (values[:, varying] - mean[varying]) / spread[varying]
    if scaled.shape[1] <= train.sum():
        return scaled
    _, sizes, directions = np.linalg.svd(scaled[train], full_matrices=False)
    return scaled @ directions[sizes > 1e-6 * sizes[0]].T


def _learn(
    values: np.ndarray,
    problem: Problem,
    train: np.ndarray,
    seed: int,
    make: Callable[[float], Any],
    strengths: np.ndarray,
) -> np.ndarray:
    rows = np.flatnonzero(train & problem.known)
    if problem.task.is_value or problem.task.exclusive:
        targets = problem.targets if problem.task.is_value else problem.targets.argmax(axis=1)
        width = problem.targets.shape[1]
        return _fitted(values, np.ravel(targets), rows, problem, seed, make, strengths, width)
    # Labels that do not exclude one another are a question each.
    columns = [
        _fitted(values, column.astype(int), rows, problem, seed, make, strengths, 2)[:, 1]
        for column in problem.targets.T
    ]
    return np.stack(columns, axis=1)


def _fitted(
    values: np.ndarray,
    target: np.ndarray,
    rows: np.ndarray,
    problem: Problem,
    seed: int,
    make: Callable[[float], Any],
    strengths: np.ndarray,
    width: int,
) -> np.ndarray:
    """The outputs ``(rows, width)`` of the estimator whose penalty loses least on folds by patient."""
    value = problem.task.is_value

    def outputs(strength: float, learn: np.ndarray, ask: Any) -> np.ndarray:
        if not value and len(np.unique(target[learn])) < 2:
            return np.eye(width)[np.full(len(values[ask]), target[learn][0])]
        fitted = make(strength).fit(values[learn], target[learn])
        if value:
            return fitted.predict(values[ask])[:, None]
        found = np.zeros((len(values[ask]), width))
        found[:, fitted.classes_] = fitted.predict_proba(values[ask])
        return found

    def loss(strength: float) -> float:
        lost = []
        for learn, ask in _folds(target, rows, problem, seed):
            found = outputs(strength, learn, ask)
            if value:
                lost.append((found[:, 0] - target[ask]) ** 2)
            else:
                lost.append(-np.log(np.maximum(found[np.arange(len(ask)), target[ask]], SMALLEST)))
        return float(np.concatenate(lost).mean()) if lost else 0.0

    from threadpoolctl import threadpool_limits

    # On matrices this small the threads of the linear algebra wait for each other: up to 20 times slower.
    with threadpool_limits(1, user_api="blas"):
        # Of equal ones the strongest penalty, which comes first.
        best = strengths[0] if len(strengths) == 1 else min(strengths, key=loss)
        return outputs(float(best), rows, slice(None))


def _folds(
    target: np.ndarray, rows: np.ndarray, problem: Problem, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows to ask, no patient in both; none where there are too few patients."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    patients = problem.patients[rows]
    kinds = [slice(None)] if problem.task.is_value else [target[rows] == one for one in np.unique(target[rows])]
    folds = min(FOLDS, *(len(np.unique(patients[kind])) for kind in kinds))
    if folds < 2:
        return
    made: Any = GroupKFold if problem.task.is_value else StratifiedGroupKFold
    for learn, ask in made(folds, shuffle=True, random_state=seed).split(rows, target[rows], patients):
        yield rows[learn], rows[ask]
