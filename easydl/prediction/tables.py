"""The outputs of a classifier (or of several heads) for one image or a whole study, as a table. It opens no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.images import Scan
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.answers import Answers, answers_of, passes_with_features, stacked
from easydl.prediction.calling import check_classes, inputs, with_covariates
from easydl.prediction.conformal import with_sets
from easydl.prediction.covariates import case_covariates, covariate_notes
from easydl.prediction.doubt import spread_columns
from easydl.prediction.feature_range import unlike_features
from easydl.prediction.likeness import unlike, unlike_note
from easydl.prediction.most_useful import kept_features
from easydl.prediction.provenance import provenance
from easydl.prediction.results import UNLIKE, Predictions, output_columns
from easydl.prediction.seen import COLUMN, scan_notes, seen_rows, sentence
from easydl.prediction.shards import answers_by_processes
from easydl.studies import Study
from easydl.studies.pixel_facts import counted


def predict_image(
    model: Any,
    metadata: ModelMetadata,
    scan: Scan,
    covariates: Mapping[str, Any] | None = None,
    *,
    uncertainty: str | None = None,
    coverage: float | None = None,
) -> Predictions:
    """The predictions for one image: a table of one row."""
    encoded = case_covariates(metadata, covariates)
    _check_together(uncertainty, coverage)
    passes, meaning, seen = passes_with_features(model, metadata, uncertainty)
    stack = stacked([passes(with_covariates(inputs(model, scan), encoded))])
    rows = pd.DataFrame({"image": [scan.source], "patient": [scan.patient or ""]})
    strange = [unlike(metadata.training, scan.oriented())]
    strange = _with_features(strange, metadata, np.concatenate(seen) if seen else None)
    if any(strange):
        rows[UNLIKE] = [" ".join(one) for one in strange]
    notes = [*scan.notes, *covariate_notes(metadata, pd.DataFrame([dict(covariates or {})]))]
    predictions = Predictions(
        _table(rows, stack, metadata),
        metadata.classes,
        True,
        scan.source,
        metadata.task,
        dict(metadata.heads),
        [*scan_notes([metadata], scan), *unlike_note(strange), *against(metadata), *notes, *meaning],
        dict(metadata.thresholds),
    )
    return _with_sets(predictions, metadata, coverage)


def predict_study(
    model: Any,
    metadata: ModelMetadata,
    study: Study,
    covariates: Mapping[str, Any] | None = None,
    *,
    uncertainty: str | None = None,
    coverage: float | None = None,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
    processes: int = 1,
    parts: str | None = None,
) -> Predictions:
    """The predictions for a study, with its labels where they are those of the model's task.

    Where the model has seen some of the images, or their patients, a column says which, and the first note how many.
    ``change`` makes other images of each batch before the model sees it. Several ``processes`` keep what they have finished in
    the folder ``parts``.
    """
    if covariates is not None:
        raise InputError(
            "covariates= was given with a study.",
            "covariates= for one image; a study's come from its own columns.",
            "Leave it out, and add the columns to the table.",
        )
    if study.task == metadata.task:
        check_classes(metadata, study)
    _check_together(uncertainty, coverage)
    meaning = passes_with_features(model, metadata, uncertainty)[1]
    if processes > 1:
        answers = answers_by_processes(model, study, processes, parts, uncertainty)
    else:
        answers = answers_of(model, study, uncertainty, change=change)
    return _with_sets(predictions_of(model, metadata, study, answers, meaning), metadata, coverage)


def predictions_of(
    model: Any, metadata: ModelMetadata, study: Study, answers: Answers, meaning: Sequence[str] = ()
) -> Predictions:
    """The predictions from the answers of every row of a study."""
    labelled = study.task == metadata.task
    strange = _with_features(answers.strange, metadata, answers.seen)
    kept = [*study.image_columns, "patient", *(["label"] if labelled and not metadata.heads else [])]
    rows = study.frame[[column for column in kept if column in study.frame.columns]].copy()
    for name in metadata.heads if labelled else ():
        rows[f"{name}: label"] = study.frame[name]
    seen, unknown = seen_rows([metadata], study)
    if any(seen):
        rows[COLUMN] = seen
    if any(strange):
        rows[UNLIKE] = [" ".join(one) for one in strange]
    return Predictions(
        _table(rows, answers.stack, metadata),
        metadata.classes,
        study.patients_known,
        study.name,
        metadata.task,
        dict(metadata.heads),
        [
            *filter(None, [sentence(seen)]),
            *unlike_note(strange),
            *against(metadata),
            *unknown,
            *counted(answers.notes),
            *covariate_notes(metadata, study.frame),
            *meaning,
        ],
        dict(metadata.thresholds),
        provenance(model, metadata, study) if labelled else None,
        kept_features(answers.seen, rows.index),
    )


def against(metadata: ModelMetadata) -> list[str]:
    """What the validation part says against the model."""
    return [f"In its training, on the validation part: {one}" for one in metadata.warnings]


def _check_together(uncertainty: str | None, coverage: float | None) -> None:
    if uncertainty is not None and coverage is not None:
        raise InputError(
            "uncertainty and coverage were given together.",
            "one of them: the sets hold for the model's own answers, not for the mean of others.",
            "Leave one out.",
        )


def _with_features(strange: list[list[str]], metadata: ModelMetadata, seen: np.ndarray | None) -> list[list[str]]:
    """In what images are unlike the training images, with what the network sees in them."""
    if seen is None:
        return strange
    return [[*one, *more] for one, more in zip(strange, unlike_features(metadata.training, seen), strict=True)]


def _with_sets(predictions: Predictions, metadata: ModelMetadata, coverage: float | None) -> Predictions:
    return predictions if coverage is None else with_sets(predictions, metadata.training.get("conformal"), coverage)


def _table(rows: pd.DataFrame, stack: Any, metadata: ModelMetadata) -> pd.DataFrame:
    """The rows with the model's columns; of several heads the label stands before its prediction."""
    spread = spread_columns(stack, metadata)
    if not metadata.heads:
        columns = output_columns(_mean(stack), metadata.decision())
        return rows.assign(**columns, **(spread if len(stack) > 1 else {}))
    columns = {
        f"{name}: {column}": cells
        for name in metadata.heads
        for column, cells in output_columns(_mean(stack[name]), metadata.decision(name)).items()
    }
    columns |= spread if len(next(iter(stack.values()))) > 1 else {}
    order = [column for column in rows.columns if not column.endswith(": label")]
    for name in metadata.heads:
        order += [column for column in (*rows.columns, *columns) if column.startswith(f"{name}: ")]
    return rows.assign(**columns)[list(dict.fromkeys(order))]


def _mean(stack: np.ndarray) -> np.ndarray:
    """The mean over the passes, in the float32 of the network."""
    return np.asarray(stack[0] if len(stack) == 1 else stack.mean(axis=0, dtype=np.float64).astype(np.float32))
