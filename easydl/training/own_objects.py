"""The user's own Keras losses, metrics and callbacks: checked, copied and named for the record. It trains nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from easydl.errors import InputError, unknown_name
from easydl.tasks import Task
from easydl.training.optimizers import is_scheduled

BY_NAME = (
    "accuracy", "auc", "precision", "recall", "f1_score", "top_k_categorical_accuracy", "categorical_crossentropy",
    "mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score", "one_hot_mean_io_u",
)  # fmt: skip
"""What is proposed where a name is not known; every other name of Keras that needs no more arguments works, too."""
OF_ONE_CLASS = ("precision", "recall")
COUNTS = ("true_positives", "true_negatives", "false_positives", "false_negatives")


def check_metrics(metrics: Any, task: Task, classes: Sequence[str]) -> None:
    """Refuse what is no metric, or a name that would measure something else than it says.

    Raises:
        InputError: An unknown name, one that needs arguments, or metrics for a model with several tasks.
    """
    if metrics is None:
        return
    if task.is_multiple:
        raise InputError(
            "metrics= was given for a model with several tasks.",
            "a model with one task: those of each task are followed anyway.",
            "Leave it out, or train one task alone: study.head(name).",
        )
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise InputError(
            f"metrics={metrics!r} is not a list.",
            "a list of names and keras.metrics objects.",
            'Write for example metrics=["recall"].',
        )
    make_metrics(metrics, task, classes)


def make_metrics(metrics: Sequence[Any] | None, task: Task, classes: Sequence[str]) -> list[Any]:
    """New metrics for a model of this task, as ``compile`` takes them."""
    return [_named(one, task, classes) if isinstance(one, str) else _copied(one) for one in metrics or ()]


def _named(name: str, task: Task, classes: Sequence[str]) -> Any:
    import keras

    one_class = name in OF_ONE_CLASS and task.exclusive
    if (task.exclusive and name in COUNTS) or (one_class and len(classes) > 2):
        raise InputError(
            f"metrics={[name]!r} was given for {len(classes)} classes: Keras would count those of all classes together.",
            "the metric of one class.",
            f"Say which: metrics=[keras.metrics.{_class_name(name)}(class_id=1)]."
            if name in OF_ONE_CLASS
            else 'Choose another, such as "f1_score".',
        )
    special: dict[str, Callable[[], Any]] = {
        "accuracy": lambda: "accuracy",
        "f1_score": lambda: keras.metrics.F1Score(
            average="macro", threshold=None if task.exclusive else 0.5, name="f1_score"
        ),
        "one_hot_mean_io_u": lambda: keras.metrics.OneHotMeanIoU(
            num_classes=len(classes), sparse_y_pred=False, name="one_hot_mean_io_u"
        ),
    }
    if one_class:
        return getattr(keras.metrics, _class_name(name))(class_id=1, name=name)
    try:
        return special[name]() if name in special else keras.metrics.get(name)
    except TypeError as problem:
        raise InputError(
            f"The metric {name!r} needs arguments.",
            "an object of keras.metrics.",
            f"Write for example metrics=[keras.metrics.{_class_name(name)}(...)].",
        ) from problem
    except ValueError:
        raise unknown_name(
            f"metrics={[name]!r}: Keras has no metric of this name.",
            name,
            BY_NAME,
            expected="a name of Keras, such as {}; or an object of keras.metrics.",
            do="Correct the name.",
        ) from None


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _copied(metric: Any) -> Any:
    """A metric as it was constructed; itself, emptied, where its config does not hold all."""
    import keras

    if not isinstance(metric, keras.metrics.Metric):
        if callable(metric):
            return metric
        raise InputError(
            f"metrics= holds a {type(metric).__qualname__}.",
            "names, keras.metrics objects or functions of targets and outputs.",
            'Write for example metrics=["recall", keras.metrics.AUC(curve="PR", name="auc_pr")].',
        )
    try:
        return type(metric).from_config(metric.get_config())
    except Exception:
        metric.reset_state()
        return metric


def name_of_metric(metric: Any) -> str:
    """What a metric is called in the history."""
    name = metric if isinstance(metric, str) else getattr(metric, "name", None)
    return str(name or name_of(metric))


def check_own_loss(loss: Any, task: Task) -> None:
    """Refuse what is no loss, and an own loss for several tasks.

    Raises:
        InputError: Such a loss.
    """
    if not callable(loss):
        raise InputError(
            f"loss= is a {type(loss).__qualname__}.",
            "a name, a keras.losses.Loss, or a function of targets and outputs.",
            "Leave it out, or write for example loss=keras.losses.CategoricalFocalCrossentropy().",
        )
    if isinstance(loss, type):
        raise InputError(
            f"loss= is the class {loss.__qualname__}, not an object of it.",
            "a keras.losses.Loss object.",
            f"Write loss={loss.__qualname__}().",
        )
    if task.is_multiple:
        raise InputError(
            "An own loss was given for a model with several tasks.",
            'loss="auto": every task has its own.',
            "Leave it out, or train one task alone: study.head(name).",
        )


def check_callbacks(callbacks: Any, optimizer: Any) -> tuple[Any, ...]:
    """The callbacks as a tuple; refuses what is none, or cannot work here.

    Raises:
        InputError: Something else than callbacks, one that sets the learning rate of a schedule, or Keras' own backup.
    """
    import keras

    if callbacks is None:
        return ()
    given = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, keras.callbacks.Callback) for one in given):
        raise InputError(
            "callbacks= holds something else than Keras callbacks.",
            "a list of keras.callbacks.Callback objects.",
            "Write for example callbacks=[keras.callbacks.CSVLogger('log.csv')].",
        )
    for one in given:
        if isinstance(one, keras.callbacks.BackupAndRestore):
            raise InputError(
                "keras.callbacks.BackupAndRestore was given.",
                "run=: a training with a run folder goes on where it was, its history and early stopping included.",
                "Leave it out and give run=.",
            )
        sets = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
        if isinstance(one, sets) and is_scheduled(optimizer):
            raise InputError(
                f"{type(one).__name__} was given, and the learning rate follows a schedule already.",
                "an optimizer with a constant learning rate of its own.",
                "Leave the callback out, or give for example optimizer=keras.optimizers.AdamW(1e-3).",
            )
    return tuple(given)


def name_of(given: Any) -> str:
    """What the record of a training calls an object."""
    if isinstance(given, str):
        return given
    named = getattr(given, "__qualname__", None) or type(given).__qualname__
    return str(named).removesuffix(".<lambda>") + (" (lambda)" if str(named).endswith("<lambda>") else "")


def mark_of(given: Any) -> str:
    """A text that is the same in every process for the same object, and another for another, as far as that can be known."""
    if given is None or isinstance(given, (str, int, float)):
        return repr(given)
    if isinstance(given, Mapping):
        return ",".join(f"{key}={mark_of(one)}" for key, one in given.items())
    if isinstance(given, (list, tuple)):
        return ",".join(map(mark_of, given))
    name = f"{getattr(given, '__module__', '')}.{name_of(given)}"
    code = getattr(given, "__code__", None)
    if code is not None:
        return f"{name}:{hashlib.sha256(code.co_code + _plain(code.co_consts).encode()).hexdigest()}"
    try:
        config = given.get_config()
    except Exception:
        config = {}
    return f"{name}:{_plain(json.dumps(config, sort_keys=True, default=str))}"


def _plain(content: Any) -> str:
    """Text without addresses in memory and numbered names (``adam_2``), which differ between processes."""
    return re.sub(r' at 0x[0-9a-f]+|"name": "[^"]*",?', "", str(content))
