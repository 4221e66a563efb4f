"""A6: whether a model's answers follow something that is not the disease: a column, the file, the border of the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from easydl.evaluation.intervals import Interval, PatientBootstrap, auc_interval, auc_statistic, mean_interval
from easydl.traps.association import benjamini_hochberg
from easydl.traps.fields import fields
from easydl.traps.issues import Issue, shown, unit_of_n
from easydl.traps.knows import knows

if TYPE_CHECKING:
    from easydl.prediction.views import ModelView
    from easydl.studies import Study

SIGNIFICANT = 0.02
"""False discovery rate of all questions of a model together: beside them a study has those of the audit before."""
LEAST_GAP = 0.05
"""A smaller difference of AUC is not worth an issue, however certain."""
IN_GROUP, IN_WORST = 3, 10
"""Patients of every class that a group needs to be compared with others, and to be called the worst."""
PERMUTATIONS = 2999
ENOUGH = 10
MOST_CLASSES = 4
_SAME = 1e-9


@dataclass(frozen=True)
class Question:
    """One class against the others on patients that the model has not seen; one row for each patient (and label).

    Attributes:
        label: The class.
        score: Its mean probability.
        positive: Whether the patient has the class.
        patient: Who.
        first: Position of the patient's first row among the rows of the study.
        who: What is counted: patients, or images where nobody knows the patients.
        auc: What the AUC is of: where patients have several images, of the mean answer for each patient.
    """

    label: str
    score: np.ndarray
    positive: np.ndarray
    patient: np.ndarray
    first: np.ndarray
    who: str = "patients"
    auc: str = "AUC"


def uses(study: Study, view: ModelView, held: np.ndarray, seed: int) -> list[Issue]:
    """A6: whether the scores follow a field within a class, are worse in a group, or need the border; what features tell."""
    rows = np.flatnonzero(held)
    questions, who = list(_questions(study, view, rows)), unit_of_n(study)
    grouped = [(field.name, field.groups[rows]) for field in fields(study) if field.groups is not None]
    tests, untestable = [], []
    for name, groups in grouped:
        for question in questions:
            codes, names = _codes(groups[question.first], question.positive)
            if len(names) < 2:
                untestable.append(name)
                continue
            rng = np.random.default_rng(seed)
            large = _codes(groups[question.first], question.positive, IN_WORST)
            unequal = _unequal(question, large[0], rng) if len(large[1]) > 1 else 1.0
            tests.append((name, question, codes, large, _follows(question, codes, rng), unequal))
    adjusted = benjamini_hochberg([p for test in tests for p in test[4:]])
    followed: list[tuple[str, Issue]] = []
    issues, quiet = [], []
    for place, (name, question, codes, large, follows, unequal) in enumerate(tests):
        q_follows, q_unequal = adjusted[2 * place : 2 * place + 2]
        follow = q_follows < SIGNIFICANT
        if follow:
            followed.append((name, _within(name, question, codes, follows, seed, several=len(questions) > 1)))
        worse = _worst(name, question, *large, unequal, seed) if q_unequal < SIGNIFICANT else None
        issues += [worse] if worse is not None else []
        if not follow and worse is None:
            quiet.append(name)
    n = max(len(question.patient) for question in questions)
    issues = [*_predicted(followed, study, view, rows, grouped, seed), *issues]
    issues += [_border(question, study, view, rows, seed) for question in questions]
    if quiet:
        unused = ", ".join(dict.fromkeys(one.removeprefix("the column ") for one in quiet))
        issues.append(Issue("A6", "OK", f"Within a class the model's answers do not follow {unused}.", n=n))
    if none := dict.fromkeys(one for one in untestable if one not in {test[0] for test in tests}):
        sentence = (
            f"Whether the model uses {', '.join(none)} was not tested: it takes two groups, each with {IN_GROUP} "
            f"{who} of every class, among those it has not seen."
        )
        issues.append(
            Issue("A6", "UNTESTED", sentence, f"Test on {who} in which the classes and groups are mixed.", n=n)
        )
    return issues


def _predicted(
    followed: list[tuple[str, Issue]],
    study: Study,
    view: ModelView,
    rows: np.ndarray,
    grouped: list[tuple[str, np.ndarray]],
    seed: int,
) -> Iterator[Issue]:
    """The issues on fields that answers follow, with what the features know of them; a note on the other known fields."""
    frame, who = study.frame.iloc[rows], unit_of_n(study)
    known = (
        {}
        if view.features is None
        else knows(view.features[rows], frame["label"].to_numpy(str), frame["patient"].to_numpy(str), grouped, seed)
    )
    said = {name: one.numbers(who) for name, one in known.items() if one.tells}
    for name, issue in followed:
        yield (
            replace(issue, sentence=f"{issue.sentence} Its features predict it: {said[name]}.")
            if name in said
            else issue
        )
    for name in said.keys() - {name for name, _ in followed}:
        sentence = f"The model's features predict {name}: {said[name]}. That its answers follow it was not shown."
        fix = (
            "To know is not to use, so this alone is no fault: compare its results with by=, and test where it differs."
        )
        found = known[name]
        values = (found.auc, found.interval.low, found.interval.high)
        yield Issue("A6", "NOTE", sentence, fix, *values, n=found.n)


def _questions(study: Study, view: ModelView, rows: np.ndarray) -> Iterator[Question]:
    frame = study.frame.iloc[rows]
    label, patient = frame["label"].to_numpy(str), frame["patient"].to_numpy(str)
    names, counts = np.unique(label, return_counts=True)
    asked = names[np.argsort(-counts, kind="stable")][:MOST_CLASSES] if len(names) > 2 else view.classes[-1:]
    for name in asked:
        column = view.classes.index(str(name))
        scores = pd.DataFrame(
            {
                "patient": patient,
                "positive": label == name,
                "score": view.probabilities[rows, column],
                "first": np.arange(len(rows)),
            }
        )
        # One row for each patient, so that a permutation shuffles independent units.
        units = scores.groupby(["patient", "positive"], as_index=False).agg(
            score=("score", "mean"), first=("first", "first")
        )
        arrays = {column: units[column].to_numpy() for column in ("score", "positive", "patient", "first")}
        auc = "AUC per patient" if len(units) < len(rows) else "AUC"
        yield Question(str(name), **arrays, who=unit_of_n(study), auc=auc)


def _codes(groups: np.ndarray, positive: np.ndarray, least: int = IN_GROUP) -> tuple[np.ndarray, list[str]]:
    """int per unit, -1 in groups too small to have an AUC, and the names of the others."""
    names, code = np.unique(groups.astype(str), return_inverse=True)
    kept = [
        k for k in range(len(names)) if min((positive & (code == k)).sum(), (~positive & (code == k)).sum()) >= least
    ]
    renamed = np.full(len(names), -1)
    renamed[kept] = np.arange(len(kept))
    return renamed[code], [str(names[k]) for k in kept]


def _follows(question: Question, codes: np.ndarray, rng: np.random.Generator) -> float:
    """p that the scores differ between groups among patients of one class (Kruskal-Wallis, permuted within the class)."""
    return _permuted(lambda drawn: _between(question, drawn), question.positive, codes, rng)


def _unequal(question: Question, codes: np.ndarray, rng: np.random.Generator) -> float:
    """p that the AUC of the worst group lies so far below that of the others."""
    return _permuted(lambda drawn: _shortfall(question, drawn)[0], question.positive, codes, rng)


def _permuted(
    statistic: Callable[[np.ndarray], float], positive: np.ndarray, codes: np.ndarray, rng: np.random.Generator
) -> float:
    observed, exceed, done = statistic(codes), 0, 0
    while done < PERMUTATIONS and exceed < ENOUGH:  # Besag & Clifford 1991
        drawn = codes.copy()
        for side in (positive, ~positive):
            inside = np.flatnonzero(side & (codes >= 0))
            drawn[inside] = codes[inside][rng.permutation(len(inside))]
        exceed += statistic(drawn) >= observed - _SAME
        done += 1
    return (1 + exceed) / (1 + done)


def _between(question: Question, codes: np.ndarray) -> float:
    total = 0.0
    for side in (question.positive, ~question.positive):
        inside = side & (codes >= 0)
        ranks, code = rankdata(question.score[inside]), codes[inside]
        count = np.bincount(code)
        centred = np.bincount(code, ranks - ranks.mean())
        total += float((centred**2 / np.maximum(count, 1)).sum() * 12 / (len(ranks) * (len(ranks) + 1)))
    return total


def _shortfall(question: Question, codes: np.ndarray) -> tuple[float, int]:
    """How far the worst group's AUC lies below the mean of all groups, by their pairs of patients; and which."""
    aucs, pairs = [], []
    for one in range(int(codes.max()) + 1):
        inside = codes == one
        positive, ranks = question.positive[inside], rankdata(question.score[inside])
        ones, zeros = int(positive.sum()), int((~positive).sum())
        pairs.append(ones * zeros)
        aucs.append((ranks[positive].sum() - ones * (ones + 1) / 2) / max(1, ones * zeros))
    worst = int(np.argmin(aucs))
    return float(np.average(aucs, weights=pairs) - aucs[worst]), worst


def _within(name: str, question: Question, codes: np.ndarray, p: float, seed: int, *, several: bool) -> Issue:
    """The AUC over all against that among patients of the same group."""
    inside = codes >= 0
    score, positive, code = question.score[inside], question.positive[inside], codes[inside]
    bootstrap = PatientBootstrap(question.patient[inside], positive.astype(int), seed=seed)
    overall = auc_statistic(score, positive, bootstrap.index)
    groups = [code == one for one in range(int(code.max()) + 1)]
    parts = [auc_statistic(score[one], positive[one], bootstrap.index[one]) for one in groups]

    def statistic(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, bootstrap.index]
        pairs = np.stack([drawn[:, one & positive].sum(1) * drawn[:, one & ~positive].sum(1) for one in groups], axis=1)
        aucs = np.nan_to_num(np.stack([part(weights) for part in parts], axis=1))
        within = (aucs * pairs).sum(axis=1) / np.maximum(1, pairs.sum(axis=1))
        return np.stack([overall(weights), within], axis=1)

    every, within = statistic(np.ones((1, len(bootstrap.names))))[0]
    resampled = bootstrap.run(statistic)
    interval = mean_interval(resampled[:, 0] - resampled[:, 1], len(bootstrap.names))
    of = f" for {question.label!r}" if several else ""
    n = len(bootstrap.names)
    numbers = (
        f"{question.auc}{of} {every:.2f} over all, {within:.2f} among {question.who} alike in it; "
        f"difference {every - within:.2f} (95% CI {interval.low:.2f} to {interval.high:.2f}), {n} {question.who}"
    )
    if interval.low > 0 and every - within > LEAST_GAP:
        return Issue(
            "A6",
            "WARN",
            f"The model uses {name}, or what goes with it: {numbers}.",
            _balance(name),
            float(every - within),
            interval.low,
            interval.high,
            p,
            n,
        )
    sentence = f"{question.who.capitalize()} of one class get other answers by {name}: {numbers}."
    return Issue("A6", "NOTE", sentence, "Look at its results group by group.", float(every - within), interval.low, interval.high, p, n)  # fmt: skip


def _worst(name: str, question: Question, codes: np.ndarray, names: list[str], p: float, seed: int) -> Issue | None:
    """The group with the lowest AUC against the others."""
    who = question.who
    _, worst = _shortfall(question, codes)
    estimates = []
    for chosen in (codes == worst, (codes >= 0) & (codes != worst)):
        part = replace(
            question, score=question.score[chosen], positive=question.positive[chosen], patient=question.patient[chosen]
        )
        estimates.append(_auc(part.score, part.positive, part.patient, seed))
    (low_auc, low_interval, n_low), (auc, interval, n) = estimates
    difference = auc - low_auc
    low = difference - np.hypot(auc - interval.low, low_interval.high - low_auc)
    high = difference + np.hypot(interval.high - auc, low_auc - low_interval.low)
    if low <= 0 or difference <= LEAST_GAP:
        return None
    sentence = (
        f"The model is worse where {name} is {names[worst]!r}: {question.auc} {low_auc:.2f} ({n_low} {who}), elsewhere "
        f"{auc:.2f} ({n} {who}); difference {difference:.2f} (95% CI {low:.2f} to {high:.2f})."
    )
    fix = f"Give the result of this group separately, and add such {who} to the training."
    return Issue("A6", "WARN", sentence, fix, float(difference), float(low), float(high), p, n + n_low)


def _border(question: Question, study: Study, view: ModelView, rows: np.ndarray, seed: int) -> Issue:
    """How much of the AUC, of images as `easydl.evaluate` has it, is lost when the border is the mirrored inside."""
    column = view.classes.index(question.label)
    scores = [answers[rows, column] for answers in (view.probabilities, view.masked)]
    frame = study.frame.iloc[rows]
    positive = frame["label"].to_numpy(str) == question.label
    bootstrap = PatientBootstrap(frame["patient"].to_numpy(str), positive.astype(int), seed=seed)
    parts = [auc_statistic(score, positive, bootstrap.index) for score in scores]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.stack([part(weights) for part in parts], axis=1)

    before, after = statistic(np.ones((1, len(bootstrap.names))))[0]
    resampled = bootstrap.run(statistic)
    interval = mean_interval(resampled[:, 0] - resampled[:, 1], len(bootstrap.names))
    n = len(bootstrap.names)
    numbers = (
        f"AUC {before:.2f} with it, {after:.2f} without; difference {before - after:.2f} "
        f"(95% CI {interval.low:.2f} to {interval.high:.2f}), {n} {question.who}"
    )
    values = (float(before - after), interval.low, interval.high)
    if interval.low > 0 and before - after > LEAST_GAP:
        moved = np.argsort(-np.abs(scores[0] - scores[1]), kind="stable")
        sentence = f"The model needs the border of the images (outer tenth): {numbers}."
        fix = "Look at these images. Crop the border away and train again; markers and text lie there, diseases seldom."
        return Issue("A6", "WARN", sentence, fix, *values, n=n, rows=shown(rows[moved]))
    return Issue("A6", "OK", f"The model does not need the border of the images: {numbers}.", "", *values, n=n)


def _balance(name: str) -> str:
    column = name.removeprefix("the column ")
    if column == name:
        return "Take images in which it is alike in both classes, train again, and test where it differs."
    return f"Split with balance={column} and train again, or test where it differs."


def _auc(score: np.ndarray, positive: np.ndarray, patient: np.ndarray, seed: int) -> tuple[float, Interval, int]:
    bootstrap = PatientBootstrap(patient, positive.astype(int), seed=seed)
    statistic = auc_statistic(score, positive, bootstrap.index)
    value = float(statistic(np.ones((1, len(bootstrap.names))))[0])
    drawn = bootstrap.run(lambda weights: statistic(weights)[:, None])[:, 0]
    counts = [len(np.unique(patient[side])) for side in (positive, ~positive)]
    return value, auc_interval(value, drawn, *counts), len(bootstrap.names)
