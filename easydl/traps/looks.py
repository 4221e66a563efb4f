"""A small look at each image as numbers: what a cheap learner sees when there is no model. It learns nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from easydl.studies.thumbnails import local_means, reduced

if TYPE_CHECKING:
    from easydl.studies import Study

SIDE = 16


def small_looks(study: Study, rows: np.ndarray | None = None) -> np.ndarray:
    """float32 ``(images, 272)``: 16 x 16 local means, grey levels and noise, each to mean 0 and standard deviation 1."""
    facts = study.facts() if rows is None else study.facts(rows.tolist())
    small = reduced(facts, lambda images: local_means(images, SIDE))
    others = np.array([[*one.grey, *one.noise] for one in facts], np.float32)
    values = np.concatenate([small, others], axis=1)
    return standardised(values)


def standardised(values: np.ndarray) -> np.ndarray:
    """Each column to mean 0 and standard deviation 1."""
    return (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-6)
