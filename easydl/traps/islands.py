"""Which column of a study explains a group of its images: the value that is far more common inside than outside.

A name has to be rarer than chance twice: by the hypergeometric distribution over patients, after a correction for all that was
looked at, and by permutations of the column, which also know that patients have unequal numbers of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import hypergeom

from easydl.evaluation.intervals import wilson
from easydl.traps.fields import fields

if TYPE_CHECKING:
    from easydl.studies import Study

SIGNIFICANT = 0.01
"""After Bonferroni's correction for every value of every column and every group that is asked about."""
PERMUTATIONS = 299
"""None of these of the column may do as well: p < 0.004."""
ALIKE = 5
"""Patients with the same number of images that are enough to be exchanged among themselves only."""
MOST = 0.6
"""A value that is not of most images of a group does not name it."""


@dataclass(frozen=True)
class Island:
    """A group of images, and the value that most of them have and few others do.

    Attributes:
        number: From 1.
        images: In the group.
        patients: In the group; images where patients are unknown.
        unit_of_n: What ``patients`` counts.
        column: What names it; empty where no column does.
        value: The value of that column.
        inside: Fraction of the group's patients with the value.
        low: Lower end of its 95% interval (Wilson).
        high: Upper end.
        outside: Fraction of all others with it.
        p: Of this number or more by chance (hypergeometric), corrected for all values that were looked at.
    """

    number: int
    images: int
    patients: int
    unit_of_n: str
    column: str = ""
    value: str = ""
    inside: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    outside: float = float("nan")
    p: float = float("nan")

    @property
    def sentence(self) -> str:
        """What it is, with its numbers."""
        n = f"{self.images} images"
        if self.unit_of_n == "patients":
            n += f" of {self.patients} patients"
        if not self.column:
            return f"{n}; no column says what they share."
        return (
            f"{n}: {self.inside:.0%} have {self.column} {self.value!r} (95% CI {self.low:.0%}-{self.high:.0%}), "
            f"{self.outside:.0%} of the others."
        )

    @property
    def shared(self) -> str:
        """What names it, counted, to be said after the group; empty where no column does."""
        if not self.column:
            return ""
        return (
            f"{round(self.inside * self.patients)} of these {self.patients} {self.unit_of_n} have {self.column} {self.value!r} "
            f"(95% CI {self.low:.0%}-{self.high:.0%}), {self.outside:.0%} of the others"
        )


def columns_of(study: Study) -> Iterator[tuple[str, np.ndarray]]:
    """What may explain a group: the label, the part, and every column and fact of the file in a few groups."""
    frame = study.frame
    known = [name for name in ("label", "split", *study.heads) if name in frame.columns]
    for name in known:
        yield name, frame[name].astype(str).to_numpy()
    for field in fields(study):
        if field.groups is not None and field.kind != "order":
            yield field.name.removeprefix("the column ").strip("'"), field.groups


def named(groups: np.ndarray, study: Study, more: Mapping[str, np.ndarray] | None = None) -> list[Island]:
    """The groups of a study's images by what explains each.

    Args:
        groups: int ``(rows,)``: the group of each row, from 1; 0 for none.
        study: Whose rows they are.
        more: Further columns by name, one text for each row.

    Returns:
        One `Island` for each group. Patients are counted, not images: one patient's images are alike.
    """
    patient = study.frame["patient"].astype(str).to_numpy() if study.patients_known else np.arange(len(study))
    unit = np.unique(patient, return_inverse=True)[1]
    columns = {**dict(columns_of(study)), **(more or {})}
    asked = [(name, value) for name, cells in columns.items() for value in np.unique(cells)]
    numbers = sorted(set(groups[groups > 0].tolist()))
    kind = "patients" if study.patients_known else "images"
    return [_named(one, groups == one, unit, columns, asked, len(asked) * len(numbers), kind) for one in numbers]


def _named(
    number: int,
    inside: np.ndarray,
    unit: np.ndarray,
    columns: Mapping[str, np.ndarray],
    asked: list[tuple[str, str]],
    looked: int,
    kind: str,
) -> Island:
    every, own = np.unique(unit), np.unique(unit[inside])
    found = Island(number, int(inside.sum()), len(own), kind)
    candidates = []
    for name, value in asked:
        having = np.unique(unit[columns[name] == value])
        both = len(np.unique(unit[inside & (columns[name] == value)]))
        share = both / len(own)
        if share < MOST or share <= len(having) / len(every):
            continue
        p = float(hypergeom.sf(both - 1, len(every), len(having), len(own)))
        if p * looked < SIGNIFICANT:
            candidates.append((p, name, value, share, having))
    refused = set()
    for p, name, value, share, having in sorted(candidates, key=lambda one: one[0]):
        if name in refused or _permuted_as_well(p, columns[name], inside, unit):
            refused.add(name)
            continue
        interval, others = wilson(share, len(own)), max(1, len(every) - len(own))
        elsewhere = len(np.setdiff1d(having, own)) / others
        p = min(1.0, p * looked)
        return Island(
            number, found.images, len(own), kind, name, str(value), share, interval.low, interval.high, elsewhere, p
        )  # fmt: skip
    return found


def _permuted_as_well(p: float, cells: np.ndarray, inside: np.ndarray, unit: np.ndarray) -> bool:
    """Whether a permutation of a column, among patients with like numbers of images and within each, names the group as well.

    A patient of many images has most values of a column that differs between images, and is in most groups: such a column
    would name groups of noise.
    """
    codes, patients = np.unique(cells, return_inverse=True)[1], int(unit.max()) + 1
    values, groups, rng = int(codes.max()) + 1, _exchangeable(unit), np.random.default_rng(0)
    own = len(np.unique(unit[inside]))
    counts = np.array([_having(_permuted(codes, groups, rng), inside, unit, values) for _ in range(PERMUTATIONS)])
    having, both = counts[:, 0], counts[:, 1]
    share = both / own
    by_chance = np.where(
        (share >= MOST) & (share > having / patients), hypergeom.sf(both - 1, patients, having, own), 1.0
    )
    return bool((by_chance <= p * (1 + 1e-9)).any())


def _having(codes: np.ndarray, inside: np.ndarray, unit: np.ndarray, values: int) -> list[np.ndarray]:
    """How many patients have each value, in all images and in those of the group."""
    patients = int(unit.max()) + 1
    cells = unit * values + codes
    return [
        (np.bincount(one, minlength=patients * values).reshape(patients, values) > 0).sum(axis=0)
        for one in (cells, cells[inside])
    ]


def _exchangeable(unit: np.ndarray) -> list[list[np.ndarray]]:
    """The rows of each patient, in groups of patients with like numbers of images."""
    order = np.argsort(unit, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(unit[order])) + 1)
    by_count: dict[int, list[np.ndarray]] = {}
    for one in rows:
        by_count.setdefault(len(one), []).append(one)
    groups = [alike for alike in by_count.values() if len(alike) >= ALIKE]
    rest = [one for count in sorted(by_count) if len(by_count[count]) < ALIKE for one in by_count[count]]
    return [*groups, *(rest[begin : begin + ALIKE] for begin in range(0, len(rest), ALIKE))]


def _permuted(codes: np.ndarray, groups: list[list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    found = codes.copy()
    for group in groups:
        order = rng.permutation(len(group))
        if len({len(rows) for rows in group}) == 1:
            places = np.stack(group)
            found[places] = rng.permuted(codes[places[order]], axis=1)
        else:
            for rows, donor in zip(group, order, strict=True):
                found[rows] = np.resize(rng.permutation(codes[group[donor]]), len(rows))
    return found
