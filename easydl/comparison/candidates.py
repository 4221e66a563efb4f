"""What can be compared on a study: a baseline or a network by name, fitted on some rows and asked about others."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.comparison.baselines import BASELINES, BaselineInputs
from easydl.comparison.costs import Cost, cost_of
from easydl.comparison.frozen import Backbone
from easydl.errors import InputError, unknown_name
from easydl.prediction.results import Predictions
from easydl.tasks import Task
from easydl.training.estimators import problem_of

if TYPE_CHECKING:
    from easydl.studies import Study


OF_NETWORK = ("pretrained", "size", "head")
"""The settings of `easydl.classifier`; all others are those of `easydl.fit`."""


@dataclass(eq=False)
class Candidates:
    """The baselines and networks of a study that are compared: what baselines see is made once, networks are built as asked.

    Attributes:
        study: All rows that may be used.
        seed: Of folds within training, trees and weights.
        epochs: As of `easydl.fit`.
        pretrained: As of `easydl.classifier`.
        size: As of `easydl.classifier`.
        backbone: Of the frozen features; None for that which `backbone_here` finds.
        texts: What each candidate is, filled as they are used.
        seconds: What each has taken so far.
        costs: Filled with what an answer of each network costs; None where that is not measured.
    """

    study: Study
    seed: int = 0
    epochs: int | None = None
    pretrained: bool | str = False
    size: int | None = None
    backbone: Backbone | None = None
    texts: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Cost] | None = None

    def __post_init__(self) -> None:
        task = Task(self.study.task)
        if not task.per_image:
            head = (
                f"study.head({next(iter(self.study.heads))!r})" if task.is_multiple else "easydl.evaluate(model, test)"
            )
            raise InputError(
                f"The study's task is {task}.",
                "a study with one label, several labels or one value for each image.",
                f"Use {head} for it.",
            )
        self._inputs = BaselineInputs(self.study, self.backbone)
        self._problem = problem_of(self.study)

    def outputs(self, name: str, train: np.ndarray, val: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        """What a model that was fitted on some rows says of others.

        Args:
            name: A baseline or a network.
            train: Positions of the rows to learn from.
            val: Rows that stop a network's training; a baseline learns from them, too.
            test: Rows to ask about.
            seed: Of this fit.

        Returns:
            float ``(test rows, classes)``, or ``(test rows, 1)`` values.

        Raises:
            LeftOut: The study does not allow this baseline.
        """
        begun = time.perf_counter()
        found = self._of_baseline(name, train, val, seed)[test] if name in BASELINES else None
        found = self._of_network(name, train, val, test, seed) if found is None else found
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun
        return found

    def _of_baseline(self, name: str, train: np.ndarray, val: np.ndarray, seed: int) -> np.ndarray:
        rows = np.zeros(len(self.study), bool)
        rows[train] = rows[val] = True
        found = BASELINES[name].outputs(self._inputs, self._problem, rows, seed)
        self.texts[name] = BASELINES[name].title(self._inputs)
        return found

    def _of_network(self, name: str, train: np.ndarray, val: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        settings = {"model": name, "pretrained": self.pretrained, "size": self.size, "epochs": self.epochs}
        return self.trained(settings, train, val, [test], seed)[0]

    def trained(
        self, settings: Mapping[str, Any], train: np.ndarray, val: np.ndarray, asked: Sequence[np.ndarray], seed: int
    ) -> list[np.ndarray]:
        """What a network says of rows, trained with these settings of `easydl.classifier` and `easydl.fit`.

        Args:
            settings: ``model`` is the network's name, or that of a run when it is not there; None leaves a setting out.
            train: Positions of the rows to learn from.
            val: Rows that stop the training.
            asked: Rows to ask about, several times.
            seed: Of weights and training.

        Returns:
            For each of ``asked`` float ``(rows, classes)``, or ``(rows, 1)`` values.
        """
        from easydl._tf import load_tensorflow

        load_tensorflow()
        from easydl.networks import classifier, metadata_of
        from easydl.networks.by_default import network_for
        from easydl.prediction.tables import predict_study
        from easydl.training import fit

        given = {name: value for name, value in settings.items() if value is not None}
        name = str(given.pop("model", None) or network_for(settings, self.study.dimension))
        network = {key: given.pop(key) for key in OF_NETWORK if key in given}
        learn, stop = (self._part(rows, part) for rows, part in ((train, "train"), (val, "val")))
        model: Any = classifier(name, self.study, seed=seed, **network)
        history = fit(model, learn, stop, seed=seed, verbose=False, **given)
        metadata = metadata_of(model)
        start = f", pretrained ({metadata.pretrained})" if metadata.pretrained else ""
        epochs = len(history.epoch) or len(next(iter(history.history.values()), []))
        self.texts[name] = f"network of {model.count_params():,} parameters{start}, up to {epochs} epochs"
        parts = [self._part(rows, "test") for rows in asked]
        found = [outputs_of(predict_study(model, metadata, part)) for part in parts]
        if self.costs is not None and name not in self.costs:
            self.costs[name] = cost_of(model, metadata, parts[0])
        return found

    def _part(self, rows: np.ndarray, name: str) -> Study:
        return self.study.rows(self.study.frame.index[rows], name)


def outputs_of(predictions: Predictions) -> np.ndarray:
    """The numbers in predictions: ``(rows, classes)``, or ``(rows, 1)`` values."""
    value = Task(predictions.task).is_value
    columns = ["value"] if value else [f"p({name})" for name in predictions.classes]
    return predictions.frame[columns].to_numpy(float)


def check_names(names: Sequence[str], study: Study) -> None:
    """Refuse a name that is neither a baseline nor a network for the study's images, before anything is fitted.

    Raises:
        InputError: Such a name, with the one that was probably meant, or one that is there twice.
    """
    from easydl.networks.listing import names as networks
    from easydl.networks.registry import ENTRIES

    fitting = [name for name in networks("classifier") if ENTRIES[name].dimension == study.dimension]
    for name in names:
        if name not in BASELINES and name not in fitting:
            raise unknown_name(
                f"{name!r} cannot be compared on this study.",
                name,
                [*BASELINES, *fitting],
                do="Correct the name; easydl.models() lists the networks.",
                expected=f"a baseline ({', '.join(BASELINES)}) or a classifier for these images.",
            )
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise InputError(f"{', '.join(twice)} is there twice.", "every name once.", "Leave one of them out.")


NOT_SPLIT = (
    "The study is not split: every patient took part in the choice, and none is left on whom it could be tested. To keep a test "
    "part, give train.parent, where train is the first part of study.split()."
)


def folds_text(study: Study, folds: int, seed: int) -> str:
    """By what and how often it was divided, as a note."""
    return f"{folds} folds by {'patient' if study.patients_known else 'image, as patients are not known'}, seed {seed}."


def for_choosing(study: Study) -> tuple[Study, list[str]]:
    """As `without_test`, with a note also where no test part was kept from the choice."""
    kept, notes = without_test(study)
    return kept, notes if "split" in study.frame.columns else [NOT_SPLIT]


def without_test(study: Study) -> tuple[Study, list[str]]:
    """The rows of a study that may be used for choosing, and a note if its test part was left untouched.

    Raises:
        InputError: It is the test part of a split.
    """
    if "split" not in study.frame.columns:
        return study, []
    tested = (study.frame["split"] == "test").to_numpy()
    if tested.all():
        raise InputError(
            "This is the test part of a split study: what is chosen on it cannot be tested on it.",
            "the whole study, or its training part.",
            "Compare on the study itself; its test part is left untouched. Trained models are compared on a test part: "
            "easydl.compare(test, [model_a, model_b]).",
        )
    if not tested.any():
        return study, []
    kept = study.rows(study.frame.index[~tested], study.name)
    what = "patients" if study.patients_known else "images"
    count = study.frame.loc[tested, "patient"].nunique() if study.patients_known else int(tested.sum())
    return kept, [f"The test part ({count} {what}) was left untouched."]
