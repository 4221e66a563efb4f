"""Every test goes through here: it is counted in the ledger, and says so from the second look on. It computes no metric."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

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
    try:
        ledger = Ledger.open(make=True)
    except (EasyDLError, OSError) as problem:
        metrics = measure()
        metrics.notes.append(unrecorded(problem))
        return metrics
    part = ledger.part(frame, known, patients_known=patients_known)
    model = _identity(known, frame, options)
    look = ledger.look(part, model)
    with over_looks(look.number):
        metrics = measure()
    warnings = [sentence(look, part)] if look.number > 1 else []
    warnings += [f"{ledger.verdict} The command easydl ledger says more."] if ledger.damage else []
    changes: dict[str, object] = {"warnings": [*warnings, *metrics.warnings]}
    try:
        entry = ledger.record(part, model, metrics.headline)
    except (EasyDLError, OSError, Timeout) as problem:
        metrics.notes.append(unrecorded(problem))
    else:
        changes["look"] = LookRecord(number=look.number, first=look.first, entry=entry.seal, model=model)
    return metrics.model_copy(update=changes)


def sentence(look: Look, part: Part) -> str:
    """As in "This test part has been looked at 3 times (first 2026-11-02); choose nothing by it."."""
    each = f"{100 * (1 - (1 - LEVEL) / look.number):.1f}%"
    wide = f"{OVER_LOOKS}, so that those of all {look.number} looks hold together at 95% (Bonferroni: {each} each)."
    times = f"{look.number} times (first {look.first})"
    if look.shared is None and look.entry is None:
        what = f"The patients of this test part have been looked at {times}, on other images or other files"
    elif look.shared is not None and look.shared < len(part.images):
        before = f"Of the {len(part.images)} images of this test part {look.shared} were looked at before"
        what = f"{before}: {look.number} looks in all (first {look.first})"
    else:
        what = f"This test part has been looked at {times}"
    return f"{what}; choose nothing by it. {wide}"


def _identity(known: Provenance | None, frame: pd.DataFrame, options: dict[str, bool] | None) -> str:
    """What tells two looks at one part apart: the model with its options; else its answers."""
    if known is not None:
        on = sorted(name for name, value in (options or {}).items() if value)
        return hashlib.sha256(f"{known.model} {json.dumps(on)}".encode()).hexdigest() if on else known.model
    answers = frame.drop(columns=["image", "patient"], errors="ignore").round(4)
    return hashlib.sha256(answers.to_csv(index=False).encode()).hexdigest()
