"""The covariates of a study or of one case as a model takes them: checked, scaled, encoded. It decodes no image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError, unknown_name
from easydl.networks.metadata import ModelMetadata, attach, metadata_of
from easydl.studies import Study
from easydl.studies.covariates import known
from easydl.studies.row_errors import many


def encode_covariates(metadata: ModelMetadata, frame: pd.DataFrame) -> np.ndarray:
    """The clinical table as a model takes it with the images.

    A number becomes its distance from the training mean in standard deviations (0 where it is missing) and a 1 where
    it is missing; a category becomes a 1 in its place, and nothing where it is missing or new.

    Args:
        metadata: Of a model with covariates.
        frame: One row per image, with the columns that the metadata names.

    Returns:
        float32 ``(rows, width)``.

    Raises:
        InputError: A column is missing, or holds text where the model was trained on numbers.
    """
    parts = []
    for covariate in metadata.covariates:
        if covariate.name not in frame.columns:
            raise InputError(
                f"The table has no column {covariate.name!r}.",
                f"the columns {_names(metadata)}, which the model takes.",
                "Add the column; leave cells empty where the value is not known.",
            )
        if covariate.categories is None:
            numbers = _numbers(frame[covariate.name])
            missing = np.isnan(numbers)
            parts += [np.where(missing, 0.0, (numbers - covariate.mean) / covariate.std), missing.astype(float)]
        else:
            cells = frame[covariate.name].astype("string").str.strip()
            parts += [(cells == value).fillna(False).to_numpy(float) for value in covariate.categories]
    return np.stack(parts, axis=1).astype(np.float32)


def set_covariates(model: Any, frame: pd.DataFrame) -> Any:
    """Take mean and standard deviation of the covariates from the training part. Call it before ``fit``.

    Args:
        model: A model of easydl with covariates; others are left as they are.
        frame: The training part, one row per image.

    Returns:
        The same model, with both in its metadata.

    Raises:
        InputError: A column is missing, holds text instead of numbers, or no number at all.
    """
    metadata = metadata_of(model)
    changed = []
    for covariate in metadata.covariates:
        if covariate.categories is None and covariate.name in frame.columns:
            numbers = _numbers(frame[covariate.name])
            present = numbers[~np.isnan(numbers)]
            if not len(present):
                raise InputError(
                    f"The column {covariate.name!r} holds no number in the training part.",
                    "numbers in some rows at least.",
                    "Leave it out of `covariates`.",
                )
            scale = {"mean": float(present.mean()), "std": float(present.std()) or 1.0}
            covariate = covariate.model_copy(update=scale)
        changed.append(covariate)
    attach(model, metadata.model_copy(update={"covariates": tuple(changed)}))
    encode_covariates(metadata_of(model), frame)
    return model


def study_covariates(model: Any, study: Study, *, training: bool = False) -> np.ndarray | None:
    """The encoded covariates of a study, float32 ``(images, width)``, or None for a model that takes images alone.

    A column that is missing counts as unknown in every row; in the training part, whose mean and standard deviation the
    model takes over, it is an InputError.
    """
    metadata = metadata_of(model)
    if not metadata.covariates:
        return None
    if training:
        absent = [covariate.name for covariate in metadata.covariates if covariate.name not in study.frame.columns]
        if absent:
            raise InputError(
                f"The study has no column {absent[0]!r}, which the model takes as a covariate.",
                f"the columns {_names(metadata)}.",
                "Build the model with covariates= of this study, or add the column.",
            )
        set_covariates(model, _cells(metadata, study.frame))
        metadata = metadata_of(model)
    return encode_covariates(metadata, _cells(metadata, study.frame))


def case_covariates(metadata: ModelMetadata, values: Mapping[str, Any] | None) -> np.ndarray | None:
    """The encoded covariates of one case, float32 ``(1, width)``, or None for a model that takes images alone.

    A value that is missing counts as unknown; a name or a category that the model does not know is an InputError.
    """
    values = dict(values or {})
    names = [covariate.name for covariate in metadata.covariates]
    strange = [name for name in values if name not in names]
    if strange:
        raise unknown_name(
            f"The model takes no covariate {strange[0]!r}.",
            strange[0],
            names,
            do="Correct covariates=, or leave it out.",
            expected="one of {}." if names else "images alone.",
        )
    if not names:
        return None
    frame = _cells(metadata, pd.DataFrame({name: [values.get(name, "")] for name in names}))
    for covariate in metadata.covariates:
        value = frame[covariate.name].iloc[0]
        if covariate.categories is not None and value and value not in covariate.categories:
            raise unknown_name(
                f"The covariate {covariate.name!r} is {value!r}.",
                value,
                covariate.categories,
                do="Correct the value, or leave it out when it is not known.",
                expected="one of {}, as the model was trained with.",
            )
    return encode_covariates(metadata, frame)


def covariate_notes(metadata: ModelMetadata, frame: pd.DataFrame) -> list[str]:
    """A sentence for each covariate that is unknown in some rows, or has a value that the model never saw."""
    if not metadata.covariates:
        return []
    cleaned = _cells(metadata, frame)
    notes = []
    for covariate in metadata.covariates:
        cells = cleaned[covariate.name]
        name, missing = covariate.name, int((cells == "").sum())
        new = 0 if covariate.categories is None else int(((cells != "") & ~cells.isin(covariate.categories)).sum())
        if missing:
            notes.append(f"{name} was not given for {many(missing, 'image')}: it counts as unknown there.")
        if new:
            notes.append(
                f"{name} has a value the model was not trained with in {many(new, 'image')}: it counts as unknown there."
            )
    return notes


def _cells(metadata: ModelMetadata, frame: pd.DataFrame) -> pd.DataFrame:
    """The covariates' columns as text, empty where nothing is known."""
    empty = pd.Series("", index=frame.index)
    columns = {}
    for covariate in metadata.covariates:
        cells = frame[covariate.name] if covariate.name in frame.columns else empty
        cells = cells.astype(object).where(cells.notna(), "").map(str).str.strip()
        # A category may be called "none". Every cell is judged alone, or a blank in another row would change its meaning.
        category = cells.isin(covariate.categories or ())
        columns[covariate.name] = cells.where(category, known(cells[~category]).reindex(frame.index, fill_value=""))
    return pd.DataFrame(columns)


def _numbers(column: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce")
    odd = numbers.isna() & column.notna() & (column.astype("string").str.strip() != "")
    if odd.any() or np.isinf(numbers.to_numpy(float)).any():
        raise InputError(
            f"The column {column.name!r} holds {int(odd.sum()) or 'infinite'} value(s) that are not numbers.",
            "numbers, or empty cells where they are not known.",
            "Correct these cells."
            if numbers.notna().any()
            else f"If it has categories, build the model with study=, or with covariates={{{column.name!r}: [...]}}.",
        )
    return numbers.to_numpy(float)


def _names(metadata: ModelMetadata) -> str:
    return ", ".join(covariate.name for covariate in metadata.covariates)
