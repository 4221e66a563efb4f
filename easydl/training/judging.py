"""What the validation part says of a trained model: the thresholds of its answers, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from easydl.errors import EasyDLError
from easydl.evaluation.findings import NO_OVERLAP
from easydl.evaluation.formatting import number
from easydl.evaluation.tables import table_metrics
from easydl.evaluation.thresholds import chosen
from easydl.networks import metadata_of
from easydl.networks.decision import Threshold
from easydl.prediction.tables import predict_study
from easydl.studies import Study
from easydl.tasks import Task

RESAMPLES = 500


def judged(model: Any, val: Study, rows: Sequence[dict[str, Any]], seed: int) -> tuple[dict[str, Threshold], list[str]]:
    """The thresholds chosen on the validation part, and the warnings of `easydl.evaluation` about it.

    Args:
        model: Trained.
        val: The validation part.
        rows: One for each epoch, as in history.csv.
        seed: Of the intervals.
    """
    task = Task(metadata_of(model).task)
    if task.per_pixel:
        return {}, _by_epochs(task, rows, val)
    # The metadata hold the thresholds and warnings of an earlier training.
    metadata = metadata_of(model).model_copy(update={"thresholds": {}, "training": {}})
    try:
        predictions = predict_study(model, metadata, val)
        thresholds = chosen(predictions, seed=seed)
        metrics = table_metrics(predictions.decided(thresholds), seed=seed, resamples=RESAMPLES)
    except EasyDLError as problem:
        # A trained model is not lost because its validation part cannot be tested.
        return {}, [f"It could not be tested: {problem.found}"]
    return thresholds, metrics.warnings


def _by_epochs(task: Task, rows: Sequence[dict[str, Any]], val: Study) -> list[str]:
    """Of masks the Dice of the epochs: whole scans are predicted in the test only, for that takes minutes."""
    names = {name for row in rows for name in row if name.startswith("val_") and name.endswith("dice")}
    reached = [float(row[name]) for row in rows for name in names if row.get(name) is not None]
    if not (task.has_masks and reached) or max(reached) >= NO_OVERLAP:
        return []
    return [
        f"Hardly any overlap with the reference: the best Dice of all epochs was {number(max(reached))}, "
        f"{len(val)} images."
    ]
