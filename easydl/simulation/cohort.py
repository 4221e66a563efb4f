"""The simulated cohort: patients, covariates, images, traps. It makes no pixels and no files."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Scanner:
    """How the images of a scanner differ: filter of `physics.reconstruct`, half width and half thickness of the couch."""

    kernel: str
    couch_mm: tuple[float, float]


SCANNERS = {
    "Simulated A": Scanner("hann", (100.0, 3.0)),
    "Simulated B": Scanner("cosine", (65.0, 7.0)),
}
"""The scanners by name: B is a little sharper and has a narrower, thicker couch."""

TRAPS = {
    "scanner": "the scanner agrees with the label in about 95 % of patients",
    "sex": "the sex agrees with the label in about 95 % of patients",
    "marker": "a bright letter lies in the corner of every image with a nodule, or with a malignant mass",
    "same_patient": "some patients have a later scan in another part of the given split, half of them under a "
    "second spelling of their identifier",
    "duplicates": "images occur a second time, pixel for pixel, under another patient's identifier",
}
_FIRST_DAY = datetime.date(2024, 1, 1)


@dataclass(frozen=True)
class Patient:
    """One simulated patient; the random stream follows from the number (1, 2, 3, ...). ``scanner`` is in `SCANNERS`.

    ``positive`` is the label: a nodule, or a malignant mass.
    """

    number: int
    positive: bool
    sex: str
    age_years: int
    scanner: str
    date: datetime.date
    seed: int = 0

    @property
    def name(self) -> str:
        """The identifier, such as ``SIM7-0001`` for seed 7: people of two studies are not taken for the same."""
        return f"SIM{self.seed}-{self.number:04d}"


@dataclass(frozen=True)
class Acquisition:
    """One image to be simulated: one row of the table.

    Attributes:
        patient: The patient in its header.
        patient_id: The identifier as written; usually ``patient.name``.
        number: 1, 2, 3, ... within the patient.
        source: Patient and image number whose anatomy and noise it shows.
        exposure: 0, or 1 for a later scan of the same anatomy.
        date: Day of the image.
        split: ``"train"``, ``"val"``, ``"test"`` or empty.
    """

    patient: Patient
    patient_id: str
    number: int
    source: tuple[Patient, int]
    exposure: int
    date: datetime.date
    split: str = ""

    @property
    def stem(self) -> str:
        """The file name without suffix."""
        return f"{self.patient_id}-{self.number}"


def draw_patients(count: int, positive_rate: float, traps: Sequence[str], seed: int) -> list[Patient]:
    """Draw the patients, with the same distribution of every covariate in both labels unless a trap changes it.

    Ages are the same quantiles of a normal distribution (62, sd 12 years) in both labels, dates the same evenly spaced
    days, sexes and scanners the same fractions; each is shuffled within the label.
    """
    rng = np.random.default_rng([seed, 1])
    labels = rng.permutation(np.arange(count) < round(count * positive_rate))
    drawn: dict[int, Patient] = {}
    for label in (True, False):
        numbers = np.flatnonzero(labels == label)
        n = len(numbers)
        middle = (np.arange(n) + 0.5) / max(n, 1)
        ages = rng.permutation(np.clip(np.rint(norm.ppf(middle, 62, 12)), 20, 89).astype(int))
        days = rng.permutation(np.floor(middle * 366).astype(int))
        pairs = [(sex, scanner) for scanner, sex in product(SCANNERS, "FM")]
        pairs = [pairs[i] for i in rng.permutation(np.arange(n) % len(pairs))]
        sexes = [sex for sex, _ in pairs]
        scanners = [scanner for _, scanner in pairs]
        if "sex" in traps:
            sexes = _nearly_all(n, ("M", "F") if label else ("F", "M"), rng)
        if "scanner" in traps:
            first, second = SCANNERS
            scanners = _nearly_all(n, (first, second) if label else (second, first), rng)
        for index, number in enumerate(numbers):
            date = _FIRST_DAY + datetime.timedelta(days=int(days[index]))
            drawn[int(number)] = Patient(
                int(number) + 1, label, sexes[index], int(ages[index]), scanners[index], date, seed
            )
    return [drawn[number] for number in range(count)]


def plan_acquisitions(
    patients: Sequence[Patient], images: int, traps: Sequence[str], seed: int, *, split: bool = False
) -> list[Acquisition]:
    """The images of the study in the order of the patients, with the traps that concern rows.

    `Acquisition.split` is filled with the trap ``"same_patient"``, or when a split is asked for.
    """
    rng = np.random.default_rng([seed, 2])
    given = split or "same_patient" in traps
    splits = _split(patients, rng) if given else {p.number: "" for p in patients}
    acquisitions = [
        Acquisition(p, p.name, number, (p, number), 0, p.date, splits[p.number])
        for p in patients
        for number in range(1, images + 1)
    ]
    if "same_patient" in traps:
        acquisitions += _later_scans(patients, images, splits, rng)
    if "duplicates" in traps:
        acquisitions += _copies(acquisitions, rng)
    return sorted(acquisitions, key=lambda acquisition: (acquisition.patient.number, acquisition.number))


def _nearly_all(count: int, options: tuple[str, str], rng: np.random.Generator) -> list[str]:
    """The first option for about 95 % of `count`, the second for the rest, in random order."""
    rest = max(1, round(0.05 * count)) if count >= 10 else 0
    return [options[int(other)] for other in rng.permutation(np.arange(count) < rest)]


def _split(patients: Sequence[Patient], rng: np.random.Generator) -> dict[int, str]:
    """60 / 20 / 20 by patient, within each label."""
    split = {}
    for label in (True, False):
        numbers = [p.number for p in patients if p.positive == label]
        for place, index in enumerate(rng.permutation(len(numbers))):
            fraction = (place + 0.5) / len(numbers)
            split[numbers[index]] = "train" if fraction < 0.6 else "val" if fraction < 0.8 else "test"
    return split


def _later_scans(
    patients: Sequence[Patient], images: int, splits: dict[int, str], rng: np.random.Generator
) -> list[Acquisition]:
    """One more scan, 90 days on, for a fifth of the patients of each label, in another part of the split."""
    acquisitions = []
    for label in (True, False):
        group = [p for p in patients if p.positive == label]
        chosen = rng.permutation(len(group))[: max(2, round(0.2 * len(group)))]
        for place, index in enumerate(chosen):
            patient = group[index]
            spelling = patient.name if place % 2 else patient.name.replace("-", "").lower()
            where = "test" if splits[patient.number] == "train" else "train"
            later = patient.date + datetime.timedelta(days=90)
            acquisitions.append(Acquisition(patient, spelling, images + 1, (patient, 1), 1, later, where))
    return acquisitions


def _copies(acquisitions: Sequence[Acquisition], rng: np.random.Generator) -> list[Acquisition]:
    """The same pixels under another patient of the label, in another part of the split if one is given."""
    used: dict[int, int] = {}
    for acquisition in acquisitions:
        used[acquisition.patient.number] = max(used.get(acquisition.patient.number, 0), acquisition.number)
    copies = []
    for label in (True, False):
        group = [one for one in acquisitions if one.patient.positive == label and one.exposure == 0]
        for index in rng.permutation(len(group))[: max(1, round(0.08 * len(group)))]:
            original = group[index]
            others = [s for s in group if s.patient.number != original.patient.number]
            elsewhere = [s for s in others if s.split != original.split] or others
            if elsewhere:
                host = elsewhere[rng.integers(len(elsewhere))]
                used[host.patient.number] += 1
                copies.append(replace(host, number=used[host.patient.number], source=original.source))
    return copies
