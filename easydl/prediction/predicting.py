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
from easydl.images.values import UNKNOWN_UNITS, in_hounsfield
from easydl.networks.metadata import ModelMetadata
from easydl.option_model import documented
from easydl.options_of_use import PredictOptions
from easydl.prediction.calling import check_dimension, compiled
from easydl.prediction.cascades import check_paths, open_model, predict_mask
from easydl.prediction.covariates import case_covariates
from easydl.prediction.image_results import Reconstruction, Segmentation
from easydl.prediction.image_to_image import reconstruct
from easydl.prediction.likeness import unlike, unlike_note
from easydl.prediction.results import Predictions
from easydl.prediction.seen import metadata_of_all, scan_notes
from easydl.prediction.segmentation import mask_options, option_notes
from easydl.prediction.tables import against, predict_image, predict_study
from easydl.studies import Study, load
from easydl.studies.tables import pick, read_table
from easydl.tasks import Task

_TABLES = (".csv", ".tsv", ".xlsx")
TAKEN_FOR_CT = (
    "taken as Hounsfield units, which the model expects: the file does not say its units, and has values below -500"
)


@documented(PredictOptions)
def predict(
    model: Any,
    source: Any,
    *,
    covariates: Mapping[str, Any] | None = None,
    units: str = "auto",
    mirror: bool = False,
    largest_component: bool = False,
    fill_holes: bool = False,
    uncertainty: str | None = None,
    coverage: float | None = None,
    processes: int = 1,
    parts: str | Path | None = None,
) -> Predictions | Segmentation | Reconstruction:
    """Apply a model to a study, an image, a volume or a folder.

    Args:
        model: A model of easydl or its ``.keras`` file; a `Cascade` or its folder.
        source: A `Study`, a path (image, volume, folder of DICOM or of class folders, table), a `Scan`, or an array
            ``(height, width[, channel])`` or ``(depth, height, width, channel)`` in the model's units. A mask lies on
            the grid of what was given: of a path in the order of the file, of a `Scan` in that of the scan.
        covariates: For one image and a model with covariates, their values by name: ``{"age": 61, "sex": "F"}``. What is
            not given counts as unknown, and a note says so. A study's come from its own columns.
        units: ``"HU"`` says that files which do not say their units (NIfTI, TIFF) are CT in Hounsfield units. Not given,
            a model of CT takes those with air in them for such, and a note says so.
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
    from_file = isinstance(source, (str, Path))
    source = as_source(source, metadata, units)
    if not task.per_pixel:
        options_of_table: dict[str, Any] = {"uncertainty": uncertainty, "coverage": coverage}
        if isinstance(source, Scan):
            _not_of_one(processes, parts)
            return predict_image(model, metadata, source, covariates, **options_of_table)
        options_of_table |= {"processes": processes, "parts": parts}
        return predict_study(model, metadata, source, covariates, **options_of_table)
    _not_of_one(processes, parts)
    _not_of_pixels(task, uncertainty=uncertainty, coverage=coverage)
    scan = source if isinstance(source, Scan) else _only_scan(source)
    check_dimension(metadata, scan)
    if from_file:  # What comes back lies on the grid of what was given.
        scan = scan.on_source()
    if task.makes_images:
        made = reconstruct(compiled(model), tuple(model.input_shape[1:-1]), metadata, scan)
        return replace(made, notes=[*scan.notes, *made.notes])
    # The first model of a cascade sees the whole scan; of its second no training image was a whole one.
    strange = unlike(metadata_of_all(model, metadata)[0].training, scan.oriented(), sides=False)
    known = [*unlike_note([strange]), *scan_notes(metadata_of_all(model, metadata), scan), *against(metadata)]
    notes = [*known, *scan.notes, *option_notes(options)]
    mask = predict_mask(model, metadata, scan, notes, **options)
    return Segmentation(mask, scan, metadata.classes, metadata.label_values, notes, strange)


def _not_of_one(processes: int, parts: str | Path | None) -> None:
    if processes != 1 or parts is not None:
        raise InputError(
            f"processes={processes} was given for a single image or volume.",
            "a study, a table or a folder of many images, and a model that gives one answer for an image.",
            "Leave it out.",
        )


def _not_of_pixels(task: Task, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(
            f"{given[0]} was given, and the model's task is {task}.",
            "a model that gives one answer for an image.",
            "Leave it out; a segmentation model takes mirror=True.",
        )


def as_source(source: Any, metadata: ModelMetadata, units: str = "auto") -> Study | Scan:
    """A Study or a Scan from whatever was given. A table's labels are read when the model tells classes apart."""
    given = _as_source(source, metadata, units)
    if isinstance(given, Scan) and metadata.units == "HU" and UNKNOWN_UNITS in given.notes:
        return in_hounsfield(given, TAKEN_FOR_CT)
    return given


def _as_source(source: Any, metadata: ModelMetadata, units: str) -> Study | Scan:
    if isinstance(source, (Study, Scan)):
        return source
    if isinstance(source, np.ndarray):
        pixels = source[..., None] if source.ndim in (2, metadata.dimension) else source
        # Such dark values are not grey values: taken for HU they are refused by a model of grey values, not cut off.
        kind = "HU" if metadata.units == "HU" or pixels.min() < -500 else "0-255"
        return Scan(pixels.astype(np.float32), kind, source="array")
    with_labels = metadata.task in (Task.CLASSIFICATION, Task.SEGMENTATION)
    if isinstance(source, pd.DataFrame):
        frame = source if with_labels else _unlabelled(source)
        return load(frame, patient="auto" if "patient" in source.columns else None, units=units)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix.lower() in _TABLES and not with_labels:
            table = load(_unlabelled(read_table(path)[0]), root=path.resolve().parent, units=units)
            return replace(table, name=path.name)
        if path.suffix.lower() in _TABLES:
            return load(path, units=units)
        if path.is_dir():
            study = load(path, units=units)
            return study if len(study) > 1 else study.scan(0)
        return read(source, units=units)
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
