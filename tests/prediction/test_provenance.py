"""A model has one fingerprint in memory and in its file, and another once anything its answers depend on is changed."""

import numpy as np
import pytest
from made import png_study

import easydl
from easydl.networks import attach, metadata_of
from easydl.networks.decision import Threshold
from easydl.prediction.provenance import fingerprint


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """40 images of 40 patients."""
    return easydl.load(png_study(tmp_path_factory.mktemp("s"), per_class=20, side=16))


def known(model):
    return fingerprint(model, metadata_of(model))


def test_the_fingerprint_is_of_what_the_answers_depend_on(study, tmp_path):
    model = easydl.classifier("tiny", study, size=16)
    first = known(model)
    easydl.save_model(model, tmp_path / "model.keras")
    assert known(easydl.load_model(tmp_path / "model.keras")) == first
    assert (
        known(easydl.classifier("tiny", study, size=16))
        == first
        != known(easydl.classifier("tiny", study, size=16, seed=1))
    )
    noted = metadata_of(model).model_copy(update={"training": {"images": 9}})
    assert fingerprint(model, noted) == first, "what is said of the training changes no answer"
    decided = metadata_of(model).model_copy(update={"thresholds": {"healthy": Threshold(value=0.3, n=20)}})
    assert fingerprint(model, decided) != first
    weights = model.get_weights()
    model.set_weights([weights[0] + np.float32(1e-3), *weights[1:]])
    assert known(model) != first


def test_models_are_counted_by_their_weights_in_every_way_in(study, tmp_path):
    _, _, test = study.split((0.3, 0.2, 0.5), seed=1)
    models = [attach(one := easydl.classifier("tiny", study, size=16, seed=seed), metadata_of(one)) for seed in (0, 1)]
    first = easydl.evaluate(models[0], test, resamples=100)
    easydl.save_model(models[0], tmp_path / "model.keras")
    read = easydl.load_model(tmp_path / "model.keras")
    assert easydl.evaluate(easydl.predict(read, test), resamples=100).look == first.look
    second = easydl.evaluate(models[1], test, resamples=100)
    assert (first.look.number, second.look.number) == (1, 2) and "looked at 2 times" in second.warnings[0]
    # Split by another seed, parts of the same study share images.
    _, _, other = study.split((0.3, 0.2, 0.5), seed=2)
    assert "were looked at before: 3 looks in all" in easydl.evaluate(models[0], other, resamples=100).warnings[0]
