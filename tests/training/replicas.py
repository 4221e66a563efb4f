"""Run by test_distribution in a process of its own: the processor as two devices, which has to be said before TensorFlow begins."""

import json
from functools import lru_cache

import keras
import numpy as np
import tensorflow as tf

import easydl
from easydl.errors import ModelError
from easydl.training import distribution, feeder, loop, strategies
from easydl.training.callbacks import Progress
from easydl.training.loop import Data, Stage
from easydl.training.losses import dice, dice_cross_entropy, soft_dice
from easydl.training.objective import Objective

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
ROWS, EPOCHS = 37, 2
rng = np.random.default_rng(0)
X, Y, W = (
    rng.random((ROWS, 8, 8, 1), np.float32),
    np.eye(3, dtype=np.float32)[rng.integers(0, 3, ROWS)],
    rng.random(ROWS),
)
VX, VY = rng.random((11, 8, 8, 1), np.float32), np.eye(3, dtype=np.float32)[rng.integers(0, 3, 11)]


@lru_cache
def devices(count):
    """One strategy for each number of devices, as in a real process: two of them would mix up their collective operations."""
    return tf.distribute.MirroredStrategy([f"CPU:{k}" for k in range(count)])


def build(*, norm=False, drop=False, momentum=0.9):
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.layers.BatchNormalization(momentum=momentum)(x) if norm else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.3, seed=3, name="drop")(x) if drop else x
    return keras.Model(image, keras.layers.Dense(3, activation="softmax", kernel_regularizer="l2")(x))


def number(target, answer):
    """A loss that is one number for the batch, which Keras does not divide among replicas."""
    return keras.ops.mean(keras.ops.square(target - answer))


def trained(replicas, *, batch, weights=None, class_weight=None, loss="categorical_crossentropy", **layers):
    model, callbacks = build(**layers), [keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)]
    feed = tf.data.Dataset.from_tensor_slices((X, Y) if weights is None else (X, Y, weights)).batch(batch)
    check = tf.data.Dataset.from_tensor_slices((VX, VY)).batch(5)
    strategy = devices(replicas) if replicas else None
    model = strategies.taken_over(model, strategy)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 20)
    metrics = ["accuracy", keras.metrics.AUC(name="auc")]
    with strategies.scope(strategy):
        own = loss if strategy is None else strategies.loss_of_rows(loss)
        model.compile(keras.optimizers.AdamW(rate), own, metrics=metrics, weighted_metrics=["mean_absolute_error"])
        loop.build_state(model, feed if weights is not None else feed.map(lambda x, y: (x, y, y[:, 0])))
    options = {"validation_data": check, "epochs": EPOCHS, "class_weight": class_weight, "callbacks": callbacks}
    if strategy is None:
        history = model.fit(feed, shuffle=False, verbose=0, **options)
    else:
        history = distribution.fit(model, feed, strategy, **options)
    return model, history.history


def apart(one, other):
    """The largest difference of weights, and of the values of any epoch."""
    (first, before), (second, after) = one, other
    assert list(before) == list(after), (list(before), list(after))
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    values = np.abs(np.array(list(before.values())) - list(after.values())).max()
    return [max(float(np.abs(a - b).max()) for a, b in pairs), float(values)]


def statistics():
    """Moving means without momentum after a batch of which each replica saw a half, and the mean of both halves' means."""
    model, strategy = build(norm=True, momentum=0.0), devices(2)
    expected = [model.layers[1](half).numpy().mean(axis=(0, 1, 2)) for half in (X[: ROWS // 2], X[ROWS // 2 :])]
    model, feed = strategies.taken_over(model, strategy), tf.data.Dataset.from_tensor_slices((X, Y)).batch(ROWS)
    with strategy.scope():
        model.compile(keras.optimizers.SGD(0.0), "categorical_crossentropy")
        loop.build_state(model, feed)
    distribution.fit(model, feed, strategy)
    found = [np.asarray(value).tolist() for value in model.layers[2].moving_mean.value.values]
    return [np.mean(expected, axis=0).tolist(), *found, *(half.tolist() for half in expected)]


def taken_over(inside):
    """A stage of training where there are two GPUs, of a model built outside or inside a scope; calls of the own loop."""
    strategy, calls, true = devices(2), [], distribution.fit
    strategies.gpus, strategies._mirrored = (lambda: [] if inside else ["CPU:0", "CPU:1"]), lambda names: devices(2)
    distribution.fit = lambda *given, **options: (calls.append(1), true(*given, **options))[1]
    with strategies.scope(strategy if inside else None):
        model = build(norm=True, drop=True)
        model.get_layer("drop").rate = 0.0  # its copy has no random state then
        model.compile("sgd", number)  # a function that Keras could not find by its name
    feed, check = (tf.data.Dataset.from_tensor_slices(part).batch(8) for part in ((X, Y), (VX, VY)))
    plain = "categorical_crossentropy"
    objective = Objective(model, number, lambda: ["accuracy"], plain)
    progress = Progress(None)
    loop.run_stage(Stage("train", 2, 5, 1e-2), objective, Data(lambda first_epoch: feed, check), progress)
    feeder._leave_plain(model, objective, 1e-2, False)
    distribution.fit = true
    kinds = {isinstance(one.value, tf.distribute.DistributedValues) for one in model.weights}
    return (
        model,
        progress.history(),
        [len(calls), *kinds, int(np.asarray(model.optimizer.iterations)), model.loss == plain],
    )


def dataset():
    """The same by `easydl.fit` with datasets and a model that was compiled before."""
    strategies.gpus, strategies._mirrored = (lambda: ["CPU:0", "CPU:1"]), lambda names: devices(2)
    feed, check = (tf.data.Dataset.from_tensor_slices(part).batch(8) for part in ((X, Y), (VX, VY)))
    models = []
    for several in (True, False):
        strategies.gpus = lambda several=several: ["CPU:0", "CPU:1"] if several else []
        model = build()
        model.compile(keras.optimizers.AdamW(1e-2), "categorical_crossentropy", metrics=["accuracy"])
        history = easydl.fit(model, feed, check, epochs=2, verbose=False)
        models.append((model, history.history))
    return [*apart(*models), int(models[0][0].optimizer.iterations)]


def not_copied():
    class Own(keras.Model):
        def __init__(self, width):
            super().__init__()
            self.last = keras.layers.Dense(width)

        def call(self, x):
            return self.last(x)

    model = Own(3)
    model(np.zeros((1, 4), np.float32))
    try:
        strategies.taken_over(model, devices(2))
    except ModelError as problem:
        return [problem.found, problem.expected, problem.do]
    return []


def stopped():
    """After how many steps a callback that stops in step 2 of 5 ended the training."""
    model, strategy, seen = build(), devices(2), []
    model = strategies.taken_over(model, strategy)
    feed = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    with strategy.scope():
        model.compile("adam", "categorical_crossentropy")
        loop.build_state(model, feed)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            self.model.stop_training = batch == 1

    distribution.fit(model, feed, strategy, callbacks=[Stop()], epochs=4)
    return seen


def masks(replicas):
    """A loss that is no mean over images, a sum of it for two levels, and a validation part whose last batch is one image."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 1))
    x = keras.layers.GroupNormalization(2)(keras.layers.Conv2D(4, 3, padding="same")(image))
    levels = {name: keras.layers.Conv2D(3, 1, activation="softmax", name=name)(x) for name in ("probability", "level2")}
    model = keras.Model(image, levels)
    labels = np.eye(3, dtype=np.float32)[np.digitize(X[..., 0], [0.6, 0.95])]
    checked = np.eye(3, dtype=np.float32)[np.digitize(VX[..., 0], [0.6, 0.95])]
    feed = tf.data.Dataset.from_tensor_slices((X, labels)).batch(6, drop_remainder=True)
    check = tf.data.Dataset.from_tensor_slices((VX, checked)).batch(5)
    strategies.gpus = lambda: [f"CPU:{k}" for k in range(replicas)]
    strategies._mirrored = lambda names: devices(replicas)
    objective = Objective(
        model,
        {"probability": dice_cross_entropy, "level2": soft_dice},
        lambda: {"probability": [dice]},
        dict.fromkeys(levels, "categorical_crossentropy"),
        adapt=lambda data: data.map(lambda x, y: (x, dict.fromkeys(levels, y))),
        monitor="val_probability_loss",
        of_batch=True,
    )
    progress = Progress(None)
    loop.run_stage(Stage("train", 2, 6, 1e-2, average=True), objective, Data(lambda first_epoch: feed, check), progress)
    # Dice itself is followed by each replica for its own part.
    return model, {name: values for name, values in progress.history().items() if "dice" not in name}


def scaled():
    """Weights, scales and steps of each replica where the second of three steps overflows on the second replica alone."""
    keras.utils.set_random_seed(1)
    strategy = devices(2)
    x = np.ones((12, 2), np.float32)
    x[6:8] = 1e38  # the second half of the second step
    feed = tf.data.Dataset.from_tensor_slices((x, np.zeros((12, 1), np.float32))).batch(4)
    found = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            optimizer = self.model.optimizer
            watched = [self.model.trainable_variables[0], optimizer.dynamic_scale, optimizer.inner_optimizer.iterations]
            each = [strategy.experimental_local_results(one.value) for one in watched]
            found.append([[np.asarray(value).ravel().tolist() for value in values] for values in each])

    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=4.0), "mse")
        loop.build_state(model, feed)
    distribution.fit(model, feed, strategy, callbacks=[Look()])
    return found


def compared(both):
    (one, before, *facts), (other, after, *more) = both
    return [apart((one, before), (other, after)), *facts, *more]


found = {
    "one": apart(
        trained(0, batch=8, weights=W, norm=True, drop=True), trained(1, batch=8, weights=W, norm=True, drop=True)
    ),
    "two": apart(trained(0, batch=12, loss=number), trained(2, batch=12, loss=number)),
    "classes": apart(*(trained(k, batch=12, class_weight={0: 1.0, 1: 2.0, 2: 0.5}) for k in (0, 2))),
    "statistics": statistics(),
    "taken over": compared([taken_over(inside) for inside in (False, True)]),
    "dataset": dataset(),
    "not copied": not_copied(),
    "stopped": stopped(),
    "masks": apart(*map(masks, (1, 2))),
    "scaled": scaled(),
}
print(json.dumps(found))
