"""The one skeleton of training: read, plan, augment, train in stages, leave a model that plain Keras opens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter

from easydl.errors import ModelError
from easydl.networks import attach, metadata_of, set_window
from easydl.networks.metadata import ModelMetadata
from easydl.studies import Study
from easydl.tasks import Task
from easydl.training import loop, strategies, workers
from easydl.training.callbacks import Progress
from easydl.training.checkpoint import load_checkpoint, training_key
from easydl.training.distribution import OTHER_SEED
from easydl.training.loop import Data, Stage
from easydl.training.objective import Objective
from easydl.training.own_objects import make_metrics, name_of_metric
from easydl.training.plan import Plan, Settings, Window, choose_window, described_task
from easydl.training.rate_curve import NAME as RATE
from easydl.training.rate_curve import LearningRates
from easydl.training.rate_finder import find_rates

if TYPE_CHECKING:
    from easydl.augmentation.augmenter import Augmenter
    from easydl.training.judging import Frozen


PLAN = TypeAdapter(Plan)


class Feeder(ABC):
    """One way of training: how its data are read, planned and fed. `run` is the same for all of them."""

    reading = "Reading the images"
    fewest = 1
    """Images that a step has at the least."""

    def __init__(
        self,
        model: keras.Model,
        parts: tuple[Study, Study],
        metadata: ModelMetadata,
        settings: Settings,
        progress: Progress,
    ) -> None:
        self.model, (self.train, self.val) = model, parts
        self.metadata, self.settings, self.progress = metadata, settings, progress
        self.augment: Augmenter | None = None
        self.team = workers.team()
        strategy = strategies.strategy_of(model)
        self.replicas = self.team.count if strategy is None else strategy.num_replicas_in_sync
        self.plan: Plan
        self.frozen: Frozen | None = None

    def run(self) -> Plan:
        """Train the model in place. Returns what was chosen."""
        self.progress.status(state="running", stage="loading", message=self.reading, coach=self.progress.known())
        values = self.read()
        # Each chooses, for choosing leaves traces in the model; all go by what the first chose, which sees other pixels.
        own = self.choose(choose_window(self.settings.window, self.train, values))
        plan = self.team.from_first(lambda: PLAN.dump_python(own, mode="json"))
        self.plan = own if self.team.strategy is None else PLAN.validate_python(plan)
        self.augment = self._augmenter()
        self.plan = self.with_augmentation()
        if self.team.count > 1:
            self.plan = self.plan.because(
                f"{self.team.count} workers train together: each reads its share of the {len(self.train)} training and "
                f"{len(self.val)} validation images, and the {self.plan.batch_size} images of a step are divided among them."
            )
        attach(self.model, self.metadata.model_copy(update={"patch": self.plan.patch}))
        self.metadata = metadata_of(set_window(self.model, self.plan.window, self.plan.units))
        self.progress.say(*self.plan.why)
        objective = self.objective()
        weights, plan = self.model.get_weights(), self.plan
        while not self._fits_into_memory(objective):
            plan = self._halve(plan, weights)
        _leave_plain(self.model, objective, self.plan.learning_rate, bool(self.settings.metrics))
        return self.plan

    def _fits_into_memory(self, objective: Objective) -> bool:
        """Train; False where a step needed more memory than there is."""
        data = self.data()
        parts = self.train, self.val
        key = self.team.from_first(lambda: training_key(self.metadata, self.plan, self.settings, parts, self.targets()))
        self.progress.take_up(key)
        try:
            self.stages(objective, data, key)
        except tf.errors.ResourceExhaustedError:
            if self.team.count > 1:  # the others have gone on to wait for this one
                raise _no_memory(f"{self.plan.batch_size} images on {self.team.count} workers") from None
            return False
        return True

    def _halve(self, plan: Plan, weights: list[np.ndarray]) -> Plan:
        """Begin again with half the batch, and of patches with twice the steps, so that an epoch stays as long."""
        batch = plan.batch_size
        if batch <= self.fewest:
            raise _no_memory("one image" if self.fewest == 1 else f"one image on each of {self.fewest} devices")
        self.plan = replace(plan, batch_size=max(self.fewest, batch // 2), steps=plan.steps * 2)
        self.model.set_weights(weights)
        self.progress.rows.clear()
        self.explain(
            f"A step with {batch} images needs more memory than there is: it goes on with {self.plan.batch_size} a step."
        )
        return self.plan

    @abstractmethod
    def read(self) -> np.ndarray:
        """Decode both parts. Returns some pixel values of the training part, in the model's units."""

    @abstractmethod
    def choose(self, window: Window) -> Plan:
        """The plan."""

    @abstractmethod
    def objective(self) -> Objective:
        """What is minimised."""

    @abstractmethod
    def data(self) -> Data:
        """The batches of the main stage."""

    def names(self) -> Iterable[str]:
        """All names that may name a side, which a mirror image would make false."""
        return ()

    def targets(self) -> Sequence[Any]:
        """Arrays that must be the same when a training goes on from a checkpoint."""
        return ()

    def with_augmentation(self) -> Plan:
        """The plan with what the augmentation left out."""
        return self.plan.because(*(self.augment.notes if self.augment else ()))

    def stages(self, objective: Objective, data: Data, key: str) -> None:
        """Train: a single stage, unless a way of training needs more."""
        self.train_stage(self.main_stage(), objective, data, key)

    def train_stage(self, stage: Stage, objective: Objective, data: Data, key: str = "") -> None:
        """Train one stage with the optimizer and the callbacks that were asked for, at the rate that is looked for."""
        stage = replace(stage, optimizer=self.settings.optimizer, callbacks=self.settings.callbacks)
        # A head beside fine-tuning is no main stage.
        if self.settings.learning_rate == "find" and (stage.name != "head" or self.plan.strategy == "features"):
            stage = replace(stage, learning_rate=self._found_rate(stage, objective, data, key))
        loop.run_stage(stage, objective, data, self.progress, key=key)

    def _found_rate(self, stage: Stage, objective: Objective, data: Data, key: str) -> float:
        """The rate that the range test proposes; in a training that goes on, the one that it began with."""
        progress = self.progress
        state = load_checkpoint(progress.checkpoints, key) if key else None
        if state is not None and RATE in state.facts["measured"]:
            progress.measured[RATE] = state.facts["measured"][RATE]
            found = LearningRates.open(progress.folder) if progress.folder is not None else None
        else:
            progress.status(message="Looking for the learning rate")
            found = find_rates(stage, objective, data)
            progress.measured[RATE] = found.chosen
            if progress.folder is not None:
                with progress.on_a_full_disk(f"{RATE}.csv"):
                    found.save(progress.folder)
        progress.rates = progress.rates or found
        rate = float(progress.measured[RATE])
        self.plan = replace(self.plan, learning_rate=rate)
        if found is not None:
            self.explain(found.sentence)
        return rate

    def with_own(self, metrics: list[Any]) -> list[Any]:
        """The metrics of the task and the user's, which take the place of ours of the same name."""
        own = make_metrics(self.settings.metrics, Task(self.metadata.task), self.metadata.classes)
        names = {name_of_metric(one) for one in own}
        return [*(one for one in metrics if name_of_metric(one) not in names), *own]

    def main_stage(self) -> Stage:
        """The stage of the whole network."""
        return Stage("train", self.plan.epochs, self.plan.steps, self.plan.learning_rate)

    def explain(self, sentence: str) -> None:
        """Add a reason to the plan while training runs."""
        self.plan = self.plan.because(sentence)
        self.progress.say(sentence)

    def _augmenter(self) -> Augmenter | None:
        if self.plan.preset == "none":
            return None
        return self.settings.preset.augmenter(
            dimension=self.metadata.dimension,
            units=self.plan.units,
            window=self.plan.window,
            seed=self.settings.seed + OTHER_SEED * self.team.shards[0],  # each worker draws its own
            classes=self.names(),
            spacing_mm=self.metadata.spacing_mm,
            channels=self.metadata.channels,
            task=described_task(self.metadata),
        )


def _no_memory(images: str) -> ModelError:
    return ModelError(
        f"The memory of this computer does not hold one step of the training, even with {images}."
        if images.startswith("one image")
        else f"The memory of this computer does not hold a step of {images}.",
        "a network and images that fit into memory.",
        "Choose a smaller batch_size, network or size, or for segmentation smaller patches (size=).",
    )


def _leave_plain(model: keras.Model, objective: Objective, learning_rate: float, plain_metrics: bool) -> None:
    """Compile with losses that Keras itself knows, so that ``model.save`` opens anywhere without easydl.

    With ``plain_metrics`` the user's own are left out, too.
    """
    own = not type(model.optimizer).__module__.startswith("keras.") if model.compiled else False
    with strategies.scope(strategies.strategy_of(model, small=True)):
        if objective.learner is not model or own:
            optimizer = keras.optimizers.AdamW(learning_rate)
        elif model.compiled and (plain_metrics or objective.loss != objective.plain):
            optimizer = model.optimizer
        else:
            return
        optimizer.build(model.trainable_variables)
        model.compile(optimizer=optimizer, loss=objective.plain, jit_compile=False)
