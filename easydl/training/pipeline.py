"""Training data for Keras: whole images or patches, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from easydl.studies.dataset import gathered
from easydl.studies.pixel_facts import Decoded

Augment = Callable[..., Any]
CENTRES = 2000


def image_feed(
    images: Any,
    targets: Any,
    batch_size: int,
    *,
    seed: int,
    weights: Any = None,
    augment: Augment | None = None,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of (image, target), or (image, target, weight), in a new order each epoch.

    Args:
        images: ``(n, *size, channels)``, memory-mapped or not; or a dict with such an ``image`` and further inputs.
        targets: ``(n, classes)`` float32, or a dict of them.
        batch_size: Images in a batch.
        seed: With the epoch, it fixes the order.
        weights: ``(n,)`` float32, or a dict of them, or None.
        augment: Called as ``augment(images, targets=targets)`` on float32 batches; returns both.
        first_epoch: The epoch to begin with, when a training is resumed.
    """
    epoch, count = first_epoch, len(tf.nest.flatten(targets)[0])

    def rows() -> Iterator[np.ndarray]:
        nonlocal epoch
        order = np.random.default_rng([seed, epoch]).permutation(count)
        epoch += 1
        for begin in range(0, len(order), batch_size):
            yield order[begin : begin + batch_size]

    def varied(x: Any, y: Any, *rest: Any) -> tuple[Any, ...]:
        image, y = augment(x["image"] if isinstance(x, dict) else x, targets=y)  # type: ignore[misc]
        return ({**x, "image": image} if isinstance(x, dict) else image), y, *rest

    feed = tf.data.Dataset.from_generator(rows, output_signature=tf.TensorSpec((None,), tf.int64))
    feed = gathered(feed, images, targets, weights)
    if augment is not None:
        feed = feed.map(varied, num_parallel_calls=1, deterministic=True)
    return feed.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size))).prefetch(2)


class Patches:
    """Draws patches from scans of different sizes; half of them around a structure, so that it is seen.

    Args:
        images: float32 or uint8 ``(*shape, channels)`` each, on the working grid; a list or what is read when asked.
        labels: Integer ``(*shape)`` each.
        patch: Patch size.
        classes: Number of classes.
    """

    def __init__(
        self, images: Sequence[np.ndarray] | Decoded, labels: list[np.ndarray], patch: tuple[int, ...], classes: int
    ) -> None:
        self.images, self.labels, self.patch, self.classes = images, labels, patch, classes
        rng = np.random.default_rng(0)
        self.centres: list[dict[int, np.ndarray]] = []
        for one in labels:
            self.centres.append({})
            for value in np.unique(one[one > 0]):
                inside = np.flatnonzero(one == value)
                inside = rng.choice(inside, CENTRES, replace=False) if len(inside) > CENTRES else inside
                self.centres[-1][int(value)] = np.stack(np.unravel_index(np.sort(inside), one.shape), axis=-1)

    def draw(self, case: int, rng: np.random.Generator, around: bool) -> tuple[np.ndarray, np.ndarray]:
        """One patch: float32 ``(*patch, channels)`` and int32 ``(*patch)``."""
        shape = self.labels[case].shape
        if around and self.centres[case]:
            # A structure first, then a place in it: a small lesion comes up as often as a large organ.
            places = self.centres[case][list(self.centres[case])[rng.integers(len(self.centres[case]))]]
            centre = places[rng.integers(len(places))]
            jitter = rng.integers(-np.asarray(self.patch) // 4, np.asarray(self.patch) // 4 + 1)
            wanted = centre + jitter - np.asarray(self.patch) // 2
        else:
            room = np.asarray(shape) - self.patch
            wanted = rng.integers(np.minimum(0, room), np.maximum(0, room) + 1)
        return self.cut(case, wanted)

    def middle(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        """The patch around the middle of the structure, or of the scan: the same in every epoch."""
        known = list(self.centres[case].values())
        centre = np.median(np.concatenate(known), axis=0) if known else np.asarray(self.labels[case].shape) / 2
        return self.cut(case, np.rint(centre).astype(int) - np.asarray(self.patch) // 2)

    def cut(self, case: int, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The patch at a corner, moved to lie inside the scan; a smaller scan lies inside it, padded by its edge."""
        room = np.asarray(self.labels[case].shape) - self.patch
        corner = np.clip(corner, np.minimum(0, room), np.maximum(0, room))
        view = tuple(slice(max(0, a), a + side) for a, side in zip(corner, self.patch, strict=True))
        image, label = self.images[case][view], self.labels[case][view]
        before = np.maximum(0, -corner)
        short = list(zip(before, self.patch - before - label.shape, strict=True))
        if np.any(short):
            image, label = np.pad(image, [*short, (0, 0)], mode="edge"), np.pad(label, short)
        return np.asarray(image, np.float32), np.asarray(label, np.int32)


def patch_feed(
    patches: Patches,
    batch_size: int,
    steps: int,
    *,
    seed: int,
    augment: Augment | None = None,
    share: Callable[[int], float] = lambda epoch: 1.0,
    first_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of (patch, one-hot mask); every scan comes up equally often.

    Args:
        patches: Where to draw from.
        batch_size: Patches in a batch.
        steps: Batches in an epoch.
        seed: With the epoch, it fixes every draw.
        augment: Called as ``augment(images, masks)``; returns both.
        share: From the epoch to the part of its patches that is augmented; the others are seen as they are.
        first_epoch: The epoch to begin with, when a training is resumed.
    """
    epoch = first_epoch
    channels = patches.images[0].shape[-1]

    def draws() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        nonlocal epoch
        rng, part = np.random.default_rng([seed, epoch]), share(epoch)
        epoch += 1
        total = steps * batch_size
        order = np.concatenate([rng.permutation(len(patches.images)) for _ in range(-(-total // len(patches.images)))])
        for begin in range(0, total, batch_size):
            # Counted through the epoch: in batches of one, all of them would be drawn around a structure.
            numbers = range(begin, begin + batch_size)
            drawn = [patches.draw(int(order[number]), rng, number % 2 == 0) for number in numbers]
            chosen = rng.random(len(drawn)) < part
            yield np.stack([one for one, _ in drawn]), np.stack([one for _, one in drawn]), chosen

    def varied(x: tf.Tensor, y: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if augment is None:
            return x, y
        rows = tf.where(chosen)
        # Bending a volume costs a good part of a step: only what is used is bent.
        return tf.cond(tf.size(rows) > 0, lambda: changed(x, y, rows), lambda: (x, y))

    def changed(x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        new_x, new_y = augment(tf.gather(x, rows[:, 0]), tf.gather(y, rows[:, 0]))  # type: ignore[misc]
        return tf.tensor_scatter_nd_update(x, rows, new_x), tf.tensor_scatter_nd_update(y, rows, new_y)

    # Every batch is full: a number that the graph knows.
    signature = (
        tf.TensorSpec((batch_size, *patches.patch, channels), tf.float32),
        tf.TensorSpec((batch_size, *patches.patch), tf.int32),
        tf.TensorSpec((batch_size,), tf.bool),
    )
    feed = tf.data.Dataset.from_generator(draws, output_signature=signature)
    feed = feed.map(varied, num_parallel_calls=1, deterministic=True)
    feed = feed.map(lambda x, y: (x, tf.one_hot(y, patches.classes)), num_parallel_calls=1, deterministic=True)
    return feed.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
