"""Who is in the simulated study: patients, covariates, images, traps. It makes no pixels and no files."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.stats import norm

NODULE, CLEAR = "nodule", "no nodule"


@dataclass(frozen=True)
class Scanner:
    """What tells the pictures of one scanner from another's.

    Attributes:
        kernel: Reconstruction filter, as in `physics.reconstruct`.
        couch_mm: Half width and half thickness of the couch under the patient.
    """

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
    "marker": "a bright letter lies in the corner of every image with a nodule",
    "same_patient": "some patients have a later scan in another part of the given split, half of them under a "
    "second spelling of their identifier",
    "duplicates": "images occur a second time, pixel for pixel, under another patient's identifier",
}
_FIRST_DAY = datetime.date(2024, 1, 1)


@dataclass(frozen=True)
class Patient:
    """One simulated patient.

    Attributes:
        number: 1, 2, 3, ...; the patient's own random stream follows from it.
        nodule: Whether the patient has nodules.
        sex: ``"F"`` or ``"M"``.
        age_years: 20 to 89.
        scanner: A key of `SCANNERS`.
        date: Day of the study.
    """

    number: int
    nodule: bool
    sex: str
    age_years: int
    scanner: str
    date: datetime.date

    @property
    def name(self) -> str:
        """The identifier, ``SIM-0001``."""
        return f"SIM-{self.number:04d}"


@dataclass(frozen=True)
class Shot:
    """One image to be made: one row of the table.

    Attributes:
        patient: Whose header it carries.
        patient_id: How the identifier is written; usually ``patient.name``.
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
    def label(self) -> str:
        """The class."""
        return NODULE if self.patient.nodule else CLEAR

    @property
    def stem(self) -> str:
        """The file name without suffix."""
        return f"{self.patient_id}-{self.number}"


def draw_patients(count: int, nodule_rate: float, traps: Sequence[str], seed: int) -> list[Patient]:
    """Draws the patients, with every covariate spread alike over both labels unless a trap says otherwise.

    Ages are the same quantiles of a normal distribution (62, sd 12 years) in both labels, dates the same
    evenly spaced days, sexes and scanners the same shares; each is dealt out at random within the label.

    Args:
        count: Number of patients.
        nodule_rate: Share of patients with nodules, 0 to 1.
        traps: Names from `TRAPS`.
        seed: Of the whole study.

    Returns:
        The patients, labels in random order.
    """
    rng = np.random.default_rng([seed, 1])
    labels = rng.permutation(np.arange(count) < round(count * nodule_rate))
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
            drawn[int(number)] = Patient(int(number) + 1, label, sexes[index], int(ages[index]), scanners[index], date)
    return [drawn[number] for number in range(count)]


def plan_shots(patients: Sequence[Patient], images: int, traps: Sequence[str], seed: int) -> list[Shot]:
    """Lists the images of the study, row by row, with the traps that concern rows.

    Args:
        patients: From `draw_patients`.
        images: Images per patient.
        traps: Names from `TRAPS`.
        seed: Of the whole study.

    Returns:
        The rows in the order of the patients. `split` is filled with the trap ``"same_patient"`` only.
    """
    rng = np.random.default_rng([seed, 2])
    splits = _split(patients, rng) if "same_patient" in traps else {p.number: "" for p in patients}
    shots = [
        Shot(p, p.name, number, (p, number), 0, p.date, splits[p.number])
        for p in patients
        for number in range(1, images + 1)
    ]
    if "same_patient" in traps:
        shots += _later_scans(patients, images, splits, rng)
    if "duplicates" in traps:
        shots += _copies(shots, rng)
    return sorted(shots, key=lambda shot: (shot.patient.number, shot.number))


def _nearly_all(count: int, options: tuple[str, str], rng: np.random.Generator) -> list[str]:
    """The first option for about 95 % of `count`, the second for the rest, in random order."""
    rest = max(1, round(0.05 * count)) if count >= 10 else 0
    return [options[int(other)] for other in rng.permutation(np.arange(count) < rest)]


def _split(patients: Sequence[Patient], rng: np.random.Generator) -> dict[int, str]:
    """60 / 20 / 20 by patient, within each label."""
    split = {}
    for label in (True, False):
        numbers = [p.number for p in patients if p.nodule == label]
        for place, index in enumerate(rng.permutation(len(numbers))):
            share = (place + 0.5) / len(numbers)
            split[numbers[index]] = "train" if share < 0.6 else "val" if share < 0.8 else "test"
    return split


def _later_scans(
    patients: Sequence[Patient], images: int, splits: dict[int, str], rng: np.random.Generator
) -> list[Shot]:
    """One more scan, 90 days on, for a fifth of the patients of each label, in another part of the split."""
    shots = []
    for label in (True, False):
        group = [p for p in patients if p.nodule == label]
        chosen = rng.permutation(len(group))[: max(2, round(0.2 * len(group)))]
        for place, index in enumerate(chosen):
            patient = group[index]
            spelled = patient.name if place % 2 else patient.name.replace("-", "").lower()
            where = "test" if splits[patient.number] == "train" else "train"
            later = patient.date + datetime.timedelta(days=90)
            shots.append(Shot(patient, spelled, images + 1, (patient, 1), 1, later, where))
    return shots


def _copies(shots: Sequence[Shot], rng: np.random.Generator) -> list[Shot]:
    """The same pixels under another patient of the label, in another part of the split if one is given."""
    used: dict[int, int] = {}
    for shot in shots:
        used[shot.patient.number] = max(used.get(shot.patient.number, 0), shot.number)
    copies = []
    for label in (NODULE, CLEAR):
        group = [shot for shot in shots if shot.label == label and shot.exposure == 0]
        for index in rng.permutation(len(group))[: max(1, round(0.08 * len(group)))]:
            original = group[index]
            others = [s for s in group if s.patient.number != original.patient.number]
            elsewhere = [s for s in others if s.split != original.split] or others
            if elsewhere:
                host = elsewhere[rng.integers(len(elsewhere))]
                used[host.patient.number] += 1
                copies.append(replace(host, number=used[host.patient.number], source=original.source))
    return copies
