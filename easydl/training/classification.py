"""Training a classifier of any task: a head on cached frozen features and gentle fine-tuning, or the whole from random."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.fileio import write_status
from easydl.networks import freeze_backbone, head, set_window, unfreeze
from easydl.networks.metadata import ModelMetadata
from easydl.prediction import compiled
from easydl.prediction.covariates import study_covariates
from easydl.studies import Study
from easydl.studies.dataset import dataset, decode
from easydl.studies.pixel_facts import Decoded
from easydl.training.callbacks import Watch
from easydl.training.checkpoint import load_checkpoint, training_key
from easydl.training.loop import run_stage
from easydl.training.objective import Objective, objective
from easydl.training.pipeline import image_feed
from easydl.training.plan import Asked, Plan, choose_window, mixed_task, plan_classifier

FEATURE_BATCH, HEAD_BATCH, HEAD_RATE = 32, 32, 3e-3


def fit_classifier(
    model: keras.Model,
    train: Study,
    val: Study,
    metadata: ModelMetadata,
    asked: Asked,
) -> Plan:
    """Train ``model`` in place. Returns what was chosen."""
    preset, seed, watch, show = asked.preset[0], asked.seed, asked.watch, asked.show
    size = tuple(int(side) for side in metadata.size if side is not None)
    units = train.units
    progress = _progress(watch, show)
    kind: dict[str, Any] = {
        "size": size,
        "channels": metadata.channels,
        "units": units,
        "normalise": metadata.normalise,
    }
    images = decode(train, **kind, progress=progress)
    held = decode(val, **kind)
    sample = np.asarray(images[:: max(1, len(images) // 50)], np.float32)
    plan = plan_classifier(metadata, train, asked, choose_window(asked.window, train, sample))
    set_window(model, plan.window, plan.units)
    augment = None
    if preset.name != "none":
        augment = preset.augmenter(
            dimension=metadata.dimension, units=plan.units, window=plan.window, seed=seed, classes=_names(metadata),
            channels=metadata.channels, task=mixed_task(metadata),
        )  # fmt: skip
        plan = replace(plan, why=(*plan.why, *augment.notes))
    if show:
        print("\n".join(plan.why), flush=True)
    goal = objective(model, metadata, train, plan.class_weight, asked.loss)
    told, held_told = study_covariates(model, train, training=True), study_covariates(model, val)
    learn = Part(images, told, train.targets(), sample_weights(train, plan))
    check = Part(held, held_told, val.targets(), val.target_weights())
    key = training_key(metadata, plan, asked, (train, val), (learn.told, learn.targets, check.told, check.targets))
    name = "fine-tune" if plan.head_epochs else "train"
    if plan.head_epochs and load_checkpoint(watch.folder, key) is None:
        _train_head(model, learn, check, plan, goal, augment, seed, watch, show)
    if not watch.stopped and (plan.fine_tune or not plan.head_epochs):
        head_loss = _lowest(watch, "head")
        if plan.head_epochs:
            unfreeze(model)
        run_stage(
            model,
            lambda first: image_feed(
                learn.inputs(), learn.targets, plan.batch_size, seed=seed, weights=learn.weights, augment=augment,
                first_epoch=first,
            ),
            dataset(check.inputs(), check.targets, FEATURE_BATCH, weights=check.weights),
            name=name, epochs=plan.epochs, steps=-(-len(images) // plan.batch_size), learning_rate=plan.learning_rate,
            loss=goal.loss, metrics=goal.metrics(), watch=watch, show=show, key=key,
            class_weight=plan.class_weight if goal.single else None, best=head_loss if np.isfinite(head_loss) else None,
        )  # fmt: skip
        # The head's epochs are here after an interruption too: they come with the checkpoint.
        if plan.head_epochs and not _lowest(watch, name) < _lowest(watch, "head"):
            kept = "No epoch of fine-tuning had a lower validation loss than the head alone, which is kept."
            plan = replace(plan, why=(*plan.why, kept))
            if show:
                print(kept, flush=True)
    if model.compiled and goal.loss != goal.plain:
        # Left compiled with losses that Keras itself knows, so that model.save opens anywhere without easydl.
        model.compile(optimizer=model.optimizer, loss=goal.plain, jit_compile=False)
    return plan


@dataclass(frozen=True)
class Part:
    """The training or the validation part as arrays.

    Attributes:
        images: ``(n, *size, channels)``, or cached features ``(n, features)``.
        told: Encoded covariates float32 ``(n, width)``, or None.
        targets: As `Study.targets`.
        weights: float32 ``(n,)`` by question, or None.
    """

    images: np.ndarray | Decoded
    told: np.ndarray | None
    targets: Any
    weights: Any

    def inputs(self, name: str = "image") -> Any:
        """What the model is fed; a dict where it is told something beside the image."""
        return self.images if self.told is None else {name: self.images, "covariates": self.told}


def sample_weights(train: Study, plan: Plan) -> dict[str, np.ndarray] | None:
    """For several questions the weight of every image: 0 where it is not answered, more for rare classes."""
    weights = train.target_weights()
    targets = train.targets()
    for name, by_class in plan.head_weight.items() if weights else ():
        every = np.array([by_class[k] for k in sorted(by_class)], np.float32)
        weights[name] = weights[name] * (targets[name] @ every)  # type: ignore[index]
    return weights


def _names(metadata: ModelMetadata) -> list[str]:
    """Every name that may say a side, which a mirror image would make false."""
    asked = [name for question in metadata.heads.values() for name in question.classes]
    told = [name for one in metadata.covariates for name in (one.name, *(one.categories or ()))]
    return [*metadata.classes, *asked, *told]


def features(model: keras.Model, images: np.ndarray | Decoded, *, augment: Any = None, targets: Any = None) -> Any:
    """The frozen features of every image, computed once.

    Args:
        model: A classifier of easydl.
        images: ``(n, *size, channels)``.
        augment: Called on float32 batches before the network, or None.
        targets: ``(n, classes)``, or a dict of them, to be mixed where ``augment`` mixes images.

    Returns:
        float32 ``(n, features)``; with targets a pair of them and the targets that belong to them.
    """
    call = compiled(model, "features")
    count, side = len(images), min(FEATURE_BATCH, len(images))

    @tf.function
    def varied(x: Any, y: Any) -> Any:
        return augment(x, targets=y)

    parts, answers = [], []
    for begin in range(0, count, FEATURE_BATCH):
        # The last batch is filled up with the first images, so that the augmentation is traced for one shape only.
        rows, kept = np.arange(begin, begin + side) % count, min(side, count - begin)
        asked = None if targets is None else tf.nest.map_structure(lambda one, rows=rows: one[rows], targets)
        x, y = tf.constant(np.asarray(images[rows], np.float32)), asked
        if augment is not None:
            x, y = varied(x, y)
        parts.append(call(x).numpy()[:kept])
        if targets is not None:
            answers.append(tf.nest.map_structure(lambda one, kept=kept: np.asarray(one)[:kept], y))
    joined = np.concatenate(parts)
    return joined if targets is None else (joined, tf.nest.map_structure(lambda *all_: np.concatenate(all_), *answers))


def _train_head(
    model: keras.Model, learn: Part, check: Part, plan: Plan, goal: Objective, augment: Any, seed: int, watch: Watch, show: int,
) -> None:  # fmt: skip
    freeze_backbone(model)
    if watch.folder is not None:
        write_status(watch.folder, state="running", stage="training", part="features", epoch=0, epochs=plan.copies)
    cached, answers = [features(model, learn.images)], [learn.targets]
    for _ in range(plan.copies - 1):
        varied, mixed = features(model, learn.images, augment=augment, targets=learn.targets)
        cached.append(varied)
        answers.append(mixed)
    targets = tf.nest.map_structure(lambda *parts: np.concatenate(parts), *answers)

    def copied(array: Any) -> Any:
        return None if array is None else tf.nest.map_structure(lambda one: np.concatenate([one] * plan.copies), array)

    copies = Part(np.concatenate(cached), copied(learn.told), targets, copied(learn.weights))
    held = Part(features(model, check.images), check.told, check.targets, check.weights)
    x, count = "features", len(learn.images)
    if show:
        print(f"Features of {count} images computed once ({copies.images.shape[1]} numbers each).", flush=True)
    batch = min(HEAD_BATCH, max(8, count // 8))
    validation = (held.inputs(x), held.targets, *([] if held.weights is None else [held.weights]))
    run_stage(
        head(model),
        lambda first: image_feed(
            copies.inputs(x), copies.targets, batch, seed=seed, weights=copies.weights, first_epoch=first
        ),
        validation, name="head", epochs=plan.head_epochs, steps=-(-len(copies.images) // batch),
        learning_rate=HEAD_RATE, loss=goal.loss, metrics=goal.metrics(), watch=watch, show=0,
        patience=12, class_weight=plan.class_weight if goal.single else None,
    )  # fmt: skip
    if show and watch.rows:
        print(f"Head: {len(watch.rows)} epochs, validation loss {_lowest(watch, 'head'):.3f}.", flush=True)


def _lowest(watch: Watch, stage: str) -> float:
    """The lowest validation loss of a phase; infinite where there is none."""
    found = [row.get("val_loss", np.inf) for row in watch.rows if row["stage"] == stage]
    return float(np.nanmin([np.inf, *found]))


def _progress(watch: Watch, show: int) -> Any:
    def say(done: int, total: int) -> None:
        if done == total and show:
            print(f"{total} training images read.", flush=True)

    if watch.folder is not None:
        write_status(watch.folder, state="running", stage="loading", message="Reading the images")
    return say
