"""How far what a network sees in an image is from what it saw in its training, and how far is usual. It calls no network."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from easydl.prediction.axes import principal_axes
from easydl.prediction.conformal import limit

KEPT = 0.97
"""The fraction of validation images that lie within the limit, as of looks (`easydl.prediction.appearance`)."""
COMPONENTS, PER_COMPONENT = 16, 8
FEWEST = 40
"""Training images below which the usual cannot be estimated; of validation images 33 are needed for the limit."""


class FeatureRange(BaseModel):
    """The usual features of the last layer: averages over training images, nothing of a single one.

    Attributes:
        n: Training images.
        validation: Validation images, one of each patient, from which the limit comes.
        mean: Of the features.
        components: The directions in which they differ most, one in each row.
        centre: Of the coordinates: along each direction, and the length of the rest.
        precision: Inverse of their covariance, shrunk (Ledoit and Wolf 2004).
        limit: The distance that `KEPT` of the validation images stay within.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    validation: int
    mean: list[float]
    components: list[list[float]]
    centre: list[float]
    precision: list[list[float]]
    limit: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Mahalanobis distances of images ``(n, features)``, in multiples of the limit."""
        moved = _coordinates(features, np.array(self.mean), np.array(self.components)) - np.array(self.centre)
        return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", moved, np.array(self.precision), moved)) / self.limit)


def feature_range(training: np.ndarray, validation: np.ndarray) -> FeatureRange | None:
    """The usual features from those of training images, and the limit from those of one image of each validation patient.

    None where there are too few of either.

    References:
        Lee K et al. A simple unified framework for detecting out-of-distribution samples. NeurIPS 2018.
        Ledoit O, Wolf M. A well-conditioned estimator for large-dimensional covariance matrices. J Multivar Anal 2004;88:365.
    """
    from sklearn.covariance import LedoitWolf

    training = training.astype(float)
    if (
        len(training) < FEWEST
        or not np.isfinite(limit(range(len(validation)), KEPT))
        or training.std(axis=0).max() < 1e-9
    ):
        return None
    mean = training.mean(axis=0)
    count = min(COMPONENTS, training.shape[1], len(training) // PER_COMPONENT)
    directions = principal_axes(training - mean)[1][:count]
    known = _coordinates(training, mean, directions)
    spread = np.maximum(known.std(axis=0), 1e-6 * known.std(axis=0).max())
    shrunk = LedoitWolf().fit(known / spread)  # of one scale, so that shrinking favours no direction
    found = FeatureRange(
        n=len(training),
        validation=len(validation),
        mean=_rounded(mean),
        components=[_rounded(one) for one in directions],
        centre=_rounded(shrunk.location_ * spread),
        precision=[_rounded(row) for row in shrunk.precision_ / np.outer(spread, spread)],
        limit=1.0,
    )
    usual = limit([float(one) for one in found.distances(validation)], KEPT)
    return found.model_copy(update={"limit": round(usual, 4)}) if usual > 0 else None


def unlike_features(training: Any, features: np.ndarray) -> list[list[str]]:
    """For each image a sentence, or none, on how unlike the training what the network sees in it is."""
    stored = training.get("features") if isinstance(training, dict) else None
    try:
        known = FeatureRange.model_validate(stored)
        far = known.distances(features.astype(float))
    except (ValidationError, ValueError):  # none is kept, or that of another network
        return [[] for _ in features]
    return [
        [
            f"What the network sees in it is unlike the training images: {times:.1f} times as far from them as 97 of 100 "
            f"validation images are (n = {known.validation} images)."
        ]
        if times > 1
        else []
        for times in far
    ]


def _coordinates(features: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    centred = features.astype(float) - mean
    along = centred @ directions.T
    if len(directions) == features.shape[1]:  # nothing is left
        return along
    return np.column_stack([along, np.linalg.norm(centred - along @ directions, axis=1)])


def _rounded(values: np.ndarray) -> list[float]:
    """Five digits are enough, and keep the model file small."""
    return [float(f"{value:.5g}") for value in values]
