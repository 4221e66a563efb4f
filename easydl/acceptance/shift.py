"""How a hospital's cases differ from those a model was trained on, field by field, each with n and an interval. It judges no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from easydl.evaluation.formatting import number
from easydl.evaluation.intervals import Interval, not_computable, wilson
from easydl.prediction.likeness import VALUES, described
from easydl.prediction.profile import OTHERS, Profile, ages_of, measures, one_row_each, sample_of
from easydl.studies import Study

MOST_IMAGES = 200
FEWEST = 8
"""Cases (and training images) from which on a difference can be shown."""
ALPHA = 0.01
SHUFFLES = 4999
MIDDLE = (1, 19)
"""The 5th and the 95th percentile among the quantiles of a profile."""
RARE = 0.05
_NAMES = VALUES | {"age": "the age in years"}


@dataclass(frozen=True)
class Shift:
    """One field, here and in training.

    Attributes:
        field: What it is.
        kind: ``"image"`` or ``"header"``.
        here: What it is like here, as text.
        training: What it was like in training, as text.
        outside: The fraction of the cases here that lie outside the middle 90% of the training's values, or in categories
            that fewer than 5% of its patients have.
        low: Lower end of its 95% interval.
        high: Upper end.
        n: Patients here (images where patients are not known).
        n_training: Training images (of fields: patients) it is compared with.
        p: Of no difference (Kolmogorov-Smirnov, or shuffled chi-square), after Holm's correction over all fields.
    """

    field: str
    kind: str
    here: str
    training: str
    outside: float
    low: float
    high: float
    n: int
    n_training: int
    p: float

    @property
    def differs(self) -> bool:
        """Whether a difference is shown."""
        return self.p < ALPHA

    @property
    def verdict(self) -> str:
        """In one word or two."""
        if not np.isfinite(self.p):
            return "too few to tell"
        return "differs" if self.differs else "no difference shown"


def shifts(profile: Profile, study: Study, *, seed: int = 0) -> list[Shift]:
    """Compare a study with the profile of a model's training, one row a patient.

    Args:
        profile: What fit kept.
        study: The hospital's cases.
        seed: Of the shuffles.

    Returns:
        One `Shift` for every field that both know; those that differ first.

    References:
        Holm S. Scand J Stat 1979;6:65-70. Rabanser S et al. Failing loudly. NeurIPS 2019, arXiv:1810.11953.
    """
    people = one_row_each(study)
    positions = study.frame.index.get_indexer(people.index)
    rows = positions[np.unique(np.linspace(0, len(positions) - 1, min(len(positions), MOST_IMAGES)).astype(int))]
    here = pd.DataFrame(study.each(lambda row: measures(described(study.scan(row))), [int(row) for row in rows]))
    found = [
        _numeric(
            _title(name),
            "image",
            here[name].dropna().to_numpy(float),
            points,
            min(profile.n, profile.patients or profile.n),
        )
        for name, points in profile.quantiles.items()
        if name in here.columns and here[name].notna().any()
    ]
    if profile.ages and len(ages := ages_of(people)):
        found.append(_numeric(_title("age"), "header", ages, profile.ages, profile.n_ages))
    rng = np.random.default_rng(seed)
    for name, counts in profile.fields.items():
        if name in people.columns and (values := people[name].astype(str)).ne("").any():
            found.append(_category(name, values[values != ""], counts, rng))
    return sorted(_corrected(found), key=lambda one: (not one.differs, -one.outside))


def _numeric(name: str, kind: str, here: np.ndarray, points: tuple[float, ...], n_training: int) -> Shift:
    low, high = points[MIDDLE[0]], points[MIDDLE[1]]
    outside = float(((here < low) | (here > high)).mean())
    interval = _share(outside, len(here))
    enough = min(len(here), n_training) >= FEWEST
    p = float(ks_2samp(here, sample_of(points, n_training)).pvalue) if enough else np.nan
    middle = f"{_short(np.median(here))} ({_short(here.min())} to {_short(here.max())})"
    training = f"{_short(points[len(points) // 2])} ({_short(points[0])} to {_short(points[-1])})"
    return Shift(name, kind, middle, training, outside, interval.low, interval.high, len(here), n_training, p)


def _category(name: str, values: pd.Series, counts: Mapping[str, int], rng: np.random.Generator) -> Shift:
    total = sum(counts.values())
    common = {value for value, count in counts.items() if count >= RARE * total and value != OTHERS}
    outside = float((~values.isin(common)).mean())
    interval = _share(outside, len(values))
    here = values.where(values.isin(list(counts)), OTHERS).value_counts()
    enough = min(len(values), total) >= FEWEST
    p = _shuffled(here, counts, rng) if enough else np.nan
    shown = values.value_counts()
    said = [_listed(dict(shown)), _listed(dict(counts))]
    return Shift(name, "header", said[0], said[1], outside, interval.low, interval.high, len(values), total, p)


def _shuffled(here: pd.Series, counts: Mapping[str, int], rng: np.random.Generator) -> float:
    """The p value of equal fractions: chi-square against its values when cases are dealt out anew."""
    names = sorted({*here.index, *counts})
    first = np.array([here.get(name, 0) for name in names])
    both = first + np.array([counts.get(name, 0) for name in names])
    expected = both * first.sum() / both.sum()

    def statistic(dealt: np.ndarray) -> np.ndarray:
        return np.asarray(((dealt - expected) ** 2 / (expected * (1 - first.sum() / both.sum()))).sum(axis=-1))

    drawn = statistic(rng.multivariate_hypergeometric(both, int(first.sum()), size=SHUFFLES))
    return float((1 + (drawn >= statistic(first) - 1e-9).sum()) / (1 + SHUFFLES))


def _corrected(found: list[Shift]) -> list[Shift]:
    """Holm's step-down correction over the fields that could be tested."""
    from dataclasses import replace

    order = sorted((one for one in found if np.isfinite(one.p)), key=lambda one: one.p)
    highest, adjusted = 0.0, {}
    for place, one in enumerate(order):
        highest = max(highest, min(1.0, one.p * (len(order) - place)))
        adjusted[id(one)] = highest
    return [replace(one, p=adjusted.get(id(one), one.p)) for one in found]


def _share(fraction: float, n: int) -> Interval:
    return wilson(fraction, n) if n else not_computable("no case")


def _title(name: str) -> str:
    return _NAMES.get(name, f"the {name} in mm" if name.startswith("spacing") else f"the {name} in pixels")


def _short(value: Any) -> str:
    return number(float(value)) if 0 < abs(float(value)) < 1 else f"{float(value):.3g}"


def _listed(counts: Mapping[str, int], most: int = 4) -> str:
    total = sum(counts.values())
    order = sorted(counts.items(), key=lambda one: -one[1])
    more = f" and {len(order) - most} more" if len(order) > most else ""
    return ", ".join(f"{name} {100 * count / total:.0f}%" for name, count in order[:most]) + more
