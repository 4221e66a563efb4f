"""Erickson's prostate: the network learns the gland, fails on a balanced set, and is mended by balancing."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.slow
@pytest.mark.everything
@pytest.mark.timeout(1800)  # a busy machine is no fault
def test_the_prostate_model_fails_on_balanced_patients_looks_at_the_gland_and_is_mended(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from pelvis import figures

    found = figures(1, tmp_path)
    in_trap, balanced, mended = (found[name]["auc"] for name in ("trapped", "balanced", "mended"))
    assert in_trap > 0.9
    assert balanced < 0.65
    assert in_trap - balanced > 0.25
    assert mended > balanced + 0.2
    peak, denser = found["occlusion"].values()
    assert peak > 0.8
    assert denser > 5
    assert found["gradcam"]["times denser there"] > 2
    assert denser > 2 * found["occlusion of the mended"]["times denser there"]
