"""Which model answered for which images: what the ledger of test looks needs to know. It keeps nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from easydl.networks.metadata import ModelMetadata
from easydl.prediction.seen import metadata_of_all
from easydl.studies import Study

_HISTORY = {"training", "seen", "easydl", "pretrained"}
"""What the metadata say of how a model came about; its answers do not depend on it."""


@dataclass(frozen=True)
class Provenance:
    """A model and the images it was put to.

    Attributes:
        model: `fingerprint` of the model.
        column: The column of the table that names the images.
        images: For each image's name the SHA-256 of its decoded pixels.
        training_score: How good the model was on training images, by head (`easydl.evaluation.overfitting`).
    """

    model: str
    column: str
    images: Mapping[str, str]
    training_score: Mapping[str, Any] = field(default_factory=dict)


def provenance(model: Any, metadata: ModelMetadata, study: Study) -> Provenance:
    """What of a model and a study the ledger needs; digests come from the cache where they are known."""
    addresses = [tuple(study.addresses(row)) for row in range(len(study))]
    column = study.image_columns[0]
    digests = study.files.digests(addresses, study.each)
    images = dict(zip(study.frame[column].astype(str), digests, strict=True))
    score = metadata.training.get("training_score")
    return Provenance(fingerprint(model, metadata), column, images, score if isinstance(score, dict) else {})


def fingerprint(model: Any, metadata: ModelMetadata) -> str:
    """SHA-256 (hexadecimal) of all that a model's answers depend on: weights, graph, thresholds, units, grid.

    The same for the model in memory and read from its file; of a cascade it is of both models and the margin.
    """
    parts = metadata_of_all(model, metadata)
    networks = [model.find_organ, model.find_lesion] if len(parts) == 2 else [model]
    found = hashlib.sha256()
    if len(parts) == 2:
        found.update(json.dumps([*model.organs, model.margin_mm]).encode())
    for network, one in zip(networks, parts, strict=True):
        found.update(json.dumps(one.model_dump(mode="json", exclude=_HISTORY), sort_keys=True, default=str).encode())
        for weight in network.get_weights():
            found.update(repr((weight.shape, weight.dtype.str)).encode())
            found.update(np.ascontiguousarray(weight).data)
    return found.hexdigest()
