"""Where images lie in the space of a model's features, and which lie together. It knows no names."""

from __future__ import annotations

import numpy as np

COMPONENTS = 20
"""Directions that are kept: what differs between single images only is noise to a map."""
SMALLEST_ISLAND = 8


def reduced(values: np.ndarray) -> np.ndarray:
    """The principal components of standardised features, float64 ``(images, at most 20)``."""
    from sklearn.decomposition import PCA

    values = np.asarray(values, float)
    spread = values.std(axis=0)
    varying = spread > 1e-9
    if not varying.any():
        return np.zeros((len(values), 1))
    scaled = (values[:, varying] - values[:, varying].mean(axis=0)) / spread[varying]
    return np.asarray(PCA(min(COMPONENTS, *scaled.shape), random_state=0).fit_transform(scaled))


def on_map(components: np.ndarray, method: str) -> np.ndarray:
    """Two coordinates for each image: the first two components, or t-SNE of all."""
    if method == "pca" or len(components) < 5:
        return np.pad(components, [(0, 0), (0, max(0, 2 - components.shape[1]))])[:, :2]
    from sklearn.manifold import TSNE

    nearby = min(30.0, (len(components) - 1) / 4)
    made = TSNE(2, perplexity=nearby, init="pca", random_state=0)
    return np.asarray(made.fit_transform(components), float)


def islands_of(positions: np.ndarray) -> np.ndarray:
    """The group of each image: dense regions of any shape, as many as there are, from 1 the largest; 0 for those between.

    References:
        Campello RJGB, Moulavi D, Sander J. Density-based clustering based on hierarchical density estimates. PAKDD 2013.
    """
    from sklearn.cluster import HDBSCAN

    smallest = max(SMALLEST_ISLAND, len(positions) // 25)
    if len(positions) < 2 * smallest:
        return np.zeros(len(positions), int)
    found = np.asarray(HDBSCAN(min_cluster_size=smallest, min_samples=5, copy=True).fit_predict(positions))
    sizes = np.bincount(found[found >= 0], minlength=1)
    place = np.empty(len(sizes), int)
    place[np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    return np.where(found >= 0, place[np.maximum(found, 0)], 0)
