"""`easydl.tune`: settings chosen on folds by patient, and what the whole choice reaches on patients that it never saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.comparison.candidates import Candidates, folds_text, for_choosing
from easydl.comparison.comparing import RANKED, fold_column
from easydl.comparison.paired_rows import as_predictions
from easydl.comparison.search_space import OF_MODEL, Settings, Space, guided, proposals, space_of
from easydl.comparison.tuned import Trial, Tuning, label_of, settings_text
from easydl.errors import InputError, ModelError
from easydl.evaluation import paired_differences
from easydl.evaluation.bootstrap import MINIMUM_RESAMPLES
from easydl.evaluation.measuring import Measure, headline, measure_of
from easydl.option_model import documented
from easydl.options_of_planning import TuneOptions
from easydl.prediction.results import Predictions
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

TINY = 1e-7


@documented(TuneOptions)
def tune(
    study: Study,
    space: Mapping[str, Any],
    *,
    search: str = "grid",
    trials: int | None = None,
    folds: int = 5,
    seed: int = 0,
    epochs: int | None = None,
    pretrained: bool | str = False,
    size: int | None = None,
    verbose: bool = True,
) -> Tuning:
    """Choose the settings of a network and its training on folds by patient, nested, so that its number is not too good.

    In every fold each trial is trained on the training part and scored on the validation part; the best is asked about the
    fold's patients, whom neither its training nor its choice has seen. All folds together are the honest number of the search.
    The settings with the best mean score are ``.best``. The test part of a split study is never read: split first, and give
    ``train.parent``.

    Args:
        study: A `Study` with one label, several labels or a value for each image.
        space: From names to values: ``model``, ``pretrained``, ``size``, ``head`` of `easydl.classifier`, and
            ``learning_rate``, ``batch_size``, ``optimizer``, ``augment``, ``loss``, ``strategy``, ``fine_tune``, ``class_weight``,
            ``epochs``, ``window``, ``normalise``, ``members`` of `easydl.fit`; Keras objects, too. A tuple (lowest, highest) is a range
            for a search that draws.
        {options}
        verbose: Whether a line is printed for each training.

    Returns:
        A `Tuning`: ``.best["classifier"]`` and ``.best["fit"]`` are keyword arguments; ``.table`` has one row for each trial
        with its number out of fold, the 95% interval by patient and the paired difference from the best; ``.show()`` is a
        figure, ``.save("trials.csv")`` a file.

    Raises:
        InputError: Names or values that cannot be tried, too few patients for the folds, or a test part.
        MissingPackageError: ``search="optuna"`` without Optuna.

    Example:
        >>> found = easydl.tune(train.parent, {"learning_rate": [1e-3, 3e-3], "model": ["tiny"]})  # doctest: +SKIP
        >>> model = easydl.classifier(study=train.parent, **found.best["classifier"])  # doctest: +SKIP
        >>> easydl.fit(model, train, val, **found.best["fit"])  # doctest: +SKIP

    References:
        Cawley GC, Talbot NLC. J Mach Learn Res 2010;11:2079-2107 (the winner's number is too good); Varma S, Simon R. BMC
        Bioinformatics 2006;7:91 (nested cross-validation).
    """
    given = {"search": search, "trials": trials, "folds": folds, "seed": seed, "epochs": epochs}
    TuneOptions.checked(**given, pretrained=pretrained, size=size)
    kept, notes = for_choosing(study)
    checked = space_of(space, kept)
    usual: Settings = {"pretrained": pretrained, "size": size, "epochs": epochs}
    fixed = [] if search == "optuna" else proposals(checked, search, trials, seed)
    runner = _Runner(kept, usual, seed, [fold_column(train) for train, _, _ in kept.folds(folds, seed=seed)], verbose)
    if search == "optuna":
        runner.guided(checked, trials)
    else:
        for fold in range(folds):
            for settings in fixed:
                runner.score(settings, fold)
    return runner.result(search, [*notes, folds_text(kept, folds, seed)])


@dataclass
class _Tried:
    """One setting: its scores and outputs in the folds where it was trained.

    Attributes:
        settings: What was tried.
        scores: By fold the measure on the validation part, higher is better, and less the loss there.
        values: By fold the measure as it is.
        outputs: ``(rows, classes)``, NaN where it was not asked.
        seconds: Of all its trainings.
    """

    settings: Settings
    outputs: np.ndarray
    scores: dict[int, tuple[float, float]] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def mean(self) -> tuple[float, float]:
        """Of the scores of all folds."""
        first, second = zip(*self.scores.values(), strict=True)
        return float(np.mean(first)), float(np.mean(second))


@dataclass
class _Runner:
    """Trains and scores trials, and keeps what they said."""

    study: Study
    usual: Settings
    seed: int
    parts: list[np.ndarray]
    verbose: bool
    tried: dict[str, _Tried] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        task = Task(self.study.task)
        self.candidates = Candidates(self.study, self.seed)
        self.measure: Measure = measure_of(task, tuple(self.study.classes))
        self.width = 1 if task.is_value else len(self.study.classes)
        self.ranked = task.has_classes and not task.ordered
        self.targets = np.asarray(self.study.targets(), float)

    def guided(self, space: Space, trials: int | None) -> None:
        """In every fold its own search: the proposals of one may not depend on patients whom another tests."""
        for fold in range(len(self.parts)):
            self._guided(space, trials, fold)
        for winner in dict.fromkeys([self._winner(fold) for fold in range(len(self.parts))]):
            for fold in range(len(self.parts)):
                self.score(self.tried[winner].settings, fold)

    def _guided(self, space: Space, trials: int | None, fold: int) -> None:
        guided(space, trials, self.seed + fold, lambda settings: self.score(settings, fold)[0])

    def score(self, settings: Settings, fold: int) -> tuple[float, float]:
        """Train in a fold, score on its validation part, ask about its test part; once."""
        label = label_of(settings)
        one = self.tried.setdefault(label, _Tried(settings, np.full((len(self.study), self.width), np.nan)))
        if fold in one.scores:
            return one.scores[fold]
        train, val, test = (np.flatnonzero(self.parts[fold] == part) for part in ("train", "val", "test"))
        begun = time.perf_counter()
        try:
            on_val, on_test = self.candidates.trained({**self.usual, **settings}, train, val, (val, test), self.seed)
            value = self._value(val, on_val)
            better = -value if self.measure.lower_is_better else value
            one.scores[fold] = (better if np.isfinite(better) else -np.inf, -self._loss(val, on_val))
            one.outputs[test] = rankdata(on_test, axis=0) / (len(on_test) + 1) if self.ranked else on_test
        except ModelError as problem:  # such as a rate at which the training diverges: a result, and a bad one
            value, one.scores[fold] = float("nan"), (-np.inf, -np.inf)
            self.failed[label] = problem.found
        one.values[fold] = value
        one.seconds += time.perf_counter() - begun
        if self.verbose:
            print(
                f"Fold {fold + 1} of {len(self.parts)}, {settings_text(settings)}: {self.measure.short} {value:.3f} on the "
                "validation part",
                flush=True,
            )
        return one.scores[fold]

    def _value(self, rows: np.ndarray, outputs: np.ndarray) -> float:
        found = as_predictions(self._like(rows), outputs)
        return float(headline(found, seed=self.seed, resamples=MINIMUM_RESAMPLES)["value"])

    def _loss(self, rows: np.ndarray, outputs: np.ndarray) -> float:
        """What tells trials apart whose AUC is the same, as in a small validation part it often is."""
        truth = self.targets[rows]
        if Task(self.study.task).is_value:
            return float(np.mean(np.abs(outputs - truth)))
        lost = -truth * np.log(np.maximum(outputs, TINY))
        if not Task(self.study.task).exclusive:
            lost -= (1 - truth) * np.log(np.maximum(1 - outputs, TINY))
        return float(lost.sum(axis=1).mean())

    def _like(self, rows: np.ndarray) -> Predictions:
        frame = self.study.frame.iloc[rows]
        columns = {
            "image": frame[self.study.image_columns[0]],
            "patient": frame["patient"],
            "label": frame["label"].astype(str),
        }
        study = self.study
        return Predictions(
            pd.DataFrame(columns), tuple(study.classes), study.patients_known, study.name, str(study.task)
        )

    def _winner(self, fold: int) -> str:
        """The trial with the best score on a fold's validation part; the first of equals."""
        there = [label for label, one in self.tried.items() if fold in one.scores]
        return max(there, key=lambda label: self.tried[label].scores[fold])

    def result(self, search: str, notes: list[str]) -> Tuning:
        """The table, the choice, and what the choice reaches on patients that it has not seen."""
        folds = range(len(self.parts))
        nested, chosen = np.full((len(self.study), self.width), np.nan), []
        for fold in folds:
            winner = self._winner(fold)
            chosen.append(winner)
            test = self.parts[fold] == "test"
            nested[test] = self.tried[winner].outputs[test]
        whole = {label: one for label, one in self.tried.items() if set(one.scores) == set(folds)}
        best = max(whole, key=lambda label: whole[label].mean)
        if not np.isfinite(whole[best].mean[0]):
            raise InputError(
                f"No trial has a number in every fold: {next(iter(self.failed.values()), 'a class is missing in a fold')}",
                "settings with which a training ends, and every class in every fold.",
                "Try smaller learning rates, or fewer folds.",
            )
        rows = [self._row(label, one, best) for label, one in self.tried.items()]
        order = sorted(
            rows, key=lambda row: (not row.chosen, -self.tried[row.name].mean[0], -self.tried[row.name].mean[1])
        )
        settings = {**self.usual, **whole[best].settings}
        value, low, high, n, images = self._measured(nested)
        return Tuning(
            trials=tuple(order),
            settings=settings,
            measure=self.measure,
            value=value,
            low=low,
            high=high,
            n=n,
            images=images,
            winners=tuple(chosen),
            search=search,
            unit_of_n="patients" if self.study.patients_known else "images",
            of_model=tuple(name for name in settings if name in OF_MODEL),
            failed=dict(self.failed),
            notes=(*notes, *([RANKED] if self.ranked else [])),
        )

    def _measured(self, outputs: np.ndarray) -> tuple[float, float, float, int, int]:
        rows = np.flatnonzero(np.isfinite(outputs).all(axis=1))
        if not len(rows):
            return np.nan, np.nan, np.nan, 0, 0
        line = headline(as_predictions(self._like(rows), outputs[rows]), seed=self.seed)
        value, low, high = (float(line[key]) for key in ("value", "low", "high"))
        return value, low, high, int(line["n"]), int(line["images"])

    def _row(self, label: str, one: _Tried, best: str) -> Trial:
        value, low, high, n, images = self._measured(one.outputs)
        gap = (np.nan, np.nan, np.nan)
        both = np.flatnonzero(np.isfinite(one.outputs).all(axis=1) & np.isfinite(self.tried[best].outputs).all(axis=1))
        if label != best and len(both):
            pair = [as_predictions(self._like(both), self.tried[name].outputs[both]) for name in (best, label)]
            found = next(paired_differences(*pair, seed=self.seed))
            gap = (found.difference, found.low, found.high)
        known = [value for value in one.values.values() if np.isfinite(value)]
        return Trial(
            name=label,
            settings=one.settings,
            validation=float(np.mean(known)) if known else np.nan,
            folds=len(one.scores),
            value=value,
            low=low,
            high=high,
            n=n,
            images=images,
            difference=gap[0],
            difference_low=gap[1],
            difference_high=gap[2],
            seconds=one.seconds,
            chosen=label == best,
        )
