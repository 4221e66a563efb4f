"""The user's own augmentation: a preset as it is, or Keras layers for two-dimensional images. It knows no anatomy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from easydl.augmentation.definition import Preset
from easydl.errors import InputError
from easydl.tasks import Task

if TYPE_CHECKING:
    import tensorflow as tf

MIXING = ("MixUp", "CutMix")
SEED_STATE = "seed_generator_state"
SIDES = (61, 53)
"""Of the image that the layers are tried on: no side that a layer would produce by accident."""
NARROWEST, WIDEST = 0.1, 10.0
APART = 1_000_003
"""Between the counters of two batches: more than any layer draws in one."""


def own_augmentation(given: Any) -> tuple[Preset, str]:
    """The user's own preset or layers as a preset, and the reason as a sentence.

    Args:
        given: A `Preset`, a Keras layer, or a ``keras.Sequential`` of layers.

    Raises:
        InputError: Something else, layers that mix images, or layers whose images have another shape or other values.
    """
    if isinstance(given, Preset):
        return given, f"Augmentation: {given.name}, a preset of your own."
    import keras

    if not isinstance(given, keras.layers.Layer):
        raise InputError(
            f"augment= is a {type(given).__qualname__}.",
            "a name, a preset, or for 2D classifiers a Keras layer or a keras.Sequential of layers.",
            'Write for example augment="chest_xray", or augment=keras.layers.RandomRotation(0.02).',
        )
    layers = list(given.layers) if isinstance(given, keras.Sequential) else [given]
    names = [type(one).__name__ for one in layers if not isinstance(one, keras.layers.InputLayer)]
    if mixing := [name for name in names if name in MIXING]:
        raise InputError(
            f"augment= holds {mixing[0]}, which mixes images and here would not see their labels.",
            "layers that change one image at a time.",
            f'Use augment="auto+{mixing[0].lower()}", which mixes the labels, too.',
        )
    sentence = (
        f"Augmentation: your own Keras layers ({', '.join(names)}), as they are; whether they mirror what has a left and "
        "a right is not checked."
    )
    return LayerPreset(f"own layers ({', '.join(names)})", layer=given), sentence


@dataclass(frozen=True)
class LayerPreset(Preset):
    """Keras layers in the place of a preset.

    Attributes:
        layer: A layer or a ``keras.Sequential`` that takes and gives float32 ``(batch, height, width, channel)``, in the
            values of the model's input: 0-255, or HU.
    """

    layer: Any = None

    def __post_init__(self) -> None:
        """A preset without operations warns; this one has none of ours."""

    def adapted(
        self,
        *,
        dimension: int = 2,
        units: str = "0-255",
        classes: Iterable[str] = (),
        spacing_mm: tuple[float, ...] | None = None,
        channels: int | None = None,
        task: str | None = None,
    ) -> LayerPreset:
        """These layers as they are; refused for volumes, masks and images that are made."""
        what = str(task).removesuffix(" with covariates")
        if dimension == 3 or (task is not None and Task(what).per_pixel):
            kind = "volumes" if dimension == 3 else f"a model whose task is {what}"
            raise InputError(
                f"augment= holds Keras layers, and was given for {kind}.",
                "a classifier of two-dimensional images: Keras 3.15 turns masks like images and knows no volumes.",
                "Use a preset (easydl.presets()), which moves image and mask together.",
            )
        return replace(self)

    def augmenter(  # type: ignore[override]  # it is called in the same way, and has what a feed needs
        self,
        *,
        window: tuple[float, float],
        seed: int,
        channels: int | None = None,
        **_: Any,
    ) -> LayerAugmenter:
        """The function that augments batches inside ``tf.data``; the layers are tried on one batch first."""
        _try(self.layer, channels or 1, window, self.name)
        return LayerAugmenter(self, seed)


class LayerAugmenter:
    """Augments one batch after another with Keras layers; the seed and the number of a batch repeat it.

    Attributes:
        preset: The layers as a preset.
        notes: Nothing was left out.
        seed: Of the training run.
    """

    def __init__(self, preset: LayerPreset, seed: int) -> None:
        import tensorflow as tf

        self.preset, self.seed, self.notes = preset, seed, ()
        self._states = [one for one in preset.layer.variables if one.path.endswith(SEED_STATE)]
        # tf.data runs on the processor: a counter that lived on a GPU could not be reached from there.
        with tf.init_scope(), tf.device("CPU:0"):
            self._calls = tf.Variable(-1, dtype=tf.int64, trainable=False)

    def __call__(
        self, images: Any, masks: Any = None, counter: int | tf.Tensor | None = None, *, targets: Any = None
    ) -> tuple[tf.Tensor, Any]:
        """Augment a batch: float32 images of the same shape, and the targets as they are."""
        import tensorflow as tf

        number = self._calls.assign_add(1) if counter is None else tf.cast(counter, tf.int64)
        for place, state in enumerate(self._states):
            state.assign(tf.cast(tf.stack([tf.constant(self.seed + place, tf.int64), number * APART]), state.dtype))
        images = tf.cast(images, tf.float32)
        changed = tf.cast(self.preset.layer(images, training=True), tf.float32)
        return tf.ensure_shape(changed, images.shape), targets if targets is not None else masks


def _try(layer: Any, channels: int, window: tuple[float, float], name: str) -> None:
    """Refuse layers that change the size of images, or their values to another scale, as a Rescaling would."""
    images = np.random.default_rng(0).uniform(*window, (4, *SIDES, channels)).astype(np.float32)
    try:
        changed = np.asarray(layer(images, training=True), np.float32)
    except Exception as problem:
        raise InputError(
            f"The augmentation {name} does not take images of {channels} channels ({type(problem).__name__}).",
            f"layers for float32 images (batch, height, width, {channels}).",
            "Try them on a batch of train.batches(4).",
        ) from problem
    if changed.shape != images.shape:
        raise InputError(
            f"The augmentation {name} makes {changed.shape[1:]} of images {images.shape[1:]}.",
            "layers that leave the shape of images as it is.",
            "Leave out what crops or resizes; the model's size= says how large images are.",
        )
    times = float(np.std(changed) / np.std(images))
    if not NARROWEST <= times <= WIDEST:
        raise InputError(
            f"The augmentation {name} makes values from {changed.min():.3g} to {changed.max():.3g} of values from "
            f"{window[0]:g} to {window[1]:g}.",
            "layers that leave values on their scale: the model scales them itself.",
            "Leave out what rescales or normalises.",
        )
