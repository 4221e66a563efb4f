"""The quick result: a linear model on frozen features as the head of the network, tested out of fold. It trains no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from easydl.errors import EasyDLError
from easydl.evaluation.formatting import interval_text, number
from easydl.evaluation.measuring import headline, measure_of
from easydl.evaluation.paired import paired_difference
from easydl.networks import metadata_of
from easydl.networks.arguments import layer_name
from easydl.networks.decision import Decision
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.results import Predictions, output_columns
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training.estimators import SMALLEST, LinearHead, linear_head, problem_of

RESAMPLES = 1000
MODELS = {True: "ridge regression", False: "logistic regression"}


@dataclass(frozen=True)
class Sample:
    """How the images of the training part count.

    Attributes:
        by_head: For each head the weight of every image ``(images,)``, or of each of its labels; without an entry all alike.
        seed: Of folds and intervals.
        drawn: Whether the patients are drawn anew with replacement, as for the members of an ensemble, which would be equal.
    """

    by_head: Mapping[str, np.ndarray]
    seed: int = 0
    drawn: bool = False

    def weights(self, head: str, patients: np.ndarray) -> np.ndarray | None:
        """The weights of one head."""
        known = self.by_head.get(head)
        if not self.drawn:
            return known
        names, place = np.unique(patients, return_inverse=True)
        times = np.random.default_rng(self.seed).multinomial(len(names), np.full(len(names), 1 / len(names)))[place]
        if known is None:
            return times.astype(float)
        return known * (times if known.ndim == 1 else times[:, None])


def put_linear_head(model: Any, train: Study, features: np.ndarray, sample: Sample) -> str:
    """Fit the linear model of every head and make it the network's last layer, unless that belongs to soft trees.

    Args:
        model: A classifier of any task.
        train: The training part.
        features: float32 ``(images, features)``, of the layer ``features``.
        sample: How the images count.

    Returns:
        What it reaches on patients that it has not learnt from, as a sentence.
    """
    metadata = metadata_of(model)
    said = []
    for name in metadata.heads or [""]:
        problem = problem_of(train, name)
        every = np.ones(len(train), bool)
        weights = sample.weights(name, problem.patients)
        found = linear_head(features, problem, every, sample.seed, weights)
        if metadata.linear_head:
            _put(model, metadata, name, found)
        said.append(_said(metadata, train, name, found, sample.seed))
    return f"Quick result, on the frozen features of {metadata.arguments.get('name', model.name)}: {'; '.join(said)}."


def _put(model: Any, metadata: ModelMetadata, name: str, found: LinearHead) -> None:
    layer = model.get_layer(f"{layer_name(name)}_logits" if name else "logits")
    kernel, bias = found.kernel, found.bias
    if name in metadata.target:
        # The network learns values of mean 0 and standard deviation 1, and puts the unit back behind this layer.
        mean, std = metadata.target[name]
        kernel, bias = kernel / std, (bias - mean) / std
    # Covariates, which come behind the features, count nothing to begin with.
    whole = np.zeros(layer.kernel.shape, np.float32)
    whole[: len(kernel)] = kernel
    layer.set_weights([whole, np.asarray(bias, np.float32)])


def _said(metadata: ModelMetadata, train: Study, name: str, found: LinearHead, seed: int) -> str:
    head = metadata.heads.get(name)
    task, classes = (Task(head.task), head.classes) if head else (Task(metadata.task), metadata.classes)
    measure, what = measure_of(task, tuple(classes)), MODELS[task.is_value]
    start = f"{name}: {what}" if name else what
    # An AUC over all folds is one of ranks within each, as in `easydl.compare`.
    out_of_fold = found.ranked if task.has_classes and not task.ordered else found.out_of_fold
    asked = ~np.isnan(out_of_fold[:, 0])
    if not asked.any():
        return f"{start}; too few patients to test it out of fold"
    frame = train.frame.loc[asked, ["patient"]].assign(label=train.frame.loc[asked, name or "label"])
    columns = output_columns(out_of_fold[asked], Decision(task, tuple(classes), {}))
    predictions = Predictions(frame.assign(**columns), tuple(classes), train.patients_known, task=str(task))
    try:
        row = headline(predictions, seed=seed, resamples=RESAMPLES)
    except EasyDLError as problem:
        return f"{start}; {problem.found}"
    who = f"{frame['patient'].nunique()} patients, " if train.patients_known else ""
    value = f"{number(row['value'], row['unit'])} (95% CI {interval_text(row)})"
    return f"{start} out of fold, {measure.name} {value}, {who}{int(asked.sum())} training images"


def row_losses(outputs: Any, targets: Any, metadata: ModelMetadata, weights: Any = None) -> np.ndarray:
    """The loss of every image, float ``(images,)``: cross-entropy, or the squared error in standard deviations.

    Args:
        outputs: Of the model, or a dict by head.
        targets: As `Study.targets`.
        metadata: Of the model.
        weights: By head, 0 where an image has no label for it; None for a single head.
    """
    total = np.zeros(len(next(iter(outputs.values())) if isinstance(outputs, Mapping) else outputs))
    for name in metadata.heads or [""]:
        said, truth = (np.asarray(one[name] if name else one, float) for one in (outputs, targets))
        task = Task(metadata.heads[name].task if name else metadata.task)
        if task.is_value:
            lost = ((said - truth) / metadata.target[name][1]) ** 2
        else:
            lost = -truth * np.log(np.maximum(said, SMALLEST))
            if not task.exclusive:
                lost -= (1 - truth) * np.log(np.maximum(1 - said, SMALLEST))
        total += lost.reshape(len(total), -1).sum(axis=1) * (1.0 if not weights else np.asarray(weights[name]))
    return total


def gain(before: np.ndarray, after: np.ndarray, val: Study, seed: int) -> tuple[bool, str]:
    """Whether the loss of the validation images has fallen for sure, and by how much as text.

    Args:
        before: The loss of every image, as `row_losses`.
        after: The same of the other weights.
        val: The validation part.
        seed: Of the bootstrap.
    """
    patients = _patients(val)
    found = paired_difference(None, before, after, patients, measure="mean", seed=seed, resamples=RESAMPLES)
    who = f"{val.n_patients} patients" if val.patients_known else f"{len(val)} images"
    if not np.isfinite(found.low):
        return False, f"{who} in the validation part are too few to tell"
    text = f"{found.difference:.3f} (95% CI {found.low:.3f} to {found.high:.3f}), {who}"
    return found.low > 0, text


def _patients(part: Study) -> np.ndarray:
    """The patient of every image; the image itself where patients are not known."""
    frame = part.frame
    return (frame["patient"] if part.patients_known else frame.index.to_series()).astype(str).to_numpy()
