"""Training networks that make images of images, on patches of a study's own scans; no labels are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from easydl.errors import InputError
from easydl.fileio import write_status
from easydl.networks import attach, metadata_of, set_window
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.grid import working_grid
from easydl.prediction.image_to_image import NOISE, REDUCED, corrupted, corruption_of
from easydl.studies import Study
from easydl.studies.dataset import IN_MEMORY_BYTES, dataset
from easydl.training.checkpoint import training_key
from easydl.training.loop import run_stage
from easydl.training.pipeline import Patches
from easydl.training.plan import Asked, Plan, choose_window

PATCH, BATCH = {2: 128, 3: 48}, {2: 8, 3: 2}
STEPS, LEAST_STEPS, LEAST_EPOCHS, RATE = 1500, 25, 12, 1e-3
# Deviation of the pixels around the picture that a variational code stands for, on the scale from -1 to 1.
SPREAD = 0.2
TINY = 1e-6


def fit_image_to_image(
    model: keras.Model,
    train: Study,
    val: Study,
    metadata: ModelMetadata,
    asked: Asked,
) -> Plan:
    """Train ``model`` in place. Returns what was chosen.

    Raises:
        InputError: A loss was asked for: each of these networks has its own.
    """
    preset, seed, watch, show = asked.preset[0], asked.seed, asked.watch, asked.show
    if asked.loss != "auto":
        raise InputError(
            f"loss={asked.loss!r} was asked for {metadata.arguments['name']}.", 'loss="auto": these networks have their own.',
            "Leave it out.",
        )  # fmt: skip
    if watch.folder is not None:
        write_status(watch.folder, state="running", stage="loading", message="Reading the scans")
    metadata = metadata.model_copy(update={"units": train.units})
    images, held = _decoded(train, metadata), _decoded(val, metadata)
    sample = np.concatenate([images[case][::2, ::2].ravel()[:100_000] for case in range(min(20, len(images)))])
    shapes = [images[case].shape[:-1] for case in range(len(images))]
    plan = _plan(metadata, train, shapes, asked, choose_window(asked.window, train, sample))
    augment = None
    if preset.name != "none":
        augment = preset.augmenter(
            dimension=metadata.dimension, units=plan.units, window=plan.window, seed=seed, channels=metadata.channels,
            task=metadata.task,
        )  # fmt: skip
        plan = replace(plan, why=(*plan.why, *augment.notes))
    assert plan.patch is not None
    attach(model, metadata.model_copy(update={"patch": plan.patch}))
    metadata = metadata_of(set_window(model, plan.window, plan.units))
    if show:
        print("\n".join(plan.why), flush=True)
    patches, middles = _patches(images, plan.patch), _patches(held, plan.patch)
    clean = np.clip(np.stack([middles.middle(case)[0] for case in range(len(held))]), *metadata.window)
    spoiled = np.stack(
        [corrupted(metadata, one, np.random.default_rng([seed, case])) for case, one in enumerate(clean)]
    )
    learner, loss, metrics, shared = _learner(model, metadata)
    run_stage(
        learner,
        lambda first: shared(spoiled_feed(patches, metadata, plan, seed=seed, augment=augment, first_epoch=first)),
        shared(dataset(spoiled, clean, plan.batch_size)), name="train", epochs=plan.epochs, steps=plan.steps,
        learning_rate=plan.learning_rate, loss=loss, metrics=metrics, watch=watch, show=show,
        key=training_key(metadata, plan, asked, (train, val)), monitor="val_loss",
    )  # fmt: skip
    # Left compiled with a loss that Keras itself knows, so that model.save opens anywhere without easydl.
    optimizer = model.optimizer if learner is model else keras.optimizers.Adam(plan.learning_rate)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss="mean_absolute_error", jit_compile=False)
    return plan


def spoiled_feed(
    patches: Patches, metadata: ModelMetadata, plan: Plan, *, seed: int, augment: Any = None, first_epoch: int = 0
) -> tf.data.Dataset:
    """Batches of (spoiled patch, clean patch); places and noise are drawn anew in each epoch.

    Args:
        patches: Where to draw from.
        recipe: Says how patches are spoiled, and the window.
        plan: Batch size and steps.
        seed: With the epoch, it fixes every draw.
        augment: Called as ``augment(images)`` before they are spoiled; returns (images, None).
        first_epoch: The epoch to begin with, when a training is resumed.
    """
    epoch, total = first_epoch, plan.steps * plan.batch_size
    shape = (None, *patches.patch, metadata.channels)

    def draws() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal epoch
        rng = np.random.default_rng([seed, epoch])
        epoch += 1
        order = np.concatenate([rng.permutation(len(patches.images)) for _ in range(-(-total // len(patches.images)))])
        for begin in range(0, total, plan.batch_size):
            drawn = np.stack([patches.draw(int(c), rng, False)[0] for c in order[begin : begin + plan.batch_size]])
            if augment is not None:
                drawn = np.asarray(augment(tf.constant(drawn))[0])
            clean = np.clip(drawn, *metadata.window).astype(np.float32)
            yield np.stack([corrupted(metadata, one, rng) for one in clean]), clean

    signature = (tf.TensorSpec(shape, tf.float32), tf.TensorSpec(shape, tf.float32))
    feed = tf.data.Dataset.from_generator(draws, output_signature=signature)
    return feed.apply(tf.data.experimental.assert_cardinality(plan.steps)).prefetch(2)


def divergence(mean: Any, std: Any) -> Any:
    """Kullback-Leibler divergence of a code's normal distribution from the standard normal one.

    Args:
        mean: ``(batch, *spatial, maps)``.
        deviation: The same shape, above 0.

    Returns:
        ``(batch,)``, in nats, summed over the code; 0 when the mean is 0 and the deviation 1.

    References:
        Kingma and Welling 2014, arXiv:1312.6114, appendix B.
    """
    std = std + TINY
    each = ops.square(mean) + ops.square(std) - 1.0 - 2.0 * ops.log(std)
    return 0.5 * ops.sum(ops.reshape(each, (ops.shape(each)[0], -1)), axis=-1)


def _learner(model: keras.Model, metadata: ModelMetadata) -> tuple[keras.Model, Any, Any, Any]:
    """What is trained: the model, or for a variational one its twin that also shows the code; loss and metrics."""
    half = (metadata.window[1] - metadata.window[0]) / 2
    squared = corruption_of(metadata) in ("", "noise") and "autoencoder" in str(metadata.arguments["name"])

    def error(target: Any, made: Any) -> Any:
        apart = (target - made) / half
        return ops.mean(ops.square(apart) if squared else ops.abs(apart))

    metrics = [keras.metrics.MeanAbsoluteError(name="mean_absolute_error")]
    if not str(metadata.arguments["name"]).startswith("variational"):
        return model, error, metrics, lambda feed: feed
    mean, std = (model.get_layer(name).output for name in ("code_mean", "code_std"))
    codes = keras.layers.Concatenate(name="codes")([mean, std])
    twin = keras.Model(model.input, {"image_out": model.output, "codes": codes}, name=f"{model.name}_twin")

    def likelihood(target: Any, made: Any) -> Any:
        return error(target, made) / (2 * SPREAD**2)

    def share_of_divergence(target: Any, codes: Any) -> Any:
        # Per number of the image, as the error is; the bound of the paper divided by their count.
        both = ops.split(codes, 2, axis=-1)
        count = ops.cast(ops.prod(ops.shape(target)[1:]), "float32")
        return ops.mean(divergence(*both)) / count

    losses = {"image_out": likelihood, "codes": share_of_divergence}
    return twin, losses, {"image_out": metrics}, lambda feed: feed.map(lambda x, y: (x, {"image_out": y, "codes": y}))


def _plan(
    metadata: ModelMetadata,
    train: Study,
    shapes: list[tuple[int, ...]],
    asked: Asked,
    window: tuple[tuple[float, float], str],
) -> Plan:
    preset, sentence = asked.preset
    fixed = [int(side) for side in metadata.size if side is not None]
    median = np.median(np.asarray(shapes), axis=0)
    patch = tuple(fixed) or tuple(
        int(min(PATCH[metadata.dimension], -(-side // step) * step))
        for side, step in zip(median, metadata.multiples, strict=True)
    )
    batch = asked.batch_size or BATCH[metadata.dimension]
    steps = max(LEAST_STEPS, -(-len(train) // batch))
    main = asked.epochs or max(LEAST_EPOCHS, STEPS // steps)
    kind = corruption_of(metadata)
    low, high = window[0]
    why = (
        window[1],
        sentence if preset.name != "none" else "No augmentation: patches are drawn anew in each epoch.",
        {
            "noise": f"It learns to take away Gaussian noise with a deviation of {NOISE * (high - low):.3g} ({NOISE:.0%} of the "
            "window), drawn anew in each epoch.",
            "reduced": f"It learns to undo a reduction by {REDUCED}: patches are reduced and enlarged again.",
            "": "It learns to give its own input back through a small code.",
        }[kind],
        f"Patches of {' x '.join(map(str, patch))}; {batch} patches a step, {steps} steps an epoch, {main} epochs at most.",
        "No labels were used.",
    )
    return Plan(
        batch_size=batch, epochs=main, head_epochs=0, learning_rate=asked.learning_rate or RATE, fine_tune=False, copies=1,
        window=window[0], units=train.units, class_weight=None, preset=preset.name,
        patch=patch, steps=steps, why=why,
    )  # fmt: skip


def _decoded(study: Study, metadata: ModelMetadata) -> Any:
    """Every scan on the working grid; in memory when they are small, else in the cache."""
    settings = (metadata.channels, metadata.units, metadata.normalise, metadata.spacing_mm, metadata.max_side)
    found = study.decoded(
        f"working grid|{settings}", lambda row: working_grid(metadata, study.scan(row)).astype(np.float32)
    )
    small = sum(study.each(lambda row: found[row].nbytes)) <= IN_MEMORY_BYTES
    return [np.array(found[row]) for row in range(len(found))] if small else found


def _patches(images: Any, patch: tuple[int, ...]) -> Patches:
    # No structure to look for: an empty mask that takes no memory.
    nothing = [np.broadcast_to(np.uint8(0), images[case].shape[:-1]) for case in range(len(images))]
    return Patches(images, nothing, patch, 1)
