"""How much better a model is on its training images than on those of a test (A12), from what its file keeps. It calls no model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from easydl.evaluation.formatting import number
from easydl.evaluation.results import Metrics

BETTER = "Better on its training images than on these"


class TrainingScore(BaseModel):
    """The headline of a test on images of the training, with its interval, as the model file keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    value: float
    low: float
    high: float
    n: int
    unit_of_n: str
    unit: str = ""


def training_scores(metrics: Metrics) -> dict[str, dict[str, Any]]:
    """What a model file keeps of a test on training images: the headline of every head that has an interval."""
    found = {}
    for head, one in (metrics.heads or {"": metrics}).items():
        row = one.table.iloc[0].to_dict()
        if all(math.isfinite(row[name]) for name in ("value", "low", "high")):
            found[head] = TrainingScore.model_validate(row).model_dump()
    return found


def compared(metrics: Metrics, stored: Mapping[str, Any]) -> Metrics:
    """The test with a sentence on each headline: in the notes, and where the training is better also below the headline."""
    said = [
        sentence
        for head, one in (metrics.heads or {"": metrics}).items()
        if head in stored and (sentence := _sentence(head, one, stored[head]))
    ]
    better = [one for one in said if BETTER in one]
    return metrics.model_copy(update={"notes": [*metrics.notes, *said], "summary": [*metrics.summary, *better]})


def overfitting(metrics: Metrics | None, issues: Sequence[Mapping[str, Any]]) -> str:
    """What a test says of its training, else what the audit says (A12); empty where nothing is shown."""
    notes = [] if metrics is None else [note for note in metrics.notes if BETTER in note]
    if notes:
        return " ".join(notes)
    found = (one for one in issues if one.get("id") == "A12" and one.get("severity") in ("WARN", "NOTE"))
    return next((str(one.get("sentence") or "") for one in found), "")


def _sentence(head: str, metrics: Metrics, stored: Any) -> str:
    try:
        train = TrainingScore.model_validate(stored)
    except ValidationError:  # of another version
        return ""
    test = metrics.table.iloc[0]
    if train.name != test["name"] or not np.isfinite(test[["value", "low", "high"]].astype(float)).all():
        return ""
    # Of an error less is better.
    sign = -1 if "error" in train.name else 1
    difference = sign * (train.value - float(test["value"]))
    (train_low, train_high), (low, high) = (
        sorted(sign * float(end) for end in ends) for ends in ((train.low, train.high), (test["low"], test["high"]))
    )
    # Two independent groups of patients: square and add (Zou & Donner 2008, Stat Med 27:1693).
    ends = (
        difference - math.hypot(sign * train.value - train_low, high - sign * float(test["value"])),
        difference + math.hypot(train_high - sign * train.value, sign * float(test["value"]) - low),
    )
    start = BETTER if ends[0] > 0 else "Its training images and these"
    text = (
        f"{start}: {train.name} {number(train.value, train.unit)} against {number(float(test['value']), train.unit)}, "
        f"difference {number(difference, train.unit)} (95% CI {number(ends[0])} to {number(ends[1], train.unit)}; "
        f"{train.n} training {train.unit_of_n}, {test['n']} {test['unit_of_n']} here)."
    )
    return f"{head}: {text}" if head else text
