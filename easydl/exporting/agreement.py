"""How far a converted model answers as the Keras model does, on the images of a study. It converts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from easydl.evaluation.bootstrap import PatientBootstrap
from easydl.evaluation.intervals import Interval, bounded_mean_interval, positive_mean_interval, proportion_interval
from easydl.evaluation.paired_models import paired_differences
from easydl.exporting.results import Agreement
from easydl.networks import metadata_of
from easydl.networks.decision import Decision
from easydl.networks.metadata import ModelMetadata
from easydl.prediction import compiled, inputs
from easydl.prediction.calling import with_covariates
from easydl.prediction.covariates import study_covariates
from easydl.prediction.grid import working_grid
from easydl.prediction.image_to_image import reconstruct_pixels
from easydl.prediction.results import Predictions, output_columns
from easydl.prediction.segmentation import segment
from easydl.studies import Study
from easydl.tasks import Task

Call = Callable[[Any], Any]
LARGEST = "largest difference of"


def measured(model: Any, call: Call, size: tuple[int, ...], study: Study) -> list[Agreement]:
    """Every comparison of the two on a study, the one of the decisions first."""
    metadata, sample = metadata_of(model), _Sample(study)
    task = Task(metadata.task)
    if task.has_masks:
        return _of_masks(model, call, size, metadata, study, sample)
    if task.makes_images:
        return _of_images(model, call, size, metadata, study, sample)
    pairs = [tuple(_by_head(each(one)) for each in (compiled(model), call)) for one in given(model, study)]
    keras, other = ({name: np.concatenate([pair[k][name] for pair in pairs]) for name in pairs[0][k]} for k in (0, 1))
    out = [
        row
        for name in keras
        for row in _of_head(metadata.decision(name), f"{name}: " if name else "", keras[name], other[name], sample)
    ]
    return out if metadata.heads else [*out, *_scored(metadata, study, keras[""], other[""])]


def given(model: Any, study: Study) -> Iterator[Any]:
    """Each image of a study as a classifier takes it: a batch of one."""
    covariates = study_covariates(model, study)
    for row in range(len(study)):
        image = inputs(model, study.scan(row))
        yield with_covariates(image, None if covariates is None else covariates[row : row + 1])


class _Sample:
    """The patients of a study's rows, and the intervals of numbers of its images."""

    def __init__(self, study: Study) -> None:
        self.unit = "patients" if study.patients_known else "images"
        rows = np.arange(len(study)).astype(str)
        self.patients = study.frame["patient"].astype(str).to_numpy() if study.patients_known else rows
        self.n = len(np.unique(self.patients))

    def proportion(self, name: str, flags: np.ndarray) -> Agreement:
        """The fraction of images of which something holds."""
        counts, drawn = self._resampled(flags.astype(float))
        return self._row(name, float(flags.mean()), len(flags), proportion_interval(float(flags.mean()), drawn, counts))

    def mean(self, name: str, values: np.ndarray) -> Agreement:
        """The mean of numbers above 0."""
        counts, drawn = self._resampled(values)
        interval = positive_mean_interval(float(values.mean()), drawn, len(counts))
        return self._row(name, float(values.mean()), len(values), interval)

    def fraction(self, name: str, values: np.ndarray) -> Agreement:
        """The mean of numbers between 0 and 1."""
        index = np.unique(self.patients, return_inverse=True)[1]
        interval = bounded_mean_interval(np.bincount(index, weights=values), np.bincount(index))
        return self._row(name, float(values.mean()), len(values), interval)

    def largest(self, name: str, values: np.ndarray) -> Agreement:
        """The largest of all images: of these, so it has no interval."""
        return self._row(name, float(np.max(values)), len(values), None)

    def _resampled(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many images each patient has, and the mean in every resample of the patients."""
        bootstrap = PatientBootstrap(self.patients, content=values)
        counts = np.bincount(bootstrap.index).astype(float)
        sums = np.bincount(bootstrap.index, weights=values)
        return counts, bootstrap.run(lambda drawn: ((drawn @ sums) / (drawn @ counts))[:, None])[:, 0]

    def _row(self, name: str, value: float, images: int, interval: Interval | None) -> Agreement:
        low, high, note = (np.nan, np.nan, "") if interval is None else (interval.low, interval.high, interval.note)
        return Agreement(name, value, low, high, self.n, self.unit, images, note)


def _by_head(answer: Any) -> dict[str, np.ndarray]:
    return (
        {name: np.asarray(one) for name, one in answer.items()}
        if isinstance(answer, dict)
        else {"": np.asarray(answer)}
    )


def _of_head(decision: Decision, start: str, keras: np.ndarray, other: np.ndarray, sample: _Sample) -> list[Agreement]:
    apart = np.abs(keras - other).max(axis=1)
    if decision.task.is_value:
        return [
            sample.mean(f"{start}mean difference of the value", apart),
            sample.largest(f"{start}{LARGEST} the value", apart),
        ]
    if decision.task.exclusive:
        equal = decision.classes_of(keras) == decision.classes_of(other)
    else:
        equal = (decision.labels(keras) == decision.labels(other)).all(axis=1)
    return [
        sample.proportion(f"{start}same decision", np.asarray(equal)),
        sample.largest(f"{start}{LARGEST} a probability", apart),
    ]


def _scored(metadata: ModelMetadata, study: Study, keras: np.ndarray, other: np.ndarray) -> list[Agreement]:
    """The difference in what the task is judged by (AUC, kappa, mean absolute error), where the study has labels.

    Only the difference: how good the model is, is for `easydl.evaluate` to say, which counts the looks at a test part.
    """
    if study.task != metadata.task or "label" not in study.frame.columns:
        return []
    rows = study.frame[["patient", "label"]].assign(image=[" ".join(study.addresses(row)) for row in range(len(study))])
    tables = [
        Predictions(
            pd.DataFrame(rows).assign(**output_columns(outputs, metadata.decision())), metadata.classes,
            study.patients_known, study.name, metadata.task, thresholds=dict(metadata.thresholds),
        )
        for outputs in (other, keras)
    ]  # fmt: skip
    found = next(iter(paired_differences(*tables)))
    name = f"difference in {found.measure}, converted minus Keras"
    return [Agreement(name, found.difference, found.low, found.high, found.n, found.unit_of_n, len(study), found.note)]


def _of_masks(
    model: Any, call: Call, size: tuple[int, ...], metadata: ModelMetadata, study: Study, sample: _Sample
) -> list[Agreement]:
    """Through the same windows: pixels with the same class, and the Dice of the two masks."""
    equal, dice = [], []
    for row in range(len(study)):
        scan = study.scan(row)
        one, two = (segment(each, size, metadata, scan) for each in (compiled(model), call))
        equal.append(float((one == two).mean()))
        both = np.array(
            [[((one == k) & (two == k)).sum(), (one == k).sum() + (two == k).sum()] for k in _classes(metadata)]
        )
        there = both[both[:, 1] > 0]
        dice.append(float((2 * there[:, 0] / there[:, 1]).mean()) if len(there) else 1.0)
    return [
        sample.fraction("same class of a pixel", np.array(equal)),
        sample.fraction("Dice of the two masks", np.array(dice)),
    ]


def _classes(metadata: ModelMetadata) -> range:
    return range(1, len(metadata.classes))


def _of_images(
    model: Any, call: Call, size: tuple[int, ...], metadata: ModelMetadata, study: Study, sample: _Sample
) -> list[Agreement]:
    """Differences of the two images as fractions of the window, from black to white."""
    low, high = metadata.window
    apart = []
    for row in range(len(study)):
        pixels = np.clip(working_grid(metadata, study.scan(row)), low, high).astype(np.float32)
        one, two = (reconstruct_pixels(each, size, metadata, pixels) for each in (compiled(model), call))
        apart.append(np.abs(one - two) / (high - low))
    return [
        sample.mean(
            "mean difference of a pixel, as a fraction of black to white", np.array([one.mean() for one in apart])
        ),
        sample.largest(f"{LARGEST} a pixel, as a fraction of black to white", np.array([one.max() for one in apart])),
    ]
