"""Frozen features are computed once a process: for another head, other folds or a member no image goes through the network again."""

import keras
import numpy as np
import pytest
from made import png_study
from small_models import as_pretrained, tiny

import easydl
from easydl.networks import attach, metadata_of
from easydl.training import classification, known_features
from easydl.training.known_features import frozen_features

HOW = {"augment": "none", "strategy": "features", "verbose": False}


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Nothing is known to begin with; how many images the network is asked for, call by call."""
    known_features._known.clear()
    found, real = [], classification.features

    def spy(model, images, chosen=None, **more):
        found.append(len(images) if chosen is None else len(chosen))
        return real(model, images, chosen, **more)

    monkeypatch.setattr(classification, "features", spy)
    yield found
    known_features._known.clear()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return easydl.load(png_study(tmp_path_factory.mktemp("k"), per_class=12))


def test_another_head_on_the_same_images_asks_for_none(study, asked):
    train, val, _ = study.split(seed=1)
    model = as_pretrained(tiny(train, seed=2), train)
    easydl.fit(model, train, val, **HOW)
    assert sum(asked) == len(train) + len(val)
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    attach(again, metadata_of(model).model_copy(update={"training": {}, "thresholds": {}}))
    easydl.fit(again, train, val, class_weight=None, seed=3, **HOW)
    assert sum(asked) == len(train) + len(val)
    predictions = [easydl.predict(one, val).frame.filter(like="p(").to_numpy() for one in (model, again)]
    assert np.corrcoef(predictions[0][:, 0], predictions[1][:, 0])[0, 1] > 0.9


def test_other_parts_of_the_same_study_ask_for_what_is_new(study, asked):
    model = as_pretrained(tiny(study, seed=2), study)
    images = study.rows(study.frame.index[:10]), study.rows(study.frame.index[5:15])

    def compute(part):
        pixels = np.concatenate([np.asarray(x) for x, _ in part.batches(4, size=(32, 32))])
        return lambda rows: classification.features(model, pixels, rows)

    frozen_features(model, images[0], compute(images[0]))
    found = frozen_features(model, images[1], compute(images[1]))
    assert asked == [10, 5]
    np.testing.assert_allclose(found, compute(images[1])(np.arange(10)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["weights", "window", "size"])
def test_another_network_is_asked_itself(study, asked, change):
    rows = study.rows(study.frame.index[:6])

    def ask(model, value):
        return frozen_features(model, rows, lambda places: np.full((len(places), 3), value, np.float32))

    model = as_pretrained(tiny(study, seed=2))
    assert (ask(model, 1.0) == 1).all() and (ask(model, 2.0) == 1).all()
    if change == "weights":
        kernel = next(weight for layer in model.layers for weight in layer.weights)
        kernel.assign(kernel.value * 1.001)
    else:
        changed = {"window": (0.0, 100.0)} if change == "window" else {"size": (16, 16)}
        attach(model, metadata_of(model).model_copy(update=changed))
    assert (ask(model, 2.0) == 2).all()


def test_no_more_is_kept_than_memory_is_given(study, monkeypatch):
    monkeypatch.setattr(known_features, "MOST_BYTES", 24 * 6 * 4)
    first, second = (as_pretrained(tiny(study, seed=seed)) for seed in (1, 2))
    for model, width in ((first, 4), (second, 4), (second, 4)):
        frozen_features(model, study, lambda rows, width=width: np.zeros((len(rows), width), np.float32))
    assert list(known_features._known) == [known_features._network(second)], "the oldest goes first"
    assert first is not second
    frozen_features(first, study, lambda rows: np.zeros((len(rows), 60), np.float32))
    assert list(known_features._known) == [known_features._network(second)], (
        "too large by itself: it drives nothing out"
    )
