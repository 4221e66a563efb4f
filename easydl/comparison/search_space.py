"""What `easydl.tune` tries: settings of a network and its training, checked, and drawn one after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from easydl.comparison.baselines import BASELINES
from easydl.comparison.candidates import OF_NETWORK, check_names
from easydl.errors import InputError, missing_package, unknown_name
from easydl.option_model import settings_error, validator
from easydl.options import ModelOptions
from easydl.options_of_training import FitOptions

if TYPE_CHECKING:
    from easydl.studies import Study

OF_MODEL = ("model", *OF_NETWORK)
OF_FIT = (
    "learning_rate", "batch_size", "optimizer", "augment", "loss", "strategy", "fine_tune", "class_weight", "epochs", "window",
    "normalise", "members", "metrics",
)  # fmt: skip
MOST_TRIALS, USUAL_TRIALS = 200, 20
DIGITS = 3
"""Of a value drawn from a range: more say nothing."""
Settings = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """The settings to try.

    Attributes:
        choices: Values by name.
        ranges: (lowest, highest) by name; drawn on a logarithmic scale.
    """

    choices: dict[str, list[Any]]
    ranges: dict[str, tuple[float, float]]

    @property
    def grid(self) -> list[Settings]:
        """Every combination of the choices, the last name changing fastest."""
        return [dict(zip(self.choices, values, strict=True)) for values in itertools.product(*self.choices.values())]

    def drawn(self, trials: int, seed: int) -> list[Settings]:
        """So many different settings drawn evenly; all, in their order, where there are no more."""
        rng = np.random.default_rng(seed)
        grid = self.grid
        if not self.ranges:
            chosen = rng.permutation(len(grid))[:trials]
            return [grid[k] for k in (sorted(chosen) if len(grid) <= trials else chosen)]
        return [{**grid[rng.integers(len(grid))], **self._in_ranges(rng.random)} for _ in range(trials)]

    def _in_ranges(self, even: Callable[[], float]) -> Settings:
        return {name: _between(*ends, even()) for name, ends in self.ranges.items()}


def space_of(given: Any, study: Study) -> Space:
    """Check what is to be tried.

    Raises:
        InputError: No settings, unknown names, values that are not valid, or a model that does not fit the study.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            "There is nothing to choose from."
            if isinstance(given, Mapping)
            else f"The settings are a {type(given).__name__}.",
            "a dict from names to lists of values.",
            'Write for example {"model": ["tiny", "resnet18"], "learning_rate": [0.001, 0.003]}.',
        )
    choices: dict[str, list[Any]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for name, values in given.items():
        if name not in (*OF_MODEL, *OF_FIT):
            raise unknown_name(f"{name!r} cannot be tuned.", name, (*OF_MODEL, *OF_FIT))
        if isinstance(values, tuple) and len(values) == 2 and all(_is_number(one) for one in values):
            ranges[name] = _range(name, values)
            continue
        several = list(values) if isinstance(values, (list, tuple)) else [values]
        if not several:
            raise InputError(f"There is no value of {name}.", "at least one value.", "Leave it out, or name values.")
        for value in several:
            _check(name, value)
        choices[name] = several
    if "model" in choices:
        _check_models(choices["model"], study)
    return Space(choices, ranges)


def _check_models(names: Sequence[Any], study: Study) -> None:
    check_names(names, study)
    if baselines := [name for name in names if name in BASELINES]:
        raise InputError(
            f"{', '.join(baselines)} is no network: it has no training to tune.",
            "names of networks (easydl.models).",
            f"Compare it with the tuned network: easydl.compare(study, [{baselines[0]!r}, ...]).",
        )


def _check(name: str, value: Any) -> None:
    """Numbers and words by their limits; objects are checked by `easydl.fit`."""
    option = (FitOptions.model_fields | ModelOptions.model_fields).get(name)
    if option is None or not (value is None or isinstance(value, (str, int, float))):
        return
    try:
        validator(option).validate_python(value)
    except ValidationError as problem:
        error = settings_error(problem)
        raise InputError(
            f"{name}={value!r} cannot be tried.", error.expected, f"Correct the values of {name}."
        ) from None


def _range(name: str, ends: tuple[Any, Any]) -> tuple[float, float]:
    low, high = ends
    if not 0 < low < high:
        raise InputError(
            f"{name}=({low}, {high}) is not a range.",
            "(lowest, highest), both above 0: values are drawn on a logarithmic scale between them.",
            "Exchange them, or give a list of values.",
        )
    for end in ends:
        _check(name, end)
    return low, high


def proposals(space: Space, search: str, trials: int | None, seed: int) -> list[Settings]:
    """The settings of a grid or of a random search, which do not depend on any result.

    Raises:
        InputError: A grid of ranges or of more than 200 combinations, or a number of trials for a grid.
    """
    if search == "random":
        return space.drawn(trials or USUAL_TRIALS, seed)
    count = math.prod(len(values) for values in space.choices.values())
    found = None
    if space.ranges:
        found = f"A range of {', '.join(space.ranges)} was given for a grid."
    elif trials is not None and trials < count:
        found = f"trials={trials} was given for a grid of {count} combinations."
    elif count > MOST_TRIALS:
        found = f"The grid has {count} combinations."
    if found:
        raise InputError(
            found,
            f"lists of values, in at most {MOST_TRIALS} combinations, all of which are tried.",
            'Use search="random" with trials= (--search random --trials 20), or fewer values.',
        )
    return space.grid


def guided(space: Space, trials: int | None, seed: int, score: Callable[[Settings], float]) -> None:
    """Have settings scored that Optuna proposes, each after the scores of those before it.

    Raises:
        MissingPackageError: Optuna is not installed.

    References:
        Akiba T et al. Optuna. KDD 2019, arXiv:1907.10902; Watanabe S. Tree-structured Parzen estimator, arXiv:2304.11127.
    """
    try:
        import optuna
    except ImportError:
        raise missing_package("optuna", "tune", 'search="optuna"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(trials or USUAL_TRIALS):
        trial = study.ask()
        settings: Settings = {}
        for name, values in space.choices.items():
            settings[name] = values[trial.suggest_categorical(name, list(range(len(values))))]
        for name, (low, high) in space.ranges.items():
            if isinstance(low, int) and isinstance(high, int):
                settings[name] = trial.suggest_int(name, low, high, log=True)
            else:
                settings[name] = _rounded(trial.suggest_float(name, low, high, log=True))
        found = score(settings)
        if math.isfinite(found):
            study.tell(trial, found)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)


def read_space(texts: Sequence[str]) -> dict[str, Any]:
    """The settings of a command line, ``["model=tiny,resnet18", "learning_rate=0.0001..0.01"]``.

    Raises:
        InputError: A text without a name or values.

    Example:
        >>> read_space(["model=tiny,resnet18", "learning_rate=0.0001..0.01", "batch_size=8,16"])
        {'model': ['tiny', 'resnet18'], 'learning_rate': (0.0001, 0.01), 'batch_size': [8, 16]}
    """
    space: dict[str, Any] = {}
    for text in texts:
        name, _, values = (part.strip() for part in text.partition("="))
        ends = [_value(one) for one in values.split("..")]
        if not name or not values:
            raise InputError(
                f"--try {text!r} has no values.",
                "a name and its values, or a range.",
                "Write for example: --try learning_rate=0.001,0.01 or --try learning_rate=0.0001..0.01",
            )
        key = name.replace("-", "_")
        space[key] = tuple(ends) if len(ends) == 2 else [_value(one) for one in values.split(",")]
    return space


def _value(text: str) -> Any:
    text = text.strip()
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _between(low: float, high: float, even: float) -> float | int:
    value = low * (high / low) ** even
    return round(value) if isinstance(low, int) and isinstance(high, int) else _rounded(value)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
