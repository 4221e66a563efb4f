"""`easydl.predict`: whatever was given becomes a scan or a study and goes to its kind of model. It calls none itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.images import Scan, read
from easydl.networks.metadata import ModelMetadata
from easydl.options import SegmentationOptions, documented
from easydl.prediction.calling import check_dimension, compiled
from easydl.prediction.cascades import check_paths, open_model, predict_mask
from easydl.prediction.covariates import case_covariates
from easydl.prediction.image_results import Reconstruction, Segmentation
from easydl.prediction.image_to_image import reconstruct
from easydl.prediction.results import Predictions
from easydl.prediction.segmentation import mask_options, option_notes
from easydl.prediction.tables import predict_image, predict_study
from easydl.studies import Study, load
from easydl.studies.tables import pick, read_table
from easydl.tasks import Task

_TABLES = (".csv", ".tsv", ".xlsx")


@documented(SegmentationOptions)
def predict(
    model: Any,
    source: Any,
    *,
    covariates: Mapping[str, Any] | None = None,
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
) -> Predictions | Segmentation | Reconstruction:
    """Apply a model to a study, an image, a volume or a folder.

    Args:
        model: A model of easydl or its ``.keras`` file; a `Cascade` or its folder.
        source: A `Study`, a path (image, volume, folder of DICOM or of class folders, table), a `Scan`, or an array
            ``(height, width[, channel])`` or ``(depth, height, width, channel)`` in the model's units.
        covariates: For one image and a model with covariates, their values by name: ``{"age": 61, "sex": "F"}``. What is
            not given counts as unknown, and a note says so. A study's come from its own columns.
        {options}

    Returns:
        What the model makes:

        =========================================  =====================  ======================
        model                                      one image              study, table or folder
        =========================================  =====================  ======================
        classifier (values and several heads too)  `Predictions`, 1 row   `Predictions`
        segmentation model, cascade                `Segmentation`         refused
        image-to-image model                       `Reconstruction`       refused
        =========================================  =====================  ======================

    Raises:
        InputError: Nothing readable there, several scans for a model that takes one at a time, covariates the model does
            not know, or an option for masks with a model that makes none.
        ModelError: The model does not fit the images.

    Example:
        >>> easydl.predict(model, "case.dcm").frame  # doctest: +SKIP
    """
    check_paths(model, source)
    model, metadata = open_model(model)
    task = Task(metadata.task)
    options = mask_options(task, mirror=mirror, largest_component=largest_component, fill_holes=fill_holes)
    case_covariates(metadata, covariates)  # a wrong name is refused before an image is read
    source = as_source(source, metadata)
    if not task.per_pixel:
        table = predict_image if isinstance(source, Scan) else predict_study
        return table(model, metadata, source, covariates)
    scan = source if isinstance(source, Scan) else _only_scan(source)
    check_dimension(metadata, scan)
    if task.makes_images:
        return reconstruct(compiled(model), tuple(model.input_shape[1:-1]), metadata, scan)
    notes = option_notes(options)
    mask = predict_mask(model, metadata, scan, notes, **options)
    return Segmentation(mask, scan, metadata.classes, metadata.label_values, notes)


def as_source(source: Any, metadata: ModelMetadata) -> Study | Scan:
    """A Study or a Scan from whatever was given. A table's labels are read when the model tells classes apart."""
    if isinstance(source, (Study, Scan)):
        return source
    if isinstance(source, np.ndarray):
        pixels = source[..., None] if source.ndim == 2 else source
        # Such dark values are not grey values: taken for HU they are refused by a model of grey values, not cut off.
        units = "HU" if metadata.units == "HU" or pixels.min() < -500 else "0-255"
        return Scan(pixels.astype(np.float32), units, source="array")
    with_labels = metadata.task in (Task.CLASSIFICATION, Task.SEGMENTATION)
    if isinstance(source, pd.DataFrame):
        frame = source if with_labels else _unlabelled(source)
        return load(frame, patient="auto" if "patient" in source.columns else None)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in _TABLES and not with_labels:
            return replace(load(_unlabelled(read_table(path)[0]), root=path.resolve().parent), name=path.name)
        if path.suffix.lower() in _TABLES:
            return load(path)
        if path.is_dir():
            study = load(path)
            return study if len(study) > 1 else study.scan(0)
        return read(source)
    raise InputError(
        f"{type(source).__name__} is not a valid source.",
        "a study, a path, a Scan or an array.",
        "See the docstring of easydl.predict.",
    )


def _unlabelled(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without its label column: several labels, ordered classes and values cannot be read without their task."""
    label = pick(frame, "label", None)
    return frame if label is None else frame.drop(columns=label)


def _only_scan(study: Study) -> Scan:
    if len(study) != 1:
        raise InputError(
            f"{study.name} holds {len(study)} scans.",
            "one scan at a time for a model that makes a mask or an image.",
            "Give it one image, volume or series; easydl.evaluate takes the whole study.",
        )
    return study.scan(0)
