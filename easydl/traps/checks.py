"""The audit: every check that needs no training, the worst result first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from easydl.errors import LeakageError
from easydl.traps.confounders import confounders
from easydl.traps.copies import copies
from easydl.traps.counts import counts
from easydl.traps.issues import SEVERITIES, Audit, Issue, shown
from easydl.traps.patients import patients

if TYPE_CHECKING:
    from easydl.studies import Study


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
    issues = [*patients(study), *copies(study), *_burned_in_text(study), *_by_task(study, seed)]
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
        yield from counts(study)
        yield from confounders(study, seed)
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

    shared = set(train.frame["patient"].map(patient_key)) & set(val.frame["patient"].map(patient_key))
    images = set(train.digests()) & set(val.digests())
    if not shared and not images:
        return []
    what = f"{len(shared)} patients and {len(images)} identical images are in both training and validation"
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
            rows=shown(rows),
        )
    ]
