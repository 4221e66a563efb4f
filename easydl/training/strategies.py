"""Which devices a model is trained on, and how it gets onto all of them and back. It trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.errors import ModelError
from easydl.training import workers
from easydl.training.keras_internals import uncompiled_copy


def strategy_of(model: keras.Model, *, small: bool = False) -> tf.distribute.Strategy | None:
    """What a model is trained by: the strategy of its variables, of the workers, of the scope around, or of all GPUs; None for one device.

    A ``small`` model is not worth more than one device, unless it was built for several.
    """
    own = [
        variable.value for variable in model.weights[:1] if isinstance(variable.value, tf.distribute.DistributedValues)
    ]
    if own:
        return own[0].distribute_strategy
    if small:
        return None
    if workers.team().strategy is not None:
        return workers.team().strategy
    if tf.distribute.has_strategy():
        return tf.distribute.get_strategy()
    devices = gpus()
    return _mirrored(tuple(devices)) if len(devices) > 1 else None


def gpus() -> list[str]:
    """The GPUs that TensorFlow may use."""
    return [device.name for device in tf.config.list_logical_devices("GPU")]


@lru_cache(4)
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


def summed(strategy: tf.distribute.Strategy, value: np.ndarray) -> np.ndarray:
    """The sum over all workers of what each has, in the type it has. Of a worker with several devices its first counts."""
    own = tf.constant(value)

    def mine() -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return own * tf.cast(number % here == 0, own.dtype)

    here = len(strategy.experimental_local_results(graph_of(lambda: strategy.run(lambda: tf.zeros(())))()))
    return np.asarray(graph_of(lambda: strategy.reduce("SUM", strategy.run(mine), axis=None))())


def scope(strategy: tf.distribute.Strategy | None) -> Any:
    """Where variables of a strategy are made; nothing special without one."""
    return nullcontext() if strategy is None else strategy.scope()


def taken_over(model: keras.Model, strategy: tf.distribute.Strategy | None, *, compiled: bool = False) -> keras.Model:
    """The model itself where its variables are the strategy's, else a copy of it that every replica has.

    With ``compiled`` the copy is compiled as the model is, with the state of its optimizer.

    Raises:
        ModelError: The model, or what it was compiled with, is of a kind that Keras cannot copy.
    """
    if strategy is None or (model.weights and isinstance(model.weights[0].value, tf.distribute.DistributedValues)):
        return model
    weights = workers.team().arrays(model.get_weights())  # a worker that is lost here is no fault of the model
    try:
        with strategy.scope():
            copy = uncompiled_copy(model)
            copy.set_weights(weights)
            _assign_random(copy, model)
            if compiled:
                copy.compile_from_config(model.get_compile_config())
                copy.optimizer.build(copy.trainable_variables)
        if compiled:
            model.optimizer.build(model.trainable_variables)
            _assign(copy.optimizer.variables, model.optimizer.variables)
    except (ValueError, TypeError, RuntimeError, AttributeError) as problem:
        raise ModelError(
            f"The model {model.name!r} was built for one device, and Keras cannot copy it to "
            f"{strategy.num_replicas_in_sync} ({type(problem).__name__}).",
            "a model of Keras layers (keras.Model(inputs, outputs)), or one that was built for all devices.",
            "Build it inside tf.distribute.MirroredStrategy().scope(), or let only one GPU be seen: CUDA_VISIBLE_DEVICES=0.",
        ) from problem
    return copy


def given_back(model: keras.Model, trained: keras.Model, loss: Any = None) -> None:
    """The weights and the optimizer of the copy become those of the model; with a ``loss`` it is compiled with both."""
    if trained is model:
        return
    model.set_weights(trained.get_weights())
    _assign_random(model, trained)
    if loss is not None:
        optimizer = type(trained.optimizer).from_config(trained.optimizer.get_config())
        optimizer.build(model.trainable_variables)
        model.compile(optimizer, loss=loss, jit_compile=False)
    _assign(model.optimizer.variables, trained.optimizer.variables)


def _assign(variables: Sequence[Any], others: Sequence[Any]) -> None:
    for variable, other in zip(variables, others, strict=True):
        variable.assign(np.asarray(other))


def _assign_random(model: keras.Model, other: keras.Model) -> None:
    """By their paths: a dropout whose rate was set to 0 after it was built has a state that its copy lacks."""
    states: dict[str, list[Any]] = {}
    for variable in random_states(other):
        states.setdefault(variable.path, []).append(variable)
    for variable in random_states(model):
        if of_this_path := states.get(variable.path):
            variable.assign(np.asarray(of_this_path.pop(0)))


def random_states(model: keras.Model) -> list[Any]:
    """The variables that are neither weights nor metrics: the states of random generators."""
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in others]


class RowLoss(keras.losses.Loss):
    """A loss of our own as Keras averages it over replicas: it does so only for losses that are no single number."""

    def __init__(self, loss: Any) -> None:
        is_keras = isinstance(loss, keras.losses.Loss)
        super().__init__(
            name=getattr(loss, "name", None) or getattr(loss, "__name__", None),
            reduction=loss.reduction if is_keras else "sum_over_batch_size",
        )
        self.loss = loss.call if is_keras else loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss, as a vector of one value where it is a number."""
        value = keras.ops.convert_to_tensor(self.loss(y_true, y_pred))
        return keras.ops.reshape(value, (1,)) if value.shape.rank == 0 else value


def loss_of_rows(loss: Any) -> Any:
    """A loss, or a dict of losses by output, for a model with several replicas."""
    if isinstance(loss, Mapping):
        return {name: loss_of_rows(one) for name, one in loss.items()}
    return loss if isinstance(loss, str) or loss is None else RowLoss(loss)


def graph_of(function: Callable[..., Any], signature: Any = None) -> Any:
    """A function as a graph. Those of several models have the same code, of which TensorFlow warns as of a function traced anew."""
    return tf.function(partial(function), input_signature=signature, autograph=False)
