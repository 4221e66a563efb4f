"""What the images of a training look like as a whole, and how far a new one is from them. It calls no network.

Each image becomes its thumbnail with the spread of its grey values and edges; principal components of these describe what
is usual, and the rest of an image that they cannot describe counts against it (probabilistic principal components, a
linear autoencoder).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from easydl.images.resampling import resize, stretch
from easydl.prediction.axes import principal_axes

if TYPE_CHECKING:
    from easydl.images import Scan

FEWEST = 20
"""With fewer images what is usual cannot be estimated."""
COMPONENTS, THUMBNAIL, FINE, WEIGHT = 4, 16, 64, 20.0
KEPT = 0.97
"""The fraction of images, judged by components of others, that lie within the limit."""


class Appearance(BaseModel):
    """The usual look of some images: averages over all of them, nothing of a single one.

    Attributes:
        n: Images.
        mean: Of what describes an image.
        components: The directions in which images differ most, one in each row.
        deviations: Standard deviation along each.
        rest: Standard deviation along all others.
        limit: The distance that `KEPT` of the images stay within.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    n: int
    mean: list[float]
    components: list[list[float]]
    deviations: list[float]
    rest: float
    limit: float

    def distance(self, scan: Scan) -> float:
        """How far an image is, in multiples of the limit."""
        return float(self._distances(looks_of(scan)[None])[0]) / self.limit

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        centred, directions = rows - np.array(self.mean), np.array(self.components)
        along = centred @ directions.T
        beside = centred - along @ directions
        usual = (along**2 / (np.array(self.deviations) ** 2 + self.rest**2)).sum(axis=1)
        return np.asarray(np.sqrt((usual + (beside**2).sum(axis=1) / self.rest**2) / rows.shape[1]))


def appearance_of(rows: Sequence[np.ndarray]) -> Appearance | None:
    """The look of images that `looks_of` describes; None where they are too few or hardly differ."""
    every = np.array(rows)
    if len(every) < FEWEST or every.std(axis=0).max() < 1e-6:
        return None
    # Every image is judged by components that it did not shape.
    halves = [every[::2], every[1::2]]
    distances = np.concatenate([_fitted(one)._distances(other) for one, other in (halves, halves[::-1])])
    whole = _fitted(every)
    return whole.model_copy(update={"limit": round(float(np.quantile(distances, KEPT)), 4)})


def _fitted(rows: np.ndarray) -> Appearance:
    mean = rows.mean(axis=0)
    singular, directions = principal_axes(rows - mean)
    deviations, count = singular / np.sqrt(len(rows)), COMPONENTS
    rest = np.sqrt((deviations[count:] ** 2).sum() / (rows.shape[1] - count))
    return Appearance(
        n=len(rows),
        mean=mean.round(4).tolist(),
        components=directions[:count].round(4).tolist(),
        deviations=deviations[:count].round(4).tolist(),
        rest=max(float(rest), 1e-6),
        limit=1.0,
    )


def looks_of(scan: Scan) -> np.ndarray:
    """One image (of a volume its middle slice) as numbers whose differences count alike, whatever its grey scale."""
    pixels = scan.pixels[len(scan.pixels) // 2] if scan.dimension == 3 else scan.pixels
    grey = pixels.mean(axis=-1, keepdims=True).astype(np.float32)
    fine = stretch(resize(grey, (FINE, FINE)))[..., 0] / 255.0
    small = resize(grey, (THUMBNAIL, THUMBNAIL))[..., 0].ravel()
    small = (small - small.mean()) / (small.std() + 1e-6)
    counts = np.histogram(fine, 16, (0, 1))[0] / fine.size
    down, right = np.gradient(fine)
    size, angle = np.hypot(down, right), np.arctan2(down, right) % np.pi
    half = FINE // 2
    edges = [
        np.histogram(angle[a : a + half, b : b + half], 8, (0, np.pi), weights=size[a : a + half, b : b + half])[0]
        for a in (0, half)
        for b in (0, half)
    ]
    fraction = np.concatenate(edges) / (size.sum() + 1e-6)
    return np.concatenate(
        [small, WEIGHT * np.sqrt(counts), WEIGHT * np.sqrt(fraction), [2 * np.log(size.mean() + 1e-4)]]
    )
