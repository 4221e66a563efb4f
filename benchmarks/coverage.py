"""How often the 95% intervals hold the truth, in simulated cohorts of patients with several images each.

usage: python benchmarks/coverage.py [COHORTS [WORD]]: with a word only the settings whose name begins with it.

Beside each stands what an interval by image, as most software computes it, would have held. Coverage is given with its
own 95% interval (Wilson). The figures are kept in ``results/coverage.json``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.stats import beta, norm
from sklearn.metrics import average_precision_score, roc_auc_score

from easydl.evaluation.influence import auc_influence, average_precision_influence, standard_error
from easydl.evaluation.intervals import (
    Interval,
    PatientBootstrap,
    auc_interval,
    blended,
    bounded_mean_interval,
    logit_limits,
    positive_mean_interval,
    proportion_interval,
    wilson,
)

WITHIN = 0.6
"""The part of the variance that the images of one patient share."""
_GRID = np.linspace(0, 1, 100_001)[1:-1]
_BETA = beta.ppf(_GRID, 8, 1.5)
DICE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "beta(8, 1.5)": lambda u: np.interp(u, _GRID, _BETA),
    "10% poor": lambda u: np.where(u < 0.1, 0.2, 1) * np.interp(u, _GRID, _BETA),
    "10% fail wholly": lambda u: np.where(u < 0.1, 0.0, np.interp(u, _GRID, _BETA)),
}
Held = tuple[Interval, bool, float]
"""An interval, whether the naive one holds the truth, and the truth."""


def cohort(patients: int, most: int, seed: int) -> tuple[np.random.Generator, np.ndarray, np.ndarray]:
    """Random numbers, the patient of every image, and its standard normal value that resembles its patient's others."""
    rng = np.random.default_rng([seed, patients])
    people = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    own = rng.normal(size=patients)[people]
    share = WITHIN if most > 1 else 0.0
    return rng, people, np.sqrt(share) * own + np.sqrt(1 - share) * rng.normal(size=len(people))


def dice(shape: str, patients: int) -> Callable[[int], Held]:
    """The mean Dice of cases."""
    of = DICE[shape]
    truth = float(of(_GRID).mean())

    def one(seed: int) -> Held:
        _, people, z = cohort(patients, 4, seed)
        values = of(norm.cdf(z))
        interval = bounded_mean_interval(np.bincount(people, values), np.bincount(people), seed=seed)
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        return interval, bool(abs(values.mean() - truth) <= half), truth

    return one


def distance(patients: int) -> Callable[[int], Held]:
    """The mean of a skewed distance, as HD95."""
    truth = float(np.exp(0.5 * 0.8**2))

    def one(seed: int) -> Held:
        _, people, z = cohort(patients, 4, seed)
        values = np.exp(0.8 * z)
        sums = np.stack([np.bincount(people, values), np.bincount(people)], axis=1)
        bootstrap = PatientBootstrap(people, content=values, seed=seed)
        drawn = bootstrap.run(
            lambda w: (w @ _in_order(sums, bootstrap))[:, :1] / (w @ _in_order(sums, bootstrap))[:, 1:]
        )
        half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
        interval = positive_mean_interval(float(values.mean()), drawn[:, 0], patients)
        return interval, bool(abs(values.mean() - truth) <= half), truth

    return one


def _in_order(sums: np.ndarray, bootstrap: PatientBootstrap) -> np.ndarray:
    return sums[bootstrap.names.astype(int)]


def area(
    auc: float, positives: int, negatives: int, most: int = 4, *, precision: bool = False
) -> Callable[[int], Held]:
    """The AUC, or the average precision, of normal scores."""
    shift = np.sqrt(2) * norm.ppf(auc)
    truth = auc
    if precision:
        rng = np.random.default_rng(0)
        many = rng.random(400_000) < positives / (positives + negatives)
        truth = float(average_precision_score(many, shift * many + rng.normal(size=len(many))))

    def one(seed: int) -> Held:
        patients = positives + negatives
        _, people, z = cohort(patients, most, seed)
        positive = people < positives
        scores = z + shift * positive
        strata = [np.arange(positives), np.arange(positives, patients)]
        influence = (average_precision_influence if precision else auc_influence)(scores, positive)
        error = float(standard_error(influence, people, strata)[0])
        naive = float(np.sqrt((influence**2).sum()))
        if precision:
            value = float(average_precision_score(positive, scores))
            interval = logit_limits(value, blended(error, value * (1 - value) / positives), patients)
            interval = interval if error > 1e-12 else wilson(value, positives)
        else:
            value = float(roc_auc_score(positive, scores))
            interval = auc_interval(value, error, positives, negatives)
        return interval, abs(value - truth) <= 1.96 * naive, truth

    return one


def sensitivity(truth: float, patients: int, most: int) -> Callable[[int], Held]:
    """A proportion of images."""

    def one(seed: int) -> Held:
        _, people, z = cohort(patients, most, seed)
        hit = z < norm.ppf(truth)
        bootstrap = PatientBootstrap(people, content=hit.astype(float), seed=seed, resamples=1000)
        hits, counts = (np.bincount(bootstrap.index, each, patients) for each in (hit, np.ones(len(hit))))
        drawn = bootstrap.run(lambda w: ((w @ hits) / (w @ counts))[:, None])[:, 0]
        value = float(hit.mean())
        half = 1.96 * np.sqrt(value * (1 - value) / len(hit))
        return proportion_interval(value, drawn, counts), bool(abs(value - truth) <= half), truth

    return one


def settings() -> Iterator[tuple[str, Callable[[int], Held]]]:
    """Every number that is simulated, by name."""
    for shape in DICE:
        for patients in (10, 12, 20, 60):
            yield f"Dice, {shape}, {patients} patients, 1-4 images", dice(shape, patients)
    for patients in (12, 60):
        yield f"distance, log-normal, {patients} patients, 1-4 images", distance(patients)
    for auc, positives, negatives in ((0.8, 6, 6), (0.8, 30, 30), (0.8, 12, 48), (0.9, 30, 30), (0.97, 12, 12),
                                      (0.97, 30, 30), (0.99, 30, 30)):  # fmt: skip
        name = f"{positives}+{negatives} patients, 1-4 images"
        yield f"AUC {auc:g}, {name}", area(auc, positives, negatives)
        yield f"average precision at AUC {auc:g}, {name}", area(auc, positives, negatives, precision=True)
    for truth in (0.98, 0.9, 0.8):
        for most in (1, 4):
            images = "1 image" if most == 1 else "1-4 images"
            yield f"sensitivity {truth:g}, 12 patients, {images}", sensitivity(truth, 12, most)


def coverage(one: Callable[[int], Held], cohorts: int) -> dict[str, Any]:
    """What part of the cohorts' intervals holds the truth."""
    held = naive = below = above = 0
    width = 0.0
    for seed in range(cohorts):
        interval, by_image, truth = one(seed)
        below, above = below + (truth < interval.low), above + (truth > interval.high)
        held += interval.low <= truth <= interval.high
        naive += by_image
        width += interval.high - interval.low
    limits = wilson(held / cohorts, cohorts)
    return {
        "coverage": round(held / cohorts, 3),
        "low": round(limits.low, 3),
        "high": round(limits.high, 3),
        "truth_below": round(below / cohorts, 3),
        "truth_above": round(above / cohorts, 3),
        "mean_width": round(width / cohorts, 3),
        "naive_by_image": round(naive / cohorts, 3),
    }


def main() -> None:
    """Simulate all settings."""
    from common import RESULTS, write

    cohorts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    kept = json.loads((RESULTS / "coverage.json").read_text("utf-8")) if word else {"cohorts": cohorts, "settings": {}}
    if kept["cohorts"] != cohorts:
        raise SystemExit(f"The kept figures are of {kept['cohorts']} cohorts.")
    found = {name: kept["settings"].get(name) for name, _ in settings()}
    for name, one in settings():
        if not name.startswith(word):
            continue
        found[name] = coverage(one, cohorts)
        print(name, found[name], flush=True)
    write("coverage", {"cohorts": cohorts, "settings": found})


if __name__ == "__main__":
    main()
