"""A classifier with covariates cut at its layer ``features``: images are looked at once, then paired with any table."""

from __future__ import annotations

from typing import Any

import numpy as np

from easydl.networks import head, members_of, metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.networks.surgery import FEATURES
from easydl.prediction.calling import compiled, inputs
from easydl.prediction.covariates import study_covariates
from easydl.studies import Study

BATCH = 16


class CutModel:
    """The answers of a model for the images of a study with covariates that may be those of other images.

    Args:
        model: A classifier of easydl that takes covariates; of an ensemble every member is cut.
        study: Its images and its covariates.

    Attributes:
        covariates: float32 ``(images, width)``, encoded.
        columns: For each covariate by name its columns of ``covariates``.
    """

    def __init__(self, model: Any, study: Study) -> None:
        encoded = study_covariates(model, study)
        assert encoded is not None
        self.covariates, self.columns = encoded, _columns(metadata_of(model))
        members = members_of(model)
        self._heads = [head(member) for member in members]
        calls, parts = [compiled(member, FEATURES) for member in members], []
        for begin in range(0, len(study), BATCH):
            rows = list(range(begin, min(begin + BATCH, len(study))))
            batch = np.concatenate(study.each(lambda row: inputs(model, study.scan(row)), rows))
            parts.append([call(batch).numpy() for call in calls])
        self._features = [np.concatenate(one) for one in zip(*parts, strict=True)]

    def outputs(self, images: np.ndarray, covariates: np.ndarray) -> Any:
        """What the model says of some images, each with a row of the table.

        Args:
            images: int ``(rows,)``: which image.
            covariates: float32 ``(rows, width)``, encoded.

        Returns:
            float ``(rows, outputs)``; a dict of them by head where there are several.
        """
        answers = []
        for part, features in zip(self._heads, self._features, strict=True):
            answers.append(part({FEATURES: features[images], "covariates": covariates}, training=False))
        if isinstance(answers[0], dict):
            return {name: np.mean([np.asarray(one[name]) for one in answers], axis=0) for name in answers[0]}
        return np.mean([np.asarray(one) for one in answers], axis=0)


def _columns(metadata: ModelMetadata) -> dict[str, slice]:
    found, begin = {}, 0
    for covariate in metadata.covariates:
        found[covariate.name] = slice(begin, begin + covariate.width)
        begin += covariate.width
    return found
