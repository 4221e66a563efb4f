"""A study with another column ``split``: what its rows are to a splitter, and what is noted of the split. It chooses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from easydl.studies.cohort import Cohort, cohort

if TYPE_CHECKING:
    from easydl.studies.splits import Assignment
    from easydl.studies.study import Study


def cohort_of(study: Study, together: pd.Series | None = None) -> Cohort:
    """The rows of a study as a splitter sees them; ``together`` names what stays in one part."""
    digests, near, known = study.digests(), study.near_copies, study.patients_known
    return cohort(study.frame, study.schema, digests, near, patients_known=known, together=together)


def divided(
    study: Study, divide: Callable[[Cohort], Assignment], seed: int | None = None, together: pd.Series | None = None
) -> Study:
    """The study with another column ``split``."""
    base = replace(study, parent=study)  # what is noted while reading is noted there
    return assigned(base, divide(cohort_of(base, together)), seed)


def assigned(study: Study, split: Assignment, seed: int | None) -> Study:
    """The study with the parts, notes and overrides of a split."""
    notes = [note for note in study.notes if not note.startswith("Split by")]  # of an earlier split
    frame, notes = study.frame.assign(split=split.part), [*notes, *split.notes, split.note]
    return replace(study, frame=frame, seed=seed, notes=notes, overrides=[*study.overrides, *split.overrides])
