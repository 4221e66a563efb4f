"""Every test goes through here: it is counted in the ledger, and says so from the second look on. It computes no metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import pandas as pd
from filelock import Timeout

from easydl.errors import EasyDLError
from easydl.evaluation.ledger import Ledger, Look, Part, unrecorded
from easydl.evaluation.level import LEVEL, over_looks
from easydl.evaluation.results import LookRecord, Metrics
from easydl.prediction.provenance import Provenance

OVER_LOOKS = "Every interval is widened"
"""What a part that was looked at before is known by, in its sentence."""


def looked(
    frame: pd.DataFrame,
    known: Provenance | None,
    measure: Callable[[], Metrics],
    *,
    patients_known: bool,
    options: dict[str, bool] | None = None,
) -> Metrics:
    """Measure a test, with intervals that hold over all looks at its part, and write the look down.

    Args:
        frame: The rows that are tested.
        known: The model and the digests of the images; None for predictions that somebody made otherwise.
        measure: Computes the metrics.
        patients_known: Whether ``patient`` names patients.
        options: Further choices that the answers depend on.
    """
    counted = counted_together(
        frame, [known], measure, lambda metrics: [metrics.headline], patients_known=patients_known, options=options
    )
    metrics = counted.found
    metrics.notes.extend(counted.notes)
    changes: dict[str, object] = {"warnings": [*counted.warnings, *metrics.warnings]}
    if counted.looks:
        changes["look"] = counted.looks[0]
    return metrics.model_copy(update=changes)


T = TypeVar("T")


@dataclass(frozen=True)
class Counted(Generic[T]):
    """What was measured on a test part, and what the ledger says of it.

    Attributes:
        found: What was measured.
        warnings: To be read before its numbers.
        notes: To be read with them.
        looks: The look of each model; empty where they could not be written down.
    """

    found: T
    warnings: list[str]
    notes: list[str]
    looks: list[LookRecord]


def counted_together(
    frame: pd.DataFrame,
    known: Sequence[Provenance | None],
    measure: Callable[[], T],
    headlines: Callable[[T], Sequence[str]],
    *,
    patients_known: bool,
    options: dict[str, bool] | None = None,
) -> Counted[T]:
    """Measure one or several models on a test part, each of which is a look at it.

    Args:
        frame: The rows that are tested.
        known: Of each model, as in `looked`.
        measure: Measures all of them.
        headlines: Of what was measured, the first number of each model as text.
        patients_known: Whether ``patient`` names patients.
        options: Further choices that the answers depend on.
    """
    try:
        ledger = Ledger.open(make=True)
    except (EasyDLError, OSError) as problem:
        return Counted(measure(), [], [unrecorded(problem)], [])
    part = ledger.part(frame, known[0], patients_known=patients_known)
    models = [_identity(one, frame, options) for one in known]
    look, together = _joint(ledger, part, models)
    with over_looks(look.number):
        found = measure()
    warnings = [sentence(look, part, together)] if look.number > 1 else []
    warnings += [f"{ledger.verdict} The command easydl ledger says more."] if ledger.damage else []
    looks = []
    try:
        for model, headline in zip(models, headlines(found), strict=True):
            entry = ledger.record(part, model, headline)
            looks.append(LookRecord(number=look.number, first=look.first, entry=entry.seal, model=model))
    except (EasyDLError, OSError, Timeout) as problem:
        return Counted(found, warnings, [unrecorded(problem)], [])
    return Counted(found, warnings, [], looks)


def _joint(ledger: Ledger, part: Part, models: Sequence[str]) -> tuple[Look, int]:
    """The look of all models together, and how many they are where nobody has looked at the part before."""
    looks = {model: ledger.look(part, model) for model in models}
    first, new = next(iter(looks.values())), sum(one.entry is None for one in looks.values())
    before = first.number - (first.entry is None)
    entry = first.entry if not new else None
    return replace(first, number=before + new, entry=entry), len(looks) if not before else 0


def sentence(look: Look, part: Part, together: int = 0) -> str:
    """As in "This test part has been looked at 3 times (first 2026-11-02); choose nothing by it."."""
    each = f"{100 * (1 - (1 - LEVEL) / look.number):.1f}%"
    wide = f"{OVER_LOOKS}, so that those of all {look.number} looks hold together at 95% (Bonferroni: {each} each)."
    times = f"{look.number} times (first {look.first})"
    if together:
        what = f"{together} models are tested on this part together, which makes {together} looks"
    elif look.shared is None and look.entry is None:
        what = f"The patients of this test part have been looked at {times}, on other images or other files"
    elif look.shared is not None and look.shared < len(part.images):
        before = f"Of the {len(part.images)} images of this test part {look.shared} were looked at before"
        what = f"{before}: {look.number} looks in all (first {look.first})"
    else:
        what = f"This test part has been looked at {times}"
    return f"{what}; choose nothing by it. {wide}"


def _identity(known: Provenance | None, frame: pd.DataFrame, options: dict[str, bool] | None) -> str:
    """What makes two looks at one part different: the model with its options; else its answers."""
    if known is not None:
        on = sorted(name for name, value in (options or {}).items() if value)
        return hashlib.sha256(f"{known.model} {json.dumps(on)}".encode()).hexdigest() if on else known.model
    answers = frame.drop(columns=["image", "patient"], errors="ignore").round(4)
    return hashlib.sha256(answers.to_csv(index=False).encode()).hexdigest()
