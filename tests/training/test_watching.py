"""The coach through fit: real trainings with a planted fault and without, time and memory, and a step too large for memory."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from made import png_study
from small_models import tiny

import easydl
from easydl.fileio import read_status
from easydl.networks import metadata_of
from easydl.training import loop
from easydl.training.callbacks import Progress
from easydl.training.loop import Data, Stage, run_stage
from easydl.training.objective import Objective
from easydl.training.watching import Watch, duration, gradients


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """120 images, 30 of them to validate on."""
    study = easydl.load(png_study(tmp_path_factory.mktemp("many"), per_class=60))
    return study.split(seed=1, sizes=(0.6, 0.3, 0.1))


def trained(parts, folder=None, epochs=2, **options):
    train, val, _ = parts
    model = tiny(train, seed=1)
    return model, easydl.fit(model, train, val, augment="none", epochs=epochs, run=folder, **options)


def test_a_healthy_training_is_met_with_silence(many, tmp_path, capsys):
    model, history = trained(many, tmp_path, epochs=12, verbose=True)
    assert min(history.history["val_loss"]) < 0.3, "it is healthy"
    assert history.params["coach"] == metadata_of(model).training["coach"] == read_status(tmp_path)["coach"] == []
    said = re.search(
        r"About (\d+) seconds? for at most 12 epochs .* two steps of (\S+) s; (\S+) GB", capsys.readouterr().out
    )
    seconds, step, memory = map(float, said.groups())
    assert 0.3 < memory < 20
    assert seconds == pytest.approx(12 * step * 5 * 1.1, rel=0.5, abs=2), "72 images are 5 steps of 16"


def test_a_rate_too_high_is_said_at_once_and_kept(many, tmp_path, capsys):
    model, history = trained(many, tmp_path, epochs=4, learning_rate=1e4, verbose=True)
    (text,) = (one for one in history.params["coach"] if one.startswith("Learning rate too high: with 10000"))
    output = capsys.readouterr().out
    assert output.count(text) == 1
    assert output.index(text) < output.index("Epoch 4/4")
    assert all(output.count(warning) == 1 for warning in history.params["warnings"]), "none is said twice"
    for kept in (metadata_of(model).training["coach"], read_status(tmp_path)["coach"]):
        assert kept[0]["code"] == "learning rate too high" and f"{kept[0]['sentence']} {kept[0]['advice']}" == text
    assert text in history.params["plan"]


def test_a_rate_too_low_is_said_at_the_end(many, capsys):
    _, history = trained(many, epochs=3, learning_rate=1e-7, verbose=True)
    (text,) = (one for one in history.params["coach"] if one.startswith("Learning rate too low: with 1e-07"))
    output = capsys.readouterr().out
    assert output.count(text) == 1 and output.index(text) > output.index("Epoch 3/3")


def deep(activation, normalised):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Input((8,))]
    for number in range(12):
        layers.append(keras.layers.Dense(8, activation, name=f"dense{number}"))
        layers += [keras.layers.BatchNormalization()] if normalised else []
    return keras.Sequential([*layers, keras.layers.Dense(2, "softmax", name="last")])


def batch():
    x = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")
    return tf.constant(x), tf.one_hot(tf.cast(x[:, 0] > 0, tf.int32), 2)


def by_differences(model, name, x, y):
    """The root mean square of the gradient of a kernel, by central differences in float64."""
    kernel = model.get_layer(name).kernel
    true, found, step = kernel.numpy().copy(), np.zeros(kernel.shape), 1e-2
    for place in np.ndindex(*kernel.shape):
        losses = []
        for sign in (1, -1):
            moved = true.copy()
            moved[place] += sign * step
            kernel.assign(moved)
            answers = np.asarray(model(x, training=False), np.float64)
            losses.append(-np.mean(np.sum(np.asarray(y) * np.log(answers), axis=1)))
        found[place] = (losses[0] - losses[1]) / (2 * step)
    kernel.assign(true)
    return np.sqrt(np.mean(found**2))


def test_gradients_are_those_of_finite_differences_and_change_nothing():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(4, "tanh", name="one"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.layers.Input((8,)), *layers, keras.layers.Dense(2, "softmax", name="two")])
    model.compile("sgd", "categorical_crossentropy")
    before = model.get_weights()
    first, last, ratio = gradients(model, batch())
    assert (first.split("/")[-1], last.split("/")[-1]) == ("one", "two")
    expected = by_differences(model, "one", *batch()) / by_differences(model, "two", *batch())
    assert ratio == pytest.approx(expected, rel=0.02)
    assert all(np.array_equal(one, other) for one, other in zip(model.get_weights(), before, strict=True))


def run(model, rate=1e-3, epochs=6, first=0):
    data = tf.data.Dataset.from_tensor_slices(batch()).batch(16)
    progress = Progress(None)
    objective = Objective(model, "categorical_crossentropy", list, "categorical_crossentropy", chance=(0.69, 0.69))
    run_stage(Stage("train", epochs, 1, rate), objective, Data(lambda first_epoch: data, data), progress)
    return progress


def test_twelve_sigmoid_layers_vanish_and_relu_with_batch_normalisation_does_not():
    (found,) = run(deep("sigmoid", False)).findings
    assert found.code == "vanishing gradients" and "dense0" in found.sentence and "last" in found.sentence
    healthy = deep("relu", True)
    assert "vanishing gradients" not in [one.code for one in run(healthy).findings]
    assert gradients(healthy, batch())[2] > 0.1


def test_the_time_is_that_of_the_steps_and_epochs_that_are_left():
    stage = Stage("train", 10, 100, 1e-3)
    validation = tf.data.Dataset.range(30)
    # 100 steps of training with a tenth more, and 30 of a third: 120 steps an epoch.
    assert (
        Watch(Progress(None), stage, None, validation)
        .sentence(0.5)
        .startswith("About 10 minutes for at most 10 epochs")
    )
    assert (
        Watch(Progress(None), stage, None, validation, 8)
        .sentence(0.5)
        .startswith("About 2 minutes for at most 2 epochs")
    )
    assert [duration(one) for one in (0.2, 1, 89, 91, 5399, 9000, 36000)] == [
        "1 second", "1 second", "89 seconds", "2 minutes", "90 minutes", "2.5 hours", "10 hours",
    ]  # fmt: skip


def test_a_step_too_large_for_memory_halves_the_batch_and_goes_on(many, monkeypatch):
    sizes, true = [], loop.run_stage

    def short(stage, objective, data, progress, *, key=""):
        x, _ = next(iter(data.feed(first_epoch=0)))
        sizes.append((len(x), stage.steps, key))
        if len(x) > 4:
            objective.learner.get_layer("logits").bias.assign([9.0, -9.0])
            progress.rows.append({"epoch": 1, "stage": "train", "loss": 99.0})
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        true(stage, objective, data, progress, key=key)

    monkeypatch.setattr(loop, "run_stage", short)
    _, history = trained(many, verbose=False)
    assert [(size, steps) for size, steps, _ in sizes] == [(16, 5), (8, 9), (4, 18)]
    assert len({key for *_, key in sizes}) == 3
    said = [one for one in history.params["plan"] if "more memory" in one]
    assert len(said) == 2 and "with 16 images" in said[0] and "with 4 a step" in said[1]
    monkeypatch.setattr(loop, "run_stage", true)
    _, asked = trained(many, batch_size=4, verbose=False)
    assert history.history["loss"] == pytest.approx(asked.history["loss"], rel=1e-3), "as if it had been asked for"


def test_a_single_image_too_large_for_memory_is_an_error_in_words(many, monkeypatch):
    def short(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(loop, "run_stage", short)
    with pytest.raises(easydl.errors.ModelError, match="even with one image"):
        trained(many, batch_size=2, verbose=False)


def test_patches_keep_the_length_of_an_epoch_when_the_batch_is_halved(masked_parts, monkeypatch, few_steps):
    seen = []

    def short(stage, objective, data, progress, *, key=""):
        seen.append((len(next(iter(data.feed(first_epoch=0)))[0]), stage.steps))
        if len(seen) == 1:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        objective.learner.compile("sgd", "mse")

    monkeypatch.setattr(loop, "run_stage", short)
    train, val, _ = masked_parts
    easydl.fit(easydl.unet(train, width=4), train, val, augment="none", epochs=1, batch_size=4, verbose=False)
    (batch, steps), (half, twice) = seen
    assert (half, twice) == (batch / 2, steps * 2)


def test_a_dataset_is_coached_too(tmp_path):
    x, y = batch()
    data = tf.data.Dataset.from_tensor_slices((tf.reshape(x, (16, 4, 2, 1)), y[:, :1])).batch(4)
    for rate, codes in ((0.01, set()), (50.0, {"not finite", "learning rate too high"})):
        flat = [keras.layers.Input((4, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
        model = keras.Sequential(flat)
        model.compile(keras.optimizers.SGD(rate), "mse")
        history = easydl.fit(model, data, data, epochs=2, verbose=False, run=tmp_path)
        found = read_status(tmp_path)["coach"]
        assert len(history.params["coach"]) == len(found) == min(1, len(codes))
        assert {one["code"] for one in found} <= codes
