"""Training a classifier: a head on cached frozen features and gentle fine-tuning, or the whole from random."""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.atomic import write_status
from easydl.augmentation import Preset
from easydl.errors import ModelError
from easydl.networks import freeze_backbone, head, set_window, unfreeze
from easydl.networks.recipe import Recipe
from easydl.prediction import compiled
from easydl.studies import Study
from easydl.studies.contents import Decoded
from easydl.studies.stream import dataset, decode
from easydl.training.checkpoint import load_checkpoint
from easydl.training.feed import image_feed
from easydl.training.phase import run_phase
from easydl.training.plan import Plan, choose_window, plan_classifier
from easydl.training.watch import Watch

FEATURE_BATCH, HEAD_BATCH, HEAD_RATE = 32, 32, 3e-3


def fit_classifier(
    model: keras.Model,
    train: Study,
    val: Study,
    recipe: Recipe,
    *,
    preset: tuple[Preset, str],
    window: Any,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    fine_tune: bool | str,
    class_weight: Any,
    seed: int,
    watch: Watch,
    show: int,
) -> Plan:
    """Train ``model`` in place; arguments as in `easydl.fit`. Returns what was chosen."""
    if recipe.dimension != train.dimension:
        raise ModelError(
            f"The model takes {recipe.dimension}D images, the study holds {train.dimension}D ones.",
            "a model of the study's dimension.",
            "Use easydl.classifier('tiny3d', classes=study.classes) for volumes, a 2D one for images.",
        )
    size = tuple(int(side) for side in model.input_shape[1:-1])
    units = train.units
    progress = _progress(watch, show)
    kind: dict[str, Any] = {"size": size, "channels": recipe.channels, "units": units, "normalise": recipe.normalise}
    images = decode(train, **kind, progress=progress)
    held = decode(val, **kind)
    sample = np.asarray(images[:: max(1, len(images) // 50)], np.float32)
    chosen = choose_window(window, train, sample)
    plan = plan_classifier(
        recipe, train, preset=(preset[0].name, preset[1]), window=chosen, epochs=epochs, batch_size=batch_size,
        learning_rate=learning_rate, fine_tune=fine_tune, class_weight=class_weight,
    )  # fmt: skip
    if show:
        print("\n".join(plan.why), flush=True)
    set_window(model, plan.window, plan.units)
    augment = None
    if preset[0].name != "none":
        augment = preset[0].augmenter(
            dimension=recipe.dimension,
            units=plan.units,
            window=plan.window,
            seed=seed,
            classes=recipe.classes,
        )
    targets, held_targets = train.one_hot(), val.one_hot()
    metrics = ["accuracy", keras.metrics.AUC(name="auc", num_thresholds=500)]
    key = _key(recipe, plan, seed, images.shape)
    name = "fine-tune" if plan.head_epochs else "train"
    if plan.head_epochs and load_checkpoint(watch.folder, key) is None:
        _train_head(model, images, held, targets, held_targets, plan, augment, metrics, seed, watch, show)
    if watch.stopped or not (plan.fine_tune or not plan.head_epochs):
        return plan
    if plan.head_epochs:
        unfreeze(model)
    batches = dataset(held, held_targets, FEATURE_BATCH)
    run_phase(
        model,
        lambda first: image_feed(images, targets, plan.batch_size, seed=seed, augment=augment, first_epoch=first),
        batches, name=name, epochs=plan.epochs, steps=-(-len(images) // plan.batch_size),
        learning_rate=plan.learning_rate, loss="categorical_crossentropy",
        metrics=["accuracy", keras.metrics.AUC(name="auc", num_thresholds=500)], watch=watch, show=show, key=key,
        class_weight=plan.class_weight,
    )  # fmt: skip
    return plan


def features(model: keras.Model, images: np.ndarray | Decoded, *, augment: Any = None) -> np.ndarray:
    """The frozen features of every image, computed once.

    Args:
        model: A classifier of easydl.
        images: ``(n, *size, channels)``.
        augment: Called on float32 batches before the network, or None.

    Returns:
        float32 ``(n, features)``.
    """
    call = compiled(model, "features")
    vary = tf.function(lambda batch: augment(batch)[0]) if augment is not None else tf.identity
    parts = []
    for begin in range(0, len(images), FEATURE_BATCH):
        batch = np.asarray(images[begin : begin + FEATURE_BATCH], np.float32)
        # The last batch is filled up, so that the augmentation is traced for one shape only.
        short = min(FEATURE_BATCH, len(images)) - len(batch)
        whole = np.pad(batch, [(0, short), *[(0, 0)] * (batch.ndim - 1)])
        parts.append(call(vary(tf.constant(whole))).numpy()[: len(batch)])
    return np.concatenate(parts)


def _train_head(
    model: keras.Model, images: np.ndarray | Decoded, held: np.ndarray | Decoded, targets: np.ndarray, held_targets: np.ndarray,
    plan: Plan, augment: Any, metrics: list[Any], seed: int, watch: Watch, show: int,
) -> None:  # fmt: skip
    freeze_backbone(model)
    if watch.folder is not None:
        write_status(watch.folder, state="running", phase="training", part="features", epoch=0, epochs=plan.copies)
    cached = [features(model, images)]
    cached += [features(model, images, augment=augment) for _ in range(plan.copies - 1)]
    x, y = np.concatenate(cached), np.concatenate([targets] * plan.copies)
    held_x = features(model, held)
    if show:
        print(f"Features of {len(images)} images computed once ({x.shape[1]} numbers each).", flush=True)
    small = head(model)
    batch = min(HEAD_BATCH, max(8, len(images) // 8))
    run_phase(
        small,
        lambda first: image_feed(x, y, batch, seed=seed, first_epoch=first),
        (held_x, held_targets), name="head", epochs=plan.head_epochs, steps=-(-len(x) // batch),
        learning_rate=HEAD_RATE, loss="categorical_crossentropy", metrics=metrics, watch=watch, show=0,
        patience=12, class_weight=plan.class_weight,
    )  # fmt: skip
    if show and watch.rows:
        best = min(watch.rows, key=lambda row: row.get("val_loss", np.inf))
        print(f"Head: {len(watch.rows)} epochs, validation loss {best.get('val_loss', np.nan):.3f}.", flush=True)


def _progress(watch: Watch, show: int) -> Any:
    def say(done: int, total: int) -> None:
        if done == total and show:
            print(f"{total} training images read.", flush=True)

    if watch.folder is not None:
        write_status(watch.folder, state="running", phase="loading", message="Reading the images")
    return say


def _key(recipe: Recipe, plan: Plan, seed: int, shape: tuple[int, ...]) -> str:
    text = f"{recipe.builder}|{recipe.arguments}|{plan}|{seed}|{shape}"
    return hashlib.sha256(text.encode()).hexdigest()
