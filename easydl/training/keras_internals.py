"""All that is patched in live Keras layers while they train, each patch undone when its block ends.

Keras promises none of it. All hold for Keras 3.15.1 with TensorFlow 2.20 and 2.21; tests compare them with the layers' own
results, and fail where a later version breaks them:
- an instance attribute ``layer.call`` takes precedence over the method of the class when a graph is traced;
- ``layer.momentum`` of batch normalisation is read when a graph is traced;
- an optimizer keeps its schedule as ``_learning_rate``; what is public gives the rate of this moment;
- ``layer.dtype_policy`` may change after a layer was built: its variables keep their type and are cast when they are used;
- ``model.compiled`` says whether a clone is compiled, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

# Images are normalised one after the other: with more of them, the chain is as fast.
MOST_IMAGES = 8
BFLOAT16 = "mixed_bfloat16"
# Layers that hold the scan's own values and the probabilities: 8 bits are too few for either.
FLOAT32_LAYERS = ("image", "window", "clip", "scaling", "logits", "probability")


@contextmanager
def fused_instance_norm(model: keras.Model) -> Iterator[int]:
    """Inside, instance normalisation is one fused operation wherever the batch size is known when it is traced.

    Keras' `GroupNormalization` is a chain of elementwise operations, each of which reads the whole map again. With one
    group per channel it is, image by image, what TensorFlow's fused batch normalisation computes in one go: the same
    values, and a tenth of a training step less. Yields the number of fused layers.
    """
    layers = [layer for layer in model.layers if _one_group_per_channel(layer)]
    for layer in layers:
        layer.call = _fused_call(layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            # What is left is the method of the class.
            del layer.call


def _one_group_per_channel(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.GroupNormalization)
        and layer.axis in (-1, len(layer.input.shape) - 1)
        and layer.groups in (-1, layer.input.shape[-1])
        and layer.scale
        and layer.center
    )


def _fused_call(layer: Any) -> Callable[[tf.Tensor], tf.Tensor]:
    chain, nothing = layer.call, tf.zeros((0,))

    def normalised(image: tf.Tensor) -> tf.Tensor:
        scale, offset = (tf.cast(weight.value, tf.float32) for weight in (layer.gamma, layer.beta))
        normal, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(image, (1, 1, -1, image.shape[-1])),
            scale=scale,
            offset=offset,
            mean=nothing,
            variance=nothing,
            epsilon=layer.epsilon,
            is_training=True,
        )
        return tf.reshape(normal, tf.shape(image))

    def call(inputs: tf.Tensor) -> tf.Tensor:
        images = inputs.shape[0]
        if images is None or images > MOST_IMAGES:
            return chain(inputs)
        return tf.concat([normalised(image) for image in tf.split(inputs, images)], axis=0)

    return call


@contextmanager
def batch_statistics(model: keras.Model) -> Iterator[list[keras.layers.BatchNormalization]]:
    """Inside, a graph that is traced normalises by the statistics of its batch, and each layer keeps only these.

    All else infers: no dropout. Yields the layers; frozen ones go on with the statistics they have.
    """
    layers = trained_statistics(model)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        layer.call = _training_call(layer)
    try:
        yield layers
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            # What is left is the method of the class.
            del layer.call


def trained_statistics(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The layers whose statistics a training gathers."""
    return [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization) and one.trainable]


def _training_call(layer: keras.layers.BatchNormalization) -> Callable[..., tf.Tensor]:
    chain = layer.call

    def call(inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        return chain(inputs, training=True, mask=mask)

    return call


def schedule_of(optimizer: Any) -> Any:
    """The schedule that an optimizer's learning rate follows; None where it is constant."""
    found = getattr(optimizer, "_learning_rate", None)
    return found if isinstance(found, keras.optimizers.schedules.LearningRateSchedule) else None


@contextmanager
def without_schedule(optimizer: Any) -> Iterator[None]:
    """Inside, the learning rate is constant, so that a config is made whose schedule nobody has to know."""
    schedule = optimizer._learning_rate
    optimizer._learning_rate = 0.0
    try:
        yield
    finally:
        optimizer._learning_rate = schedule


@contextmanager
def in_bfloat16(model: keras.Model) -> Iterator[None]:
    """Inside, the layers of a model compute in bfloat16; their weights stay float32, and so does the model after it."""
    policy = keras.dtype_policies.get(BFLOAT16)
    changed = [layer for layer in model.layers if not _stays_float32(layer.name)]
    before = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, old in zip(changed, before, strict=True):
            layer.dtype_policy = old


def _stays_float32(name: str) -> bool:
    # The coarser levels of deep supervision are called level2 and level3.
    return (
        name in FLOAT32_LAYERS
        or name.endswith(("_logits", "_probability"))
        or re.fullmatch(r"level\d", name) is not None
    )


def uncompiled_copy(model: keras.Model) -> keras.Model:
    """`keras.models.clone_model` without what the model was compiled with, which Keras can only copy by registered names."""
    compiled, model.compiled = model.compiled, False
    try:
        return keras.models.clone_model(model)
    finally:
        model.compiled = compiled
