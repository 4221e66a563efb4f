"""The fast audit: patients and images in two parts, class counts, and what tells the classes apart without an image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from easydl.errors import LeakageError
from easydl.traps.association import associate, benjamini_hochberg
from easydl.traps.issues import SEVERITIES, Audit, Issue

if TYPE_CHECKING:
    from easydl.studies import Study

WARN_LOW, STRONG_LOW = 0.60, 0.75
FEW_TEST, SOME_TEST = 10, 30
MAX_ROWS = 20
NOT_COVARIATES = {"image", "mask", "label", "patient", "split", "given_split", "filename", "followup"}
FILE_PROPERTIES = {
    "the size of the image in pixels": ["width", "height"],
    "the type of the file": ["file_type"],
    "the JPEG compression (quality and tables)": ["jpeg_quality", "jpeg_tables"],
}
PIXEL_PROPERTIES = {"colour or grey": "coloured", "text in the image": "burned_in_text"}
"""What is seen in the pixels but is not the patient: looked at once, with the digests."""


def audit(study: Study, *, seed: int = 0) -> Audit:
    """Look for the traps that can be found in seconds, before any training.

    Args:
        study: The study; when it is split, the split is looked at too.
        seed: Of permutations and intervals.

    Returns:
        An `Audit`: issues, the worst first. BLOCK means that a test result would be meaningless; UNTESTED that the
        check could not be made.

    Raises:
        InputError: Images cannot be read (identical images are found by their pixels).

    Example:
        >>> easydl.audit(study)  # doctest: +SKIP

    References:
        Yagis 2021 (leakage inflates accuracy by 29-55 points); Zech 2018 (hospital as confounder); Erickson 2018.
    """
    issues = [*_patients(study), *_identical(study), *_burned_in_text(study), *_by_task(study, seed)]
    issues.sort(key=lambda issue: SEVERITIES.index(issue.severity))
    return Audit(tuple(issues), study.name)


def _by_task(study: Study, seed: int) -> Iterator[Issue]:
    task = study.task
    if task.is_multiple:
        for name in study.heads:
            head = study.head(name)
            # The other heads' columns are labels, not covariates.
            head = replace(head, frame=head.frame.drop(columns=[column for column in study.heads if column != "label"]))
            yield from (replace(issue, sentence=f"{name}: {issue.sentence}") for issue in _by_task(head, seed))
    elif task.per_image and task.exclusive and "label" in study.frame.columns:
        yield from _counts(study)
        yield from _confounders(study, seed)
    elif task.per_image:
        yield Issue(
            "A4",
            "UNTESTED",
            f"Counts and confounders are tested for classes only; this task is {task}.",
            "Compare the labels or values between scanners, sites and sexes by hand.",
            n=study.n_patients,
        )


def refuse_leakage(train: Study, val: Study, override: str | None = None) -> list[str]:
    """Refuse to train when a patient or an identical image is in both parts; returns what goes on the record.

    Raises:
        LeakageError: With the numbers, unless ``override`` gives a reason in writing.
    """
    from easydl.images.patients import patient_key

    patients = set(train.frame["patient"].map(patient_key)) & set(val.frame["patient"].map(patient_key))
    images = set(train.digests()) & set(val.digests())
    if not patients and not images:
        return []
    what = f"{len(patients)} patients and {len(images)} identical images are in both training and validation"
    earlier = [reason for reason in train.overrides if reason in val.overrides]
    if (override or "").strip():
        return [*earlier, f"Trained although {what}. Reason given: {(override or '').strip()}"]
    if earlier:
        return earlier
    raise LeakageError(
        f"{what[0].upper()}{what[1:]}.",
        "every patient and every image in one part only: otherwise the test measures memory, not skill.",
        "Use study.split(seed=0), or pass override='your reason', which every report will repeat.",
    )


def _patients(study: Study) -> list[Issue]:
    if not study.patients_known:
        stems = study.frame[study.image_columns[0]].map(_stem)
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
                    rows=_rows(study.frame.index[study.frame["patient"].isin(leaking)]),
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
            rows=_rows(doubled.index),
        )
    ]


def _identical(study: Study) -> list[Issue]:
    frame = study.frame.assign(_digest=study.digests())
    copies = frame[frame["_digest"].duplicated(keep=False)]
    if copies.empty:
        return [Issue("A2", "OK", "No two images are identical.", n=len(study))]
    sets, rows, n = copies.groupby("_digest"), _rows(copies.index), len(study)
    issues = []
    labels = list(study.heads) or [column for column in ("label",) if column in frame.columns]
    if conflicts := int(sum((sets[label].nunique() > 1).sum() for label in labels)):
        sentence = f"{conflicts} identical images carry different labels."
        fix = "Decide which label is right and remove the other rows."
        issues.append(Issue("A7", "BLOCK", sentence, fix, value=conflicts, n=n, rows=rows))
    if "split" in frame.columns and (crossing := int((sets["split"].nunique() > 1).sum())):
        sentence = f"{crossing} identical images are in more than one part of the split."
        fix = "Use study.split(seed=0), which keeps them together, or remove the copies."
        return [*issues, Issue("A2", "BLOCK", sentence, fix, value=crossing, n=n, rows=rows)]
    across = int((sets["patient"].nunique() > 1).sum()) if study.patients_known else 0
    more = f"; {across} of them under different patients" if across else ""
    images = "1 image occurs" if sets.ngroups == 1 else f"{sets.ngroups} images occur"
    sentence = f"{images} more than once ({len(copies)} rows{more}). A split by easydl keeps copies in one part."
    fix = "Remove the copies, or check whether the patients are the same."
    return [*issues, Issue("A2", "WARN", sentence, fix, value=sets.ngroups, n=n, rows=rows)]


def _counts(study: Study) -> list[Issue]:
    frame, n = study.frame, study.n_patients
    patients = frame.groupby("label")["patient"].nunique().sort_values()
    listing = ", ".join(f"{name} {count}" for name, count in patients.items())
    what = "patients" if study.patients_known else "images"
    issues = [Issue("A8", "NOTE", f"{what.capitalize()} in each class: {listing}.", n=n)]
    ratio = float(patients.iloc[-1] / patients.iloc[0])
    if ratio > 5:
        fix = "Look at sensitivity and specificity rather than accuracy; training weights the classes."
        issues.append(Issue("A8", "WARN", f"The classes are imbalanced: {listing}.", fix, value=ratio, n=n))
    if "split" in frame.columns:
        test = frame[frame["split"] == "test"].groupby("label")["patient"].nunique()
        test = test.reindex(patients.index, fill_value=0)
        least = int(test.min())
        if least < SOME_TEST:
            meaning = "its numbers will mean little." if least < FEW_TEST else "its intervals will be wide."
            sentence = f"The test set holds only {least} {what} of {str(test.idxmin())!r}: {meaning}"
            fix = "Read the intervals, not the numbers; add patients or use several folds."
            issues.append(Issue("A9", "WARN", sentence, fix, value=least, n=int(test.sum())))
    return issues


def _burned_in_text(study: Study) -> list[Issue]:
    rows = [row for row, facts in enumerate(study.facts()) if facts.burned_in_text]
    if not rows:
        return []
    return [
        Issue(
            "A5",
            "WARN",
            f"{len(rows)} of {len(study)} images carry burned-in text, as screenshots and films with printed labels do.",
            "Look at them: text can name the patient, and a model can read it. Crop it away, or export the images "
            "without it.",
            value=len(rows),
            n=len(study),
            rows=_rows(rows),
        )
    ]


def _confounders(study: Study, seed: int) -> list[Issue]:
    frame, fields = _candidates(study)
    tested = []
    for name, columns in fields.items():
        association = associate(frame[columns], study.frame["label"], study.frame["patient"], seed=seed)
        if association is not None:
            tested.append((name, association))
    if not tested:
        return [
            Issue(
                "A4",
                "UNTESTED",
                "There are no covariates (scanner, sex, age, ...) to test for confounders, or too few patients.",
                "Add such columns to the table, or load DICOM files, whose headers tell.",
                n=study.n_patients,
            )
        ]
    issues = []
    what = "patients" if study.patients_known else "images"
    for (name, found), q in zip(tested, benjamini_hochberg([found.p for _, found in tested]), strict=True):
        if q < 0.05 and found.low > WARN_LOW:
            strength = "alone separates the classes" if found.low > STRONG_LOW else "alone predicts the class"
            auc = f"AUC {found.auc:.2f} (95% CI {found.low:.2f}-{found.high:.2f}), {found.n} {what}"
            issues.append(
                Issue(
                    "A4",
                    "WARN",
                    f"{name[0].upper()}{name[1:]} {strength}: {auc}.",
                    "A model may learn this instead of the disease. Balance it between the classes, or test on data "
                    "where it differs.",
                    value=found.auc,
                    low=found.low,
                    high=found.high,
                    p=found.p,
                    n=found.n,
                )
            )
    if issues:
        return issues
    names = ", ".join(name.removeprefix("the column ") for name, _ in tested)
    return [Issue("A4", "OK", f"None of these predicts the class: {names}.", n=study.n_patients)]


def _candidates(study: Study) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """What might tell the classes apart without an image: a table, and the columns of each field in it."""
    frame = study.frame
    fields = {name: columns for name, columns in FILE_PROPERTIES.items() if set(columns) <= set(frame.columns)}
    pixels = pd.DataFrame(study.facts(), index=frame.index)[list(PIXEL_PROPERTIES.values())]
    # Columns of the table may have the same names.
    pixels = pixels.astype(int).add_prefix("pixels ")
    for name, column in PIXEL_PROPERTIES.items():
        if pixels[f"pixels {column}"].nunique() > 1:
            fields[name] = [f"pixels {column}"]
    others = NOT_COVARIATES.union(study.raters, study.mask_columns, *FILE_PROPERTIES.values())
    for column in frame.columns:
        if column in others or column.startswith("image_"):
            continue
        values = frame[column].astype(str)
        identifying = values.nunique() > 0.9 * len(frame) and pd.to_numeric(values, errors="coerce").isna().any()
        if values.nunique() > 1 and not identifying:
            fields[f"the column {column!r}"] = [column]
    return pd.concat([frame, pixels], axis=1), fields


def _rows(index: pd.Index | list[int]) -> tuple[int, ...]:
    return tuple(int(row) for row in index[:MAX_ROWS])


def _stem(address: str) -> str:
    name = re.split(r"[\\/]", address)[-1].split("#")[0]
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    head = re.match(r"^(.*\d.*)[ _\-.]\d+$", stem)
    return head.group(1) if head else address
