"""Optimizers by name or as the user's own object: one is made anew for every stage. It trains nothing."""

from __future__ import annotations

from typing import Any, get_args

from easydl.errors import InputError, unknown_name
from easydl.options_of_training import FitOptions

NAMES: tuple[str, ...] = get_args(FitOptions.model_fields["optimizer"].annotation)
USUAL = "adamw"
OPTIONS: dict[str, dict[str, float]] = {"adamw": {"weight_decay": 1e-4}, "sgd": {"momentum": 0.9}}
"""What differs from Keras' defaults: without momentum SGD is none of those in the literature."""
RATES = {"sgd": 10.0, "adagrad": 10.0, "adadelta": 500.0, "adafactor": 10.0, "lion": 0.2}
"""How many times the rate planned for AdamW: the ratio of their usual rates (Lion: Chen 2023, arXiv:2302.06675, section 5)."""
SAMPLED = 200


def check_optimizer(given: Any, learning_rate: Any = None) -> None:
    """Refuse what is no optimizer, and a second learning rate beside that of the user's own.

    Raises:
        InputError: An unknown name, an optimizer of something else than Keras, or one that cannot be made again.
    """
    if isinstance(given, str):
        if given not in NAMES:
            raise unknown_name(
                f"optimizer={given!r} is not known.",
                given,
                NAMES,
                expected="one of {}, or a keras.optimizers.Optimizer.",
            )
        return
    import keras

    if not isinstance(given, keras.optimizers.Optimizer):
        raise InputError(
            f"optimizer= is a {type(given).__module__}.{type(given).__qualname__}.",
            f"a name ({', '.join(NAMES)}) or an object of keras.optimizers.",
            'Write for example optimizer="sgd" or optimizer=keras.optimizers.SGD(0.01, momentum=0.9).',
        )
    if learning_rate is not None:
        raise InputError(
            f"learning_rate={learning_rate!r} was given beside an optimizer that has its own.",
            "one of them: an optimizer object keeps its learning rate or schedule.",
            "Leave learning_rate out, or give the optimizer by its name.",
        )
    copied(given)


def make(given: Any, schedule: Any) -> Any:
    """A new optimizer: of a name with this learning rate or schedule, of the user's own with its own.

    Whoever trains gets a new one, as an optimizer belongs to the variables that it was built with.
    """
    import keras

    if not isinstance(given, str):
        return copied(given)
    config = {"learning_rate": schedule, **OPTIONS.get(given, {})}
    return type(keras.optimizers.get(given))(**config)


def copied(own: Any) -> Any:
    """The user's optimizer as it was constructed.

    Raises:
        InputError: Its ``get_config`` does not hold what its constructor takes.
    """
    try:
        return type(own).from_config(_config(own))
    except Exception as problem:
        raise InputError(
            f"The optimizer {type(own).__name__} cannot be made again from its get_config() ({type(problem).__name__}).",
            "an optimizer whose get_config() holds all that its constructor takes: every stage of a training needs a new one.",
            "Correct its get_config, or use one of keras.optimizers.",
        ) from problem


def _config(own: Any) -> dict[str, Any]:
    """The config with the schedule itself: it has no state, and one of the user's class could not be read from a config."""
    from easydl.training.keras_internals import schedule_of, without_schedule

    schedule = schedule_of(own)
    if schedule is None:
        return dict(own.get_config())
    with without_schedule(own):
        config = dict(own.get_config())
    return {**config, **({"learning_rate": schedule} if "learning_rate" in config else {})}


def is_scheduled(given: Any) -> bool:
    """Whether the learning rate follows a schedule, so that no callback can set it."""
    if isinstance(given, str):
        return True
    from easydl.training.keras_internals import schedule_of

    return schedule_of(given) is not None


def relative_rate(given: Any) -> float:
    """How many times the rate planned for AdamW an optimizer needs."""
    return RATES.get(given, 1.0) if isinstance(given, str) else 1.0


def peak_rate(own: Any, steps: int) -> float:
    """The highest learning rate of the user's optimizer in so many steps."""
    import numpy as np

    from easydl.training.keras_internals import schedule_of

    schedule = schedule_of(own)
    if schedule is None:
        return float(own.learning_rate)
    asked = np.unique(np.linspace(0, max(steps, 1), SAMPLED).astype(int))
    return max(float(schedule(int(step))) for step in asked)


def described(given: Any) -> str:
    """The optimizer and what is not usual of it, as text."""
    if isinstance(given, str):
        options = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in OPTIONS.get(given, {}).items())
        return f"{given}{options}"
    from easydl.training.keras_internals import schedule_of

    schedule = schedule_of(given)
    rate = f"learning rate {float(given.learning_rate):g}" if schedule is None else type(schedule).__name__
    return f"{type(given).__name__} with its own {rate}"
