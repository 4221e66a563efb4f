"""Optimizers, losses, metrics and callbacks by name or as the user's own Keras objects: heard, or refused in words."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import InputError
from easydl.networks import metadata_of
from easydl.tasks import Task
from easydl.training.optimizers import NAMES, RATES, copied, make, peak_rate
from easydl.training.own_objects import make_metrics, mark_of
from easydl.training.plan import Settings


def squared(target, probability):
    return keras.ops.mean(keras.ops.square(target - probability), axis=-1)


class Seen(keras.callbacks.Callback):
    """Counts epochs, and adds a value to the history."""

    def __init__(self):
        super().__init__()
        self.epochs, self.models = 0, []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        self.models.append(self.model)
        logs["from_callback"] = 7.0


@pytest.mark.quick
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_optimizer_of_keras_with_our_schedule(name):
    schedule = keras.optimizers.schedules.CosineDecay(0.25, 10)
    made = make(name, schedule)
    assert type(made).__name__.lower() == name
    assert float(made.learning_rate) == 0.25
    assert make(name, schedule) is not made
    assert getattr(made, "momentum", 0.9) in (0.0, 0.9) and (name != "sgd" or made.momentum == 0.9)


@pytest.mark.quick
def test_an_own_optimizer_is_made_anew_with_its_own_schedule():
    class Steps(keras.optimizers.schedules.LearningRateSchedule):
        """Not registered with Keras, so that no config leads back to it."""

        def __call__(self, step):
            return tf.where(tf.cast(step, tf.int32) < 5, 0.1, 0.3)

    own = keras.optimizers.SGD(Steps(), momentum=0.8)
    again = copied(own)
    assert again is not own and again.momentum == 0.8 and float(again.learning_rate) == pytest.approx(0.1)
    assert peak_rate(own, 10) == pytest.approx(0.3)
    assert peak_rate(keras.optimizers.Adam(0.02), 10) == pytest.approx(0.02)
    scaled = copied(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5)))
    assert isinstance(scaled, keras.optimizers.LossScaleOptimizer) and float(scaled.learning_rate) == 0.5

    class Stuck(keras.optimizers.SGD):
        def __init__(self, needed):
            super().__init__(needed)

    with pytest.raises(InputError, match="get_config"):
        copied(Stuck(0.1))


def test_own_objects_count_as_they_are(parts):
    """A rate of zero leaves the weights, so that every value of the history is known."""
    train, val, _ = parts
    model, seen = tiny(train, seed=2), Seen()
    before = [np.asarray(weight).copy() for weight in model.trainable_weights]
    history = easydl.fit(
        model, train, val, augment="none", epochs=2, verbose=False, optimizer=keras.optimizers.SGD(0.0), loss=squared,
        metrics=["recall", keras.metrics.F1Score(name="f1"), "accuracy"], callbacks=[seen], calibrate=False,
    )  # fmt: skip
    for old, new in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    outputs = easydl.predict(model, val).frame[[f"p({name})" for name in val.classes]].to_numpy()
    targets, said = val.targets(), outputs.argmax(axis=1)
    values = history.history
    assert values["val_loss"][-1] == pytest.approx(np.mean((targets - outputs) ** 2), rel=1e-4)
    assert values["val_recall"][-1] == pytest.approx((said[targets[:, 1] == 1] == 1).mean())
    assert {"val_f1[0]", "val_f1[1]"} <= set(values)
    assert values["from_callback"] == [7.0, 7.0] and seen.epochs == 2
    training = metadata_of(model).training
    assert (training["loss"], training["callbacks"]) == ("squared", ["Seen"])
    assert training["optimizer"] == "SGD with its own learning rate 0"
    assert training["metrics"] == ["recall", "F1Score", "accuracy"]
    # What is left opens in plain Keras.
    assert model.loss == "categorical_crossentropy" and type(model.optimizer) is keras.optimizers.SGD


def test_a_linear_head_is_trained_by_gradient_only_where_it_was_asked_for(parts, stages):
    train, val, _ = parts
    exact = easydl.fit(
        as_pretrained(tiny(train, seed=2)), train, val, augment="none", epochs=7, learning_rate=0.5, verbose=False
    )
    assert not stages
    assert any("epochs=7 and learning_rate=0.5 change nothing here" in line for line in exact.params["plan"])
    seen = Seen()
    history = easydl.fit(
        as_pretrained(tiny(train, seed=2)), train, val, augment="none", epochs=7, learning_rate=0.5, optimizer="sgd",
        callbacks=seen, verbose=False,
    )  # fmt: skip
    (stage, *_), = stages  # fmt: skip
    assert (stage.name, stage.epochs, stage.learning_rate, stage.optimizer) == ("head", 7, 0.5, "sgd")
    assert stage.callbacks == (seen,)
    assert any("trained further by gradient, as optimizer= and callbacks= ask" in one for one in history.params["plan"])


@pytest.mark.quick
def test_a_rate_is_the_given_one_or_that_of_the_optimizer():
    def rate(**options):
        return Settings(easydl.preset("none"), **options).rate(0.002, 10)

    assert rate() == 0.002 and rate(optimizer="sgd") == pytest.approx(0.002 * RATES["sgd"])
    assert rate(optimizer="sgd", learning_rate=0.5) == 0.5
    assert rate(optimizer=keras.optimizers.Adam(0.123)) == pytest.approx(0.123)


def test_own_layers_change_the_images_that_are_fed(parts, stages):
    train, val, _ = parts
    darker = keras.layers.RandomBrightness((-0.5, -0.5))
    history = easydl.fit(tiny(train, seed=2), train, val, augment=darker, epochs=1, batch_size=16, verbose=False)
    _, _, data, _ = stages[0]
    fed, originals = (np.concatenate([x for x, *_ in feed]) for feed in (data.feed(), data.validation))
    assert fed.mean() < originals.mean() - 20 and fed.shape == (16, 32, 32, 1)
    assert any("your own Keras layers (RandomBrightness)" in line for line in history.params["plan"])


def test_masks_have_own_losses_and_metrics(masked_parts, stages, few_steps):
    train, val, _ = masked_parts
    model = easydl.unet(classes=train.classes, width=4, levels=2)
    easydl.fit(model, train, val, epochs=1, loss=squared, metrics=["one_hot_mean_io_u", "recall"], verbose=False)
    _, objective, data, _ = stages[0]
    assert objective.loss is squared and not objective.xla
    metrics = objective.metrics()
    assert [getattr(one, "name", "dice") for one in metrics] == ["dice", "one_hot_mean_io_u", "recall"]
    _, y = next(iter(data.validation))
    for metric in metrics[1:]:
        metric.update_state(y, y)
        assert float(metric.result()) == 1.0


def test_a_dataset_hears_them_too(parts):
    train, val, _ = parts
    model, seen = tiny(train, seed=2), Seen()
    history = easydl.fit(
        model, train.batches(8, size=(32, 32)), val.batches(8, size=(32, 32)), epochs=1, verbose=False, loss=squared,
        optimizer=keras.optimizers.SGD(0.0), metrics=["recall"], callbacks=[seen],
    )  # fmt: skip
    assert seen.epochs == 1 and 0 < history.history["loss"][0] < 0.5 and "recall" in history.history
    with pytest.raises(InputError, match="loss was given"):
        easydl.fit(model, train.batches(8, size=(32, 32)), loss="focal")


REFUSED = {
    "an unknown optimizer": ({"optimizer": "adm"}, 'Did you mean "adam"'),
    "an optimizer of another kind": ({"optimizer": 3}, "keras.optimizers"),
    "two learning rates": ({"optimizer": keras.optimizers.SGD(0.1), "learning_rate": 0.1}, "has its own"),
    "a class for a loss": ({"loss": keras.losses.MeanSquaredError}, "MeanSquaredError\\(\\)"),
    "a loss that cannot be called": ({"loss": 3}, "function of targets"),
    "an unknown metric": ({"metrics": ["recal"]}, 'Did you mean "recall"'),
    "a metric that needs arguments": ({"metrics": ["mean_io_u"]}, "needs arguments"),
    "counts of both classes": ({"metrics": ["true_positives"]}, "all classes together"),
    "a metric by itself": ({"metrics": "recall"}, "list"),
    "no metric": ({"metrics": [3]}, "metrics= holds"),
    "no callback": ({"callbacks": [squared]}, "Callback objects"),
    "a callback that sets a schedule's rate": ({"callbacks": [keras.callbacks.ReduceLROnPlateau()]}, "schedule"),
    "two backups": ({"callbacks": [keras.callbacks.BackupAndRestore("x")]}, "run="),
    "a word that is no learning rate": ({"learning_rate": "fnd"}, "or find"),
    "a batch of none": ({"batch_size": 0}, "greater than or equal to 1"),
    "a negative rate": ({"learning_rate": -1.0}, "greater than 0"),
}


@pytest.mark.quick
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_read(parts, case, monkeypatch):
    train, val, _ = parts
    monkeypatch.setattr("easydl.training.classification.decode", None)
    options, words = REFUSED[case]
    with pytest.raises(InputError, match=words):
        easydl.fit(tiny(train), train, val, **options)


@pytest.mark.quick
def test_recall_by_name_is_that_of_the_second_class():
    recall, _ = make_metrics(["recall", squared], Task.CLASSIFICATION, ["no", "yes"])
    recall.update_state([[1, 0], [0, 1], [0, 1]], [[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]])
    assert float(recall.result()) == 0.5
    with pytest.raises(InputError, match="class_id=1"):
        make_metrics(["recall"], Task.CLASSIFICATION, ["a", "b", "c"])


@pytest.mark.quick
def test_a_checkpoint_belongs_to_the_very_objects():
    one = [keras.optimizers.Adam(0.1), squared, (Seen(),)]
    assert mark_of(one) == mark_of([keras.optimizers.Adam(0.1), squared, (Seen(),)])
    others = [keras.optimizers.Adam(0.2), keras.optimizers.SGD(0.1), lambda a, b: a - b, lambda a, b: b - a]
    assert len({mark_of(other) for other in others}) == 4
    layers = [keras.layers.RandomRotation(0.1), keras.layers.RandomRotation(0.2)]
    assert mark_of(layers[0]) != mark_of(layers[1])
