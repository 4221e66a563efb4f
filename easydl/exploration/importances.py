"""`easydl.importance`: how much worse the answers get when one input is shuffled between patients. It fits no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.comparison.candidates import without_test
from easydl.comparison.comparing import RANKED, fold_column
from easydl.comparison.paired_rows import as_predictions
from easydl.comparison.readable import GROUPS, NAMES, readable_features
from easydl.errors import InputError
from easydl.evaluation.leakage import without_seen
from easydl.evaluation.looking import counted_together
from easydl.evaluation.measuring import headline, measure_of
from easydl.evaluation.tables import headline_of
from easydl.exploration.given import check_labels, check_study
from easydl.exploration.questions import Question, question_of, units_of
from easydl.exploration.weighed import Importance, Weighed, jackknife
from easydl.option_model import documented
from easydl.options_of_use import ImportanceOptions
from easydl.prediction.results import Predictions
from easydl.prediction.seen import COLUMN
from easydl.tasks import Task
from easydl.training.estimators import Problem, forest, problem_of

if TYPE_CHECKING:
    from easydl.studies import Study

FOREST = "forest"
FOLDS = 5
IMAGE, TABLE = "the image", "all covariates together"


@documented(ImportanceOptions)
def importance(
    model: Any,
    study: Study,
    *,
    target: str | None = None,
    repeats: int = 10,
    seed: int = 0,
    override: str | None = None,
) -> Importance:
    """Say what each input of a model is worth: how much worse it gets when that input is shuffled between patients.

    Of a model with covariates each covariate, all of them together and the image are shuffled. With ``"forest"`` instead
    of a model it is the baseline of `easydl.compare`, a random forest on readable features: it is fitted on folds by
    patient, and each group of features (grey values, noise, gradients, texture, layout) is shuffled. Of two inputs that
    say the same neither is missed alone, so a small loss does not say that an input tells nothing.

    Args:
        model: A classifier of easydl with covariates, its ``.keras`` file, or ``"forest"``.
        study: A `Study` with labels that the model has not seen, such as the third part of ``study.split()``: images that it
            was trained on are left out, and it is counted as a look. For ``"forest"`` the whole study, whose test part
            is left untouched.
        {options}

    Returns:
        An `Importance`: ``.table`` has the loss of each input (of AUC, kappa, or of a value the rise of the mean absolute
        error) with its 95% interval by patient, ``.show()`` a figure.

    Raises:
        InputError: The model takes no covariates, or the study has no labels.
        LeakageError: The model has seen these images, or nearly all of them.

    Example:
        >>> easydl.importance(model, test)  # doctest: +SKIP
        AUC is 0.88 (95% CI 0.80-0.93) on 60 patients. It falls by 0.21 (95% CI 0.11 to 0.31) without age.

    References:
        Breiman L. Random forests. Mach Learn 2001;45:5-32; Fisher A, Rudin C, Dominici F. J Mach Learn Res 2019;20(177).
    """
    ImportanceOptions.checked(target=target, repeats=repeats, seed=seed, override=override)
    check_study(study)
    if isinstance(model, str) and model == FOREST:
        return _of_forest(study, target, repeats, seed)
    return _of_model(model, study, target, repeats, seed, override or " ".join(study.overrides))


def _of_model(model: Any, study: Study, target: str | None, repeats: int, seed: int, override: str) -> Importance:
    from easydl.prediction import predict
    from easydl.prediction.cascades import open_model
    from easydl.prediction.cut import CutModel

    model, metadata = open_model(model)
    question = question_of(metadata, target)
    if not metadata.covariates:
        raise InputError(
            "The model takes the image alone.",
            "a model with covariates, whose inputs can be weighed against each other.",
            'Weigh groups of readable features with easydl.importance("forest", study), or show where the model looks '
            "with easydl.saliency.",
        )
    found = predict(model, study)
    assert isinstance(found, Predictions)
    own = found.head(question.head.name) if question.head.name else found
    check_labels(own.frame, question.head.task)
    seen = found.frame[COLUMN].tolist() if COLUMN in found.frame.columns else [""] * len(study)
    unseen = without_seen(seen, units_of(found), override)
    kept = np.flatnonzero(unseen.kept & _has_label(own, question))
    cut = CutModel(model, study.rows(study.frame.index[kept]))
    like = replace(own, frame=own.frame.iloc[kept])

    def weigh() -> Importance:
        rng = np.random.default_rng(seed)
        shuffled = {
            name: [_answers(question, like, cut.outputs(*one)) for one in _pairs(cut, name, repeats, rng)]
            for name in (IMAGE, *([TABLE] if len(cut.columns) > 1 else []), *cut.columns)
        }
        return _weighed(question.of(like), shuffled, seed, question.name)

    counted = counted_together(
        like.frame,
        [found.provenance],
        weigh,
        lambda one: [one.headline],
        patients_known=found.patients_known,
    )
    said = [*filter(None, [unseen.warning]), *counted.warnings]
    return replace(counted.found, warnings=tuple(said), notes=(*counted.found.notes, *counted.notes))


def _answers(question: Question, like: Predictions, outputs: Any) -> Predictions:
    return question.of(as_predictions(like, outputs[question.head.name] if question.head.name else outputs))


def _pairs(cut: Any, name: str, repeats: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and covariates in which one input is that of another row."""
    rows = np.arange(len(cut.covariates))
    for _ in range(repeats):
        other, covariates = rng.permutation(rows), cut.covariates.copy()
        if name == IMAGE:
            yield other, covariates
            continue
        columns = slice(None) if name == TABLE else cut.columns[name]
        covariates[:, columns] = cut.covariates[other][:, columns]
        yield rows, covariates


def _of_forest(study: Study, target: str | None, repeats: int, seed: int) -> Importance:
    if target is not None or not Task(study.task).per_image:
        head = next(iter(study.heads), "")
        raise InputError(
            f"The study's task is {study.task}" + (f", and target={target!r}." if target is not None else "."),
            "a study with one label, several labels or one value for each image, and no target.",
            f"Use study.head({head!r}) for one task." if head else "Leave target out.",
        )
    check_labels(study.frame, Task(study.task))
    kept, notes = without_test(study)
    problem, values = problem_of(kept), readable_features(kept.facts()).astype(float)
    width, rng = problem.targets.shape[1], np.random.default_rng(seed)
    places = {name: [NAMES.index(one) for one in group] for name, group in GROUPS.items()}
    base = np.full((len(kept), width), np.nan)
    shuffled = {name: [base.copy() for _ in range(repeats)] for name in places}
    ranked = problem.task.has_classes and not problem.task.ordered
    for train, _, _ in kept.folds(FOLDS, seed=seed):
        column = fold_column(train)
        learn, ask = np.isin(column, ("train", "val")), np.flatnonzero(column == "test")
        copies = [values[ask]]
        for columns in places.values():
            for _ in range(repeats):
                one = values[ask].copy()
                one[:, columns] = values[rng.permutation(ask)][:, columns]
                copies.append(one)
        answers = _asked(values, problem, learn, copies, seed)
        answers = [rankdata(one, axis=0) / (len(one) + 1) for one in answers] if ranked else answers
        for place, answer in zip([base, *(one for each in shuffled.values() for one in each)], answers, strict=True):
            place[ask] = answer
    frame = pd.DataFrame(
        {
            "image": kept.frame[kept.image_columns[0]],
            "patient": kept.frame["patient"],
            "label": kept.frame["label"].astype(str),
        }
    )
    rows = np.isfinite(base).all(axis=1) & problem.known
    like = Predictions(frame[rows], tuple(kept.classes), kept.patients_known, kept.name, str(kept.task))
    made = {name: [as_predictions(like, one[rows]) for one in each] for name, each in shuffled.items()}
    folds = f"A random forest on {len(NAMES)} readable features, {FOLDS} folds by patient, seed {seed}."
    notes = [*notes, folds, *([RANKED] if ranked else [])]
    return replace(_weighed(as_predictions(like, base[rows]), made, seed, "", FOREST), notes=tuple(notes))


def _asked(
    values: np.ndarray, problem: Problem, learn: np.ndarray, copies: list[np.ndarray], seed: int
) -> list[np.ndarray]:
    """What a forest says of further rows: they stand below those that it learns from."""
    more = np.concatenate(copies)
    width = problem.targets.shape[1]
    extended = Problem(
        problem.task,
        np.concatenate([problem.targets, np.zeros((len(more), width))]),
        np.concatenate([problem.known, np.zeros(len(more), bool)]),
        np.concatenate([problem.patients, np.full(len(more), "")]),
    )
    rows = np.concatenate([learn, np.zeros(len(more), bool)])
    found = forest(np.concatenate([values, more]), extended, rows, seed)[len(values) :]
    return np.split(found, len(copies))


def _weighed(
    base: Predictions, shuffled: Mapping[str, list[Predictions]], seed: int, target: str, who: str = "the model"
) -> Importance:
    """What each shuffled input costs, the largest loss first."""
    task, classes = Task(base.task), tuple(map(str, base.classes))
    measure, line = measure_of(task, classes), headline(base, seed=seed)
    units = units_of(base).to_numpy(str)
    sign = 1.0 if measure.lower_is_better else -1.0

    def numbers(one: Predictions) -> Callable[[np.ndarray], float]:
        return headline_of(task, classes, one.frame)

    whole = numbers(base)
    rows = []
    for name, repeats in shuffled.items():
        each = [numbers(one) for one in repeats]
        losses = [lambda inside, one=one: sign * (one(inside) - whole(inside)) for one in each]
        rows.append(Weighed(name, *jackknife(losses, units, base.frame["label"].to_numpy(str), seed)))
    first = (float(line["value"]), float(line["low"]), float(line["high"]))
    what = "patients" if base.patients_known else "images"
    ordered = tuple(sorted(rows, key=lambda one: -one.loss))
    return Importance(ordered, measure, first, int(line["n"]), int(line["images"]), what, target, who)


def _has_label(own: Predictions, question: Question) -> np.ndarray:
    if question.head.task is Task.MULTILABEL:
        return np.ones(len(own.frame), bool)
    return (own.frame["label"].astype(str).str.strip() != "").to_numpy() & own.frame["label"].notna().to_numpy()
