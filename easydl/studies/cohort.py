"""Which rows of a study must stay together, and which classes they hold, as integer codes. It assigns no parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.images.patients import patient_key
from easydl.studies.labels import JOIN
from easydl.studies.near_copies import NearCopy, linked
from easydl.studies.schema import LabelSchema

LEAST = 2
"""Patients of every class in every part, at least: of one alone, sensitivity is 0 or 1 and has no interval."""

PSEUDONYM = r"P-[0-9a-f]{10}"
"""What `easydl.images.headers.pseudonym` makes of an identifier in a DICOM header."""


@dataclass(frozen=True)
class Cohort:
    """The rows of a study as a split sees them: integer codes, so that hundreds of folds cost no text work.

    Attributes:
        person: For every row its patient, however written.
        image: For every row its pixels: equal for identical images.
        group: For every row which rows it must stay with; codes follow the order of the groups' names.
        names: The name of every group: of its first patient, by alphabet, or where easydl named the patients its
            smallest digest. It does not depend on the order of the rows.
        classes: Classes to balance, sorted; empty for values, masks and images without labels.
        has: bool ``(rows, classes)``.
        values: For a value, float64 per row (NaN without one); else None.
        each: How many patients of a class every part of a split needs.
        patients_known: Whether sizes are counted in patients.
        patient: For every row its patient as written, for counts.
    """

    person: np.ndarray
    image: np.ndarray
    group: np.ndarray
    names: np.ndarray
    classes: np.ndarray
    has: np.ndarray
    values: np.ndarray | None
    each: int
    patients_known: bool
    patient: np.ndarray

    def __len__(self) -> int:
        return len(self.group)

    def rows(self, chosen: np.ndarray) -> Cohort:
        """Some of the rows."""
        groups, group = np.unique(self.group[chosen], return_inverse=True)
        present = self.has[chosen].any(axis=0)
        return replace(
            self,
            person=self.person[chosen],
            image=self.image[chosen],
            group=group,
            names=self.names[groups],
            classes=self.classes[present],
            has=self.has[chosen][:, present],
            values=None if self.values is None else self.values[chosen],
            patient=self.patient[chosen],
        )

    def group_has(self) -> np.ndarray:
        """bool ``(groups, classes)``."""
        found = np.zeros((len(self.names), len(self.classes)), bool)
        np.logical_or.at(found, self.group, self.has)
        return found


def persons(patients: pd.Series) -> pd.Series:
    """The `patient_key` of every row."""
    return patients.map({patient: patient_key(patient) for patient in patients.unique()})


def one_spelling(patients: pd.Series) -> tuple[pd.Series, int]:
    """Every patient as it is written most often, and how many patients were written in several ways."""
    counts = patients.value_counts(sort=False).rename_axis("spelling").reset_index(name="rows")
    counts["key"] = persons(counts["spelling"])
    chosen = counts.sort_values(["rows", "spelling"], ascending=[False, True]).groupby("key")["spelling"].first()
    several = int((counts["key"].value_counts() > 1).sum())
    return (persons(patients).map(chosen) if several else patients), several


def crossing(code: np.ndarray | pd.Series, part: np.ndarray | pd.Series) -> np.ndarray:
    """bool per row: whether what the code names (a patient, an image) is in more than one part. ``""`` is no part.

    This is the one check of leakage: splits, folds, `easydl.fit`, the audit and the report all ask it.
    """
    codes, parts = pd.factorize(np.asarray(code))[0], pd.factorize(np.asarray(part))[0]
    placed = np.asarray(part) != ""
    pairs = np.unique(codes[placed] * (parts.max(initial=0) + 1) + parts[placed])
    counts = np.bincount(pairs // (parts.max(initial=0) + 1), minlength=codes.max(initial=0) + 1)
    return placed & (counts[codes] > 1)


def shared_patients(frame: pd.DataFrame, column: str) -> list[str]:
    """The patients whose rows lie in more than one part of the split in ``column``, however they are written."""
    return sorted(frame.loc[crossing(persons(frame["patient"]), frame[column]), "patient"].unique())


def cohort(
    frame: pd.DataFrame,
    schema: LabelSchema,
    digests: Sequence[str],
    near: Sequence[NearCopy] = (),
    *,
    patients_known: bool,
    together: pd.Series | None = None,
) -> Cohort:
    """What a split needs to know of a study. Identical and nearly identical images stay together.

    So do rows with the same value in ``together``; an empty cell is a value of its own.

    Raises:
        InputError: It has no patients.
    """
    if "patient" not in frame.columns:
        raise InputError("The study has no patients.", "a patient for every image.", "Load it again with patient=.")
    task, labels = schema.stratified_by(frame)
    labelled = schema.labelled(frame)
    values = pd.to_numeric(labels).to_numpy(float) if labelled and task.is_value else None
    classes, has = np.empty(0, str), np.zeros((len(frame), 0), bool)
    if labelled and not task.is_value:
        classes, has = _held(labels, several=not task.exclusive)
    person = pd.factorize(persons(frame["patient"]))[0]
    image = pd.factorize(np.asarray(digests, dtype=object))[0]
    like = linked(len(frame), [pair.first for pair in near], [pair.second for pair in near])
    codes = [person, image, like]
    if together is not None:
        cells = together.astype(str).str.strip().to_numpy(str)
        codes.append(np.where(cells == "", -1 - np.arange(len(cells)), pd.factorize(cells)[0]))
    held = pd.Series(_groups(frame["patient"].tolist(), *codes), dtype=object)
    if frame["patient"].astype(str).str.fullmatch(PSEUDONYM).all():
        # Pseudonyms follow the secret of a computer; the same split on all computers must not follow them.
        held = pd.Series(np.asarray(digests, dtype=object)).groupby(held.to_numpy()).transform("min")
    names, group = np.unique(held.to_numpy(str), return_inverse=True)
    return Cohort(
        person,
        image,
        group,
        names,
        classes,
        has,
        values,
        LEAST if len(classes) and task.exclusive else 1,
        patients_known,
        pd.factorize(frame["patient"])[0],
    )


def _groups(patients: list[str], *codes: np.ndarray) -> list[str]:
    """For every row the first name, by alphabet, of the patients it must stay with: one person, or identical images."""
    parent = {patient: patient for patient in patients}

    def top(patient: str) -> str:
        while parent[patient] != patient:
            parent[patient] = patient = parent[parent[patient]]
        return patient

    for several in codes:
        holder: dict[int, str] = {}
        for patient, code in zip(patients, several.tolist(), strict=True):
            one, other = top(patient), top(holder.setdefault(code, patient))
            if one != other:
                parent[max(one, other)] = min(one, other)
    return [top(patient) for patient in patients]


def _held(labels: pd.Series, *, several: bool) -> tuple[np.ndarray, np.ndarray]:
    """The classes that occur, sorted, and which of them every row has."""
    cells = labels.reset_index(drop=True)
    if several:
        cells = cells.str.split(JOIN, regex=False).explode()
    cells = cells[cells != ""]
    classes, codes = np.unique(cells.to_numpy(str), return_inverse=True)
    has = np.zeros((len(labels), len(classes)), bool)
    has[cells.index, codes] = True
    return classes, has
