"""Weights that were pretrained on the images of a test part are refused before anything is trained."""

import pytest
from made import png_study

import easydl
from easydl import runs
from easydl.errors import LeakageError
from easydl.networks import attach, metadata_of
from easydl.prediction.seen import with_training

pytestmark = pytest.mark.slow


def test_a_run_with_them_ends_before_its_training_unless_a_reason_is_given(tmp_path, monkeypatch):
    table = png_study(tmp_path / "study", per_class=20)
    study = easydl.load(table)
    own = easydl.classifier("tiny", study, size=32)
    seen = with_training(None, study, study.rows(study.frame.index[:0]))
    attach(own, metadata_of(own).model_copy(update={"seen": seen}))
    easydl.save_model(own, tmp_path / "own.keras")
    asked = []
    monkeypatch.setattr("easydl.training.fit", lambda *given, **options: asked.append(given) or pytest.fail("trained"))
    config = {"source": str(table), "model": "tiny", "size": 32, "pretrained": str(tmp_path / "own.keras")}
    with pytest.raises(LeakageError, match="in the training") as problem:
        runs.run(runs.RunConfig(**config), tmp_path / "run", progress=lambda _: None)
    assert "at least 10 patients that the model has not seen" in problem.value.expected and not asked
    assert runs.status(tmp_path / "run")["state"] == "failed"
    with pytest.raises(pytest.fail.Exception, match="trained"):
        runs.run(runs.RunConfig(**config, override="to compare"), tmp_path / "other", progress=lambda _: None)
    assert len(asked) == 1
