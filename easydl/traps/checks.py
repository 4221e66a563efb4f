"""The fast audit: patients and images in two parts, class counts, and what tells the classes apart without an image."""

from __future__ import annotations

import re
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
SKIPPED = {"image", "mask", "label", "patient", "split", "given_split", "filename", "followup"}


def audit(study: Study, *, seed: int = 0) -> Audit:
    """Look for the traps that can be found in seconds, before any training.

    Args:
        study: The study; when it is split, the split is looked at too.
        seed: Of permutations and intervals.

    Returns:
        An `Audit`: findings, the worst first. BLOCK means that a test result would be meaningless; UNTESTED that the
        question could not be asked.

    Raises:
        InputError: Images cannot be read (identical images are found by their pixels).

    Example:
        >>> easydl.audit(study)  # doctest: +SKIP

    References:
        Yagis 2021 (leakage inflates accuracy by 29-55 points); Zech 2018 (hospital as confounder); Erickson 2018.
    """
    issues = [*_patients(study), *_identical(study), *_lettering(study)]
    if study.task in ("classification", "ordinal") and "label" in study.frame.columns:
        issues += [*_counts(study), *_confounders(study, seed)]
    for name, asked in study.heads.items():
        if asked == 1:
            issues.append(
                _untested(study, f"{name}: counts and confounders are looked for in classes only, not in numbers.")
            )
            continue
        one = study.head(name)
        others = [column for column in study.heads if column != "label"]
        one = replace(one, frame=one.frame.drop(columns=others))
        issues += [
            replace(found, sentence=f"{name}: {found.sentence}") for found in (*_counts(one), *_confounders(one, seed))
        ]
    if study.task in ("multilabel", "regression"):
        words = f"Counts and confounders are looked for in classes only; this study's task is {study.task}."
        issues.append(_untested(study, words))
    issues.sort(key=lambda one: SEVERITIES.index(one.severity))
    return Audit(tuple(issues), study.name)


def _untested(study: Study, sentence: str) -> Issue:
    return Issue(
        "A4", "UNTESTED", sentence, "Compare the findings or numbers between scanners, sites and sexes by hand.",
        n=study.n_patients,
    )  # fmt: skip


def refuse_leakage(train: Study, val: Study, override: str | None = None) -> list[str]:
    """Refuse to train when a patient or an identical image is in both parts.

    Args:
        train: Training part.
        val: Validation part.
        override: A reason, in writing, for training anyway.

    Returns:
        What goes on the record: empty, or the override.

    Raises:
        LeakageError: With the numbers.
    """
    from easydl.studies.cohort import patient_key

    patients = set(train.frame["patient"].map(patient_key)) & set(val.frame["patient"].map(patient_key))
    images = set(train.digests()) & set(val.digests())
    if not patients and not images:
        return []
    what = f"{len(patients)} patients and {len(images)} identical images are in both training and validation"
    earlier = [one for one in train.overrides if one in val.overrides]
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
                "A1", "UNTESTED", "The patients are not known: leakage between training and test cannot be excluded."
                + hint, "Add a column with the patient, if one patient can have several images.", n=len(study),
            )
        ]  # fmt: skip
    from easydl.studies.cohort import patient_key, shared_patients

    for column in ("split", "given_split"):
        if column not in study.frame.columns:
            continue
        leaking = shared_patients(study.frame, column)
        used = column == "split"
        if leaking:
            rows = study.frame.index[study.frame["patient"].isin(leaking)][:20]
            which = "The split" if used else "The split that came with the data (not used)"
            return [
                Issue(
                    "A1", "BLOCK" if used else "WARN",
                    f"{which} puts {len(leaking)} of {study.n_patients} patients in more than one part.",
                    "Use study.split(seed=0), which keeps patients together.",
                    value=len(leaking), n=study.n_patients, rows=tuple(int(r) for r in rows),
                )
            ]  # fmt: skip
    text = (
        "No patient is in two parts." if "split" in study.frame.columns else "Patients are known and can be kept apart."
    )
    found = [Issue("A1", "OK", text, n=study.n_patients)]
    spellings = study.frame["patient"].drop_duplicates()
    written = spellings[spellings.map(patient_key).duplicated(keep=False)]
    if len(written):
        people = written.map(patient_key).nunique()
        found.append(
            Issue(
                "A1", "WARN", f"{people} patients seem to be written in several ways ({len(written)} spellings that differ "
                "by case, spaces, punctuation or leading zeros). Splits by easydl keep them together.",
                "Write every patient in one way, so that they are counted once.", value=people, n=study.n_patients,
                rows=tuple(int(row) for row in written.index[:20]),
            )
        )  # fmt: skip
    return found


def _identical(study: Study) -> list[Issue]:
    frame = study.frame.assign(_content=study.digests())
    doubled = frame[frame["_content"].duplicated(keep=False)]
    if doubled.empty:
        return [Issue("A2", "OK", "No two images are identical.", n=len(study))]
    rows = tuple(int(r) for r in doubled.index[:20])
    sets = doubled.groupby("_content")
    found = []
    targets = list(study.heads) or [column for column in ("label",) if column in frame.columns]
    if conflicts := int(sum((sets[target].nunique() > 1).sum() for target in targets)):
        found.append(
            Issue(
                "A7", "BLOCK", f"{conflicts} identical images carry different labels.",
                "Decide which label is right and take the other rows out.", value=conflicts, n=len(study), rows=rows,
            )
        )  # fmt: skip
    if "split" in frame.columns and (crossing := int((sets["split"].nunique() > 1).sum())):
        found.append(
            Issue(
                "A2", "BLOCK", f"{crossing} identical images are in more than one part of the split.",
                "Use study.split(seed=0), which keeps them together, or take the copies out.",
                value=crossing, n=len(study), rows=rows,
            )
        )  # fmt: skip
        return found
    across = int((sets["patient"].nunique() > 1).sum()) if study.patients_known else 0
    more = f"; {across} of them under different patients" if across else ""
    copied = "1 image occurs" if sets.ngroups == 1 else f"{sets.ngroups} images occur"
    found.append(
        Issue(
            "A2", "WARN",
            f"{copied} more than once ({len(doubled)} rows{more}). A split by easydl keeps copies in one part.",
            "Take the copies out, or check whether the patients are the same.",
            value=sets.ngroups, n=len(study), rows=rows,
        )
    )  # fmt: skip
    return found


def _counts(study: Study) -> list[Issue]:
    frame = study.frame
    patients = frame.groupby("label")["patient"].nunique().sort_values()
    listing = ", ".join(f"{name} {count}" for name, count in patients.items())
    what = "patients" if study.patients_known else "images"
    found = [Issue("A8", "NOTE", f"{what.capitalize()} in each class: {listing}.", n=study.n_patients)]
    if patients.iloc[-1] > 5 * patients.iloc[0]:
        found.append(
            Issue(
                "A8", "WARN", f"The classes are unequal: {listing}.",
                "Look at sensitivity and specificity rather than accuracy; training weighs the classes.",
                value=float(patients.iloc[-1] / patients.iloc[0]), n=study.n_patients,
            )
        )  # fmt: skip
    if "split" in frame.columns:
        test = frame[frame["split"] == "test"].groupby("label")["patient"].nunique()
        test = test.reindex(patients.index, fill_value=0)
        least = int(test.min())
        if least < SOME_TEST:
            found.append(
                Issue(
                    "A9", "WARN",
                    f"The test set holds only {least} {what} of {str(test.idxmin())!r}: "
                    + ("its numbers will mean little." if least < FEW_TEST else "its intervals will be wide."),
                    "Read the intervals, not the numbers; add patients or use several folds.",
                    value=least, n=int(test.sum()),
                )
            )  # fmt: skip
    return found


def _lettering(study: Study) -> list[Issue]:
    seen = [row for row, one in enumerate(study.facts()) if one.burned_in_text]
    if not seen:
        return []
    return [
        Issue(
            "A5", "WARN", f"{len(seen)} of {len(study)} images carry a line of text, as screenshots and films with "
            "burned-in labels do.", "Look at them: text can name the patient, and a model can read it. Crop it "
            "away, or export the images without it.", value=len(seen), n=len(study), rows=tuple(seen[:20]),
        )
    ]  # fmt: skip


def _confounders(study: Study, seed: int) -> list[Issue]:
    frame = study.frame
    fields: dict[str, list[str]] = {}
    if {"width", "height"} <= set(frame.columns):
        fields["the size of the image in pixels"] = ["width", "height"]
    if "file_type" in frame.columns:
        fields["the type of the file"] = ["file_type"]
    if "jpeg_tables" in frame.columns:
        fields["the JPEG compression (quality and tables)"] = ["jpeg_quality", "jpeg_tables"]
    # What is seen in the pixels but is not the patient: looked at once, with the digests.
    seen = pd.DataFrame(study.facts(), index=frame.index)[["coloured", "burned_in_text"]].astype(int)
    seen.columns = pd.Index(["seen coloured", "seen lettering"])
    looks = {"colour or grey": "seen coloured", "text in the image": "seen lettering"}
    fields |= {words: [column] for words, column in looks.items() if seen[column].nunique() > 1}
    for column in frame.columns:
        if (
            column in SKIPPED
            or column in study.raters
            or column in ("width", "height", "file_type", "jpeg_quality", "jpeg_tables")
            or column.startswith("image_")
        ):
            continue
        values = frame[column].astype(str)
        identifying = values.nunique() > 0.9 * len(frame) and pd.to_numeric(values, errors="coerce").isna().any()
        if values.nunique() > 1 and not identifying:
            fields[f"the column {column!r}"] = [column]
    tested = []
    for words, columns in fields.items():
        found = associate(pd.concat([frame, seen], axis=1)[columns], frame["label"], frame["patient"], seed=seed)
        if found is not None:
            tested.append((words, found))
    if not tested:
        return [
            Issue(
                "A4", "UNTESTED", "There is nothing beside the images (scanner, sex, age, ...) to test for confounders, or "
                "too few patients.", "Add such columns to the table, or load DICOM files, whose headers tell.",
                n=study.n_patients,
            )
        ]  # fmt: skip
    results = []
    for (words, one), q in zip(tested, benjamini_hochberg([one.p for _, one in tested]), strict=True):
        if q < 0.05 and one.low > WARN_LOW:
            strength = "alone separates the classes" if one.low > STRONG_LOW else "alone predicts the class"
            results.append(
                Issue(
                    "A4", "WARN",
                    f"{words[0].upper()}{words[1:]} {strength}: AUC {one.auc:.2f} "
                    f"(95% CI {one.low:.2f}-{one.high:.2f}), {one.n} {'patients' if study.patients_known else 'images'}.",
                    "A model may learn this instead of the disease. Balance it between the classes, or test on data "
                    "where it differs.", value=one.auc, low=one.low, high=one.high, p=one.p, n=one.n,
                )
            )  # fmt: skip
    if not results:
        names = ", ".join(words.removeprefix("the column ") for words, _ in tested)
        results.append(Issue("A4", "OK", f"None of these predicts the class: {names}.", n=study.n_patients))
    return results


def _stem(address: str) -> str:
    name = re.split(r"[\\/]", address)[-1].split("#")[0]
    stem = re.sub(r"\.(nii\.gz|[A-Za-z0-9]{1,5})$", "", name)
    head = re.match(r"^(.*\d.*)[ _\-.]\d+$", stem)
    return head.group(1) if head else address
