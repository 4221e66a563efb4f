"""Every image and every mask is decoded at most once in a whole life of a study, and never again while it is cached."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from made import outlined_study, png_study

import easydl
from easydl.studies import masks, pixel_facts


@pytest.fixture
def decoded(monkeypatch):
    """How often each file was decoded: counted in the one function that reads it, below the Study."""
    counts = Counter()
    for module in (pixel_facts, masks):
        real = module.read

        def read(path, *, labels=False, _real=real):
            counts["/".join(Path(path).parts[-2:])] += 1
            return _real(path, labels=labels)

        monkeypatch.setattr(module, "read", read)
    return counts


def classification_life(folder):
    study = easydl.load(folder / "scans.csv")
    easydl.audit(study)
    train, val, test = study.split(seed=0)
    easydl.audit(train.parent)
    model = easydl.classifier("tiny", classes=study.classes, size=16)
    easydl.fit(model, train, val, epochs=1, augment="none", verbose=False)
    metrics = easydl.evaluate(model, test)
    easydl.saliency(model, test, row=0)
    return metrics.table, easydl.predict(model, test).frame


def segmentation_life(folder):
    study = easydl.load(folder / "scans.csv")
    easydl.audit(study)
    train, val, test = study.split(seed=0)
    model = easydl.unet(width=4, classes=study.classes)
    easydl.fit(model, train, val, epochs=1, augment="none", verbose=False)
    metrics = easydl.evaluate(model, test)
    easydl.predict(model, test.scan(0))
    study.show(3)
    return metrics.table, metrics.cases


@pytest.mark.parametrize(
    ("make", "life", "files"),
    [
        (lambda folder: png_study(folder, per_class=12, side=16), classification_life, 24),
        (lambda folder: outlined_study(folder, cases=9), segmentation_life, 18),
    ],
    ids=["classification", "segmentation"],
)
def test_a_file_is_decoded_once_and_not_again_in_a_second_run(tmp_path, decoded, make, life, files):
    make(tmp_path / "s")
    first = life(tmp_path / "s")
    assert len(decoded) == files
    assert set(decoded.values()) == {1}
    decoded.clear()
    second = life(tmp_path / "s")
    assert not decoded
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_loading_and_splitting_without_a_cache_gives_the_same(tmp_path, decoded, monkeypatch):
    path = outlined_study(tmp_path / "s", cases=9)
    cached = easydl.load(path)
    with_cache = [list(part.frame["image"]) for part in cached.split(seed=0)]
    monkeypatch.setenv("EASYDL_CACHE", "off")
    decoded.clear()
    study = easydl.load(path)
    assert [list(part.frame["image"]) for part in study.split(seed=0)] == with_cache
    assert set(decoded.values()) == {1}
    assert study.digests() == cached.digests()
    assert (study.reference(3) == cached.reference(3)).all()
    assert (study.scan(3).pixels == cached.scan(3).pixels).all()
    assert decoded["s/image3.png"] > 2, "without a cache nothing is kept in memory"
