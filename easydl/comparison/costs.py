"""What an answer of a network costs on this machine: milliseconds for an image, megabytes of parameters. It trains nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from easydl.comparison.results import Comparison
from easydl.networks.metadata import ModelMetadata
from easydl.tasks import Task

if TYPE_CHECKING:
    from easydl.studies import Study

CALLS, ENOUGH_SECONDS, BYTES = 9, 5.0, 4
"""Calls that are timed, fewer where they take long; and the bytes of a parameter in float32."""
MEANING = (
    f"Milliseconds per image: the median of up to {CALLS} answers to one image that had been read, one at a time, on the machine and at the "
    "time of this comparison. Another machine, several images at once, and other programs beside it give other times; MB is "
    "that of the parameters in float32."
)


class Cost(NamedTuple):
    """Milliseconds for one image, and megabytes (10^6 bytes) of parameters."""

    ms: float
    mb: float


def cost_of(model: Any, metadata: ModelMetadata, study: Study) -> Cost:
    """What a model costs, timed on the first image of a study."""
    return Cost(median_ms(_asking(model, metadata, study)), model.count_params() * BYTES / 1e6)


def median_ms(ask: Callable[[], Any]) -> float:
    """The median milliseconds of several calls; the first, which compiles, does not count."""
    ask()
    taken: list[float] = []
    while len(taken) < CALLS and sum(taken) < ENOUGH_SECONDS:
        begun = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begun)
    return 1000 * statistics.median(taken)


def _asking(model: Any, metadata: ModelMetadata, study: Study) -> Callable[[], Any]:
    """A call that waits for the answer to one image; what happens before the network to the image that was read is part of it."""
    from easydl.prediction import compiled, inputs
    from easydl.prediction.calling import with_covariates
    from easydl.prediction.cascades import predict_mask
    from easydl.prediction.covariates import study_covariates
    from easydl.prediction.image_to_image import reconstruct

    scan, task = study.scan(0), Task(metadata.task)
    if task.makes_images:
        call = compiled(model)
        return lambda: reconstruct(call, tuple(model.input_shape[1:-1]), metadata, scan)
    if task.has_masks:
        return lambda: predict_mask(model, metadata, scan)
    call, covariates = compiled(model), study_covariates(model, study.rows(study.frame.index[:1]))

    def ask() -> Any:
        answer = call(with_covariates(inputs(model, scan), covariates))
        return [np.asarray(one) for one in (answer.values() if isinstance(answer, dict) else [answer])]

    return ask


def with_costs(found: Comparison, costs: Mapping[str, Cost]) -> Comparison:
    """A comparison with the cost of its networks, by name; a baseline has none, for its features are computed together."""
    rows = tuple(replace(row, **costs[row.name]._asdict()) if row.name in costs else row for row in found.rows)
    return replace(found, rows=rows, notes=[*found.notes, *([MEANING] if costs else [])])
