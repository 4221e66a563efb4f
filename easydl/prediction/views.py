"""What a model makes of every image of a study, whole and without its border, for the audit. It judges nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.networks import metadata_of
from easydl.networks.surgery import FEATURES
from easydl.prediction.calling import check_classes, compiled, inputs, with_covariates
from easydl.prediction.covariates import study_covariates
from easydl.prediction.seen import seen_rows
from easydl.studies import Study

BATCH = 16
BORDER = 0.1
"""Fraction of each side that is taken away, as in `easydl.images.glance`."""


@dataclass(frozen=True)
class ModelView:
    """A classifier's answers for the rows of a study.

    Attributes:
        classes: In the order of the columns.
        probabilities: float32 ``(images, classes)``, 0 to 1.
        masked: The same when the outer tenth of every image is replaced by its mirrored inside.
        features: float32 ``(images, features)``, what the last layer sees; None where the model has no such layer.
        seen: For every row what the model has seen of it (`easydl.prediction.seen.seen_rows`).
    """

    classes: tuple[str, ...]
    probabilities: np.ndarray
    masked: np.ndarray
    features: np.ndarray | None
    seen: list[str]

    def rows(self, chosen: np.ndarray) -> ModelView:
        """Some of the rows."""
        features = None if self.features is None else self.features[chosen]
        seen = [self.seen[row] for row in np.arange(len(self.seen))[chosen]]
        return ModelView(self.classes, self.probabilities[chosen], self.masked[chosen], features, seen)


def model_view(model: Any, study: Study) -> ModelView:
    """Call a classifier on every image of a study, each read once.

    Args:
        model: A classifier (classes or ordered classes), a Keras model.
        study: With the model's classes.

    Raises:
        ModelError: The model does not fit the study.
    """
    metadata = metadata_of(model)
    check_classes(metadata, study)
    layers = {layer.name for layer in model.layers}
    call, both = compiled(model), compiled(model, FEATURES, beside=True) if FEATURES in layers else None
    covariates = study_covariates(model, study)
    whole, masked, features = [], [], []
    for begin in range(0, len(study), BATCH):
        rows = list(range(begin, min(begin + BATCH, len(study))))
        batch = np.concatenate(study.each(lambda row: inputs(model, study.scan(row)), rows))
        values = None if covariates is None else covariates[rows]
        given = with_covariates(batch, values)
        if both is None:
            whole.append(call(given).numpy())
        else:  # in one pass
            answers, seen = both(given)
            whole.append(answers.numpy())
            features.append(seen.numpy())
        masked.append(call(with_covariates(without_border(batch), values)).numpy())
    return ModelView(
        tuple(metadata.classes),
        np.concatenate(whole),
        np.concatenate(masked),
        np.concatenate(features) if features else None,
        seen_rows([metadata], study)[0],
    )


def without_border(batch: np.ndarray) -> np.ndarray:
    """Images ``(n, height, width, channels)`` or volumes with their in-plane border replaced by the mirrored inside.

    A constant would be a new edge that no training image has; a mirror image is what the network knows.
    """
    margins = [(0, 0)] * batch.ndim
    inside = [slice(None)] * batch.ndim
    for axis in (batch.ndim - 3, batch.ndim - 2):
        width = max(1, round(BORDER * batch.shape[axis]))
        margins[axis], inside[axis] = (width, width), slice(width, -width)
    return np.pad(batch[tuple(inside)], margins, mode="symmetric")
