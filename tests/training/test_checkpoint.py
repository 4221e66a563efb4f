"""Which training a checkpoint belongs to, what a stage begins with and keeps, and what becomes of one that diverges."""

import errno
import json
import os
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from made import mask_study
from PIL import Image
from small_models import tiny

import easydl
from easydl.augmentation import own_augmentation
from easydl.errors import ModelError
from easydl.fileio import read_status
from easydl.networks import metadata_of
from easydl.training import checkpoint
from easydl.training.callbacks import Progress
from easydl.training.checkpoint import NAME, load_checkpoint, training_key
from easydl.training.coach import Curve, coached
from easydl.training.loop import Data, Stage, run_stage
from easydl.training.objective import Objective
from easydl.training.plan import Settings


def relabelled(study):
    labels = study.frame["label"].tolist()
    at = labels.index("healthy")
    return replace(study, frame=study.frame.assign(label=[*labels[:at], "disease", *labels[at + 1 :]]))


def test_the_key_changes_with_all_that_decides_a_training(parts):
    train, val, _ = parts
    metadata = metadata_of(tiny(train))

    def key(changes=(), plan="a plan", seed=0, parts=(train, val), targets=None, augment=None, **chosen):
        settings = Settings(augment or easydl.preset("none"), seed=seed, **chosen)
        changed = metadata.model_copy(update=dict(changes))
        return training_key(changed, plan, settings, parts, targets or (None, train.targets(), val.targets()))

    assert key() == key() == key({"window": (10.0, 90.0), "training": {"seconds": 3}}), "what fit writes does not count"
    others = [
        key({"pretrained": "ImageNet"}), key({"normalise": "z-score"}), key(plan="another"), key(loss="focal"), key(seed=1),
        key(parts=(train.rows(range(1, len(train))), val)), key(parts=(train, val.rows(range(1, len(val))))),
        key(targets=(None, relabelled(train).targets(), val.targets())),
        key(targets=(None, train.targets(), relabelled(val).targets())),
        key(targets=(np.ones((len(train), 2), np.float32), train.targets(), val.targets())),
        key(optimizer="sgd"), key(optimizer=keras.optimizers.SGD(0.1)), key(optimizer=keras.optimizers.SGD(0.2)),
        key(metrics=["recall"]), key(learning_rate="find"), key(callbacks=(keras.callbacks.CSVLogger("a"),)),
        key(augment=own_augmentation(keras.layers.RandomRotation(0.1))[0]),
    ]  # fmt: skip
    assert len({key(), *others}) == 1 + len(others)


@pytest.fixture
def keys(stages):
    """A function: the keys that the ways of training handed to their stages."""
    return lambda: [key for *_, key in stages]


def test_a_classifier_with_another_loss_or_other_labels_does_not_go_on(parts, keys):
    train, val, _ = parts
    for part, loss in ((train, "auto"), (train, "auto"), (train, "focal"), (relabelled(train), "auto")):
        model = tiny(train)
        easydl.fit(model, part, val, augment="none", class_weight=None, loss=loss, epochs=1, verbose=False)
    assert keys()[0] == keys()[1]
    assert len(set(keys())) == 3


def unet(study):
    return easydl.unet(study, width=4)


def test_other_masks_losses_and_images_are_another_training(tmp_path, keys):
    studies = []
    for changed in (None, "mask", "image"):
        table = mask_study(tmp_path / str(changed), cases=9)
        if changed:
            file = easydl.load(table).split(seed=1)[0].frame[changed].iloc[0]
            Image.fromarray(np.roll(np.asarray(Image.open(file)), 2, axis=1)).save(file)
        studies.append(easydl.load(table).split(seed=1))
    for (train, val, _), loss in (
        (studies[0], "auto"),
        (studies[0], "dice"),
        (studies[1], "auto"),
        (studies[2], "auto"),
    ):
        easydl.fit(unet(train), train, val, augment="none", loss=loss, epochs=1, verbose=False)
    assert len(set(keys())) == 4
    for train, val, _ in (studies[0], studies[2]):
        easydl.fit(easydl.image_to_image("autoencoder", width=4), train, val, epochs=1, verbose=False)
    assert len(set(keys())) == 6


def test_a_damaged_checkpoint_counts_as_none(tmp_path):
    facts = np.frombuffer(json.dumps({"key": "k", "counts": [1, 0, 0, 0, 0]}).encode(), np.uint8)
    np.savez(tmp_path / NAME, facts=facts, a0=np.arange(1000.0))
    np.testing.assert_array_equal(load_checkpoint(tmp_path, "k").weights[0], np.arange(1000.0))
    assert load_checkpoint(tmp_path, "another") is None
    whole = (tmp_path / NAME).read_bytes()
    middle = len(whole) // 2
    for damaged in (whole[:middle], whole[:middle] + b"damaged!" + whole[middle + 8 :], b"PK", b""):
        (tmp_path / NAME).write_bytes(damaged)
        assert load_checkpoint(tmp_path, "k") is None


def network():
    keras.utils.set_random_seed(4)
    return keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)])


def data(first_epoch=0, nan_from=99):
    """A value to be learned; from one epoch on it is NaN."""
    x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
    epoch = first_epoch - 1

    def draws():
        nonlocal epoch
        epoch += 1
        for rows in np.split(x, 3):
            yield rows, rows[:, :1] * (np.nan if epoch >= nan_from else 1.0)

    signature = (tf.TensorSpec((8, 3)), tf.TensorSpec((8, 1)))
    return tf.data.Dataset.from_generator(draws, output_signature=signature).apply(
        tf.data.experimental.assert_cardinality(3)
    )


def stage(model, folder=None, name="fine-tune", nan_from=99, best=None, xla=True):
    return staged(model, folder, name, nan_from, best, xla).rows


def staged(model, folder=None, name="fine-tune", nan_from=99, best=None, xla=True):
    progress = Progress(folder)
    main = Stage(name, epochs=6, steps=3, learning_rate=0.05, best=best)
    objective = Objective(model, "mse", lambda: ["mae"], "mse", xla=xla)
    run_stage(main, objective, Data(partial(data, nan_from=nan_from), data()), progress, key="this")
    return progress


def equal(first, second):
    return all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_stage_that_does_not_improve_on_what_came_before_changes_nothing():
    model = network()
    before = model.get_weights()
    rows = stage(model, best=-1.0)
    assert len(rows) == 5, "stopped by its patience"
    assert equal(model.get_weights(), before)
    rows = stage(model, best=1e9)
    assert model.evaluate(data(), verbose=0)[0] == pytest.approx(min(row["val_loss"] for row in rows), rel=1e-4)


def test_what_came_before_is_still_the_best_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    save = checkpoint.Checkpoint.on_epoch_end

    def killed(self, epoch, logs=None):
        save(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    model = network()
    before = model.get_weights()
    with monkeypatch.context() as during:
        during.setattr(checkpoint.Checkpoint, "on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            stage(model, tmp_path, best=-1.0)
    assert not equal(model.get_weights(), before)
    other = network()
    stage(other, tmp_path)
    assert equal(other.get_weights(), before)


def test_a_training_that_diverges_is_an_error_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    with pytest.raises(ModelError, match=r"diverged in epoch 2 \(train\)") as caught:
        stage(network(), tmp_path, name="train", nan_from=1)
    assert "below 0.05" in caught.value.do
    assert not (tmp_path / NAME).exists()


def test_the_best_epoch_before_it_diverged_is_kept():
    model = network()
    rows = stage(model, nan_from=2)
    assert len(rows) == 3 and np.isnan(rows[-1]["loss"])
    assert model.evaluate(data(), verbose=0)[0] == pytest.approx(min(row["val_loss"] for row in rows[:2]), rel=1e-4)


def test_the_coach_says_that_a_training_diverged():
    (found,) = staged(network(), nan_from=2).findings
    assert (found.code, found.grave) == ("not finite", True)
    assert "diverged in epoch 3" in found.sentence and "below 0.05" in found.advice


def test_the_plan_says_that_a_training_diverged(parts, monkeypatch):
    def run(stage, objective, data, progress, **more):
        progress.rows += [{"epoch": 1, "stage": "train", "loss": 1.0}, {"epoch": 2, "stage": "train", "loss": np.nan}]
        progress.found(coached(Curve.of(progress.rows, epochs=2, learning_rate=0.1)))

    monkeypatch.setattr("easydl.training.loop.run_stage", run)
    train, val, _ = parts
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="none", epochs=2, verbose=False)
    assert any("diverged in epoch 2" in line for line in history.params["plan"])


def test_a_loss_without_a_kernel_is_not_compiled_by_xla(monkeypatch):
    monkeypatch.setattr("easydl.training.loop.jit", lambda: True)
    for xla in (True, False):
        model = network()
        stage(model, xla=xla)
        assert model.jit_compile is xla


def test_a_full_disk_does_not_end_a_training_and_the_status_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    said, save, saves = [], np.savez, []

    def full(file, **arrays):
        saves.append(len(saves))
        if len(saves) in (2, 3):
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, **arrays)

    class Seen(Progress):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            said.append(read_status(tmp_path).get("message", ""))

    monkeypatch.setattr(np, "savez", full)
    monkeypatch.setitem(globals(), "Progress", Seen)
    whole = stage(network(), tmp_path)
    assert len(whole) == 6 and len(saves) == 6
    assert [("is full" in one, "room on the disk again" in one) for one in said] == [
        (False, False), (False, False), (True, False), (True, False), (False, True), (False, True)
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "history.csv", "status.json"]
    assert load_checkpoint(tmp_path, "this").ended
