"""Training data for Keras: whole images or patches, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import tensorflow as tf

from easydl.studies.dataset import Held, gathered
from easydl.training.patches import Patches
from easydl.training.workers import Share, whole

Augment = Callable[..., Any]
Order = Callable[[int], list[np.ndarray]]
"""From an epoch to the rows of each of its steps."""


def image_feed(
    images: Any,
    targets: Any,
    batch_size: int,
    *,
    seed: int,
    weights: Any = None,
    augment: Augment | None = None,
    first_epoch: int = 0,
    order: Order | None = None,
) -> tf.data.Dataset:
    """Batches of (image, target), or (image, target, weight), in a new order each epoch.

    ``images`` may be a dict with an ``image`` and further inputs, ``targets`` and ``weights`` dicts by head.
    ``augment(images, targets=targets, counter=number)`` takes float32 batches and returns both; the number of a batch
    is another in every epoch, and the same when an epoch is trained again. ``order`` says the rows of each step instead.
    """
    rows_in_all = len(tf.nest.flatten(targets)[0])
    steps = -(-rows_in_all // batch_size) if order is None else len(order(0))
    epochs = count(first_epoch)

    def rows() -> Iterator[tuple[np.ndarray, int]]:
        epoch = next(epochs)
        mixed = np.random.default_rng([seed, epoch]).permutation(rows_in_all)
        batches = [mixed[begin : begin + batch_size] for begin in range(0, rows_in_all, batch_size)]
        for step, chosen in enumerate(batches if order is None else order(epoch)):
            yield chosen, epoch * steps + step

    def augmented(loaded: tuple[Any, ...], number: tf.Tensor) -> tuple[Any, ...]:
        if augment is None:
            return loaded
        x, y, *rest = loaded
        image, y = augment(x["image"] if isinstance(x, dict) else x, targets=y, counter=number)
        return ({**x, "image": image} if isinstance(x, dict) else image), y, *rest

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((), tf.int64))
    feed = gathered(tf.data.Dataset.from_generator(rows, output_signature=signature), images, targets, weights)
    feed = feed.map(augmented, num_parallel_calls=1, deterministic=True)
    return feed.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def image_sample(images: Any, batch_size: int, *, seed: int) -> Callable[[int], Iterator[Any]]:
    """A function: from an epoch to its training images as they are, float32, in batches and in a mixed order."""
    count_of_rows = len(tf.nest.flatten(images)[0])

    def sample(epoch: int) -> Iterator[Any]:
        order = np.random.default_rng([seed, epoch]).permutation(count_of_rows)
        for begin in range(0, count_of_rows, batch_size):
            rows = order[begin : begin + batch_size]
            yield tf.nest.map_structure(lambda one, rows=rows: np.asarray(one[rows], np.float32), images)

    return sample


def patch_sample(
    patches: Patches, batch_size: int, steps: int, *, seed: int, shares: Sequence[Share] | None = None
) -> Callable[[int], Iterator[np.ndarray]]:
    """The same of patches: as `patch_feed` draws them, without augmentation."""
    own = shares or whole(len(patches.images), batch_size)

    def sample(epoch: int) -> Iterator[np.ndarray]:
        for turns in patches.turns(seed, epoch, steps, own):
            yield np.stack([image for turn in turns for image, _ in patches.drawn(turn)])

    return sample


def patch_feed(
    patches: Patches,
    batch_size: int,
    steps: int,
    *,
    seed: int,
    augment: Augment | None = None,
    fraction: Callable[[int], float] = lambda epoch: 1.0,
    first_epoch: int = 0,
    shares: Sequence[Share] | None = None,
) -> tf.data.Dataset:
    """Batches of (patch, one-hot mask); every scan comes up equally often.

    ``augment(images, masks, counter=number)`` returns both, as in `image_feed`; ``fraction`` says, by the epoch, how many
    of the patches are augmented. ``shares`` divide the scans and the patches of a step among workers.
    """
    own = shares or whole(len(patches.images), batch_size)
    epochs, held = count(first_epoch), Held(patches)
    lent = held.lent()

    def draws() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        epoch, patches = next(epochs), lent()
        for step, turns in enumerate(patches.turns(seed, epoch, steps, own)):
            drawn, chosen = [], []
            for turn in turns:
                drawn += patches.drawn(turn)
                chosen.append(turn.rng.random(len(turn.cases)) < fraction(epoch))
            images, labels = (np.stack(parts) for parts in zip(*drawn, strict=True))
            yield images, labels, np.concatenate(chosen), epoch * steps + step

    def augmented(x: tf.Tensor, y: tf.Tensor, chosen: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if augment is None:
            return x, y
        rows = tf.where(chosen)
        # Deforming a volume costs a good part of a step: only what is used is deformed.
        return tf.cond(tf.size(rows) > 0, lambda: changed(x, y, rows, number), lambda: (x, y))

    def changed(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        some = tf.gather(x, rows[:, 0]), tf.gather(y, rows[:, 0])
        new_x, new_y = augment(*some, counter=number)  # type: ignore[misc]
        return tf.tensor_scatter_nd_update(x, rows, new_x), tf.tensor_scatter_nd_update(y, rows, new_y)

    # Every batch is full: a size that the graph knows.
    count_of_patches = sum(share.batch for share in own)
    shape = (count_of_patches, *patches.patch)
    signature = (
        tf.TensorSpec((*shape, patches.images[0].shape[-1]), tf.float32),
        tf.TensorSpec(shape, tf.int32),
        tf.TensorSpec((count_of_patches,), tf.bool),
        tf.TensorSpec((), tf.int64),
    )
    feed = held.by(tf.data.Dataset.from_generator(draws, output_signature=signature))
    feed = feed.map(augmented, num_parallel_calls=1, deterministic=True)
    classes = patches.classes
    feed = feed.map(lambda x, y: (x, tf.one_hot(y, classes)), num_parallel_calls=1, deterministic=True)
    return feed.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def pair_feed(
    patches: Patches,
    batch_size: int,
    steps: int,
    corrupt: Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    augment: Augment | None = None,
    first_epoch: int = 0,
    shares: Sequence[Share] | None = None,
) -> tf.data.Dataset:
    """Batches of (corrupted patch, clean patch); places and noise are drawn anew in each epoch.

    ``augment(images, counter=number)`` is called before ``corrupt``, which makes the pair of one patch.
    """
    own = shares or whole(len(patches.images), batch_size)
    epochs, held = count(first_epoch), Held(patches)
    lent = held.lent()

    def draws() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch, patches = next(epochs), lent()
        for step, turns in enumerate(patches.turns(seed, epoch, steps, own)):
            pairs = []
            for turn in turns:
                drawn = np.stack([patches.draw(case, turn.rng, False)[0] for case in turn.cases])
                if augment is not None:
                    drawn = np.asarray(augment(tf.constant(drawn), counter=epoch * steps + step)[0])
                pairs += [corrupt(image, turn.rng) for image in drawn]
            yield np.stack([corrupted for corrupted, _ in pairs]), np.stack([clean for _, clean in pairs])

    spec = tf.TensorSpec((None, *patches.patch, patches.images[0].shape[-1]), tf.float32)
    feed = held.by(tf.data.Dataset.from_generator(draws, output_signature=(spec, spec)))
    return feed.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
