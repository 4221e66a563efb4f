"""`easydl.explain_as_tree`: a small decision tree fitted to a model's answers, and how far it can be trusted to say why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.evaluation.intervals import PatientBootstrap, mean_interval, proportion_interval
from easydl.evaluation.metric import FEW_PATIENTS, Resampling
from easydl.evaluation.regression import ValueSample, value_metrics
from easydl.exploration.given import check_study
from easydl.exploration.inputs import Input, inputs_of
from easydl.exploration.questions import question_of, units_of
from easydl.exploration.tree_result import Fidelity, Node, TreeExplanation
from easydl.option_model import documented
from easydl.options_of_use import TreeOptions
from easydl.prediction.results import Predictions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

FOLDS = 5
SMALLEST_LEAF, LEAF_FRACTION = 5, 0.02
"""Images of a leaf: a rule of two images is an anecdote."""


@documented(TreeOptions)
def explain_as_tree(
    model: Any, study: Study, *, target: str | None = None, depth: int = 4, seed: int = 0
) -> TreeExplanation:
    """Explain a model by a small decision tree that was fitted to the model's own answers.

    The tree asks about 42 features that a person can read (grey values, noise, gradients, texture, layout, the largest
    bright and dark region), and about the covariates that the model takes. How often it agrees with the model is measured
    out of fold: each patient's images by a tree that has seen no image of the patient. Where it agrees no more often than
    the commonest answer would, no rule is shown. The labels of the study are not looked at.

    Args:
        model: A classifier of easydl, or its ``.keras`` file: classes, labels, values or several tasks.
        study: A `Study` from `easydl.load`: images that the model is asked about. Better not those of its training.
        {options}

    Returns:
        A `TreeExplanation`: ``.rules`` are sentences, ``.fidelity`` the agreement with its 95% interval, ``.show()`` a
        figure, ``.table`` a DataFrame with one row for each rule.

    Raises:
        InputError: The model makes masks or images, has several labels and ``target`` names none, or there are fewer than
            10 patients.
        ModelError: The model does not fit the study.

    Example:
        >>> print("\\n".join(easydl.explain_as_tree(model, val).rules))  # doctest: +SKIP
        If the mean grey value is above 141, the model says pneumonia (63 of 66 images, 60 patients).

    References:
        Craven MW, Shavlik JW. Extracting tree-structured representations of trained networks. NIPS 1995; Breiman L et al.
        Classification and regression trees. Wadsworth 1984.
    """
    TreeOptions.checked(target=target, depth=depth, seed=seed)
    check_study(study)
    from easydl.prediction import predict
    from easydl.prediction.cascades import open_model

    model, metadata = open_model(model)
    question = question_of(metadata, target)
    if not (question.chosen or question.head.task.exclusive or question.head.task.is_value):
        raise InputError(
            f"The model has {len(question.head.classes)} labels, and target= (--target) names none.",
            f"one of {', '.join(question.head.classes)}.",
            "Explain one label at a time.",
        )
    found = predict(model, study)
    assert isinstance(found, Predictions)
    asked = question.of(found)
    units = units_of(asked).to_numpy(str)
    known, what = len(np.unique(units)), "patients" if asked.patients_known else "images"
    if known < FEW_PATIENTS:
        raise InputError(
            f"There are {known} {what}.",
            f"at least {FEW_PATIENTS}.",
            "Explain the model on a larger part of the study.",
        )
    inputs, values, notes = inputs_of(study, metadata)
    value = Task(asked.task).is_value
    answers = asked.frame["value" if value else "prediction"].to_numpy(float if value else str)
    grown = _Grown(values, answers, value, depth, seed)
    folded = np.empty(len(answers), answers.dtype)
    for learn, ask in _folds(answers, units, value, seed):
        folded[ask] = grown.fitted(learn).predict(values[ask])
    resampling = Resampling(asked.patients_known, seed)
    fidelity = (_of_values if value else _of_answers)(answers, folded, units, resampling)
    return TreeExplanation(
        _node(grown, inputs, units),
        fidelity,
        question.name,
        str(asked.classes[0]) if value else "",
        what,
        (*notes, *found.notes),
    )


class _Grown:
    """Trees of one kind, fitted to some rows of a model's answers."""

    def __init__(self, values: np.ndarray, answers: np.ndarray, value: bool, depth: int, seed: int) -> None:
        self.values, self.answers, self.value, self.depth, self.seed = values, answers, value, depth, seed

    def fitted(self, rows: np.ndarray | slice) -> Any:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        kind: Any = DecisionTreeRegressor if self.value else DecisionTreeClassifier
        answers = self.answers[rows]
        leaf = max(SMALLEST_LEAF, round(LEAF_FRACTION * len(answers)))
        tree = kind(max_depth=self.depth, min_samples_leaf=leaf, random_state=self.seed)
        return tree.fit(self.values[rows], answers)


def _folds(answers: np.ndarray, units: np.ndarray, value: bool, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to learn from and rows to ask, no patient in both, rare answers spread over the folds."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    counts = [0] if value else np.unique(answers, return_counts=True)[1]
    # scikit-learn refuses to spread answers of which there are fewer than folds, and each fold has a patient at least.
    made: Any = StratifiedGroupKFold if min(counts) >= FOLDS else GroupKFold
    yield from made(FOLDS, shuffle=True, random_state=seed).split(units, answers, units)


def _of_answers(answers: np.ndarray, folded: np.ndarray, units: np.ndarray, resampling: Resampling) -> Fidelity:
    names, counts = np.unique(answers, return_counts=True)
    commonest = names[counts.argmax()]
    alike = np.column_stack([answers == folded, answers == commonest]).astype(float)
    bootstrap = resampling.bootstrap(units, content=alike)
    sums, images = _sums(bootstrap, alike)

    def shares(weights: np.ndarray) -> np.ndarray:
        return (weights @ sums) / (weights @ images)[:, None]

    value, base = alike.mean(axis=0)
    drawn = bootstrap.run(shares)
    interval = proportion_interval(float(value), drawn[:, 0], images)
    gain = mean_interval(drawn[:, 0] - drawn[:, 1], len(images))
    return Fidelity(
        float(value), interval.low, interval.high, len(images), len(answers), "agreement", float(base), str(commonest),
        gain=(float(value - base), gain.low, gain.high),
    )  # fmt: skip


def _sums(bootstrap: PatientBootstrap, per_image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns summed for each patient, and the number of images of each."""
    sums = np.zeros((len(bootstrap.names), per_image.shape[1]))
    np.add.at(sums, bootstrap.index, per_image)
    return sums, np.bincount(bootstrap.index).astype(float)


def _of_values(answers: np.ndarray, folded: np.ndarray, units: np.ndarray, resampling: Resampling) -> Fidelity:
    sample = ValueSample(pd.DataFrame({"patient": units, "label": answers, "value": folded}), resampling)
    row = next(one.row(sample) for one in value_metrics("") if one.name == "R²")
    limits = (row["value"], row["low"], row["high"])
    return Fidelity(*limits, row["n"], row["images"], "R²", 0.0, f"{answers.mean():.3g}", gain=limits)


def _node(grown: _Grown, inputs: list[Input], units: np.ndarray) -> Node:
    """The tree that was fitted to all rows, without questions whose two answers are the same."""
    fitted = grown.fitted(slice(None))
    tree, where = fitted.tree_, fitted.decision_path(grown.values).toarray().astype(bool)

    def node(place: int) -> Node:
        inside = where[:, place]
        own, patients = grown.answers[inside], len(np.unique(units[inside]))
        if grown.value:
            answer, right = f"{own.mean():.3g}", len(own)
        else:
            names, counts = np.unique(own, return_counts=True)
            answer, right = str(names[counts.argmax()]), int(counts.max())
        spread = float(own.std()) if grown.value else float("nan")
        leaf = Node(answer, right, len(own), patients, spread)
        left, more = tree.children_left[place], tree.children_right[place]
        if left < 0:
            return leaf
        parts = node(left), node(more)
        if not grown.value and all(one.input is None for one in parts) and parts[0].answer == parts[1].answer:
            return leaf
        asked = inputs[tree.feature[place]]
        return Node(answer, right, len(own), patients, spread, asked, float(tree.threshold[place]), *parts)

    return node(0)
