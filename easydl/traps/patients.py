"""A1: patients in two parts, patients written in several ways, patients that are not known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from easydl.traps.issues import Issue, shown

if TYPE_CHECKING:
    from easydl.studies import Study


def patients(study: Study) -> list[Issue]:
    """Whether patients are known, in one part each, and written in one way."""
    if not study.patients_known:
        stems = study.frame[study.image_columns[0]].map(stem)
        shared = int(stems.duplicated(keep=False).sum())
        hint = f" {shared} file names share a stem with another, as images of one patient often do." if shared else ""
        return [
            Issue(
                "A1",
                "UNTESTED",
                f"The patients are not known: leakage between training and test cannot be excluded.{hint}",
                "Add a column with the patient, if one patient can have several images.",
                n=len(study),
            )
        ]
    return _patients_in_two_parts(study) or [_patients_separate(study), *_spellings(study)]


def _patients_in_two_parts(study: Study) -> list[Issue]:
    from easydl.studies.cohort import shared_patients

    for column in ("split", "given_split"):
        leaking = shared_patients(study.frame, column) if column in study.frame.columns else []
        if leaking:
            used = column == "split"
            which = "The split" if used else "The split that came with the data (not used)"
            return [
                Issue(
                    "A1",
                    "BLOCK" if used else "WARN",
                    f"{which} puts {len(leaking)} of {study.n_patients} patients in more than one part.",
                    "Use study.split(seed=0), which keeps patients together.",
                    value=len(leaking),
                    n=study.n_patients,
                    rows=shown(study.frame.index[study.frame["patient"].isin(leaking)]),
                )
            ]
    return []


def _patients_separate(study: Study) -> Issue:
    split = "split" in study.frame.columns
    text = "No patient is in two parts." if split else "Patients are known and can be kept in one part each."
    return Issue("A1", "OK", text, n=study.n_patients)


def _spellings(study: Study) -> list[Issue]:
    from easydl.images.patients import patient_key

    keys = study.frame["patient"].drop_duplicates().map(patient_key)
    doubled = keys[keys.duplicated(keep=False)]
    several = study.respelled + doubled.nunique()
    if not several:
        return []
    return [
        Issue(
            "A1",
            "WARN",
            f"{several} patients are written in several ways that differ by case, spaces, punctuation or leading zeros. "
            "Each was taken as one.",
            "Check that each is one patient, and write it in one way.",
            value=several,
            n=study.n_patients,
            rows=shown(doubled.index),
        )
    ]


def stem(address: str) -> str:
    """The name of a file without a number at its end, where one stands before it too; else the whole address."""
    name = re.split(r"[\\/]", address)[-1].split("#")[0]
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    head = re.match(r"^(.*\d.*)[ _\-.]\d+$", stem)
    return head.group(1) if head else address
