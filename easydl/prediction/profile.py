"""How the training images and their patients were spread: what another hospital's cases are compared with. No test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

POINTS = 21
"""Quantiles that are kept of each measure: every twentieth, lowest and highest included."""
FIELDS = ("modality", "scanner", "sex", "view", "body_part", "laterality", "kvp")
"""Fields of headers that may be kept: none says who a patient is."""
FEWEST_OF_A_KIND, OTHERS = 3, "(others)"
"""What fewer patients have than this is kept together."""
AXES = {2: ("height", "width"), 3: ("depth", "height", "width")}


class Profile(BaseModel):
    """Distributions over a training part, with nothing of a single image or patient.

    Attributes:
        n: Images that were measured.
        quantiles: `POINTS` quantiles of every measure, by name.
        fields: How many patients have each value of a header field, by field.
        ages: Quantiles of the ages in years; empty when unknown.
        n_ages: Patients with a known age.
        labels: Images of every class or label.
        patients: Patients (images where patients are not known).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    quantiles: dict[str, tuple[float, ...]]
    fields: dict[str, dict[str, int]]
    ages: tuple[float, ...] = ()
    n_ages: int = 0
    labels: dict[str, int] = {}
    patients: int = 0


def profile_of(study: Any, described: Sequence[Mapping[str, Any]]) -> Profile:
    """The profile of a study, of which some images were described."""
    people = one_row_each(study)
    measured = pd.DataFrame([measures(one) for one in described])
    counted = {name: people[name].astype(str).value_counts() for name in FIELDS if name in people.columns}
    ages = ages_of(people)
    labels = study.frame["label"].astype(str) if study.task == "classification" and "label" in study.frame else None
    return Profile(
        n=len(described),
        quantiles={
            name: quantiles(column.to_numpy(float)) for name, column in measured.items() if column.notna().all()
        },
        fields={
            name: _grouped(counts[counts.index != ""]) for name, counts in counted.items() if (counts.index != "").any()
        },
        ages=quantiles(ages) if len(ages) >= FEWEST_OF_A_KIND else (),
        n_ages=len(ages),
        labels={} if labels is None else {str(name): int(count) for name, count in labels.value_counts().items()},
        patients=len(people),
    )


def measures(described: Mapping[str, Any]) -> dict[str, float]:
    """What is measured of an image, by name: grey values, sides in pixels, spacing in mm."""
    axes = AXES[len(described["shape"])]
    found = dict(described["values"]) | dict(zip(axes, described["shape"], strict=True))
    spacing = described["spacing_mm"] or (np.nan,) * len(axes)
    return found | {f"spacing, {axis}": mm for axis, mm in zip(axes, spacing, strict=True)}


def one_row_each(study: Any) -> pd.DataFrame:
    """The first row of every patient: images of one are no independent cases. All rows where patients are unknown."""
    return study.frame.drop_duplicates("patient") if study.patients_known else study.frame


def ages_of(frame: pd.DataFrame) -> np.ndarray:
    """Known ages in years; 90 stands for ``90+``."""
    column = next((name for name in ("age_years", "age") if name in frame.columns), None)
    if column is None:
        return np.array([])
    return pd.to_numeric(frame[column].astype(str).str.rstrip("+"), errors="coerce").dropna().to_numpy(float)


def quantiles(values: np.ndarray) -> tuple[float, ...]:
    """`POINTS` quantiles, from the lowest to the highest value."""
    return tuple(float(f"{one:.5g}") for one in np.quantile(values, np.linspace(0, 1, POINTS)))


def sample_of(points: Sequence[float], n: int) -> np.ndarray:
    """``n`` values that are spread as the quantiles say."""
    return np.interp((np.arange(n) + 0.5) / n, np.linspace(0, 1, len(points)), points)


def _grouped(counts: pd.Series) -> dict[str, int]:
    """Counts in which what few patients have is one group."""
    kept = {str(name): int(count) for name, count in counts.items() if count >= FEWEST_OF_A_KIND}
    rest = int(counts.sum()) - sum(kept.values())
    return kept | ({OTHERS: rest} if rest else {})
