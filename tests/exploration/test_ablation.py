"""`easydl.ablation`: every change does what it says, and the losses are those of the changed images."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import easydl
from easydl.errors import InputError, ModelError, RunError
from easydl.exploration import ablating
from easydl.prediction.results import output_columns
from easydl.prediction.tables import predict_study


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)


def test_every_change_takes_away_what_it_says(images):
    grey = ablating._grey(images)
    assert np.ptp(grey, axis=-1).max() == 0 and grey[..., 0] == pytest.approx(images.mean(axis=-1))
    assert ablating._without_edges(images).std() < 0.6 * images.std()
    step = np.zeros((1, 64, 64, 1), np.float32)
    step[:, :, 32:] = 200
    dotted = step.copy()
    dotted[:, ::7, ::7] += 50
    np.testing.assert_allclose(ablating._without_texture(dotted), step)  # the dots go, the edge stays
    assert 20 < ablating._without_edges(step)[0, 5, 31, 0] < 180
    bright = np.concatenate([images, images * 0.3 + 20])
    levels = ablating._without_grey_levels(bright)
    np.testing.assert_allclose(levels[:3], levels[3:], rtol=1e-4)
    assert (np.argsort(levels[0, ..., 0], axis=None) == np.argsort(images[0, ..., 0], axis=None)).all()
    moved = ablating._without_arrangement(images, seed=0)
    assert not np.array_equal(moved, images) and np.array_equal(np.sort(moved, axis=None), np.sort(images, axis=None))
    assert not np.array_equal(moved, ablating._without_arrangement(images, seed=1))
    volume = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 8, 1)).astype(np.float32)
    assert ablating._without_arrangement(volume, seed=0).shape == volume.shape


def test_a_model_of_brightness_needs_the_grey_levels_alone(two_scanners, untrained, monkeypatch):
    """The label is made the scanner, whose films are brighter; the model answers by the mean of what it is shown."""
    from dataclasses import replace

    from easydl.networks.decision import Decision

    frame = two_scanners.frame.assign(label=np.where(two_scanners.frame["scanner"] == "B", "disease", "healthy"))
    study = replace(two_scanners, frame=frame)

    def by_brightness(model, metadata, study, change=None):
        shown = np.stack([study.scan(row).pixels for row in range(len(study))])
        shown = shown if change is None else change(shown)
        p = 1 / (1 + np.exp(-(shown.mean(axis=(1, 2, 3)) - 125) / 20))
        outputs = np.stack([p, 1 - p], axis=1)
        real = predict_study(model, metadata, study)
        return replace(real, frame=real.frame.assign(**output_columns(outputs, Decision(real.task, real.classes, {}))))

    monkeypatch.setattr(ablating, "predict_study", by_brightness)
    found = easydl.ablation(untrained, study)
    by_name = {row.name: row for row in found.comparison.rows}
    assert "without colour" not in by_name and len(by_name) == 6
    assert by_name["as they are"].value == 1 and by_name["without edges"].value == 1
    assert by_name["without grey levels"].value < 0.8
    assert found.sentences[0].startswith("without grey levels") and "The model uses it." in found.sentences[0]
    assert "No loss can be shown" in found.sentences[-1]
    assert by_name["without grey levels"].n == 60 and easydl.RESEARCH_USE in repr(found)
    assert found._repr_html_().count("<li>") >= 5
    assert found.show().axes[0].get_yticklabels()[0].get_text() == "as they are"


def test_the_numbers_are_those_of_the_changed_images(two_scanners, untrained):
    found = easydl.ablation(untrained, two_scanners, without=["edges", "colour"], seed=3)
    images = np.stack([two_scanners.scan(row).pixels for row in range(60)])
    answers = untrained.predict(ablating._without_edges(images), verbose=0)
    expected = roc_auc_score(two_scanners.frame["label"] == "healthy", answers[:, 1])
    row = next(row for row in found.comparison.rows if row.name == "without edges")
    assert row.value == pytest.approx(expected, abs=1e-3)
    assert {one.name for one in found.comparison.rows} == {"as they are", "without edges", "without colour"}


def test_what_cannot_be_removed_is_said(two_scanners, untrained):
    for wrong in (["sharpness"], []):
        with pytest.raises(RunError, match="without"):
            easydl.ablation(untrained, two_scanners, without=wrong)
    one = two_scanners.rows(two_scanners.frame.index[two_scanners.frame["label"] == "healthy"])
    for question in (partial(easydl.ablation, untrained), partial(easydl.importance, "forest")):
        with pytest.raises(InputError, match="All 30 images have the label 'healthy'"):
            question(one)
        with pytest.raises(InputError, match="no labels"):
            question(replace(two_scanners, frame=two_scanners.frame.drop(columns="label")))
    with pytest.raises(ModelError, match="segmentation"):
        easydl.ablation(easydl.unet(width=4), two_scanners)
