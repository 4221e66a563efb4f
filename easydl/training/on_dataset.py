"""The escape hatch of `easydl.fit`: any Keras model on any ``tf.data.Dataset``, with the same progress. It plans nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from easydl.errors import InputError
from easydl.networks import attach
from easydl.networks.metadata import ModelMetadata
from easydl.tasks import Task
from easydl.training.optimizers import USUAL, make
from easydl.training.own_objects import check_callbacks, make_metrics

if TYPE_CHECKING:
    import keras

    from easydl.training.callbacks import Progress

EPOCHS, RATE = 20, 1e-3


def fit_dataset(
    model: Any, parts: tuple[Any, Any], metadata: ModelMetadata, given: Mapping[str, Any], progress: Progress
) -> keras.callbacks.History:
    """Train with Keras' own `fit` on one device, and with ours on several. A compiled model stays as it is, unless an optimizer, a loss or metrics are given.

    Args:
        model: Any Keras model.
        parts: Training and validation data.
        metadata: Of the model.
        given: The options of `easydl.fit`, with ``callbacks``.
        progress: Of the training.
    """
    import keras

    from easydl.training import distribution, strategies
    from easydl.training.loop import Stage, build_state
    from easydl.training.watching import Watch

    own = {
        name: given[name]
        for name, usual in (("optimizer", USUAL), ("loss", "auto"), ("metrics", None))
        if not _is(given[name], usual)
    }
    train, val = parts
    several = None if isinstance(train, keras.utils.PyDataset) else strategies.strategy_of(model)
    if not model.compiled or own:
        with strategies.scope(several):
            _compile(model, metadata, given)
    callbacks = check_callbacks(given["callbacks"], model.optimizer)
    if metadata.builder != "keras":
        attach(model, _after_a_dataset(metadata))
    epochs = given["epochs"] or EPOCHS
    progress.begin("train", epochs)
    steps = train.num_batches or 0 if isinstance(train, keras.utils.PyDataset) else int(train.cardinality())
    watch = Watch(progress, Stage("train", epochs, steps, float(model.optimizer.learning_rate)), None, val)
    options: dict[str, Any] = {"validation_data": val, "epochs": epochs, "verbose": progress.show}
    options["callbacks"] = [*callbacks, progress, watch]
    if several is None:
        history = model.fit(train, **options)
    else:
        trained = strategies.taken_over(model, several, compiled=True)
        with several.scope():
            build_state(trained, train)
        history = distribution.fit(trained, train, several, **options)
        strategies.given_back(model, trained)
    watch.judge(train)
    history.params["coach"] = [one.text for one in progress.coached()]
    return history


def _is(given: Any, usual: Any) -> bool:
    return given is None if usual is None else isinstance(given, str) and given == usual


def _after_a_dataset(metadata: ModelMetadata) -> ModelMetadata:
    """The metadata after a dataset, whose images nobody knows: what it has seen is not all, what was found is old."""
    seen = metadata.learned_from
    changes: dict[str, Any] = {
        "thresholds": {},
        "training": {key: one for key, one in metadata.training.items() if key != "warnings"},
        "seen": None if seen is None else seen.model_copy(update={"complete": False}),
    }
    return metadata.model_copy(update=changes)


def _compile(model: Any, metadata: ModelMetadata, given: Mapping[str, Any]) -> None:
    from easydl.training.loop import jit
    from easydl.training.objective import by_output, plain_losses, tasks_of

    task, loss = Task(metadata.task), given["loss"]
    if task.makes_images and isinstance(loss, str):
        raise InputError(
            "A dataset was given for an image-to-image model, which corrupts its images itself.",
            "the parts of a split study.",
            "Give it a study, or compile the model yourself for pairs of (corrupted, clean) images.",
        )
    tasks = tasks_of(metadata)
    metrics = {name: ["mean_absolute_error" if task.is_value else "accuracy"] for name, task in tasks.items()}
    if given["metrics"]:
        metrics[""] = [*metrics[""], *make_metrics(given["metrics"], task, metadata.classes)]
    losses = plain_losses(tasks) if isinstance(loss, str) else loss
    optimizer = make(given["optimizer"], given["learning_rate"] or RATE)
    model.compile(optimizer, losses, weighted_metrics=by_output(metrics), jit_compile=jit())
