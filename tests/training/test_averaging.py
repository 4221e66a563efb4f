import keras
import numpy as np
import pytest
import tensorflow as tf

import easydl
from easydl.training import checkpoint
from easydl.training.averaging import POWER, Averaged, mixed
from easydl.training.callbacks import Progress
from easydl.training.loop import Data, Stage, run_stage
from easydl.training.objective import Objective


class Seen(keras.callbacks.Callback):
    """The weights at the end of every epoch's steps, and those that are validated."""

    def __init__(self):
        super().__init__()
        self.own, self.validated = [], []

    def on_test_begin(self, logs=None):
        self.own.append([np.array(one) for one in self.model.get_weights()])

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append([np.array(one) for one in self.model.get_weights()])


def network():
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Dense(5, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    return keras.Sequential([keras.layers.Input((3,)), *layers])


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 3)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, np.sin(x[:, :1]) + x[:, 1:2])).batch(8)


def train(model, callbacks, epochs=5):
    model.compile(keras.optimizers.AdamW(0.05), "mse", jit_compile=False)
    model.fit(data(), validation_data=data(), epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_average_is_validated_and_the_training_goes_on_as_without_it():
    plain, seen = train(network(), []), Seen()
    averaged = Averaged()
    model = train(network(), [seen, averaged])
    equal(model.get_weights(), plain.get_weights())
    # In closed form (Shamir and Zhang 2013): each epoch's share, and what the later ones leave of it.
    shares = np.array([(POWER + 1) / (epoch + POWER) for epoch in range(1, 6)])
    parts = [share * np.prod(1 - shares[k + 1 :]) for k, share in enumerate(shares)]
    assert sum(parts) == pytest.approx(1)
    wanted = [
        sum(part * one for part, one in zip(parts, epochs, strict=True)) for epochs in zip(*seen.own, strict=True)
    ]
    assert len(seen.validated) == 15
    equal(seen.validated[-1], wanted)
    equal(averaged.mean, wanted)
    assert not np.allclose(wanted[0], seen.own[-1][0], atol=1e-3)


def test_late_epochs_count_most_and_a_counter_is_taken_as_it_is():
    weights, mean = np.eye(30), np.zeros(30)
    for epoch in range(30):
        mean = mixed(mean, weights[epoch], (POWER + 1) / (epoch + 1 + POWER))
    assert 0.85 < mean[20:].sum() < 0.95
    assert mixed(np.array([1, 2], np.uint32), np.array([7, 9], np.uint32), 0.5).tolist() == [7, 9]


def stage(model, folder, average=True):
    progress = Progress(folder)
    objective = Objective(model, "mse", lambda: ["mae"], "mse")
    main = Stage("train", epochs=8, steps=3, learning_rate=0.05, average=average)
    run_stage(main, objective, Data(lambda first_epoch: data(), data()), progress, key="this")
    return progress.rows


def test_a_stage_keeps_the_best_average(tmp_path):
    rows = stage(model := network(), tmp_path)
    alone = stage(other := network(), None, average=False)
    equal([row["mae"] for row in rows], [row["mae"] for row in alone])
    assert rows[-1]["val_loss"] != pytest.approx(alone[-1]["val_loss"], rel=1e-3)
    lowest = min(row["val_loss"] for row in rows)
    assert model.evaluate(data(), verbose=0, return_dict=True)["loss"] == pytest.approx(lowest, rel=1e-4)
    assert not np.allclose(model.get_weights()[0], other.get_weights()[0], atol=1e-4)


def test_a_killed_stage_goes_on_with_its_average(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = stage(network_without_chance(), tmp_path / "a")
    save = checkpoint.Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(checkpoint.Checkpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            stage(network_without_chance(), tmp_path / "b")
    rows = stage(network_without_chance(), tmp_path / "b")
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    equal([row["val_loss"] for row in rows], [row["val_loss"] for row in whole])


def network_without_chance():
    keras.utils.set_random_seed(4)
    return keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])


@pytest.mark.parametrize(("encoder", "average"), [(None, True), ("mobilenet_025", False)])
def test_networks_with_running_statistics_keep_the_weights_of_one_epoch(encoder, average, masked_parts, stages):
    train, val, _ = masked_parts
    model = easydl.unet(train, encoder=encoder, width=4)
    history = easydl.fit(model, train, val, epochs=1, verbose=False)
    assert [stage.average for stage, *_ in stages] == [average]
    assert any("average of the weights of all epochs" in line for line in history.params["plan"]) == average


@pytest.mark.parametrize("average", [False, True])
def test_a_training_stopped_early_keeps_its_best_epoch(average, monkeypatch, tmp_path):
    """Of 60 epochs, stopped in the 12th: the patience has not begun, and yet it is not the last one that is kept."""
    losses = dict(enumerate([9.0, 5.0, 3.0, 2.5, 2.0, 1.9, 1.5, 1.2, 1.0, 0.71, 1.8, 2.13]))
    main = Stage("train", epochs=60, steps=3, learning_rate=0.05, average=average)
    assert main.settle > len(losses)
    seen = Seen()

    class Scripted(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = losses[epoch]
            self.model.stop_training = epoch + 1 == len(losses)

    early = main.early_stopping("val_loss")
    # As in `run_stage`: what is validated is kept, and the average gives the training its own weights back.
    model = train(network(), [Scripted(), early, *([Averaged()] if average else []), seen], epochs=60)
    assert (early.best_epoch, early.best) == (9, 0.71)
    np.testing.assert_allclose(model.get_weights()[0], seen.validated[9 * 3][0], rtol=1e-6)
    np.testing.assert_raises(AssertionError, np.testing.assert_allclose, model.get_weights()[0], seen.own[-1][0])


def test_patience_begins_when_the_learning_rate_has_fallen():
    early = Stage("train", epochs=12, steps=50, learning_rate=0.05, patience=2).early_stopping("val_loss")
    early.set_model(network())
    early.on_train_begin()
    early.model.stop_training = False
    for epoch in range(12):
        early.on_epoch_end(epoch, {"val_loss": 1.0 + epoch})
        if early.model.stop_training:
            break
    assert (early.best_epoch, epoch) == (0, 5), "settled after 4 epochs, then patient for 2"
