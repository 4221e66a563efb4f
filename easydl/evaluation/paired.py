"""Two models on the same images: the difference of a number, its 95% interval, and how likely it is by chance alone.

It runs no model, and it knows nothing of studies or folds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest, t

from easydl.errors import InputError, unknown_name
from easydl.evaluation.formatting import number
from easydl.evaluation.influence import auc_influence, average_precision_influence, standard_error
from easydl.evaluation.intervals import MINIMUM_PATIENTS, PatientBootstrap, mean_interval
from easydl.evaluation.level import level

EXACT = 12
"""Up to so many patients with a difference, every way of swapping the models is counted."""
LOWER_IS_BETTER = ("mae", "brier", "log_loss")


@dataclass(frozen=True)
class Difference:
    """The first model less the second, on the same images.

    Attributes:
        measure: What was compared.
        first: The number of the first model.
        second: The number of the second model.
        difference: First less second.
        low: Lower 95% limit of the difference; NaN when not computable.
        high: Upper 95% limit.
        p: Two-sided: how often chance alone makes a difference as large, were the models equally good; NaN when not
            computable.
        n: Patients, or images where patients are unknown.
        images: Images.
        note: How interval and p were computed, or why not.
        unit_of_n: What n counts.
    """

    measure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    n: int
    images: int
    note: str = ""
    unit_of_n: str = "patients"

    def by_image(self) -> Difference:
        """The same where patients are unknown, so that images were counted."""
        return replace(self, unit_of_n="images", note=self.note.replace("patient", "image"))

    @property
    def _name(self) -> str:
        """The measure as people write it: "AUC of nodule", "balanced accuracy"."""
        first, *rest = self.measure.replace("_", " ").split(" ")
        return " ".join([{"auc": "AUC", "mae": "MAE", "hd95": "HD95", "dice": "Dice"}.get(first, first), *rest])

    def __repr__(self) -> str:
        if not np.isfinite(self.low):
            return f"difference in {self._name} {number(self.difference)} ({self.note}), {self.n} {self.unit_of_n}"
        p = "" if not np.isfinite(self.p) else ", p < 0.001" if self.p < 0.001 else f", p = {self.p:.3f}"
        return (
            f"difference in {self._name} {self.difference:.3f} (95% CI {self.low:.3f} to {self.high:.3f}){p}, "
            f"{self.n} {self.unit_of_n}"
        )


def paired_difference(
    reference: Any,
    scores_a: Any,
    scores_b: Any,
    patients: Any,
    *,
    measure: str = "auc",
    seed: int = 0,
    resamples: int = 2000,
) -> Difference:
    """Compare two models on the same images, patients being the independent units.

    Args:
        reference: One per image. For ``auc`` and ``average_precision`` true or false (1 or 0), or the positions of
            several classes, whose one-versus-rest numbers are averaged; for ``accuracy``, ``balanced_accuracy`` and
            ``kappa`` (quadratic weights) the class; for ``sensitivity`` and ``specificity`` true or false; for ``brier``
            and ``log_loss`` the position of the class; for ``mae`` a value. None for ``dice`` and ``mean``.
        scores_a: What the first model says of each image: a score, or probabilities ``(images, classes)``, for ``auc``,
            ``average_precision``, ``brier`` and ``log_loss``; its class, true or false, or its value for the others; for
            ``dice`` and ``mean`` the number of each case itself. Pairs of which one is NaN are left out.
        scores_b: The same of the second model.
        patients: The patient of each image.
        measure: One of `MEASURES`.
        seed: Seed of the bootstrap and of the permutations.
        resamples: Number of both, at least 100.

    Returns:
        The Difference. For ``auc`` and ``average_precision`` interval and p come from the influence of each patient
        (DeLong's test for the AUC, Obuchowski's with several images a patient) with Student's t. For all others the
        interval is a paired bootstrap by patient, and p exchanges the two models within patients at random; for
        ``accuracy`` with one image a patient that is McNemar's exact test.

    Raises:
        InputError: An unknown measure, or arrays that do not fit.

    Example:
        >>> truth = np.tile([0, 1], 30)
        >>> good, poor = truth + np.linspace(0, 1.2, 60), np.linspace(0, 1, 60)
        >>> row = paired_difference(truth, good, poor, np.arange(60), measure="auc")
        >>> row.difference > 0 and row.p < 0.001
        True

    References:
        DeLong ER et al. Biometrics 1988;44:837-845. McNemar Q. Psychometrika 1947;12:153-157. Obuchowski NA. On the
        comparison of correlated proportions for clustered data. Stat Med 1998;17:1495-1507.
    """
    if measure not in MEASURES:
        raise unknown_name(f"measure={measure!r}.", measure, MEASURES, do="Choose one of these.")
    first, second, people = np.asarray(scores_a), np.asarray(scores_b), np.asarray(patients, dtype=str)
    truth = np.zeros(len(people)) if reference is None else np.asarray(reference)
    if not (len(truth) == len(first) == len(second) == len(people)) or first.shape != second.shape or not len(people):
        raise InputError(
            f"{len(truth)} references, scores of shapes {first.shape} and {second.shape}, {len(people)} patients.",
            "one of each for every image, the same images in the same order.",
            "Predict the same study with both models.",
        )
    kept = np.ones(len(people), bool)
    for array in (truth, first, second):
        if array.dtype.kind == "f":
            kept &= np.isfinite(array).reshape(len(array), -1).all(axis=1)
    truth, first, second, people = truth[kept], first[kept], second[kept], people[kept]
    if not len(people):
        raise InputError(
            "No image has a number of both models.", "at least one.", "Check the predictions of both models."
        )
    if measure in _RANKED:
        return _by_influence(measure, truth, first, second, people)
    return _by_swapping(measure, truth, first, second, people, seed, resamples)


def _by_influence(
    measure: str, truth: np.ndarray, first: np.ndarray, second: np.ndarray, people: np.ndarray
) -> Difference:
    """Of rank statistics: the influence of a patient on the difference is the difference of the influences."""
    value_of, influence_of = _RANKED[measure]
    codes = truth.astype(int)
    classes = [1] if first.ndim == 1 or first.shape[1] == 2 else list(range(first.shape[1]))
    present = [c for c in classes if 0 < (codes == c).sum() < len(codes)]
    plan = PatientBootstrap(people, codes, resamples=100)
    n, images = len(plan.names), len(people)

    def score(scores: np.ndarray, c: int) -> np.ndarray:
        return np.asarray(scores if scores.ndim == 1 else scores[:, c], float)

    if not present:
        undefined = "interval not computable: one class only"
        return Difference(measure, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, n, images, undefined)
    values = [float(np.mean([value_of(codes == c, score(each, c)) for c in present])) for each in (first, second)]
    of_first, of_second = values
    change = of_first - of_second
    moved = np.mean(
        [influence_of(score(first, c), codes == c) - influence_of(score(second, c), codes == c) for c in present],
        axis=0,
    )
    error = float(standard_error(moved, plan.index, plan.strata)[0])
    fewest = min(len(np.unique(people[codes == c])) for c in np.unique(codes))
    if fewest < MINIMUM_PATIENTS:
        reason = f"interval not computable: fewer than {MINIMUM_PATIENTS} patients in a class"
        return Difference(measure, of_first, of_second, change, np.nan, np.nan, np.nan, n, images, reason)
    if error < 1e-12:
        reason = "interval not computable: both models rank all patients alike"
        same = 1.0 if abs(change) < 1e-12 else np.nan
        return Difference(measure, of_first, of_second, change, np.nan, np.nan, same, n, images, reason)
    freedom = max(1, n - 2)
    reach = float(t.ppf((1 + level()) / 2, freedom)) * error
    p = float(2 * t.sf(abs(change) / error, freedom))
    how = "DeLong's test" if measure == "auc" else "influence of each patient"
    note = how if n == images else f"{how}, by patient"
    return Difference(measure, of_first, of_second, change, change - reach, change + reach, p, n, images, note)


def _by_swapping(
    measure: str,
    truth: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    people: np.ndarray,
    seed: int,
    resamples: int,
) -> Difference:
    """Of sums over images: bootstrap of the patients' sums, and exchange of the two models within patients."""
    parts_of, value_of = _SUMMED[measure]
    a, b = parts_of(truth, first, second)
    plan = PatientBootstrap(people, content=np.column_stack([a, b]), resamples=resamples, seed=seed)
    n, images = len(plan.names), len(people)
    sums_a, sums_b = np.zeros((n, a.shape[1])), np.zeros((n, b.shape[1]))
    np.add.at(sums_a, plan.index, a)
    np.add.at(sums_b, plan.index, b)
    values = [float(value_of(sums.sum(axis=0)[None])[0]) for sums in (sums_a, sums_b)]
    of_first, of_second = values
    change = of_first - of_second
    if n < MINIMUM_PATIENTS or not np.isfinite(change):
        reason = "interval not computable: " + (
            f"fewer than {MINIMUM_PATIENTS} patients" if n < MINIMUM_PATIENTS else "one of the numbers is not defined"
        )
        return Difference(measure, of_first, of_second, change, np.nan, np.nan, np.nan, n, images, reason)
    drawn = plan.run(lambda weights: (value_of(weights @ sums_a) - value_of(weights @ sums_b))[:, None])[:, 0]
    interval = mean_interval(drawn, n)
    if measure == "accuracy" and n == images:
        better, worse = int((a[:, 0] > b[:, 0]).sum()), int((a[:, 0] < b[:, 0]).sum())
        p = binomtest(better, better + worse).pvalue if better + worse else 1.0
        note = "paired bootstrap; p by McNemar's exact test"
    else:
        p = _exchanged(sums_a, sums_b, value_of, change, seed, resamples)
        note = "paired bootstrap by patient; p by exchanging the models within patients"
    return Difference(measure, of_first, of_second, change, interval.low, interval.high, float(p), n, images, note)


def _exchanged(
    sums_a: np.ndarray,
    sums_b: np.ndarray,
    value_of: Callable[[np.ndarray], np.ndarray],
    change: float,
    seed: int,
    resamples: int,
) -> float:
    """The fraction of exchanges with a difference as large; all of them where few patients differ."""
    moved = np.flatnonzero((sums_a != sums_b).any(axis=1))
    if not len(moved):
        return 1.0
    everything = len(moved) <= EXACT
    if everything:
        swaps = (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1
    else:
        swaps = np.random.default_rng(seed).integers(0, 2, size=(resamples, len(moved)))
    other = swaps.astype(float) @ (sums_b - sums_a)[moved]
    made = value_of(sums_a.sum(axis=0) + other) - value_of(sums_b.sum(axis=0) - other)
    as_large = np.abs(made) >= abs(change) - 1e-12
    return float(as_large.mean()) if everything else float((1 + as_large.sum()) / (1 + len(made)))


Parts = tuple[np.ndarray, np.ndarray]


def _mean_of(cell: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., Parts]:
    """The columns of a mean over images: its terms and ones."""

    def parts(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> Parts:
        terms = [np.asarray(cell(truth, each), float) for each in (first, second)]
        a, b = (np.column_stack([term, np.ones(len(term))]) for term in terms)
        return a, b

    return parts


def _mean(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _given(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The probability of the class that is true."""
    if scores.ndim == 1:
        return np.where(truth.astype(int) == 1, scores, 1 - scores)
    return np.asarray(scores[np.arange(len(scores)), truth.astype(int)])


def _squared(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The Brier score of each image, 0 to 1 for two classes and 0 to 2 for more."""
    if scores.ndim == 1 or scores.shape[1] == 2:
        return np.asarray((1 - _given(truth, scores)) ** 2)
    return np.asarray(((scores - np.eye(scores.shape[1])[truth.astype(int)]) ** 2).sum(axis=1))


def _of_side(side: bool) -> Callable[..., Parts]:
    """The columns of sensitivity (true) or specificity (false)."""

    def parts(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> Parts:
        among = truth.astype(bool) == side
        a, b = (np.column_stack([among & (each.astype(bool) == side), among]).astype(float) for each in (first, second))
        return a, b

    return parts


def _cells(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> Parts:
    """The cells of the confusion matrix, one column each."""
    names = np.unique(np.concatenate([truth, first, second]))
    code, k = [np.searchsorted(names, each) for each in (truth, first, second)], len(names)
    a, b = (np.eye(k * k)[code[0] * k + each] for each in code[1:])
    return a, b


def _balanced(sums: np.ndarray) -> np.ndarray:
    k = round(sums.shape[1] ** 0.5)
    cells = sums.reshape(-1, k, k)
    totals = cells.sum(axis=2)
    hits = np.diagonal(cells, axis1=1, axis2=2)
    recalls = np.divide(hits, totals, out=np.full_like(totals, np.nan), where=totals > 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nansum(recalls, axis=1) / np.isfinite(recalls).sum(axis=1))


def _kappa(sums: np.ndarray) -> np.ndarray:
    from easydl.evaluation.ordinal import weighted_kappa

    k = round(sums.shape[1] ** 0.5)
    return weighted_kappa(sums.reshape(-1, k, k))


def _area(positive: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))


def _precision(positive: np.ndarray, scores: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(positive, scores))


_RANKED: dict[str, tuple[Callable[..., float], Callable[..., np.ndarray]]] = {
    "auc": (_area, auc_influence),
    "average_precision": (_precision, average_precision_influence),
}
_SUMMED: dict[str, tuple[Callable[..., Parts], Callable[[np.ndarray], np.ndarray]]] = {
    "accuracy": (_mean_of(lambda truth, called: truth == called), _mean),
    "balanced_accuracy": (_cells, _balanced),
    "kappa": (_cells, _kappa),
    "sensitivity": (_of_side(True), _mean),
    "specificity": (_of_side(False), _mean),
    "brier": (_mean_of(_squared), _mean),
    "log_loss": (_mean_of(lambda truth, p: -np.log(np.clip(_given(truth, p), 1e-7, 1))), _mean),
    "mae": (_mean_of(lambda truth, value: np.abs(value - truth)), _mean),
    "dice": (_mean_of(lambda truth, value: value), _mean),
    "mean": (_mean_of(lambda truth, value: value), _mean),
}
MEASURES = (*_RANKED, *_SUMMED)
"""What `paired_difference` compares."""
