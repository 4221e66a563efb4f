"""Several questions about one image: each is tested by its own task, and the results are put side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from easydl.evaluation.classification import classification_metrics
from easydl.evaluation.multilabel import multilabel_metrics
from easydl.evaluation.ordinal import ordinal_metrics
from easydl.evaluation.regression import regression_metrics
from easydl.evaluation.results import Metrics

if TYPE_CHECKING:
    from easydl.prediction.results import Predictions


def metrics_of(predictions: Predictions, **options: Any) -> Metrics:
    """Test predictions by their task.

    Args:
        predictions: With labels; for several questions every one is tested on the images that answer it.
        options: ``patients_known``, ``seed`` and ``resamples``.

    Returns:
        The Metrics; for several questions those of each in ``heads``, and all their rows in ``table``, each with the
        question before its name.

    Raises:
        InputError: As from the metrics of the task.
    """
    if predictions.task == "regression":
        tested = regression_metrics(predictions.frame, predictions.classes[0], **options)
        tested.notes.extend(predictions.notes)
        return tested
    if predictions.task != "multitask":
        of_classes = {"multilabel": multilabel_metrics, "ordinal": ordinal_metrics}
        tested = of_classes.get(predictions.task, classification_metrics)(
            predictions.frame, predictions.classes, **options
        )
        tested.notes.extend(predictions.notes)
        return tested
    found = {name: metrics_of(predictions.head(name), **options) for name in predictions.heads}
    tables = [one.table.assign(name=f"{name}: " + one.table["name"]) for name, one in found.items()]
    first = next(iter(found.values()))
    return Metrics(
        task="multitask", classes=tuple(found), table=pd.concat(tables, ignore_index=True),
        notes=_notes(found), patients_known=first.patients_known, images=len(predictions.frame),
        patients=int(predictions.frame["patient"].nunique()) if first.patients_known else len(predictions.frame),
        heads=found, seed=first.seed, resamples=first.resamples,
    )  # fmt: skip


def _notes(found: dict[str, Metrics]) -> list[str]:
    """What holds for every question once, and the rest with the question it is about."""
    common = [note for note in next(iter(found.values())).notes if all(note in one.notes for one in found.values())]
    own = [f"{name}: {note}" for name, one in found.items() for note in one.notes if note not in common]
    return [*common, *own]
