"""A12 and A22, with A6: how much worse a model is on the test part, where it errs most, and what it rests on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from easydl.evaluation.intervals import Interval, PatientBootstrap, auc_interval, auc_statistic, wilson
from easydl.traps.islands import named
from easydl.traps.issues import Issue, shown, unit_of_n
from easydl.traps.looks import small_looks, standardised
from easydl.traps.uses import uses

if TYPE_CHECKING:
    from easydl.prediction.views import ModelView
    from easydl.studies import Study

OVERFIT = 0.10
AS_GOOD = 0.02
"""A model has to be better by this much than the best of what is not the image (Zech 2018: 0.861 by hospital alone)."""
FEWEST = 10
"""Patients of every class that the model has not seen; below, an AUC has a standard deviation of 0.13."""
CLUSTERED = 40
"""Patients that a search for clusters takes."""
CLUSTERS = 6
IN_CLUSTER = 5
"""Images of a cluster whose fraction of errors is looked at."""
SHUFFLES = 999
SIGNIFICANT = 0.05
COMPONENTS = 10
_SAME = 1e-9


@dataclass(frozen=True)
class Seen:
    """What a model makes of a study, and which of its rows are new to it.

    Attributes:
        view: Its answers.
        held: bool per row: not seen by the model, and in the test part of a study that is split.
        learned: bool per row: in its training.
    """

    view: ModelView
    held: np.ndarray
    learned: np.ndarray


def look(study: Study, model: Any) -> Seen | list[Issue]:
    """Call a model on a study; or the issue that says why that would tell nothing.

    Raises:
        ModelError: The model does not fit the study.
    """
    if reason := untestable(study):
        return [reason]
    given = study.frame.get("split", pd.Series("", index=study.frame.index)).to_numpy(str)
    if "test" in given and (few := _too_few(study, given == "test")):
        return few  # before the model is called
    from easydl.prediction.views import model_view

    view = model_view(model, study)
    unseen = np.array([not one for one in view.seen])
    held = unseen & (given == "test") if "test" in given else unseen
    learned = given == "train" if "train" in given else np.array([one.startswith("training") for one in view.seen])
    return _too_few(study, held) or Seen(view, held, learned)


def untestable(study: Study) -> Issue | None:
    """The issue that says why no model of this task can be asked what it rests on; None where it can."""
    if study.task.per_image and study.task.exclusive and "label" in study.frame.columns:
        return None
    text = f"What the model rests on is tested for the classes of one task only; this task is {study.task}."
    return Issue(
        "A6", "UNTESTED", text, "Compare its results between scanners, sites and sexes with by=.", n=len(study)
    )


def after_training(study: Study, seen: Seen, seed: int = 0) -> list[Issue]:
    """What a classifier rests on, on patients that it has not seen.

    Args:
        study: All of it, split: the model is judged on the test part, or else on the patients it has not seen.
        seen: What `look` returns.
        seed: Of permutations and intervals.
    """
    return [
        *uses(study, seen.view, seen.held, seed),
        gap(study, seen.view, seen.held, seen.learned, seed),
        hidden_strata(study, seen.view, seen.held, seed),
    ]


def no_better(study: Study, seen: Seen, others: list[Issue], seed: int = 0) -> list[Issue]:
    """A4: whether something that is not the image predicts the class as well as the model does.

    Args:
        study: All of it.
        seen: What `look` returns.
        others: What the audit found without the model.
        seed: Of the interval.
    """
    alone = [
        (issue, said)
        for issue in others
        if issue.id in ("A4", "A19") and issue.severity == "WARN" and issue.value is not None
        for said in [re.match(r"(.+?) (predicts?|separates?) the class", issue.sentence)]
        if said is not None
    ]
    if not alone:
        return []
    best, said = max(alone, key=lambda one: one[0].value or 0.0)
    auc, interval, n = _mean_auc(study, seen.view, np.flatnonzero(seen.held), seed)
    if (best.value or 0.0) < auc - AS_GOOD:
        return []
    does = "does" if said[2].endswith("s") else "do"
    sentence = (
        f"{said[1]} {does} as well as the model: AUC {best.value:.2f} against {auc:.2f} (95% CI {interval.low:.2f}-"
        f"{interval.high:.2f}) on {n} {unit_of_n(study)} that the model has not seen."
    )
    return [Issue("A4", "BLOCK", sentence, best.fix, best.value, best.low, best.high, n=n)]


def gap(study: Study, view: ModelView, held: np.ndarray, learned: np.ndarray, seed: int) -> Issue:
    """A12: how much better the model is on what it was trained on."""
    who = unit_of_n(study)
    if few := _missing(study, learned):
        sentence = f"Training and test were not compared: it takes {FEWEST} training {who} of every class; {few}."
        return Issue("A12", "UNTESTED", sentence, "Give the whole study, with its training part.")
    (train, trained, n_train), (test, tested, n_test) = (
        _mean_auc(study, view, np.flatnonzero(part), seed) for part in (learned, held)
    )
    difference = train - test
    # Two independent groups of patients: square and add (Zou & Donner 2008, Stat Med 27:1693).
    low = difference - np.hypot(train - trained.low, tested.high - test)
    high = difference + np.hypot(trained.high - train, test - tested.low)
    numbers = (
        f"AUC {train:.2f} on {n_train} training {who}, {test:.2f} on {n_test} others; "
        f"difference {difference:.2f} (95% CI {low:.2f} to {high:.2f})."
    )
    severity, said, fix = "OK", f"The model is about as good on new {who} as on its own", ""
    if low > 0:
        severity, said = "NOTE", f"The model is better on its own {who} than on new ones"
        fix = "Only the number of the test part counts."
    if low > OVERFIT:
        severity, said = "WARN", f"The model is overfitted: it has memorised its training {who}"
        fix = f"Train fewer epochs or a smaller network, augment more, or add {who}. Quote the test part only."
    return Issue("A12", severity, f"{said}: {numbers}", fix, difference, float(low), float(high), n=n_train + n_test)


def hidden_strata(study: Study, view: ModelView, held: np.ndarray, seed: int) -> Issue:
    """A22: whether images of one look are wrong far more often than the others, and which column names them, if any.

    References:
        Oakden-Rayner 2020, Hidden stratification, ACM CHIL, 10.1145/3368555.3384468.
    """
    rows = np.flatnonzero(held)
    patient = study.frame["patient"].to_numpy(str)[rows]
    n = len(np.unique(patient))
    who = unit_of_n(study)
    if n < CLUSTERED:
        sentence = f"Hidden groups with more errors were not looked for: it takes {CLUSTERED} {who} that the model has not seen."
        return Issue("A22", "UNTESTED", sentence, f"Add test {who}.", n=n)
    part = view.rows(rows)
    answers = np.array(part.classes)[part.probabilities.argmax(axis=1)]
    wrong = answers != study.frame["label"].to_numpy(str)[rows]
    cluster = _clusters(_own_look(part, small_looks(study, rows)), min(CLUSTERS, n // (CLUSTERED // 2)), seed)
    rates, worst = _rates(wrong[:, None], cluster)[:, 0], 0
    worst = int(np.nanargmax(rates))
    _, index = np.unique(patient, return_inverse=True)
    wrongness = np.bincount(index, wrong) / np.bincount(index)
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.permutation(wrongness)[index] for _ in range(SHUFFLES)], axis=1)
    p = (1 + int((np.nanmax(_rates(drawn, cluster), axis=0) >= rates[worst] - _SAME).sum())) / (1 + SHUFFLES)
    inside = cluster == worst
    patients = len(np.unique(patient[inside]))
    interval = wilson(float(rates[worst]), patients)
    others = float(wrong[~inside].mean())
    counted = f"{patients} patients, {int(inside.sum())} images" if study.patients_known else f"{patients} images"
    numbers = f"{rates[worst]:.0%} wrong (95% CI {interval.low:.0%}-{interval.high:.0%}; {counted}), {others:.0%} of the others"
    if p >= SIGNIFICANT:
        sentence = (
            f"No group of images that look alike stands out by its errors; the worst of {cluster.max() + 1}: {numbers}."
        )
        return Issue("A22", "OK", sentence, value=float(rates[worst]), low=interval.low, high=interval.high, p=p, n=n)
    chosen = rows[inside]
    (group,) = named(inside.astype(int), study.rows(study.frame.index[rows]))
    sentence = f"Images that look alike are wrong more often: {numbers}. {group.shared or 'No column names them'}."
    fix = "Look at them: what do they share (a device, a projection, a subtype)? Give their result separately"
    if group.column:
        fix = f"Look at them, and at the result of each {group.column} (by={group.column})"
    fix += f", and add such {who}."
    order = np.argsort(~wrong[inside], kind="stable")
    return Issue(
        "A22", "NOTE", sentence, fix, float(rates[worst]), interval.low, interval.high, p, n, shown(chosen[order])
    )  # fmt: skip


def _too_few(study: Study, held: np.ndarray) -> list[Issue]:
    few = _missing(study, held)
    if not few:
        return []
    who = unit_of_n(study)
    sentence = (
        f"What the model rests on was not tested: it takes {FEWEST} {who} of every class that it has not seen; {few}."
    )
    return [
        Issue("A6", "UNTESTED", sentence, f"Give the whole study with its test part, or add {who}.", n=int(held.sum()))
    ]


def _missing(study: Study, chosen: np.ndarray) -> str:
    """As text, which class has too few patients among some rows; empty when none has."""
    counts = study.frame[chosen].groupby("label")["patient"].nunique()
    counts = counts.reindex(sorted(study.frame["label"].unique()), fill_value=0)
    return f"there are {int(counts.min())} of {str(counts.idxmin())!r}" if counts.min() < FEWEST else ""


def _mean_auc(study: Study, view: ModelView, rows: np.ndarray, seed: int) -> tuple[float, Interval, int]:
    """The AUC of two classes, or the mean of each against the others."""
    label = study.frame["label"].to_numpy(str)[rows]
    patient = study.frame["patient"].to_numpy(str)[rows]
    asked = view.classes[-1:] if len(view.classes) == 2 else [name for name in view.classes if name in set(label)]
    bootstrap = PatientBootstrap(patient, np.unique(label, return_inverse=True)[1], seed=seed)
    parts = [
        auc_statistic(view.probabilities[rows, view.classes.index(name)], label == name, bootstrap.index)
        for name in asked
    ]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.nanmean([part(weights) for part in parts], axis=0)[:, None]

    value = float(statistic(np.ones((1, len(bootstrap.names))))[0, 0])
    counts = sorted(len(np.unique(patient[label == name])) for name in np.unique(label))
    interval = auc_interval(value, bootstrap.run(statistic)[:, 0], counts[0], len(bootstrap.names) - counts[0])
    return value, interval, len(bootstrap.names)


def _own_look(view: ModelView, looks: np.ndarray) -> np.ndarray:
    """What images look like, without how sure the model is: at the border of two classes all models err most."""
    from sklearn.decomposition import PCA

    values = looks if view.features is None else view.features
    values = PCA(min(COMPONENTS, *values.shape), random_state=0).fit_transform(standardised(values))
    sure = np.sort(view.probabilities, axis=1)[:, -1:]
    known = np.concatenate([np.ones_like(sure), view.probabilities[:, 1:], sure], axis=1)
    return values - known @ np.linalg.lstsq(known, values, rcond=None)[0]


def _clusters(values: np.ndarray, count: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(count, n_init=4, random_state=seed).fit_predict(values))


def _rates(wrong: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The fraction of errors, ``(clusters, columns)``; NaN for those of fewer than five images."""
    inside = cluster[None] == np.arange(int(cluster.max()) + 1)[:, None]
    count = inside.sum(axis=1)[:, None]
    return np.where(count >= IN_CLUSTER, inside @ wrong.astype(float) / np.maximum(1, count), np.nan)
