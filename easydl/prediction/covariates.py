"""What a model is told beside the image: the covariates of a study or of one case, cleaned and counted. It decodes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.networks import encode_covariates, metadata_of, set_covariates
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.studies.covariates import known
from easydl.studies.tables import many


def beside(model: Any, study: Study, *, learn: bool = False) -> np.ndarray | None:
    """The encoded covariates of a study.

    Args:
        model: A model of easydl.
        study: Its frame holds the columns; one that is missing counts as unknown in every row.
        learn: Whether this is the training part, whose mean and deviation the model takes over.

    Returns:
        float32 ``(images, width)``, or None for a model that takes images alone.

    Raises:
        InputError: A column of numbers holds words, or, when learning, a column is missing.
    """
    metadata = metadata_of(model)
    if not metadata.covariates:
        return None
    if learn:
        absent = [one.name for one in metadata.covariates if one.name not in study.frame.columns]
        if absent:
            raise InputError(
                f"The study has no column {absent[0]!r}, which the model takes beside the image.",
                f"the columns {', '.join(one.name for one in metadata.covariates)}.",
                "Build the model with covariates= of this study, or add the column.",
            )
        set_covariates(model, _cleaned(metadata, study.frame))
        metadata = metadata_of(model)
    return encode_covariates(metadata, _cleaned(metadata, study.frame))


def beside_case(metadata: ModelMetadata, given: Mapping[str, Any] | None) -> np.ndarray | None:
    """The encoded covariates of one case.

    Args:
        recipe: Of the model.
        given: Values by name, such as ``{"age": 61, "sex": "F"}``; what is missing counts as unknown.

    Returns:
        float32 ``(1, width)``, or None for a model that takes images alone.

    Raises:
        InputError: A name or a value that the model does not know.
    """
    given = dict(given or {})
    names = [one.name for one in metadata.covariates]
    strange = [name for name in given if name not in names]
    if strange:
        raise InputError(
            f"The model takes no covariate {strange[0]!r}.",
            f"one of {', '.join(names)}." if names else "images alone.",
            "Correct covariates=, or leave it out.",
        )
    if not names:
        return None
    frame = _cleaned(metadata, pd.DataFrame({name: [given.get(name, "")] for name in names}))
    for one in metadata.covariates:
        value = frame[one.name].iloc[0]
        if one.categories is not None and value and value not in one.categories:
            raise InputError(
                f"The covariate {one.name!r} is {value!r}.",
                f"one of {', '.join(map(repr, one.categories))}, as the model was trained with.",
                "Correct the value, or leave it out when it is not known.",
            )
    return encode_covariates(metadata, frame)


def unknown(metadata: ModelMetadata, frame: pd.DataFrame | None, given: Mapping[str, Any] | None = None) -> list[str]:
    """What the model was not told, in words.

    Args:
        recipe: Of the model.
        frame: The study's table, or None for one case.
        given: The values of one case.

    Returns:
        A sentence for each covariate that is missing in some images, or of a value the model never saw.
    """
    if not metadata.covariates:
        return []
    table = pd.DataFrame([dict(given or {})]) if frame is None else frame
    cleaned = _cleaned(metadata, table)
    notes = []
    for one in metadata.covariates:
        cells = cleaned[one.name]
        new = cells[(cells != "") & ~cells.isin(one.categories)] if one.categories is not None else cells[:0]
        missing = int((cells == "").sum())
        if missing:
            notes.append(f"{one.name} was not given for {many(missing, 'image')}: it counts as unknown there.")
        if len(new):
            notes.append(
                f"{one.name} has a value the model was not trained with in {many(len(new), 'image')}: it counts as unknown "
                "there."
            )
    return notes


def _cleaned(metadata: ModelMetadata, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns the model takes as text, blank where nothing is known."""
    blank = pd.Series("", index=frame.index)
    found = {}
    for one in metadata.covariates:
        cells = frame[one.name] if one.name in frame.columns else blank
        cells = cells.astype(object).where(cells.notna(), "").map(str).str.strip()
        # A category may be called "none". Every cell is judged alone, or a blank in another row would change its meaning.
        meant = cells.isin(one.categories or ())
        found[one.name] = cells.where(meant, known(cells[~meant]).reindex(frame.index, fill_value=""))
    return pd.DataFrame(found)
