"""Two real processes train as one that plays both, and say what happened to the other; an hour's work for all, so not by default."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made import mask_study, nifti_study, png_study
from made_tasks import discs
from test_workers import free_ports

pytestmark = pytest.mark.everything


def results(kind, table, numbers):
    addresses = ",".join(free_ports(2))
    script = Path(__file__).with_name("one_worker.py")
    command = [sys.executable, str(script), kind, str(table)]
    running = [
        subprocess.Popen([*command, number, addresses], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in numbers
    ]
    found = []
    for one in running:
        out, error = one.communicate(timeout=400)
        assert one.returncode == 0, error[-3000:]
        found.append(json.loads(out.splitlines()[-1]))
    return found


@pytest.mark.parametrize("kind", ["masks", "volumes", "images", "members", "regression", "heads", "fine-tuning"])
def test_two_processes_have_the_losses_of_one(kind, tmp_path):
    table = {
        "masks": lambda: mask_study(tmp_path / "s", cases=15),
        "volumes": lambda: nifti_study(tmp_path / "s", cases=9),
        "images": lambda: png_study(tmp_path / "s"),
    }.get(kind, lambda: discs(tmp_path / "s", n=48))()
    (alone,) = results(kind, table, ["one"])
    for worker in results(kind, table, ["0", "1"]):
        for name in ("loss", "val_loss", "weights"):
            np.testing.assert_allclose(worker[name], alone[name], atol=1e-3, rtol=1e-3)
