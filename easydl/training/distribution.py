"""One training loop for several replicas of a model, the GPUs of a computer or the workers of a cluster. One device has Keras' `fit`.

Keras 3.15 with TensorFlow 2.21 cannot train on several workers by ``model.fit`` (keras#20585). This loop is written on
``strategy.run`` and ``strategy.reduce`` alone; callbacks, optimizers, losses and metrics are Keras' own.

References:
    Goyal et al. 2017, Accurate, large minibatch SGD, arXiv:1706.02677: the gradient of a global batch is the average over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from easydl.training.strategies import graph_of, random_states, summed

OTHER_SEED = 7919
"""What is added to the seed of each further replica: with the same dropout on all of them, half of the noise is lost."""


def fit(
    model: keras.Model,
    feed: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    *,
    validation_data: tf.data.Dataset | None = None,
    epochs: int = 1,
    initial_epoch: int = 0,
    verbose: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    class_weight: Mapping[int, float] | None = None,
    of_batch: bool = False,
) -> keras.callbacks.History:
    """As ``model.fit``: each batch is divided among the replicas, and gradients are averaged over all of its rows.

    The model was compiled in the strategy's scope, its optimizer and metrics have their variables. Of each step callbacks
    get the loss alone; all metrics are known at the end of an epoch. Moving statistics of batch normalisation are averaged
    over the replicas before every validation.
    With ``of_batch`` the loss sums over the replicas itself (`Objective`); training batches are then of a known size.
    """
    replicas = _Replicas(model, strategy, of_batch)
    steps = int(feed.cardinality())
    train, check = replicas.divided(_weighted(feed, class_weight)), None
    replicas.compile_training(train)
    if validation_data is not None:
        check = replicas.divided(validation_data)
        replicas.compile_testing(check)
    calls = keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=steps if steps >= 0 else None,
        model=model,
    )
    model.stop_training = False
    calls.on_train_begin()
    replicas.draw_apart()
    logs: dict[str, float] | None = None
    for epoch in range(initial_epoch, epochs):
        model.reset_metrics()
        calls.on_epoch_begin(epoch)
        loss = replicas.trained(train, calls)
        logs = {**_metrics(model), "loss": loss}
        replicas.average_statistics()
        if check is not None:
            model.reset_metrics()
            logs |= {f"val_{name}": value for name, value in replicas.tested(check, calls).items()}
        calls.on_epoch_end(epoch, logs)
        if replicas.stop():
            break
    if epochs > 0:
        model.optimizer.finalize_variable_values(model.trainable_weights)
    calls.on_train_end(logs)
    return model.history


def _trained_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _trained_layers(layer)
        elif layer.trainable:
            yield layer


class _Replicas:
    """The steps of a model's training on every replica at once."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy, of_batch: bool = False) -> None:
        self.model, self.strategy, self.of_batch = model, strategy, of_batch
        ids = self._each(lambda: tf.identity(tf.distribute.get_replica_context().replica_id_in_sync_group))
        self.here = [int(number) for number in strategy.experimental_local_results(ids)]
        """The numbers of the replicas of this process."""
        self.alone = len(self.here) == strategy.num_replicas_in_sync
        self._statistics = [
            variable
            for layer in _trained_layers(model)
            for variable in layer.non_trainable_variables
            if variable.dtype.startswith("float")
        ]
        self._asked = graph_of(self._sum, [tf.TensorSpec((), tf.float32)])
        self._means = graph_of(self._mean_statistics)
        self._train: Any = None
        self._test: Any = None

    def compile_training(self, data: tf.data.Dataset) -> None:
        """One graph for batches of all sizes, as `divided` gives them."""
        signature = [data.element_spec, tf.TensorSpec((), tf.float32)]
        self._train = graph_of(self._training, signature)

    def compile_testing(self, data: tf.data.Dataset) -> None:
        """The same for validation."""
        self._test = graph_of(self._testing, [data.element_spec])

    def divided(self, data: tf.data.Dataset) -> tf.data.Dataset:
        """Each batch as a tuple of its parts, one for each replica of this process: as equal as whole rows can be."""
        count = len(self.here)

        def parts(*batch: Any) -> tuple[Any, ...]:
            first = tf.nest.flatten(batch)[0]
            rows = tf.shape(first)[0] if first.shape[0] is None else first.shape[0]
            ends = [rows * number // count for number in range(count + 1)]
            return tuple(
                tf.nest.map_structure(lambda one, begin=begin, end=end: one[begin:end], batch)
                for begin, end in pairwise(ends)
            )

        divided = data.map(parts, num_parallel_calls=2, deterministic=True)
        if not self.alone:
            divided = self._as_long_as_others(divided, int(data.cardinality()))
        return divided.prefetch(2)

    def _as_long_as_others(self, data: tf.data.Dataset, steps: int) -> tf.data.Dataset:
        """All workers have as many steps; one whose data end before has steps without rows."""
        own = np.zeros(self.strategy.num_replicas_in_sync, np.int64)
        own[self.here[0]] = steps
        longest = int(summed(self.strategy, own).max())
        empty = data.take(1).map(lambda *batch: tf.nest.map_structure(lambda one: one[:0], batch))
        return data.concatenate(empty.repeat(longest - steps)) if longest > steps else data

    def draw_apart(self) -> None:
        """Each replica draws its own dropout."""

        states = [one.value for one in random_states(self.model) if tuple(one.shape) == (2,)]

        def move() -> None:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            for state in states:
                state.assign_add(tf.cast([number * OTHER_SEED, 0], state.dtype))

        self._each(move)

    def average_statistics(self) -> None:
        """Every replica gets the mean of the moving statistics that each has gathered from its own rows."""
        if self._statistics:
            for variable, mean in zip(self._statistics, self._means(), strict=True):
                variable.assign(mean)

    def trained(self, data: tf.data.Dataset, calls: keras.callbacks.CallbackList) -> float:
        """One epoch; its mean loss."""
        lost = rows = 0.0
        for step, parts in enumerate(data):
            calls.on_train_batch_begin(step)
            found = self._train(parts, tf.constant(float(self.model.stop_training)))
            of_step, of_rows, stop = (float(value) for value in np.asarray(found, np.float64))
            lost, rows = lost + of_step, rows + of_rows
            calls.on_train_batch_end(step, {"loss": lost / rows})
            # On several machines all end with the same step: the one behind that in which one of them was stopped.
            if self.model.stop_training if self.alone else stop > 0:
                self.model.stop_training = True
                break
        return lost / rows if rows else float("nan")

    def tested(self, data: tf.data.Dataset, calls: keras.callbacks.CallbackList) -> dict[str, float]:
        """Loss and metrics of the validation part."""
        lost = rows = 0.0
        calls.on_test_begin()
        for step, parts in enumerate(data):
            calls.on_test_batch_begin(step)
            of_step, of_rows = (float(value) for value in np.asarray(self._test(parts), np.float64))
            lost, rows = lost + of_step, rows + of_rows
            calls.on_test_batch_end(step, {"loss": lost / rows if rows else float("nan")})
        logs = {**_metrics(self.model), "loss": lost / rows if rows else float("nan")}
        calls.on_test_end(logs)
        return logs

    def stop(self) -> bool:
        """Whether training ends here, on all machines or on none."""
        if not self.alone:
            self.model.stop_training = bool(self._asked(tf.constant(float(self.model.stop_training))) > 0)
        return bool(self.model.stop_training)

    def _each(self, step: Callable[[], Any]) -> Any:
        """What a step gives on each replica."""
        return graph_of(lambda: self.strategy.run(step))()

    def _sum(self, value: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce("SUM", self.strategy.run(tf.identity, args=(value,)), axis=None)

    def _mean_statistics(self) -> list[tf.Tensor]:
        each = self.strategy.run(lambda: [tf.identity(variable.value) for variable in self._statistics])
        return [self.strategy.reduce("MEAN", one, axis=None) for one in each]

    def _training(self, parts: tuple[Any, ...], stop: tf.Tensor) -> tf.Tensor:
        each = self.strategy.run(self._learn, args=(self._per_replica(parts), stop))
        return self.strategy.reduce("SUM", each, axis=None)

    def _testing(self, parts: tuple[Any, ...]) -> tf.Tensor:
        return self.strategy.reduce("SUM", self.strategy.run(self._look, args=(self._per_replica(parts),)), axis=None)

    def _per_replica(self, parts: tuple[Any, ...]) -> Any:
        first = self.here[0]
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group - first]
        )

    def _learn(self, batch: Any, stop: tf.Tensor) -> tf.Tensor:
        """One step of one replica: the sum of the losses of its rows, their number, and whether to stop."""
        model, optimizer = self.model, self.model.optimizer
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        rows = _rows(x)
        # Keras divides by the number of replicas, which is right only where all have as many rows.
        context = tf.distribute.get_replica_context()
        share = rows * self.strategy.num_replicas_in_sync / context.all_reduce("SUM", rows)
        variables = model.trainable_weights
        linked: list[int] = []

        def learn() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                answer = model(x, training=True)
                loss = model.compute_loss(x, y, answer, weights, training=True)
                scaled = optimizer.scale_loss(loss * tf.cast(share, loss.dtype))
            gradients = tape.gradient(scaled, [variable.value for variable in variables])
            linked[:] = [number for number, gradient in enumerate(gradients) if gradient is not None]
            model.compute_metrics(x, y, answer, weights)
            lost = tf.cast(loss, tf.float32) * self.strategy.num_replicas_in_sync * rows
            return [lost, *(tf.convert_to_tensor(gradients[number]) for number in linked)]

        def nothing() -> list[tf.Tensor]:
            # A part without rows, at the end of an epoch: it would have no mean.
            return [tf.zeros(()), *(tf.zeros(variables[number].shape, variables[number].dtype) for number in linked)]

        lost, *found = learn() if self._is_full(x) else tf.cond(rows > 0, learn, nothing)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            found = _skipped_together(found)
        gradients: list[Any] = [None] * len(variables)
        for number, gradient in zip(linked, found, strict=True):
            gradients[number] = gradient
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.stack([lost, rows, stop])

    def _look(self, batch: Any) -> tf.Tensor:
        """One step of one replica in validation: the sum of the losses of its rows, and their number."""
        model = self.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
        rows = _rows(x)

        def look() -> tf.Tensor:
            answer = self._answer(x) if self.of_batch and not full else model(x, training=False)
            loss = model.compute_loss(x, y, answer, weights, training=False)
            if self.of_batch and not full:
                tf.cond(rows > 0, partial(follow, answer), lambda: tf.constant(False))
            else:
                follow(answer)
            return tf.cast(loss, tf.float32) * self.strategy.num_replicas_in_sync * rows

        def follow(answer: Any) -> tf.Tensor:
            model.compute_metrics(x, y, answer, weights)
            return tf.constant(True)

        # A loss over all replicas has to be asked for on each of them.
        full = self._is_full(x)
        lost = look() if full or self.of_batch else tf.cond(rows > 0, look, lambda: tf.zeros(()))
        return tf.stack([lost, rows])

    def _answer(self, x: Any) -> Any:
        """The answer to a part that may have no rows: layers are not made for that, so they get one of zeros."""
        rows = _rows(x, tf.int32)
        missing = tf.maximum(0, 1 - rows)
        padded = tf.nest.map_structure(lambda one: tf.pad(one, [[0, missing], *[[0, 0]] * (len(one.shape) - 1)]), x)
        return tf.nest.map_structure(lambda one: one[:rows], self.model(padded, training=False))

    def _is_full(self, x: Any) -> bool:
        """Whether no replica can be left without rows."""
        return bool(tf.nest.flatten(x)[0].shape[0]) or self.strategy.num_replicas_in_sync == 1


def _skipped_together(gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients that are not finite on any replica where they are not on one: Keras asks each whether to skip the step."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(one)) for one in gradients])
    bad = tf.distribute.get_replica_context().all_reduce("SUM", tf.cast(tf.logical_not(finite), tf.float32))
    first, *others = gradients
    return [tf.where(bad > 0, tf.constant(np.nan, first.dtype), first), *others]


def _rows(x: Any, dtype: tf.DType = tf.float32) -> tf.Tensor:
    return tf.cast(tf.shape(tf.nest.flatten(x)[0])[0], dtype)


def _metrics(model: keras.Model) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _weighted(feed: tf.data.Dataset, class_weight: Mapping[int, float] | None) -> tf.data.Dataset:
    """The batches with the weight of each row's class, as Keras' `fit` gives it."""
    if not class_weight:
        return feed
    table = tf.constant([class_weight.get(k, 1.0) for k in range(max(class_weight) + 1)], tf.float32)

    def weigh(x: Any, y: tf.Tensor, weights: tf.Tensor | None = None) -> tuple[Any, tf.Tensor, tf.Tensor]:
        chosen = tf.argmax(y, axis=-1) if y.shape.rank > 1 and y.shape[-1] != 1 else tf.reshape(y, (-1,))
        chosen = tf.cast(tf.round(chosen), tf.int32)
        given = tf.where(chosen < len(table), tf.gather(table, tf.minimum(chosen, len(table) - 1)), 1.0)
        return x, y, given if weights is None else given * tf.cast(weights, tf.float32)

    return feed.map(weigh, num_parallel_calls=1, deterministic=True)
