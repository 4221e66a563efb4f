"""`easydl.fit`: the one call that trains. It checks and hands over; `feeder` is the skeleton of every training."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.augmentation import preset as find_preset
from easydl.augmentation import suggest
from easydl.errors import InputError
from easydl.evaluation.thresholds import Aim
from easydl.networks import attach, metadata_of
from easydl.networks.metadata import ModelMetadata
from easydl.option_model import documented
from easydl.options import FitOptions
from easydl.prediction.likeness import likeness_of
from easydl.prediction.seen import with_training
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training import workers
from easydl.training.argument_checks import check_datasets, check_names, check_options, check_parts, check_workers
from easydl.training.coach import judged_findings
from easydl.training.judging import judged
from easydl.training.members import check_members, train_members
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
    augment: str = "auto",
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    strategy: str = "auto",
    class_weight: dict[str, float] | str | None = "auto",
    window: str | Sequence[float] | None = None,
    normalise: str = "percentile",
    spacing_mm: Sequence[float] | None = None,
    loss: str = "auto",
    members: int = 1,
    calibrate: bool = True,
    sensitivity: float | None = None,
    specificity: float | None = None,
    cost: float | None = None,
    confidence: float = 0.9,
    seed: int = 0,
    run: str | Path | None = None,
    override: str | None = None,
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
            model as it is: only ``epochs``, ``learning_rate``, ``seed``, ``run`` and ``verbose`` apply to it. Images
            in HU need `easydl.networks.set_window` before.
        val: The validation part, or a dataset.
        {options}
        run: A run folder to write status.json, history.csv, checkpoints and at the end model.keras into; a training that
            was interrupted or stopped there goes on where it was.
        verbose: False for silence; ``"auto"`` shows a bar in a terminal or notebook and lines elsewhere.

    Returns:
        The Keras ``History``. ``history.history`` holds every stage, one entry per epoch; ``history.params["plan"]``
        the choices and their reasons as text; ``history.params["stopped"]`` whether it was stopped from outside;
        ``history.params["warnings"]`` what the validation part says against the model, such as one answer for every image;
        ``history.params["coach"]`` what is wrong with the training itself and what to do, empty where nothing is: these
        sentences end the plan, too.

    Raises:
        LeakageError: A patient or an identical image is in both parts.
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
        check_datasets(train, val, given)
        return _fit_dataset(model, (train, val), metadata, epochs or 20, learning_rate or 1e-3, progress)
    if not isinstance(val, Study) or len(val) == 0:
        raise InputError(
            "There is no validation part.",
            "the second part of a split study: training is stopped by it.",
            "Use train, val, test = study.split(seed=0).",
        )
    task = Task(metadata.task)
    check_names(metadata, train, given)
    check_options(metadata, strategy, class_weight)
    aim = Aim(sensitivity, specificity, cost, confidence).check(metadata.decided_by_threshold, metadata.task)
    check_parts(metadata, train, val)
    members = check_members(metadata, members)
    team = workers.team()
    check_workers(team, task, members)
    # The first worker looks at all images; the others read their share alone.
    overrides = team.from_first(lambda: refuse_leakage(train, val, override))
    if team.is_first:
        # Before the first step, so that a training that is broken off has left its mark, too.
        metadata = metadata.model_copy(update={"seen": with_training(metadata.learned_from, train, val)})
    if task is Task.CLASSIFICATION:
        # Loaded by itself, a validation part may lack a class or have its own order: what counts is the model's.
        val = replace(val, class_names=list(metadata.classes))
    metadata = _with_values_and_grid(model, metadata, train, normalise, spacing_mm)
    wanted = "none" if task.makes_images and augment == "auto" else augment
    name, reason = team.from_first(lambda: suggest(train, wanted))
    chosen = {field.name: given[field.name] for field in fields(Settings) if field.name in given}
    settings = Settings(find_preset(name), reason, **chosen)
    # What cannot work is refused before anything is decoded.
    settings.preset.adapted(dimension=metadata.dimension, units=train.units, task=described_task(metadata))
    feeder, parts = _feeder(task), (train, val)
    if members == 1:
        plan = feeder(model, parts, metadata, settings, progress).run()
    else:
        plan = train_members(
            model, members, settings, progress, lambda one, its, own: feeder(one, parts, its, own, progress)
        )
    if not team.is_first:
        return _history(progress, plan, overrides)
    judgement = judged(model, train, val, progress.rows, seed, aim=aim, calibrate=calibrate)
    warnings = judgement.warnings
    plan = plan.because(*judgement.sentences)
    progress.found(judged_findings(_learnt(progress), judgement.headline, warnings))
    said = {one.sentence for one in progress.findings}
    progress.say(*judgement.sentences, *(f"On the validation part: {one}" for one in warnings if one not in said))
    coach = progress.coached()
    attach(model, metadata_of(model).model_copy(update={"thresholds": judgement.thresholds}))
    record = _record(train, val, plan, warnings) | judgement.record
    record |= {"seed": seed, "overrides": overrides, "seconds": progress.seconds, "resumed": progress.resumed}
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
    return history


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


def _fit_dataset(
    model: Any, parts: tuple[Any, Any], metadata: ModelMetadata, epochs: int, learning_rate: float, progress: Progress
) -> keras.callbacks.History:
    """The escape hatch: any Keras model on any dataset, with the same progress, and Keras' own `fit` on one device."""
    import keras

    from easydl.training import distribution, strategies
    from easydl.training.loop import Stage, build_state
    from easydl.training.watching import Watch

    train, val = parts
    strategy = None if isinstance(train, keras.utils.PyDataset) else strategies.strategy_of(model)
    if not model.compiled:
        with strategies.scope(strategy):
            _compile_for_dataset(model, metadata, learning_rate)
    if metadata.builder != "keras":
        attach(model, _after_a_dataset(metadata))
    progress.begin("train", epochs)
    steps = train.num_batches or 0 if isinstance(train, keras.utils.PyDataset) else int(train.cardinality())
    watch = Watch(progress, Stage("train", epochs, steps, float(model.optimizer.learning_rate)), None, val)
    options: dict[str, Any] = {"validation_data": val, "epochs": epochs, "verbose": progress.show}
    if strategy is None:
        history = model.fit(train, callbacks=[progress, watch], **options)
    else:
        trained = strategies.taken_over(model, strategy, compiled=True)
        with strategy.scope():
            build_state(trained, train)
        history = distribution.fit(trained, train, strategy, callbacks=[progress, watch], **options)
        strategies.given_back(model, trained)
    watch.judge(train)
    history.params["coach"] = [one.text for one in progress.coached()]
    return history


def _after_a_dataset(metadata: ModelMetadata) -> ModelMetadata:
    """The metadata after a dataset, whose images nobody knows: what it has seen is not all, what was found is old."""
    seen = metadata.learned_from
    changes: dict[str, Any] = {
        "thresholds": {},
        "training": {key: one for key, one in metadata.training.items() if key != "warnings"},
        "seen": None if seen is None else seen.model_copy(update={"complete": False}),
    }
    return metadata.model_copy(update=changes)


def _compile_for_dataset(model: Any, metadata: ModelMetadata, learning_rate: float) -> None:
    import keras

    from easydl.training.loop import jit
    from easydl.training.objective import by_output, plain_losses, tasks_of

    if Task(metadata.task).makes_images:
        raise InputError(
            "A dataset was given for an image-to-image model, which corrupts its images itself.",
            "the parts of a split study.",
            "Give it a study, or compile the model yourself for pairs of (corrupted, clean) images.",
        )
    tasks = tasks_of(metadata)
    metrics = {name: ["mean_absolute_error" if task.is_value else "accuracy"] for name, task in tasks.items()}
    optimizer = keras.optimizers.AdamW(learning_rate)
    model.compile(optimizer, plain_losses(tasks), weighted_metrics=by_output(metrics), jit_compile=jit())


def _verbosity(verbose: bool | str) -> int:
    if verbose == "auto":
        return 1 if sys.stdout.isatty() or "ipykernel" in sys.modules else 2
    return int(bool(verbose))
