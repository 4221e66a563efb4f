"""A training that was killed goes on, one for each loop; one that is asked to stop stops."""

import json
import signal
import subprocess
import sys
import time

import keras
import pandas as pd
import pytest
from made import png_study
from small_models import as_pretrained, tiny

import easydl
from easydl.training import checkpoint

TRAIN = """
import easydl, sys
train, val, _ = easydl.load(sys.argv[1]).split(seed=1)
model = easydl.classifier("tiny", train, size=32)
import easydl.training.checkpoint as c; c.LEAST_SECONDS = 0
h = easydl.fit(model, train, val, augment="none", epochs=400, run=sys.argv[2], verbose=False)
print("EPOCHS", len(h.history["loss"]), "STOPPED", h.params["stopped"])
"""
PATIENCE_S = 300
"""A bound against a hang, not a measure: it may be long on a busy machine."""


def child(table, folder):
    return subprocess.Popen([sys.executable, "-c", TRAIN, str(table), str(folder)], stdout=subprocess.PIPE)


def wait_until(condition, process):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.everything  # by default the same is asked of the process of a run (runs/test_pipeline.py)
def test_a_killed_training_goes_on_and_a_stopped_one_stops(tmp_path):
    table, run = png_study(tmp_path / "s", per_class=8), tmp_path / "run"
    run.mkdir()
    process = child(table, run)
    wait_until((run / "checkpoint.npz").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(pd.read_csv(run / "history.csv"))
    assert done >= 1
    again = child(table, run)
    wait_until(lambda: len(pd.read_csv(run / "history.csv")) > done, again)
    rows = pd.read_csv(run / "history.csv")
    assert rows["epoch"].tolist() == list(range(1, len(rows) + 1))
    (run / "stop").touch()
    out, _ = again.communicate(timeout=PATIENCE_S)
    assert b"STOPPED True" in out
    assert json.loads((run / "status.json").read_text())["epoch"] >= done


@pytest.fixture
def killed_in(monkeypatch):
    """Kill the next training after the first epoch of a stage, when its checkpoint is on the disk."""
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    save = checkpoint.Checkpoint.on_epoch_end

    def arm(fit):
        def killed(self, epoch, logs=None):
            save(self, epoch, logs)
            raise KeyboardInterrupt

        with monkeypatch.context() as during:
            during.setattr(checkpoint.Checkpoint, "on_epoch_end", killed)
            with pytest.raises(KeyboardInterrupt):
                fit()

    return arm


def test_fine_tuning_goes_on_without_training_its_head_again(parts, killed_in, tmp_path, monkeypatch):
    train, val, _ = parts

    def fit():
        model = as_pretrained(tiny(train, seed=2))
        return easydl.fit(model, train, val, augment="none", epochs=3, strategy="finetune", run=tmp_path, verbose=False)

    killed_in(fit)
    monkeypatch.setattr("easydl.training.classification.features", None)
    fit()
    assert pd.read_csv(tmp_path / "history.csv")["stage"].tolist() == ["head"] + ["fine-tune"] * 3
    assert not (tmp_path / "checkpoint.npz").exists()


def test_a_head_that_was_killed_is_trained_again(parts, tmp_path, monkeypatch):
    train, val, _ = parts

    def fit():
        model = as_pretrained(tiny(train, seed=2))
        return easydl.fit(model, train, val, augment="none", epochs=3, strategy="features", run=tmp_path, verbose=False)

    def killed(self, epoch, logs=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr("easydl.training.callbacks.Progress.on_epoch_end", killed)
        with pytest.raises(KeyboardInterrupt):
            fit()
    assert len(fit().history["loss"]) == 1


def test_patches_go_on_where_they_were(masked_parts, killed_in, few_steps, tmp_path):
    train, val, _ = masked_parts

    def fit():
        model = easydl.unet(train, width=4)
        return easydl.fit(model, train, val, augment="none", epochs=3, batch_size=1, run=tmp_path, verbose=False)

    killed_in(fit)
    history = fit()
    assert pd.read_csv(tmp_path / "history.csv")["epoch"].tolist() == [1, 2, 3]
    assert len(history.history["val_dice"]) == 3


@pytest.mark.everything
def test_own_objects_go_on_where_they_were_and_others_begin_again(parts, killed_in, tmp_path):
    """The moments of the optimizer are in the checkpoint; a callback begins anew."""
    train, val, _ = parts

    class Seen(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)

    def fit(rate, run):
        model = tiny(train, seed=2)
        options = {"optimizer": keras.optimizers.Adam(rate), "callbacks": [Seen()], "metrics": ["recall"], "run": run}
        history = easydl.fit(
            model, train, val, augment=keras.layers.RandomRotation(0.1), epochs=3, verbose=False, **options
        )
        return history.history["loss"], int(model.optimizer.iterations)

    epochs: list[int] = []
    runs = [tmp_path / name for name in ("whole", "killed")]
    for run in runs:
        run.mkdir()
    whole, steps = fit(0.01, runs[0])
    killed_in(lambda: fit(0.01, runs[1]))
    epochs.clear()
    again, counted = fit(0.01, runs[1])
    assert epochs == [1, 2] and counted == steps
    assert again == pytest.approx(whole, rel=1e-3)
    killed_in(lambda: fit(0.01, runs[1]))
    epochs.clear()
    fit(0.02, runs[1])
    assert epochs == [0, 1, 2]
