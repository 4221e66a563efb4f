"""`easydl.fit`: the one call that trains. It checks and hands over; `feeder` is the skeleton of every training."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.augmentation import Preset, own_augmentation, suggest
from easydl.augmentation import preset as find_preset
from easydl.errors import InputError
from easydl.evaluation.thresholds import Aim
from easydl.networks import attach, metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.option_model import documented
from easydl.options_of_training import FitOptions
from easydl.prediction.likeness import likeness_of
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training import workers
from easydl.training.argument_checks import (
    check_datasets,
    check_fine_tune,
    check_names,
    check_options,
    check_parts,
    check_workers,
)
from easydl.training.beyond_labels import BeyondLabels
from easydl.training.coach import judged_findings
from easydl.training.full_resolution import check_full_resolution
from easydl.training.judging import judged
from easydl.training.members import check_members, train_members
from easydl.training.on_dataset import fit_dataset
from easydl.training.optimizers import described
from easydl.training.own_objects import check_callbacks, name_of
from easydl.training.plan import Plan, Settings, described_task
from easydl.traps import refuse_leakage

if TYPE_CHECKING:
    import keras

    from easydl.training.callbacks import Progress
    from easydl.training.feeder import Feeder


@documented(FitOptions)
def fit(
    model: keras.Model,
    train: Study | Any,
    val: Study | Any = None,
    *,
    augment: str | Preset | keras.layers.Layer = "auto",
    epochs: int | None = None,
    batch_size: int | str | None = None,
    learning_rate: float | str | None = None,
    optimizer: str | keras.optimizers.Optimizer = "adamw",
    metrics: Sequence[Any] | None = None,
    strategy: str = "auto",
    fine_tune: int | str | None = None,
    class_weight: dict[str, float] | str | None = "auto",
    window: str | Sequence[float] | None = None,
    normalise: str = "percentile",
    spacing_mm: Sequence[float] | None = None,
    full_resolution: bool | str = "auto",
    loss: str | keras.losses.Loss | Callable[..., Any] = "auto",
    teacher: keras.Model | str | Path | None = None,
    unlabelled: Study | str | Path | None = None,
    members: int = 1,
    calibrate: bool = True,
    sensitivity: float | None = None,
    specificity: float | None = None,
    cost: float | None = None,
    confidence: float = 0.9,
    seed: int = 0,
    run: str | Path | None = None,
    override: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    verbose: bool | str = "auto",
) -> keras.callbacks.History:
    """Train a model on a study; every choice not made here is made from the data and explained.

    Of a pretrained classifier the frozen features are computed once, and a linear model on them becomes its head: what it
    reaches out of fold is said at once, as the quick result. With enough images the whole network is then fine-tuned
    with batch normalisation kept frozen. Other models are trained from the start. The best epoch on the validation part
    is kept.

    Args:
        model: From `easydl.classifier`, `easydl.segmenter` (`easydl.unet`, `easydl.unet3d`) or `easydl.image_to_image`, which
            needs no labels; or any Keras model when ``train`` is a ``tf.data.Dataset``.
        train: The training part of a split study, or a ``tf.data.Dataset`` of (images, targets), which is fed to the
            model as it is: only ``epochs``, ``learning_rate``, ``optimizer``, ``loss``, ``metrics``, ``callbacks``, ``seed``,
            ``run`` and ``verbose`` apply to it. Images in HU need `easydl.networks.set_window` before.
        val: The validation part, or a dataset.
        {options}
        run: A run folder to write status.json, history.csv, checkpoints and at the end model.keras into; a training that
            was interrupted or stopped there goes on where it was.
        callbacks: Keras callbacks of your own, called in every stage (``callback.model`` is what the stage trains); in a
            training that goes on after an interruption they begin anew. A pretrained head is then trained by gradient.
        verbose: False for silence; ``"auto"`` shows a bar in a terminal or notebook and lines elsewhere.

    Returns:
        The Keras ``History``. ``history.history`` holds every stage, one entry per epoch; ``history.params["plan"]``
        the choices and their reasons as text; ``history.params["stopped"]`` whether it was stopped from outside;
        ``history.params["warnings"]`` what the validation part says against the model, such as one answer for every image;
        ``history.params["coach"]`` what is wrong with the training itself and what to do, empty where nothing is: these
        sentences end the plan, too. With ``learning_rate="find"`` ``history.params["learning_rates"]`` is the curve: its
        ``.table`` is a DataFrame, ``.show()`` a figure.

    Raises:
        LeakageError: A patient or an identical image is in both parts, or the teacher or the unlabelled images know of
            the validation or test part.
        InputError: No validation part, no labels, an unknown preset or window, an option that this model cannot use, or
            unreadable images.
        ModelError: The model's classes, dimension or channels are not the study's, or the training diverged.

    Example:
        >>> train, val, test = study.split(seed=7)  # doctest: +SKIP
        >>> easydl.fit(model, train, val, augment="chest_xray")  # doctest: +SKIP
    """
    given = {name: value for name, value in locals().items() if name in FitOptions.model_fields}
    import keras

    from easydl.training.callbacks import Progress
    from easydl.training.checkpoint import leave

    keras.utils.set_random_seed(seed)
    progress = Progress(Path(run) if run is not None else None, _verbosity(verbose))
    metadata = metadata_of(model)
    if not isinstance(train, Study):
        check_datasets(train, val, given, metadata)
        return fit_dataset(model, (train, val), metadata, {**given, "callbacks": callbacks}, progress)
    if not isinstance(val, Study) or len(val) == 0:
        raise InputError(
            "There is no validation part.",
            "the second part of a split study: training is stopped by it.",
            "Use train, val, test = study.split(seed=0).",
        )
    task = Task(metadata.task)
    check_names(metadata, train, given)
    check_options(metadata, strategy, class_weight)
    check_fine_tune(model, metadata, strategy, fine_tune)
    check_full_resolution(metadata, full_resolution, spacing_mm)
    aim = Aim(sensitivity, specificity, cost, confidence).check(metadata.decided_by_threshold, metadata.task)
    check_parts(metadata, train, val)
    members = check_members(metadata, members)
    team = workers.team()
    check_workers(team, task, (train, val), given)
    # The first worker looks at all images; the others read their share alone.
    overrides = team.from_first(lambda: refuse_leakage(train, val, override))
    beyond = BeyondLabels.checked(metadata, (train, val), teacher, unlabelled, override)
    overrides += beyond.overrides
    if team.is_first:
        # Before the first step, so that a training that is broken off has left its mark, too.
        metadata = metadata.model_copy(update={"seen": beyond.seen(metadata, train, val)})
    if task is Task.CLASSIFICATION:
        # Loaded by itself, a validation part may lack a class or have its own order: what counts is the model's.
        val = replace(val, class_names=list(metadata.classes))
    metadata = _with_values_and_grid(model, metadata, train, normalise, spacing_mm)
    chosen = {field.name: given[field.name] for field in fields(Settings) if field.name in given}
    if batch_size == "auto":
        chosen |= {"batch_size": None, "batch_by_memory": True}
    own = check_callbacks(callbacks, optimizer)
    settings = Settings(*_augmentation(augment, train, task), callbacks=own, **chosen)
    # What cannot work is refused before anything is decoded.
    settings.preset.adapted(dimension=metadata.dimension, units=train.units, task=described_task(metadata))
    feeder, parts = beyond.feeder(_feeder(task)), (train, val)
    frozen = None
    if members == 1:
        way = feeder(model, parts, metadata, settings, progress)
        plan, frozen = way.run(), way.frozen
    else:
        plan = train_members(
            model, members, settings, progress, lambda one, its, own: feeder(one, parts, its, own, progress)
        )
    if not team.is_first:
        return _history(progress, plan, overrides)
    judgement = judged(model, train, val, progress.rows, seed, aim=aim, calibrate=calibrate, frozen=frozen)
    warnings = judgement.warnings
    plan = plan.because(*judgement.sentences)
    progress.found(judged_findings(_learnt(progress), judgement.headline, warnings))
    said = {one.sentence for one in progress.findings}
    progress.say(*judgement.sentences, *(f"On the validation part: {one}" for one in warnings if one not in said))
    coach = progress.coached()
    attach(model, metadata_of(model).model_copy(update={"thresholds": judgement.thresholds}))
    record = _record(train, val, plan, warnings) | judgement.record
    record |= {"seed": seed, "overrides": overrides, "seconds": progress.seconds, "resumed": progress.resumed}
    record |= _own(settings)
    record |= {"stopped": progress.stopped, "epochs": len(progress.rows), "coach": progress.known()}
    attach(model, metadata_of(model).model_copy(update={"training": record}))
    if progress.folder is not None:
        leave(progress.folder, model, stopped=progress.stopped)
        if not progress.stopped:
            progress.over()
    history = _history(progress, plan.because(*(one.text for one in coach)), overrides)
    history.set_model(model)
    history.params |= {"warnings": warnings, "coach": [one.text for one in coach]}
    return history


def _history(progress: Progress, plan: Plan, overrides: list[str]) -> keras.callbacks.History:
    import keras

    history = keras.callbacks.History()
    history.history, history.epoch = progress.history(), list(range(len(progress.rows)))
    history.params = {"plan": list(plan.why), "stopped": progress.stopped, "overrides": overrides}
    if progress.rates is not None:
        history.params["learning_rates"] = progress.rates
    return history


def _augmentation(augment: Any, train: Study, task: Task) -> tuple[Preset, str]:
    """The preset and the reason for it."""
    if not isinstance(augment, str):
        return own_augmentation(augment)
    wanted = "none" if task.makes_images and augment == "auto" else augment
    name, reason = workers.team().from_first(lambda: suggest(train, wanted))
    return find_preset(name), reason


def _feeder(task: Task) -> type[Feeder]:
    """The way of training of a task."""
    if task.makes_images:
        from easydl.training.denoising import ImageToImageFeeder

        return ImageToImageFeeder
    if task.has_masks:
        from easydl.training.segmentation import SegmenterFeeder

        return SegmenterFeeder
    from easydl.training.classification import ClassifierFeeder

    return ClassifierFeeder


def _own(settings: Settings) -> dict[str, Any]:
    """The names of the user's own choices, for the record."""
    loss, metrics, callbacks = settings.loss, settings.metrics or (), settings.callbacks
    return {
        "optimizer": described(settings.optimizer),
        "loss": name_of(loss),
        "metrics": [name_of(one) for one in metrics],
        "callbacks": [name_of(one) for one in callbacks],
    }


def _learnt(progress: Progress) -> bool:
    return progress.curve is not None and progress.curve.learnt


def _record(train: Study, val: Study, plan: Plan, warnings: list[str]) -> dict[str, Any]:
    """What the model file says of its training."""
    import keras

    return {
        "images": len(train),
        "patients": train.n_patients,
        "patients_known": train.patients_known,
        "validation_images": len(val),
        "validation_patients": val.n_patients,
        "split_seed": train.seed,
        "augment": plan.preset,
        "mirrors": list(plan.mirrors),
        "plan": list(plan.why),
        "warnings": warnings,
        "fingerprint": fingerprint(train),
        "likeness": likeness_of(train).model_dump(mode="json"),
        "keras": keras.version(),
    }


def _with_values_and_grid(
    model: Any, metadata: ModelMetadata, train: Study, normalise: str, spacing_mm: Sequence[float] | None
) -> ModelMetadata:
    """The metadata with the user's choice of values and grid, which every later prediction follows."""
    if normalise == "z-score" and train.units == "HU":
        raise InputError(
            'normalise="z-score" was asked for CT.',
            "images without units of their own, such as MR.",
            "Leave it out: Hounsfield units are used as they are; window= chooses the range.",
        )
    spacing = None if spacing_mm is None else _checked_spacing(metadata, spacing_mm)
    changed = metadata.model_copy(update={"normalise": normalise, "spacing_mm": spacing})
    attach(model, changed)
    return changed


def _checked_spacing(metadata: ModelMetadata, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    spacing = tuple(float(mm) for mm in spacing_mm)
    if not Task(metadata.task).has_masks:
        raise InputError(
            f"spacing_mm was given for a model whose task is {metadata.task}.",
            "a segmentation model (unet, unet3d).",
            "Leave it out: other models take images at their own size.",
        )
    if len(spacing) != metadata.dimension or not all(np.isfinite(spacing)) or min(spacing) <= 0:
        raise InputError(
            f"spacing_mm={spacing_mm!r} is not a valid spacing of a {metadata.dimension}D scan.",
            f"{metadata.dimension} positive values in mm, in the order of the axes.",
            "Correct the values.",
        )
    return spacing


def fingerprint(study: Study) -> str:
    """SHA-256 over the study's images, whatever their order: which data a model has seen."""
    return hashlib.sha256("".join(sorted(study.digests())).encode()).hexdigest()


def _verbosity(verbose: bool | str) -> int:
    if verbose == "auto":
        return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 2
    return int(bool(verbose))
