"""Films for every task, no pretrained weights anywhere, one thread, light estimators."""

from pathlib import Path

import numpy as np
import pytest
from made_tasks import discs
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="module", autouse=True)
def _no_weights():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASYDL_WEIGHTS", "/nowhere")
        patch.setattr("easydl.networks.pretrained.sources.shipped", lambda: Path("/nowhere"))
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):  # the oracles' small matrices too
        yield


@pytest.fixture(scope="module", autouse=True)
def _light(request):
    """Few trees and penalties where the estimators themselves are not tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.module.__name__ != "test_estimators":
            patch.setattr("easydl.training.estimators.TREES", 20)
            patch.setattr("easydl.training.estimators.STRENGTHS", np.array([0.01, 0.1, 1.0]))
            patch.setattr("easydl.training.estimators.FOLDS", 3)
        yield


@pytest.fixture(scope="session")
def films(once):
    return once("comparison_discs", lambda path: discs(path, n=120)) / "scans.csv"
