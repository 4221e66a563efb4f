"""A training that is killed and resumed ends with the very weights of one that was never interrupted (on a CPU)."""

import json
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from made import nifti_study, png_study
from small_models import as_pretrained, tiny

import easydl
from easydl.networks import load_network, metadata_of
from easydl.training import checkpoint, mixed_precision

EPOCHS = 4


@pytest.fixture
def interrupted(monkeypatch):
    """Train; interrupted after these epochs' checkpoints, each time by another process as far as Keras can tell."""
    monkeypatch.setattr(checkpoint, "LEAST_SECONDS", 0)
    save = checkpoint.Checkpoint.on_epoch_end

    def train(fit, *epochs):
        def killed(self, epoch, logs=None):
            save(self, epoch, logs)
            if epoch + 1 == epochs[0]:
                raise KeyboardInterrupt

        for _ in range(len(epochs)):
            with monkeypatch.context() as during:
                during.setattr(checkpoint.Checkpoint, "on_epoch_end", killed)
                with pytest.raises(KeyboardInterrupt):
                    fit()
            epochs = epochs[1:]
            keras.utils.set_random_seed(99)
        return fit()

    return train


def classification(study, run):
    """With augmentation and dropout: both have counters."""
    model = tiny(study[0], seed=2)
    easydl.fit(model, *study[:2], augment="chest_xray+mixup", epochs=EPOCHS, run=run, seed=5, verbose=False)
    return model


def fine_tuning(study, run):
    model = as_pretrained(tiny(study[0], seed=2), study[0])
    options = {"augment": "chest_xray", "strategy": "finetune", "run": run, "seed": 5, "verbose": False}
    easydl.fit(model, *study[:2], epochs=EPOCHS, **options)
    return model


def volumes(study, run):
    model = easydl.unet3d(study[0], width=4, seed=2)
    easydl.fit(model, *study[:2], augment="ct", epochs=EPOCHS, batch_size=1, run=run, seed=5, verbose=False)
    return model


WAYS = {
    "classification": (classification, "parts"),
    "fine-tuning": (fine_tuning, "parts"),
    "3D": (volumes, "volume_parts"),
}


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[pytest.mark.everything] * (way == "3D")) for way in WAYS]
)  # patches go on where they were, by a cheaper test (test_resume.py)
def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    way, request, interrupted, few_steps, tmp_path
):
    fit, fixture = WAYS[way]
    study = request.getfixturevalue(fixture)
    whole = fit(study, tmp_path / "whole")
    killed = (1, 3) if way == "classification" else (2,)
    resumed = interrupted(lambda: fit(study, tmp_path / "resumed"), *killed)
    assert equal(whole, resumed)
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "resumed")]
    assert histories[0] == histories[1]
    assert [metadata_of(one).training["resumed"] for one in (whole, resumed)] == [0, len(killed)]
    assert not list(tmp_path.rglob("checkpoint.npz"))
    status = json.loads((tmp_path / "resumed" / "status.json").read_text())
    assert status["trained"] is None, "what was finished is not gone on with"


def test_the_race_for_half_precision_is_run_once(masked_parts, interrupted, few_steps, tmp_path, monkeypatch):
    races = []
    monkeypatch.setattr(mixed_precision, "WORTH_STEPS", 1)
    monkeypatch.setattr(mixed_precision, "has_bfloat16", lambda: True)
    monkeypatch.setattr(mixed_precision, "speedup", lambda *given: races.append(given) or 1.0)

    def fit():
        model = easydl.unet(masked_parts[0], width=4, seed=2)
        easydl.fit(model, *masked_parts[:2], augment="none", epochs=2, batch_size=1, run=tmp_path, verbose=False)

    interrupted(fit, 1)
    assert len(races) == 1


CHILD = """
import json, sys
sys.path[:0] = json.loads(sys.argv[5])
import easydl, test_bit_equal
from easydl.training import checkpoint
checkpoint.LEAST_SECONDS = 0
fit, _ = test_bit_equal.WAYS[sys.argv[1]]
fit(easydl.load(sys.argv[2]).split(seed=1), sys.argv[3])
"""
KILLS = {"classification": 8, "fine-tuning": 6, "3D": 6}


@pytest.mark.everything
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_random_moments_it_still_ends_with_the_same_weights(way, tmp_path):
    """Killed, not asked: also while it reads, between two files, and while it writes the model."""
    made = nifti_study(tmp_path / "study", cases=9) if way == "3D" else png_study(tmp_path / "study", per_class=12)

    def child(run):
        run.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, "-c", CHILD, way, str(made), str(run), "", json.dumps(sys.path)])

    begun = time.monotonic()
    assert child(tmp_path / "whole").wait() == 0
    took, rng, killed = time.monotonic() - begun, random.Random(way), 0
    for number in range(20 * KILLS[way]):
        process = child(tmp_path / "run")
        try:
            # A quarter of the moments when it has hardly begun, the others when it trains.
            process.wait(rng.uniform(0.05, 1.0) * took if number % 4 else rng.uniform(0.01, 0.3) * took)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        if killed >= KILLS[way]:
            break
        if (tmp_path / "run" / "model.keras").exists():
            compare(tmp_path)
            for path in (tmp_path / "run").iterdir():
                path.unlink()
    assert killed == KILLS[way]
    assert child(tmp_path / "run").wait() == 0
    compare(tmp_path)


def compare(folder):
    whole, resumed = (load_network(folder / name / "model.keras") for name in ("whole", "run"))
    assert equal(whole, resumed)
    assert (folder / "whole" / "history.csv").read_text() == (folder / "run" / "history.csv").read_text()
