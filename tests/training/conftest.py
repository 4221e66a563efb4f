"""Small studies for the tests of training."""

import pytest
from made import mask_study, nifti_study, png_study

import easydl


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """24 images of two classes, split."""
    return easydl.load(png_study(tmp_path_factory.mktemp("s"), per_class=12)).split(seed=1)


@pytest.fixture(scope="session")
def masked_parts(tmp_path_factory):
    """9 images with masks, split."""
    return easydl.load(mask_study(tmp_path_factory.mktemp("o"), cases=9)).split(seed=1)


@pytest.fixture(scope="session")
def volume_parts(tmp_path_factory):
    """9 small volumes with masks, split."""
    return easydl.load(nifti_study(tmp_path_factory.mktemp("n"), cases=9), mask="mask").split(seed=0)


@pytest.fixture
def few_steps(monkeypatch):
    """Epochs of two steps, for trainings of which no result is asked."""
    monkeypatch.setattr("easydl.training.patch_plan.LEAST_STEPS_AN_EPOCH", 2)
    monkeypatch.setattr("easydl.training.denoising.LEAST_STEPS", 2)


@pytest.fixture
def stages(monkeypatch):
    """What is handed to the stages of training, which are left out: (stage, objective, data, key)."""
    found = []

    def run(stage, objective, data, progress, *, key=""):
        found.append((stage, objective, data, key))
        objective.learner.compile("sgd", "mse")

    monkeypatch.setattr("easydl.training.loop.run_stage", run)
    return found
