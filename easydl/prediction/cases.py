"""A study's scans one at a time, each result with its reference, as the evaluation takes them. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from easydl.prediction.calling import check_classes, check_dimension, compiled
from easydl.prediction.cascades import open_model, predict_mask
from easydl.prediction.grid import working_grid
from easydl.prediction.image_to_image import corrupted, reconstruct_pixels
from easydl.prediction.results import Case, ReconstructedCase
from easydl.studies import Study


def segmented_cases(model: Any, study: Study, **options: bool) -> Iterator[Case]:
    """Segment every scan of a study that has a mask; options as in `predict`. Memory does not grow with the scans."""
    model, metadata = open_model(model)
    check_classes(metadata, study)
    for row in range(len(study)):
        if not study.has_mask(row):
            continue
        scan = study.scan(row)
        predicted = predict_mask(model, metadata, scan, None, **options)
        reference = study.reference(row, scan=scan)
        yield Case(*_named(study, row), predicted, reference, scan.spacing_mm, metadata.classes)


def reconstructed_cases(model: Any, study: Study, *, seed: int = 0) -> Iterator[ReconstructedCase]:
    """Corrupt every scan of a study and let an image-to-image model undo it; the seed settles the noise."""
    model, metadata = open_model(model)
    if study.dimension != metadata.dimension:
        check_dimension(metadata, study.scan(0))
    call, size = compiled(model), tuple(model.input_shape[1:-1])
    for row in range(len(study)):
        clean = np.clip(working_grid(metadata, study.scan(row)), *metadata.window).astype(np.float32)
        noisy = corrupted(metadata, clean, np.random.default_rng([seed, row]))
        yield ReconstructedCase(*_named(study, row), clean, noisy, reconstruct_pixels(call, size, metadata, noisy))


def _named(study: Study, row: int) -> tuple[str, str]:
    known = "patient" in study.frame.columns
    return study.addresses(row)[0], str(study.frame["patient"].iloc[row]) if known else f"image {row + 1}"
