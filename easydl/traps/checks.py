"""The audit: every check of a study, and of a model when there is one, the worst result first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.errors import LeakageError
from easydl.traps.after_training import Seen, after_training, look, no_better, untestable
from easydl.traps.border_network import BorderSeen, border_seen
from easydl.traps.confounders import confounders
from easydl.traps.copies import copies
from easydl.traps.counts import counts
from easydl.traps.doubtful import doubted_by, doubtful_labels
from easydl.traps.fields import Field, fields
from easydl.traps.issues import SEVERITIES, Audit, Issue, images, shown
from easydl.traps.looks import small_looks, standardised
from easydl.traps.parts import canary, drift, slices
from easydl.traps.patients import patients
from easydl.traps.rules import rules
from easydl.traps.thumbnails import strip

if TYPE_CHECKING:
    from easydl.studies import Study


def audit(study: Study, *, model: Any = None, full: bool = False, seed: int = 0) -> Audit:
    """Look for the traps of a study, before any training; with a model also for those it has fallen into.

    Args:
        study: The study; when it is split, the split is looked at too.
        model: A classifier for this study, a Keras model or its ``.keras`` file: what it rests on (A6), how much worse it
            is on new patients (A12) and where it errs most (A22).
        full: Also show the border of every image to the network that comes with easydl: it finds letters, scales and logos
            of one class wherever in the border they are (A5). It loads TensorFlow, and takes a second for 100 images.
        seed: Of permutations and intervals.

    Returns:
        An `Audit`: issues, the worst first. BLOCK means that a test result would be meaningless; UNTESTED that the
        check could not be made.

    Raises:
        InputError: Images cannot be read (identical images are found by their pixels).
        ModelError: The model does not fit the study.

    Example:
        >>> easydl.audit(study)  # doctest: +SKIP

    References:
        Yagis 2021 (leakage inflates accuracy by 29-55 points); Zech 2018 (hospital as confounder); Erickson 2018.
    """
    if model is not None:
        from easydl.prediction.cascades import open_model

        model = open_model(model)[0]
    looks = small_looks(study)
    issues = [*patients(study), *slices(study), *copies(study), *_burned_in_text(study), *rules(study)]
    asked = study.task.is_multiple or (study.task.per_image and study.task.exclusive)
    border = border_seen(study) if full and asked else None
    known = list(fields(study))  # reading dates and free text takes longer than asking them
    issues += [*drift(study, looks, known, seed), *_by_task(study, looks, known, model, border, seed)]
    if model is not None and (reason := untestable(study)):
        issues.append(reason)
    return Audit(arranged(study, issues), study.name)


def arranged(study: Study, issues: list[Issue]) -> tuple[Issue, ...]:
    """The worst first, each with its images."""
    ordered = sorted(issues, key=lambda issue: SEVERITIES.index(issue.severity))
    return tuple(replace(issue, thumbnails=strip(study, issue)) for issue in ordered)


def model_issues(study: Study, seen: Seen | list[Issue], seed: int = 0) -> tuple[Issue, ...]:
    """What `audit` says of a model alone (A6, A12, A22), for a study that was audited before its training.

    Args:
        study: All of it, split.
        seen: What the model makes of it (`look`).
        seed: Of permutations and intervals.
    """
    return arranged(study, seen if isinstance(seen, list) else after_training(study, seen, seed))


def _by_task(
    study: Study, looks: np.ndarray, known: list[Field], model: Any, border: BorderSeen | None, seed: int
) -> Iterator[Issue]:
    task = study.task
    if task.is_multiple:
        for name in study.heads:
            head = study.head(name)
            rows = study.schema.head_rows(study.frame, name).index.to_numpy()
            # The other heads' columns are labels, not covariates.
            head = replace(head, frame=head.frame.drop(columns=[column for column in study.heads if column != "label"]))
            seen = None if border is None else border.rows(rows)
            for issue in _by_task(head, looks[rows], list(fields(head)), None, seen, seed):
                yield replace(issue, sentence=f"{name}: {issue.sentence}", rows=shown(rows[list(issue.rows)]))
    elif task.per_image and task.exclusive and "label" in study.frame.columns:
        yield from counts(study)
        found = confounders(study, known, seed, border)
        yield from found
        looked = None if model is None else look(study, model)
        doubted: list[Issue] = []
        if isinstance(looked, Seen):
            yield from no_better(study, looked, found, seed)
            yield from after_training(study, looked, seed)
            doubted = doubted_by(study, looked.view, looked.held)
            looks = looks if looked.view.features is None else standardised(looked.view.features)
        yield from looked if isinstance(looked, list) else ()
        yield from canary(study, looks, seed)
        yield from doubted or doubtful_labels(study, small_looks(study), seed)
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
            f"{len(rows)} of {len(study)} images {'carry' if len(rows) != 1 else 'carries'} burned-in text, as screenshots and films with printed labels do.",
            "Look at them: text can name the patient, and a model can read it. Crop it away, or export the images "
            "without it.",
            value=len(rows),
            n=len(study),
            rows=shown(rows),
            exclude=images(study, rows),
        )
    ]
