"""Every image and every mask is decoded at most once in a whole life of a study, and never again while it is cached."""

from collections import Counter
from pathlib import Path

import pytest
from made import mask_study, png_study

import easydl
from easydl.studies import masks, pixel_facts
from easydl.studies.dataset import decode


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


def life(folder, build, model=None):
    """Load, audit, split, fit unless there is a model, evaluate, predict. Returns the model and its figures."""
    study = easydl.load(folder / "scans.csv")
    easydl.audit(study)
    train, val, test = study.split(seed=0)
    easydl.audit(train.parent)
    decode(train, size=(16, 16), channels=1, units="0-255")
    if model is None:
        model = build(study)
        easydl.fit(model, train, val, epochs=1, augment="none", verbose=False)
    metrics = easydl.evaluate(model, test)
    easydl.predict(model, test if study.task == "classification" else test.scan(0))
    study.show(2)
    return model, metrics.table["value"].tolist()


@pytest.mark.parametrize(
    ("make", "build", "files"),
    [
        (
            lambda path: png_study(path, 12, side=16),
            lambda s: easydl.classifier("tiny", s, size=16),
            24,
        ),
        (lambda path: mask_study(path, cases=9), lambda s: easydl.unet(s, width=4), 18),
    ],
    ids=["classification", "segmentation"],
)
def test_a_file_is_decoded_once_and_not_again_in_a_second_run(tmp_path, decoded, make, build, files):
    make(tmp_path / "s")
    model, figures = life(tmp_path / "s", build)
    assert len(decoded) == files
    assert set(decoded.values()) == {1}
    decoded.clear()
    assert life(tmp_path / "s", build, model)[1] == pytest.approx(figures, nan_ok=True)
    assert not decoded


def test_without_a_cache_nothing_is_kept_in_memory_and_all_is_the_same(tmp_path, decoded, monkeypatch):
    path = mask_study(tmp_path / "s", cases=9)
    cached = easydl.load(path)
    with_cache = [list(part.frame["image"]) for part in cached.split(seed=0)]
    monkeypatch.setenv("EASYDL_CACHE", "off")
    decoded.clear()
    study = easydl.load(path)
    assert [list(part.frame["image"]) for part in study.split(seed=0)] == with_cache
    assert set(decoded.values()) == {1}, "the digests are remembered"
    assert study.digests() == cached.digests()
    for row in (3, 3):
        assert (study.reference(row) == cached.reference(row)).all()
        assert (study.scan(row).pixels == cached.scan(row).pixels).all()
    assert decoded["s/image3.png"] > 2


def test_a_reference_does_not_read_the_scan_it_is_given(tmp_path, decoded, monkeypatch):
    study = easydl.load(mask_study(tmp_path / "s", cases=3))
    scan, _ = study.scan(1), study.classes
    monkeypatch.setenv("EASYDL_CACHE", "off")
    decoded.clear()
    assert study.reference(1, scan=scan).shape == scan.shape
    assert set(decoded) == {"s/mask1.png"}
