"""Several answers of one model to one image: with dropout on, mirrored, or of its members. It makes no table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np

from easydl.errors import InputError, ModelError, unknown_name
from easydl.networks import members_of
from easydl.networks.metadata import ModelMetadata
from easydl.prediction.calling import compiled
from easydl.prediction.segmentation import mirror_axes
from easydl.tasks import Task

METHODS = ("mc_dropout", "augmentation")
PASSES = 20
"""With dropout on; the mean over them is within a fifth of their spread of what very many would give."""
SPREAD = "spread: "
"""What the note on that column begins with."""
MEANING = SPREAD + (
    "the standard deviation of the answer's probability (of a value: of the value) over {}. The numbers are their "
    "mean. A large spread says that the answer hangs on little; a small one does not say that it is right."
)
Passes = Callable[[Any], list[Any]]


def passes_of(model: Any, metadata: ModelMetadata, uncertainty: str | None) -> tuple[Passes | None, str]:
    """What answers an input several times, and what to say of the spread; None where one answer is all there is.

    Raises:
        InputError: An unknown method, a model that makes masks or images, or one trained without mirror images.
        ModelError: Dropout is asked of a model without any.
    """
    if uncertainty is None and metadata.members == 1:
        return None, ""
    if uncertainty is None:
        said = f"the {metadata.members} members of the ensemble"
        return member_passes(model), MEANING.format(said)
    if uncertainty not in METHODS:
        raise unknown_name(f"`uncertainty` is {uncertainty!r}.", uncertainty, METHODS)
    if Task(metadata.task).per_pixel:
        raise InputError(
            f"uncertainty={uncertainty!r} was given for a model whose task is {metadata.task}.",
            "a model that gives one answer for an image.",
            "Leave it out; a segmentation model takes mirror=True.",
        )
    if uncertainty == "augmentation":
        call, flips = compiled(model), mirrored(mirror_axes(metadata, 'uncertainty="augmentation"'))
        said = f"the image and its {len(flips) - 1} mirror images, as the model was trained with them"
        return (lambda given: [call(_flipped(given, flip)) for flip in flips]), MEANING.format(said)
    said = f"{PASSES} passes with dropout on and batch normalisation as it is"
    return dropout_passes(model), MEANING.format(said)


def member_passes(model: Any) -> Passes:
    """The answers of the members of an ensemble."""
    calls = [compiled(member) for member in members_of(model)]
    return lambda given: [call(given) for call in calls]


def mirrored(axes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The axes of a batch to flip, for the image itself and every mirror image."""
    return [
        tuple(axis + 1 for axis, on in zip(axes, choice, strict=True) if on)
        for choice in product((False, True), repeat=len(axes))
    ]


def _flipped(given: Any, axes: tuple[int, ...]) -> Any:
    if isinstance(given, dict):
        return {**given, "image": np.flip(given["image"], axes).copy()}
    return np.flip(given, axes).copy() if axes else given


def dropout_passes(model: Any) -> Passes:
    """Passes with dropout on; the same input gets the same answers every time.

    References:
        Gal Y, Ghahramani Z. Dropout as a Bayesian approximation. ICML 2016, arXiv:1506.02142.
    """
    import keras
    import tensorflow as tf

    layers = [layer for member in members_of(model) for layer in member.layers]
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout) and layer.rate > 0]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not dropouts:
        raise ModelError(
            "The model has no dropout layer, so passes with dropout on would all be the same.",
            "a model of easydl.classifier, or one with dropout.",
            'Use uncertainty="augmentation", or fit with members=5.',
        )
    call = tf.function(lambda given: model(given, training=True))

    def passes(given: Any) -> list[Any]:
        with _frozen(norms), _seeded(dropouts):
            given = tf.nest.map_structure(lambda one: tf.constant(one, tf.float32), given)
            return [call(given) for _ in range(PASSES)]

    return passes


@contextmanager
def _frozen(norms: list[Any]) -> Iterator[None]:
    """Batch normalisation that is not trainable goes by its statistics in training mode too, and keeps them."""
    before = [layer.trainable for layer in norms]
    try:
        for layer in norms:
            layer.trainable = False
        yield
    finally:
        for layer, trainable in zip(norms, before, strict=True):
            layer.trainable = trainable


@contextmanager
def _seeded(dropouts: list[Any]) -> Iterator[None]:
    """The generators of the layers begin anew inside, and are as before afterwards."""
    states = [layer.seed_generator.state for layer in dropouts]
    before = [np.asarray(state).copy() for state in states]
    try:
        for number, state in enumerate(states):
            state.assign(np.array([number, 0], before[number].dtype))
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)


def spread_columns(stack: Any, metadata: ModelMetadata) -> dict[str, np.ndarray]:
    """The column ``spread`` of each head, from outputs ``(passes, images, classes)``, or a dict of them by head."""
    if isinstance(stack, dict):
        return {f"{head}: spread": _spread(one, metadata, head) for head, one in stack.items()}
    return {"spread": _spread(stack, metadata, "")}


def _spread(stack: np.ndarray, metadata: ModelMetadata, head: str) -> np.ndarray:
    each, decision = stack.std(axis=0), metadata.decision(head)
    if decision.task.is_value:
        return np.asarray(each[:, 0])
    if not decision.task.exclusive:
        return np.asarray(each.max(axis=1))  # of the label that varies most
    chosen = decision.classes_of(stack.mean(axis=0))
    return np.asarray(np.take_along_axis(each, chosen[:, None], axis=1)[:, 0])
