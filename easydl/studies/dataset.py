"""From a Study to TensorFlow: images decoded once, kept, batched. The only file of this room that imports TensorFlow."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from easydl.images import prepare
from easydl.images.resampling import resize_labels
from easydl.studies.pixel_facts import Decoded

# A `Study` imports this file, so here it is `Any`.
IN_MEMORY_BYTES = 2 * 1024**3
"""Decoded images above this size stay in the cache on the disk instead of memory."""


def decode(
    study: Any,
    *,
    size: tuple[int, ...],
    channels: int,
    units: str,
    normalise: str = "percentile",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray | Decoded:
    """Every image of a study at the spatial size and in the units (``"0-255"`` or ``"HU"``) of a model.

    Returns:
        ``(images, *size, channels)``: uint8 where the files hold 8 bits, else float32. Larger ones than
        `IN_MEMORY_BYTES` stay in the cache and are memory-mapped batch by batch.

    Raises:
        InputError: Images cannot be read; all are counted and five named.
    """
    eight_bit = units == "0-255" and normalise == "percentile" and study.facts([0])[0].units == "0-255"

    def make(row: int) -> np.ndarray:
        pixels = prepare(study.scan(row), channels=channels, units=units, size=size, normalise=normalise)
        return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8) if eight_bit else pixels.astype(np.float32)

    found = study.decoded(f"{size}|{channels}|{units}|{eight_bit}|{normalise}", make)
    shape = (len(study), *size, channels)
    large = np.prod(shape, dtype=np.int64) * (1 if eight_bit else 4) > IN_MEMORY_BYTES
    out = None if large else np.empty(shape, np.uint8 if eight_bit else np.float32)
    done = 0

    def one(row: int) -> bool:
        nonlocal done
        pixels = found.row(row)
        if out is not None:
            out[row] = pixels
        done += 1
        if progress is not None:
            progress(done, len(study))
        return True

    study.each(one)
    return found if out is None else out


def dataset(
    images: Any, targets: Any, batch_size: int, *, weights: Any = None, shuffle: bool = False, seed: int = 0
) -> Any:
    """A ``tf.data.Dataset`` over arrays that are gathered a batch at a time, so that nothing is copied twice.

    Args:
        images: ``(n, *size, channels)`` of any dtype, memory-mapped or not; or a dict of such inputs.
        targets: ``(n, ...)`` float32, or a dict of them.
        batch_size: Rows in a batch.
        weights: ``(n,)`` float32 or a dict of them, or None.
        shuffle: Whether to draw a new order in each epoch.
        seed: Seed of that order.
    """
    import tensorflow as tf

    count = len(tf.nest.flatten(targets)[0])
    rows = tf.data.Dataset.range(count)
    if shuffle:
        rows = rows.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    return gathered(rows.batch(batch_size), images, targets, weights).prefetch(2)


class Held:
    """What a dataset reads from, as long as the dataset is there.

    TensorFlow keeps every Python function that a dataset calls until the process ends, and with it all that the function holds: the
    images of every training that ever was. So the function only borrows them, and the dataset holds them.
    """

    def __init__(self, things: Any) -> None:
        self.things = things

    def lent(self) -> Callable[[], Any]:
        """A function that gives the things, and does not keep them."""
        known = weakref.ref(self)

        def give() -> Any:
            held = known()
            if held is None:
                raise RuntimeError("The dataset that held these images is gone.")
            return held.things

        return give

    def by(self, dataset: Any) -> Any:
        """The dataset, which holds the things from now on; those made of it hold it."""
        dataset.easydl_held = self
        return dataset


def gathered(rows: Any, images: Any, targets: Any, weights: Any = None) -> Any:
    """A ``tf.data.Dataset`` of row numbers, int64 ``(batch,)``, becomes one of what lies in these rows, as float32.

    What comes with the numbers stays with it: ``(numbers, more)`` becomes ``(what lies there, more)``.
    """
    import tensorflow as tf

    tree = (images, targets) if weights is None else (images, targets, weights)
    parts = tf.nest.flatten(tree)
    held = Held(parts)
    lent = held.lent()

    def gather(chosen: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(part[chosen], dtype=np.float32) for part in lent()]

    shapes = [part.shape[1:] for part in parts]

    def load(chosen: Any, *more: Any) -> Any:
        found = tf.numpy_function(gather, [chosen], [tf.float32] * len(shapes), stateful=False)
        for one, shape in zip(found, shapes, strict=True):
            one.set_shape((None, *shape))
        loaded = tf.nest.pack_sequence_as(tree, found)
        return (loaded, *more) if more else loaded

    return held.by(rows.map(load, num_parallel_calls=2, deterministic=True))


def masks(study: Any, size: tuple[int, ...], classes: int) -> np.ndarray:
    """The reference masks as float32 one-hot ``(images, *size, classes)``."""
    labels = study.each(lambda row: resize_labels(study.reference(row), size).astype(np.int32))
    return np.stack([np.eye(classes, dtype=np.float32)[one] for one in labels])
