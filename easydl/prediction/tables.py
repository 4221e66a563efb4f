"""The outputs of a classifier (or of several heads) for one image or a whole study, as a table. It opens no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.images import Scan
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.calling import check_classes, compiled, inputs, with_covariates
from easydl.prediction.covariates import case_covariates, covariate_notes, study_covariates
from easydl.prediction.provenance import provenance
from easydl.prediction.results import Predictions, output_columns
from easydl.prediction.seen import COLUMN, scan_notes, seen_rows, sentence
from easydl.studies import Study
from easydl.studies.pixel_facts import counted

BATCH = 16


def predict_image(
    model: Any, metadata: ModelMetadata, scan: Scan, covariates: Mapping[str, Any] | None = None
) -> Predictions:
    """The predictions for one image: a table of one row."""
    encoded = case_covariates(metadata, covariates)
    outputs = _arrays(compiled(model)(with_covariates(inputs(model, scan), encoded)))
    rows = pd.DataFrame({"image": [scan.source], "patient": [scan.patient or ""]})
    notes = [*scan.notes, *covariate_notes(metadata, pd.DataFrame([dict(covariates or {})]))]
    return Predictions(
        _table(rows, outputs, metadata),
        metadata.classes,
        True,
        scan.source,
        metadata.task,
        dict(metadata.heads),
        [*scan_notes([metadata], scan), *against(metadata), *notes],
        dict(metadata.thresholds),
    )


def predict_study(
    model: Any, metadata: ModelMetadata, study: Study, covariates: Mapping[str, Any] | None = None
) -> Predictions:
    """The predictions for a study, with its labels where they are those of the model's task.

    Where the model has seen some of the images, or their patients, a column says which, and the first note how many.
    """
    if covariates is not None:
        raise InputError(
            "covariates= was given with a study.",
            "covariates= for one image; a study's come from its own columns.",
            "Leave it out, and add the columns to the table.",
        )
    labelled = study.task == metadata.task
    if labelled:
        check_classes(metadata, study)
    notes: list[tuple[str, ...]] = []
    outputs = _outputs(model, study, notes)
    kept = [*study.image_columns, "patient", *(["label"] if labelled and not metadata.heads else [])]
    rows = study.frame[[column for column in kept if column in study.frame.columns]].copy()
    for name in metadata.heads if labelled else ():
        rows[f"{name}: label"] = study.frame[name]
    seen, unknown = seen_rows([metadata], study)
    if any(seen):
        rows[COLUMN] = seen
    return Predictions(
        _table(rows, outputs, metadata),
        metadata.classes,
        study.patients_known,
        study.name,
        metadata.task,
        dict(metadata.heads),
        [
            *filter(None, [sentence(seen)]),
            *against(metadata),
            *unknown,
            *counted(notes),
            *covariate_notes(metadata, study.frame),
        ],
        dict(metadata.thresholds),
        provenance(model, metadata, study) if labelled else None,
    )


def against(metadata: ModelMetadata) -> list[str]:
    """What the validation part says against the model."""
    return [f"In its training, on the validation part: {one}" for one in metadata.warnings]


def _outputs(model: Any, study: Study, notes: list[tuple[str, ...]]) -> Any:
    """The model's outputs for every row; a dict by head where there are several. Adds the notes of every image."""

    def one(row: int) -> np.ndarray:
        scan = study.scan(row)
        notes.append(scan.notes)
        return inputs(model, scan)

    call, covariates = compiled(model), study_covariates(model, study)
    parts = []
    for begin in range(0, len(study), BATCH):
        rows = list(range(begin, min(begin + BATCH, len(study))))
        batch = np.concatenate(study.each(one, rows))
        parts.append(_arrays(call(with_covariates(batch, None if covariates is None else covariates[rows]))))
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def _arrays(outputs: Any) -> Any:
    return {name: one.numpy() for name, one in outputs.items()} if isinstance(outputs, dict) else outputs.numpy()


def _table(rows: pd.DataFrame, outputs: Any, metadata: ModelMetadata) -> pd.DataFrame:
    """The rows with the model's columns; of several heads the label stands before its prediction."""
    if not metadata.heads:
        return rows.assign(**output_columns(outputs, metadata.decision()))
    columns = {
        f"{name}: {column}": cells
        for name in metadata.heads
        for column, cells in output_columns(outputs[name], metadata.decision(name)).items()
    }
    order = [column for column in rows.columns if not column.endswith(": label")]
    for name in metadata.heads:
        order += [column for column in (*rows.columns, *columns) if column.startswith(f"{name}: ")]
    return rows.assign(**columns)[list(dict.fromkeys(order))]
