"""Training a classifier of any task: a head on cached frozen features and gentle fine-tuning, or the whole from random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.networks import freeze_backbone, head, unfreeze
from easydl.networks.freezing import stages_sentence
from easydl.networks.receptive_field import receptive_field_sentence
from easydl.prediction import compiled
from easydl.prediction.covariates import study_covariates
from easydl.studies import Study
from easydl.studies.dataset import dataset, decode
from easydl.studies.pixel_facts import Decoded
from easydl.tasks import Task
from easydl.training import loop
from easydl.training.batch_size import of_classifier
from easydl.training.checkpoint import load_for_all
from easydl.training.feeder import Feeder
from easydl.training.judging import Frozen
from easydl.training.known_features import frozen_features
from easydl.training.loop import Data, Stage
from easydl.training.objective import Objective, classifier_objective
from easydl.training.pipeline import image_feed, image_sample
from easydl.training.plan import Plan, Settings, Window, plan_classifier
from easydl.training.quick_result import Sample, gain, put_linear_head, row_losses

FEATURE_BATCH, HEAD_BATCH, HEAD_RATE, HEAD_PATIENCE = 32, 32, 3e-3, 12


@dataclass(frozen=True)
class Part:
    """The training or the validation part as arrays.

    Attributes:
        images: ``(n, *size, channels)``, or cached features ``(n, features)``.
        covariates: Encoded, float32 ``(n, width)``, or None.
        targets: As `Study.targets`.
        weights: float32 ``(n,)`` by head, or None.
    """

    images: np.ndarray | Decoded
    covariates: np.ndarray | None
    targets: Any
    weights: Any

    def inputs(self, name: str = "image") -> Any:
        """What the model is fed; a dict where it takes covariates."""
        return self.images if self.covariates is None else {name: self.images, "covariates": self.covariates}


class ClassifierFeeder(Feeder):
    """Feeds whole images or, to a head, their cached features."""

    images: np.ndarray | Decoded
    validation_images: np.ndarray | Decoded
    learn: Part
    check: Part

    def read(self) -> np.ndarray:
        """Decode both parts at the model's size."""
        options: dict[str, Any] = {
            "size": tuple(int(side) for side in self.metadata.size if side is not None),
            "channels": self.metadata.channels,
            "units": self.train.units,
            "normalise": self.metadata.normalise,
        }
        train, val = self._own(self.train), self._own(self.val)
        self.images = decode(train, **options)
        self.progress.say(f"{len(train)} training images read.")
        self.validation_images = decode(val, **options)
        return np.asarray(self.images[:: max(1, len(self.images) // 50)], np.float32)

    def choose(self, window: Window) -> Plan:
        """The plan of a classifier."""
        plan = self._plan(self.settings, window)
        if not self.settings.batch_by_memory or plan.strategy == "features":
            return plan
        found = of_classifier(self.model, len(self.train), plan.batch_size)
        settings = replace(self.settings, batch_size=found.batch)
        plan = self._plan(settings, window).because(found.sentence)
        own = settings.learning_rate is not None or not isinstance(settings.optimizer, str)
        return plan if own else replace(plan, learning_rate=plan.learning_rate * found.rate)

    def _plan(self, settings: Settings, window: Window) -> Plan:
        """With what only the network itself can tell: how much of an image it sees, and which of its layers are trained."""
        plan = plan_classifier(self.metadata, self.train, settings, window)
        said = [receptive_field_sentence(self.model)]
        if plan.strategy == "finetune" and settings.fine_tune is not None:
            said.append(stages_sentence(self.model, plan.stages))
        return plan.because(*filter(None, said))

    def names(self) -> Iterable[str]:
        """The classes of all heads, the covariates and their categories."""
        heads = [name for one in self.metadata.heads.values() for name in one.classes]
        covariates = [name for one in self.metadata.covariates for name in (one.name, *(one.categories or ()))]
        return [*self.metadata.classes, *heads, *covariates]

    def objective(self) -> Objective:
        """The loss and the metrics of the task."""
        weights, loss = self.plan.class_weight, self.settings.loss
        return classifier_objective(self.model, self.metadata, self.train, weights, loss, self.with_own)

    def data(self) -> Data:
        """Whole images, shuffled and augmented; those of the validation part as they are."""
        train_covariates = study_covariates(self.model, self.train, training=True)
        weights = sample_weights(self.train, self.plan)
        self.all_learn = Part(self.images, train_covariates, self.train.targets(), weights)
        val_covariates, val_weights = study_covariates(self.model, self.val), self.val.target_weights()
        self.all_check = Part(self.validation_images, val_covariates, self.val.targets(), val_weights)
        self.learn, self.check = self._share(self.all_learn), self._share(self.all_check)
        learn, check, plan = self.learn, self.check, self.plan
        options: dict[str, Any] = {"seed": self.settings.seed, "weights": learn.weights, "augment": self.augment}
        if self.team.count > 1:
            options["order"] = self.team.orders(len(self.train), self.main_stage().steps, self.settings.seed)
        feed = partial(image_feed, learn.inputs(), learn.targets, plan.batch_size, **options)
        validation = dataset(check.inputs(), check.targets, FEATURE_BATCH, weights=check.weights)
        sample = image_sample(learn.inputs(), FEATURE_BATCH, seed=self.settings.seed)
        return Data(feed, validation, sample, len(learn.images))

    def _own(self, part: Study) -> Study:
        """What this worker reads of a part."""
        return part if self.team.count == 1 else part.rows(self.team.rows(len(part)))

    def _share(self, part: Part) -> Part:
        """The rows of this worker; its images are those already."""
        if self.team.count == 1:
            return part
        rows = self.team.rows(len(tf.nest.flatten(part.targets)[0]))
        of = partial(tf.nest.map_structure, lambda one: None if one is None else one[rows])
        return Part(part.images, of(part.covariates), of(part.targets), of(part.weights))

    def _whole(self, values: Any, part: Part) -> Any:
        """What all workers have found for the rows of a part, each for its own."""
        count = len(tf.nest.flatten(part.targets)[0])
        return tf.nest.map_structure(lambda one: self.team.gathered(np.asarray(one), count), values)

    def targets(self) -> Sequence[Any]:
        """Covariates and labels of both parts."""
        learn, check = self.all_learn, self.all_check
        return learn.covariates, learn.targets, check.covariates, check.targets

    def main_stage(self) -> Stage:
        """The whole network, from random or from a trained head."""
        plan = self.plan
        steps = -(-len(self.train) // plan.batch_size)
        if plan.strategy == "scratch":
            return Stage("train", plan.epochs, steps, plan.learning_rate)
        lowest = self.progress.lowest("head")
        best = lowest if np.isfinite(lowest) else None
        return Stage("fine-tune", plan.epochs, steps, plan.learning_rate, best=best)

    def stages(self, objective: Objective, data: Data, key: str) -> None:
        """From random a single stage; with a pretrained backbone the head first, then, if planned, all layers."""
        progress, plan = self.progress, self.plan
        class_weight = plan.class_weight if objective.one_class else None
        if plan.strategy == "scratch":
            self.train_stage(replace(self.main_stage(), class_weight=class_weight), objective, data, key)
            return
        # A head that may be gone back to is made again when fine-tuning goes on: the same, from the same seed.
        if plan.surely or load_for_all(progress.checkpoints, key) is None:
            self._train_head(objective, class_weight)
            progress.rows[:] = self.team.from_first(lambda: progress.rows)
            progress.stopped = self.team.from_first(lambda: progress.stopped)
        if progress.stopped or plan.strategy == "features":
            return
        weights, losses = self.model.get_weights(), self._losses() if plan.surely else None
        frozen, self.frozen = self.frozen, None
        unfreeze(self.model, plan.stages)
        stage = replace(self.main_stage(), class_weight=class_weight)
        self.train_stage(stage, objective, data, key)
        # The head's epochs are here after an interruption too: they come with the checkpoint.
        if not progress.lowest(stage.name) < progress.lowest("head"):
            self.frozen = frozen
            self.explain("No epoch of fine-tuning had a lower validation loss than the head alone, which is kept.")
        elif losses is not None and not progress.stopped:
            kept, text = gain(losses, self._losses(), self.val, self.settings.seed)
            if kept:
                self.explain(f"Fine-tuning is kept: it lowers the loss of the validation part by {text}.")
            else:
                self.model.set_weights(weights)
                self.frozen = frozen
                self.explain(
                    f"Fine-tuning is not kept: it does not surely lower the loss of the validation part: {text}."
                )

    def _losses(self) -> np.ndarray:
        """The loss of every validation image."""
        call, check = compiled(self.model), self.check
        feed = dataset(check.inputs(), check.targets, FEATURE_BATCH)
        answers = [call(x) for x, _ in feed]
        joined = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *answers)
        return np.asarray(self._whole(row_losses(joined, check.targets, self.metadata, check.weights), self.all_check))

    def _train_head(self, objective: Objective, class_weight: dict[int, float] | None) -> None:
        freeze_backbone(self.model)
        progress, plan = self.progress, self.plan
        progress.status(state="running", stage="training", part="features", epoch=0, epochs=plan.copies)
        copies, count = self._cached_features(), len(self.train)
        check = replace(self.all_check, images=self._whole(self._frozen(self.val, self.check), self.all_check))
        progress.say(f"Features of {count} images computed once ({copies.images.shape[1]} values each).")
        own = np.asarray(copies.images[:count])
        self.frozen = Frozen(own, np.asarray(check.images))
        self.explain(put_linear_head(self.model, self.train, own, self._sample()))
        x, batch = "features", min(HEAD_BATCH, max(8, count // 8))
        validation = (check.inputs(x), check.targets, *([] if check.weights is None else [check.weights]))
        learner = replace(objective, learner=head(self.model))
        learnt = replace(self.all_learn, images=own)
        train = (learnt.inputs(x), learnt.targets, *([] if learnt.weights is None else [learnt.weights]))
        if self.metadata.linear_head:
            loop.measure("head", learner, train, validation, progress)
        if not plan.head_epochs:
            return
        options: dict[str, Any] = {"seed": self.settings.seed, "weights": copies.weights}
        feed = partial(image_feed, copies.inputs(x), copies.targets, batch, **options)
        steps = -(-len(copies.images) // batch)
        stage = Stage("head", plan.head_epochs, steps, self._head_rate(steps), patience=HEAD_PATIENCE)
        best = progress.lowest("head") if self.metadata.linear_head else None
        stage = replace(stage, class_weight=class_weight, silent=True, best=best)
        self.train_stage(stage, learner, Data(feed, validation))
        progress.say(
            f"Head: {len(progress.rows) - self.metadata.linear_head} epochs, validation loss {progress.lowest('head'):.3f}."
        )

    def _head_rate(self, steps: int) -> float:
        """Its own beside fine-tuning; where nothing follows, that which was asked for."""
        settings, alone = self.settings, self.plan.strategy == "features"
        if not alone and isinstance(settings.optimizer, str):
            settings = replace(settings, learning_rate=None)
        return settings.rate(HEAD_RATE, self.plan.head_epochs * steps)

    def _sample(self) -> Sample:
        """How much each training image counts in the linear model."""
        by_class, targets = self.plan.class_weight, self.all_learn.targets
        if isinstance(self.all_learn.weights, dict):
            by_head = {name: np.asarray(weights, float) for name, weights in self.all_learn.weights.items()}
        elif by_class:
            every = np.array([by_class[k] for k in sorted(by_class)], float)
            weighted = targets @ every if Task(self.metadata.task).exclusive else np.where(targets == 1, every, 1.0)
            by_head = {"": np.asarray(weighted, float)}
        else:
            by_head = {}
        return Sample(by_head, self.settings.seed, self.settings.drawn)

    def _frozen(self, part: Study, share: Part) -> np.ndarray:
        """The features of this worker's share of a part, as the images are."""
        return frozen_features(self.model, self._own(part), lambda rows: features(self.model, share.images, rows))

    def _cached_features(self) -> Part:
        """The features of the training images as they are, and of augmented copies of them."""
        own, learn, copies = self.learn, self.all_learn, self.plan.copies
        cached, targets = [self._whole(self._frozen(self.train, own), learn)], [learn.targets]
        for _ in range(copies - 1):
            made = features(self.model, own.images, augment=self.augment, targets=own.targets)
            augmented, mixed = self._whole(made, learn)
            cached.append(augmented)
            targets.append(mixed)

        def repeated(array: Any) -> Any:
            return None if array is None else tf.nest.map_structure(lambda one: np.concatenate([one] * copies), array)

        joined = tf.nest.map_structure(lambda *arrays: np.concatenate(arrays), *targets)
        return Part(np.concatenate(cached), repeated(learn.covariates), joined, repeated(learn.weights))


def sample_weights(train: Study, plan: Plan) -> dict[str, np.ndarray] | None:
    """For several heads the weight of every image: 0 where it has no label for one, more for rare classes."""
    weights = train.target_weights()
    targets = train.targets()
    for name, by_class in plan.head_weight.items() if weights else ():
        every = np.array([by_class[k] for k in sorted(by_class)], np.float32)
        weights[name] = weights[name] * (targets[name] @ every)  # type: ignore[index]
    return weights


def features(
    model: keras.Model,
    images: np.ndarray | Decoded,
    chosen: np.ndarray | None = None,
    *,
    augment: Any = None,
    targets: Any = None,
) -> Any:
    """The frozen features of every image, or of those at the chosen positions: float32 ``(n, features)``, computed once.

    With targets a pair of them and the targets that belong to them: ``augment`` may mix images and their targets.
    """
    call = compiled(model, "features")
    chosen = np.arange(len(images)) if chosen is None else chosen
    count, side = len(chosen), min(FEATURE_BATCH, len(chosen))

    @tf.function
    def augmented(x: Any, y: Any) -> Any:
        return augment(x, targets=y)

    parts, mixed = [], []
    for begin in range(0, count, FEATURE_BATCH):
        # The last batch is filled up with the first images, so that the augmentation is traced for one shape only.
        rows, kept = chosen[np.arange(begin, begin + side) % count], min(side, count - begin)
        x = tf.constant(np.asarray(images[rows], np.float32))
        y = None if targets is None else tf.nest.map_structure(lambda one, rows=rows: one[rows], targets)
        if augment is not None:
            x, y = augmented(x, y)
        parts.append(call(x).numpy()[:kept])
        if targets is not None:
            mixed.append(tf.nest.map_structure(lambda one, kept=kept: np.asarray(one)[:kept], y))
    joined = np.concatenate(parts)
    return joined if targets is None else (joined, tf.nest.map_structure(lambda *all_: np.concatenate(all_), *mixed))
