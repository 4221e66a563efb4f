"""Thumbnails stay on the disk: they are those of the pixels wherever they come from, and a few at a time give the same."""

import shutil

import numpy as np
import pandas as pd
import pytest
from made import films, png_study

import easydl
from easydl import cache
from easydl.images.glance import glance
from easydl.studies import near_copies, pixel_facts, thumbnails
from easydl.studies.thumbnails import Thumbnails


@pytest.fixture
def table(tmp_path):
    return png_study(tmp_path / "s", 4, side=80)


@pytest.fixture
def study(table):
    return easydl.load(table)


def expected(study):
    seen = [glance(study.scan(row).pixels) for row in range(len(study))]
    return [np.stack([getattr(one, name) for one in seen]) for name in ("thumbnail", "peaks")]


def both(facts):
    return [thumbnails.thumbnails(facts, peaks=peaks) for peaks in (False, True)]


def test_none_is_in_memory_while_they_are_on_the_disk(table, study):
    facts = study.facts()
    assert all(one.small.held is None for one in facts)
    np.testing.assert_array_equal(both(facts), expected(study))
    again = easydl.load(table).facts()
    assert [one.digest for one in again] == [one.digest for one in facts]
    np.testing.assert_array_equal(both(again), expected(study))


def test_without_a_cache_they_are_held(table, monkeypatch):
    monkeypatch.setenv("EASYDL_CACHE", "off")
    study = easydl.load(table)
    facts = study.facts()
    assert all(len(one.small.held) == 2 * 64 * 64 for one in facts)
    np.testing.assert_array_equal(both(facts), expected(study))


def test_they_are_made_again_where_the_cache_was_deleted(study, monkeypatch):
    facts = study.facts()
    shutil.rmtree(cache.folder())
    np.testing.assert_array_equal(both(facts), expected(study))
    monkeypatch.setattr(pixel_facts.ImageFiles, "_thumbnail", lambda *_: pytest.fail("they are kept again"))
    np.testing.assert_array_equal(both(facts), expected(study))


def test_a_few_at_a_time_are_the_same_as_all(study, monkeypatch):
    facts = study.facts()
    every = thumbnails.thumbnails(facts)
    monkeypatch.setattr(thumbnails, "AT_ONCE", 3)
    np.testing.assert_array_equal(thumbnails.thumbnails(facts), every)
    small = thumbnails.reduced(facts, lambda images: thumbnails.local_means(images, 8))
    np.testing.assert_allclose(small, every.reshape(8, 8, 8, 8, 8).mean(axis=(2, 4)).reshape(8, 64), rtol=1e-6)
    assert thumbnails.reduced([], lambda images: images).shape == (0, 64, 64)
    chosen = np.array([5, 2, 5, 0])
    np.testing.assert_array_equal(Thumbnails(facts)[chosen], every[chosen])


def test_near_copies_are_the_same_from_the_disk(tmp_path, monkeypatch):
    made = films(12)
    for number, image in enumerate([*made, *(image.rotate(90) for image in made[:2])]):
        image.save(tmp_path / f"{number:02}.png")
    frame = pd.DataFrame({"image": sorted(map(str, tmp_path.glob("*.png"))), "label": ["a", "b"] * 7})
    facts = easydl.load(frame, patient=None).facts()
    found = near_copies.near_copies(thumbnails.thumbnails(facts), np.arange(14))
    monkeypatch.setattr(near_copies, "AT_ONCE", 5)
    assert near_copies.near_copies(Thumbnails(facts), np.arange(14)) == found
    assert [(one.first, one.second) for one in found] == [(0, 12), (1, 13)]
