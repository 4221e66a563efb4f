"""What the validation part says of a trained model: temperature, thresholds, what speaks against it; and its training score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from easydl.errors import EasyDLError
from easydl.evaluation.findings import NO_OVERLAP
from easydl.evaluation.formatting import number
from easydl.evaluation.overfitting import training_scores
from easydl.evaluation.tables import table_metrics
from easydl.evaluation.temperature import Calibration, calibration
from easydl.evaluation.thresholds import BEST, Aim, chosen
from easydl.networks import members_of, metadata_of, set_temperature
from easydl.networks.decision import Threshold
from easydl.networks.metadata import ModelMetadata
from easydl.networks.surgery import FEATURES
from easydl.prediction.answers import BATCH, answers_by_head
from easydl.prediction.calling import compiled, inputs
from easydl.prediction.conformal import conformal_scores
from easydl.prediction.feature_range import feature_range
from easydl.prediction.grid import working_grid
from easydl.prediction.image_to_image import error_limit, reconstruct_pixels, reconstruction_error
from easydl.prediction.results import Predictions
from easydl.prediction.tables import predict_study, predictions_of
from easydl.studies import Study
from easydl.studies.labels import JOIN
from easydl.tasks import Task

RESAMPLES = 500
LEARNED = {2: 200, 3: 40}
"""Training images that are predicted, spread over the part, for the model's training score."""


@dataclass(frozen=True)
class Judgement:
    """What was found on the validation part.

    Attributes:
        thresholds: Of the positive class or the labels, by name.
        warnings: As those of `easydl.evaluate`.
        calibrations: Of the heads, by name; that of a single output is "".
        conformal: By what sets of classes are made, in the same way.
        error_limit: Of an image-to-image model: a larger error of reconstruction says that an image is of another kind.
        features: What its last layer usually sees (`easydl.prediction.feature_range`).
        headline: The first line of the test on the validation part; empty with several heads or where there is no such test.
        training_score: The headline of a test on training images, by head, which later tests are compared with.
    """

    thresholds: dict[str, Threshold] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    conformal: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    error_limit: float | None = None
    training_score: dict[str, dict[str, Any]] = field(default_factory=dict)
    features: dict[str, Any] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)

    @property
    def sentences(self) -> list[str]:
        """What was chosen, and on what grounds."""
        calibrated = [f"{name}: {one.text}" if name else one.text for name, one in self.calibrations.items()]
        return [*calibrated, *(f"{name}: {threshold.text}." for name, threshold in self.thresholds.items())]

    @property
    def record(self) -> dict[str, Any]:
        """For the record of the training."""
        calibrations = {name: one.facts() for name, one in self.calibrations.items()}
        found = {"calibration": calibrations, "conformal": self.conformal, "error_limit": self.error_limit}
        found |= {"training_score": self.training_score, "features": self.features}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Frozen:
    """What the last layer sees in every image of both parts, float32 ``(images, features)``, as long as nothing before it changes."""

    train: np.ndarray
    val: np.ndarray


def judged(
    model: Any,
    train: Study,
    val: Study,
    rows: Sequence[dict[str, Any]],
    seed: int,
    *,
    aim: Aim = BEST,
    calibrate: bool = True,
    frozen: Frozen | None = None,
) -> Judgement:
    """Calibrate the model on the validation part, choose its thresholds there, and say what speaks against it.

    Args:
        model: Trained. Its last layer is changed where a temperature helps.
        train: The training part.
        val: The validation part.
        rows: One for each epoch, as in history.csv.
        seed: Of the intervals.
        aim: What the thresholds are chosen for.
        calibrate: Whether a temperature is fitted.
        frozen: What the last layer sees in both parts, where the training has computed it and left it as it is.
    """
    task = Task(metadata_of(model).task)
    if task.makes_images:
        return Judgement(error_limit=error_limit(_errors(model, val)))
    if task.per_pixel:
        return Judgement(warnings=_by_epochs(task, rows, val))
    # The metadata hold the thresholds and warnings of an earlier training.
    metadata = metadata_of(model).model_copy(update={"thresholds": {}, "training": {}})
    spread = _spread(len(train), train.dimension)
    learned = train.rows(train.frame.index[spread])
    try:
        seen, learned_seen = _seen(model, val, learned, None if frozen is None else (frozen.train[spread], frozen.val))
        predictions = _predicted(model, metadata, val, seen)
        calibrations = calibrated(model, _by_member(model, val, predictions), seed) if calibrate else {}
        if any(one.temperature != 1 for one in calibrations.values()):
            predictions = _predicted(model, metadata, val, seen)
        thresholds = chosen(predictions, aim=aim, seed=seed)
        metrics = table_metrics(predictions.decided(thresholds), seed=seed, resamples=RESAMPLES)
    except EasyDLError as problem:
        # A trained model is not lost because its validation part cannot be tested.
        return Judgement(warnings=[f"It could not be tested: {problem.found}"])
    missed = [f"{name}: {one.reason}." for name, one in thresholds.items() if aim.rate and one.reason]
    sets = conformal_scores(predictions, seed=seed)
    scores, usual = _training_score(model, learned, learned_seen, seed), _usual_features(learned_seen, val, seen)
    warnings = [*metrics.warnings, *missed]
    first = (
        {} if metrics.heads or metrics.table.empty else {str(key): one for key, one in metrics.table.iloc[0].items()}
    )
    return Judgement(thresholds, warnings, calibrations, sets, training_score=scores, features=usual, headline=first)


def _spread(count: int, dimension: int) -> np.ndarray:
    """Some of so many positions, spread over all of them, in order."""
    return np.unique(np.linspace(0, count - 1, LEARNED[dimension]).astype(int))


def _seen(
    model: Any, val: Study, learned: Study, known: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What the last layer sees in the validation and in the training images, one pass of each; None where there is no such layer."""
    if known is not None:
        return known[1], known[0]
    own = metadata_of(model).builder != "keras"
    if not own or FEATURES not in {layer.name for layer in model.layers}:  # an ensemble, or a network of its own kind
        return None, None
    return _features(model, val), _features(model, learned)


def _features(model: Any, part: Study) -> np.ndarray:
    """What the last layer sees in every image of a part, ``(images, features)``."""
    call = compiled(model, FEATURES)
    batches = (range(begin, min(begin + BATCH, len(part))) for begin in range(0, len(part), BATCH))
    images = (np.concatenate(part.each(lambda row: inputs(model, part.scan(row)), batch)) for batch in batches)
    return np.concatenate([np.asarray(call(batch)) for batch in images])


def _predicted(model: Any, metadata: ModelMetadata, part: Study, seen: np.ndarray | None) -> Predictions:
    """The predictions of a part, by the last layer alone where it is known what that sees."""
    if seen is None:
        return predict_study(model, metadata, part)
    return predictions_of(model, metadata, part, answers_by_head(model, part, seen))


def _usual_features(learned: np.ndarray | None, val: Study, seen: np.ndarray | None) -> dict[str, Any]:
    """What the last layer sees in some training images, with the limit from the validation part; empty where it is not known."""
    if learned is None or seen is None:
        return {}
    first = ~val.frame["patient"].duplicated().to_numpy() if val.patients_known else np.ones(len(val), bool)
    rows = np.flatnonzero(first)
    found = feature_range(learned, seen[rows[_spread(len(rows), val.dimension)]])
    return {} if found is None else found.model_dump()


def _training_score(model: Any, learned: Study, seen: np.ndarray | None, seed: int) -> dict[str, dict[str, Any]]:
    """How good the model is on some of its training images; nothing where these cannot be tested."""
    metadata = metadata_of(model).model_copy(update={"thresholds": {}, "training": {}})
    try:
        predictions = _predicted(model, metadata, learned, seen)
        return training_scores(table_metrics(predictions, seed=seed, resamples=RESAMPLES))
    except EasyDLError:
        return {}


def _errors(model: Any, val: Study) -> list[float]:
    """How badly each validation image, as it is, comes out of an image-to-image model."""
    metadata, call, size = metadata_of(model), compiled(model), tuple(model.input_shape[1:-1])

    def pixels(row: int) -> np.ndarray:
        return working_grid(metadata, val.scan(row))

    images = (pixels(row) for row in range(len(val)))
    return [reconstruction_error(one, reconstruct_pixels(call, size, metadata, one)) for one in images]


def _by_member(model: Any, val: Study, predictions: Predictions) -> list[Predictions]:
    members = members_of(model)
    if len(members) == 1:
        return [predictions]
    return [predict_study(one, metadata_of(one).model_copy(update={"thresholds": {}}), val) for one in members]


def calibrated(model: Any, members: Sequence[Predictions], seed: int) -> dict[str, Calibration]:
    """Fit the temperature of every head that has classes, and put it into the model.

    ``members`` are the predictions of the validation part: one table, or one for each member of an ensemble.
    """
    found = {}
    for head in members[0].heads or [""]:
        tables = [one.head(head) if head else one for one in members]
        task = Task(tables[0].task)
        if not task.has_classes:
            continue
        labels = tables[0].frame["label"].astype(str).str.strip()
        kept = (labels != "").to_numpy() | (not task.exclusive)
        classes = list(tables[0].classes)
        cells = [set(cell.split(JOIN)) if not task.exclusive else {cell} for cell in labels[kept]]
        targets = np.array([[name in cell for name in classes] for cell in cells], float).reshape(-1, len(classes))
        outputs = [one.frame[[f"p({name})" for name in classes]].to_numpy(float)[kept] for one in tables]
        patients = tables[0].frame["patient"][kept].tolist() if tables[0].patients_known else None
        found[head] = calibration(outputs, targets, patients, exclusive=task.exclusive, seed=seed)
        if found[head].temperature != 1:
            set_temperature(model, found[head].temperature, head=head)
    return found


def _by_epochs(task: Task, rows: Sequence[dict[str, Any]], val: Study) -> list[str]:
    """Of masks the Dice of the epochs: whole scans are predicted in the test only, for that takes minutes."""
    names = {name for row in rows for name in row if name.startswith("val_") and name.endswith("dice")}
    reached = [float(row[name]) for row in rows for name in names if row.get(name) is not None]
    if not (task.has_masks and reached) or max(reached) >= NO_OVERLAP:
        return []
    return [
        f"Hardly any overlap with the reference: the best Dice of all epochs was {number(max(reached))}, "
        f"{len(val)} images."
    ]
