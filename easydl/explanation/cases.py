"""One image as a network is shown it for an explanation, with its covariates. It explains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from easydl.errors import InputError
from easydl.explanation.checks import upsampled
from easydl.images import Scan
from easydl.networks.metadata import ModelMetadata, attached
from easydl.prediction import inputs
from easydl.prediction.covariates import case_covariates, covariate_notes, study_covariates
from easydl.prediction.predicting import as_source
from easydl.prediction.segmentation import segment_scan
from easydl.studies import Study
from easydl.tasks import Task

WIDEST = {2: 512, 3: 96}


@dataclass(frozen=True)
class Shown:
    """What the network is shown: the whole image, or of a large scan one window.

    Attributes:
        batch: ``(1, *size, channels)``, padded where the window is larger than the grid.
        view: Where it lies on the model's grid.
        grid: How large that grid is.
        note: What must be known about it, or empty.
    """

    batch: np.ndarray
    view: tuple[slice, ...]
    grid: tuple[int, ...]
    note: str = ""

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size of what the network is shown."""
        return self.batch.shape[1:-1]

    def on_scan(self, fine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """A map of what the network is shown, on the scan's own grid; outside the explained window there is none."""
        if self.size == self.grid:
            return upsampled(fine, shape)
        canvas = np.zeros(self.grid, np.float32)
        canvas[self.view] = fine[tuple(slice(0, part.stop - part.start) for part in self.view)]
        return upsampled(canvas, shape)


class Case(NamedTuple):
    """An image as it was given, its encoded covariates, what must be known about them, and what the network is shown."""

    given: Scan
    encoded: np.ndarray | None
    notes: list[str]
    scan: Scan
    shown: Shown


def case_of(
    model: Any,
    metadata: ModelMetadata,
    source: Any,
    row: int,
    index: int | None,
    *,
    covariates: Mapping[str, Any] | None,
    units: str,
) -> Case:
    """An image of a source, as the network is shown it to explain class ``index``."""
    given, encoded, notes = image_of(model, metadata, source, row, covariates, units)
    scan = given.oriented()
    return Case(given, encoded, notes, scan, _shown(model, metadata, scan, index))


def one_row(study: Study, row: int) -> Study:
    """The study of one of its images."""
    if not 0 <= row < len(study):
        raise InputError(
            f"There is no row {row} in a study of {len(study)} images.",
            f"a row from 0 to {len(study) - 1}.",
            "Choose another row.",
        )
    return study.rows([study.frame.index[row]])


def image_of(
    model: Any,
    metadata: ModelMetadata,
    source: Any,
    row: int,
    covariates: Mapping[str, Any] | None,
    units: str,
) -> tuple[Scan, np.ndarray | None, list[str]]:
    """The scan, its encoded covariates, and what must be known about them."""
    if attached(model) is None:
        return _own_units(metadata, source), None, []
    if isinstance(source, np.ndarray) and source.ndim == metadata.dimension:
        source = source[..., None]
    from_file = isinstance(source, (str, Path))
    source = as_source(source, metadata, units)
    if isinstance(source, Scan):
        notes = covariate_notes(metadata, pd.DataFrame([dict(covariates or {})]))
        return source.on_source() if from_file else source, case_covariates(metadata, covariates), notes
    one = one_row(source, row)
    return one.scan(0), study_covariates(model, one), covariate_notes(metadata, one.frame)


def _own_units(metadata: ModelMetadata, source: Any) -> Scan:
    """The scan for a model that easydl did not make: its values are taken as they are."""
    if isinstance(source, Scan):
        return replace(source, units=metadata.units)
    if not isinstance(source, np.ndarray):
        size = " x ".join("any" if side is None else str(side) for side in (*metadata.size, metadata.channels))
        raise InputError(
            f"The source is a {type(source).__name__}, and easydl did not make this model.",
            f"an array or a Scan of {size} as the model's input layer takes it: nothing says how its images are prepared.",
            "Prepare the image as in the model's training, such as by preprocess_input of keras.applications, and give "
            "the array.",
        )
    pixels = source[..., None] if source.ndim == metadata.dimension else source
    return Scan(pixels.astype(np.float32), metadata.units, source="array")


def _shown(model: Any, metadata: ModelMetadata, scan: Scan, index: int | None) -> Shown:
    """The whole image, or for a large scan of a segmentation model the window around the segmentation."""
    batch = inputs(model, scan)
    grid = batch.shape[1:-1]
    if not Task(metadata.task).has_masks:
        return Shown(batch, tuple(slice(0, side) for side in grid), grid)
    limits = (WIDEST[metadata.dimension],) * metadata.dimension
    patch = tuple(
        int(own) if own is not None else min(-(-limit // step), -(-side // step)) * step
        for own, limit, side, step in zip(model.input_shape[1:-1], limits, grid, metadata.multiples, strict=True)
    )
    begin, note = [0] * len(grid), ""
    if any(side > size for side, size in zip(grid, patch, strict=True)):
        begin = _centred(segment_scan(model, metadata, scan), index, grid, patch)
        note = f"Only the window of {' x '.join(map(str, patch))} around the segmentation was explained."
    view = tuple(slice(a, min(a + size, side)) for a, size, side in zip(begin, patch, grid, strict=True))
    window = batch[(slice(None), *view)]
    padding = [(0, size - have) for size, have in zip(patch, window.shape[1:-1], strict=True)]
    return Shown(np.pad(window, [(0, 0), *padding, (0, 0)], mode="edge"), view, grid, note)


def _centred(labels: np.ndarray, index: int | None, grid: tuple[int, ...], patch: tuple[int, ...]) -> list[int]:
    """Where a window begins that has the segmentation in its middle."""
    inside = np.argwhere(labels == index if index is not None else labels > 0)
    middle = inside.mean(axis=0) if len(inside) else np.array(labels.shape) / 2
    on_grid = middle * np.array(grid) / np.array(labels.shape)
    return [
        int(np.clip(round(at - size / 2), 0, max(0, side - size)))
        for at, size, side in zip(on_grid, patch, grid, strict=True)
    ]
