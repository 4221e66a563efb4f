"""Each worker reads and draws from its share alone, and what depends on all images is the same on all workers."""

import numpy as np
import pytest
import tensorflow as tf
from made import mask_study
from made_tasks import GRADES, discs
from small_models import tiny
from two_workers import both

import easydl
from easydl.errors import InputError, ModelError
from easydl.networks import members_of, metadata_of
from easydl.studies import Study
from easydl.studies.dataset import decode
from easydl.training.masks_on_grid import check_classes_seen, read_share
from easydl.training.patches import Patches
from easydl.training.pipeline import pair_feed, patch_feed, patch_sample
from easydl.training.statistics import of_all_workers, pooled
from easydl.training.workers import ALONE, Team, playing


def spotted(count):
    """Scans of which each has a value of its own, with a structure in it."""
    images = [np.full((12, 12, 1), number, np.float32) for number in range(count)]
    labels = np.zeros((12, 12), np.uint8)
    labels[3:6, 3:6] = 1
    return images, [labels] * count


def patches_of(team, images, labels):
    rows = team.rows(len(images))
    return Patches([images[row] for row in rows], [labels[row] for row in rows], (8, 8), 2)


@pytest.mark.quick
@pytest.mark.parametrize("batch", [4, 3])
def test_patches_of_two_workers_are_those_of_one_process_that_plays_both(batch):
    images, labels = spotted(5)
    teams = [Team(2, (0,)), Team(2, (1,)), Team(2, (0, 1))]

    def drawn(team, feed):
        options = {"seed": 3, "shares": team.shares(5, batch)}
        return [[np.asarray(x) for x in one] for one in feed(patches_of(team, images, labels), batch, 4, **options)]

    def pairs(patches, size, steps, **options):
        return pair_feed(patches, size, steps, lambda image, rng: (image + rng.random(), image), **options)

    for feed in (patch_feed, pairs):
        first, second, alone = (drawn(team, feed) for team in teams)
        assert len(alone) == 4 and all(len(x) == batch for x, _ in alone)
        for k in range(4):
            for part in (0, 1):
                np.testing.assert_array_equal(np.concatenate([first[k][part], second[k][part]]), alone[k][part])
    # Each sees its own scans only: rows 0, 2, 4 and rows 1, 3, which are as bright as their numbers.
    assert {value for _, clean in first for value in clean.ravel()} == {0, 2, 4}
    assert {value for _, clean in second for value in clean.ravel()} == {1, 3}
    sampled = patch_sample(patches_of(teams[1], images, labels), batch, 4, seed=3, shares=teams[1].shares(5, batch))
    assert {value for x in sampled(0) for value in x.ravel()} == {1, 3}


@pytest.mark.quick
def test_one_process_draws_as_ever():
    assert [*ALONE.shares(3, 4)[0].cases] == [0, 1, 2] and ALONE.shares(3, 4)[0].batch == 4
    assert ALONE.shares(3, 4)[0].key == () and ALONE.of_batch(5) == 5
    assert [share.batch for share in Team(3, (0, 1, 2)).shares(9, 8)] == [2, 3, 3]
    # Together they see the validation part in its order: 2 and 2 of 4.
    assert [Team(2, (0,)).of_batch(4), Team(2, (0, 1)).of_batch(4), Team(3, (0,)).of_batch(2)] == [2, 4, 1]


def test_masks_are_read_once_and_known_to_both(tmp_path, monkeypatch):
    train, _, _ = easydl.load(mask_study(tmp_path / "s", cases=9, shapes=((32, 40), (24, 24)))).split(seed=1)
    metadata = metadata_of(easydl.unet(train, width=4))
    scans, labels, facts = read_share(train, metadata, ALONE)
    read, reference = [], Study.reference

    def counted(study, row, **options):
        read.append(study.addresses(row)[0])
        return reference(study, row, **options)

    monkeypatch.setattr(Study, "reference", counted)
    first, second = both(lambda team: read_share(train, metadata, team))
    assert sorted(read) == sorted(train.addresses(row)[0] for row in range(len(train)))  # each mask by one of them
    for number, (own, masks, known) in enumerate((first, second)):
        for place, row in enumerate(range(number, len(train), 2)):
            np.testing.assert_array_equal(own[place], scans[row])
            np.testing.assert_array_equal(masks[place], labels[row])
        np.testing.assert_array_equal(known.shapes, [label.shape for label in labels])
        np.testing.assert_array_equal(known.marks, facts.marks)
        np.testing.assert_array_equal(known.classes, [[(label == k).any() for k in (0, 1)] for label in labels])
    assert len({tuple(mark) for mark in facts.marks}) > 1
    facts.classes[:, 1] = False
    with pytest.raises(InputError, match="No training mask holds"):
        check_classes_seen(facts, metadata)


@pytest.mark.quick
def test_what_the_first_worker_refuses_is_refused_by_all_in_its_words():
    def ask():
        raise InputError("found", "expected", "do")

    first, second = both(lambda team: team.from_first(ask))
    assert type(first) is InputError and str(first) == str(second) and "What to do: do" in str(second)
    asked = []
    answers = both(lambda team: team.from_first(lambda: asked.append(team.shards[0]) or {"a": [1.5, None]}))
    assert answers == [{"a": [1.5, None]}] * 2 and asked == [0]


@pytest.mark.quick
def test_statistics_are_those_of_the_images_of_both():
    rng = np.random.default_rng(0)
    images = [rng.normal(3, 2, (11, 4)), rng.normal(5, 1, (6, 4))]

    def one(team):
        own = images[team.shards[0]]
        return of_all_workers(team, len(own), [pooled([len(own)], [own.mean(axis=0)], [own.var(axis=0)])] * 2)

    whole = np.concatenate(images)
    for found in both(one):
        for mean, variance in found:
            np.testing.assert_allclose(mean, whole.mean(axis=0))
            np.testing.assert_allclose(variance, whole.var(axis=0))


def seen(data):
    """What a step of training and the validation hold."""
    x, _ = next(iter(data.feed(first_epoch=0)))
    return len(x), sum(len(x) for x, *_ in data.validation)


@pytest.mark.parametrize("kind", ["masks", "volumes", "images"])
def test_a_training_on_patches_is_planned_for_two_workers(kind, request, stages, few_steps):
    parts = request.getfixturevalue({"masks": "masked_parts", "volumes": "volume_parts", "images": "parts"}[kind])
    train, val, _ = parts
    model = {
        "masks": lambda: easydl.unet(train, width=4),
        "volumes": lambda: easydl.unet3d(train, width=4),
        "images": lambda: easydl.image_to_image("denoising_autoencoder", width=4),
    }[kind]()
    with playing(Team(2, (0, 1))):
        history = easydl.fit(model, train, val, epochs=1, batch_size=1, verbose=False)
    (_, _, data, _) = stages[0]
    plan = " ".join(history.params["plan"])
    assert "2 workers train together" in plan
    # A step has a patch for each of them, and every validation image is seen once.
    assert seen(data) == (2, len(val))


def test_masks_are_refused_where_a_worker_would_have_none(masked_parts):
    train, val, _ = masked_parts
    model = easydl.unet(train, width=4)
    with playing(Team(9, (0,))), pytest.raises(InputError, match="images with a mask, and there are 9 workers"):
        easydl.fit(model, train, val, verbose=False)
    with playing(Team(2, (0, 1))), pytest.raises(InputError, match="learning_rate='find'") as caught:
        easydl.fit(model, train, val, learning_rate="find", verbose=False)
    assert "Leave --workers out" in caught.value.do


def test_members_are_trained_by_all_workers_one_after_the_other(parts, stages):
    train, val, _ = parts
    model = tiny(train)
    with playing(Team(2, (0, 1))):
        easydl.fit(model, train, val, epochs=1, members=2, augment="none", verbose=False)
    assert metadata_of(model).members == 2 == len(members_of(model)) == len(stages)
    for _, objective, data, _ in stages:
        assert isinstance(objective.learner, type(model)) and seen(data)[1] == len(val)


LOAD = {
    "regression": {"label": "size_mm", "task": "regression"},
    "ordinal": {"label": "grade", "task": "ordinal", "classes": GRADES},
    "multilabel": {"label": ["corner", "stripes"]},
    "heads": {"heads": ["outcome", "grade", "size_mm"]},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return discs(tmp_path_factory.mktemp("discs") / "s", n=40)


@pytest.mark.parametrize("task", LOAD)
def test_every_task_divides_its_images_and_targets_alike(task, table, stages):
    train, val, _ = easydl.load(table, **LOAD[task]).split(seed=1)
    model = tiny(train)
    with playing(Team(2, (0, 1))):
        easydl.fit(model, train, val, epochs=1, batch_size=7, augment="none", verbose=False)
    (stage, _, data, _) = stages[0]
    batches = [tf.nest.flatten(batch) for batch in data.feed(first_epoch=0)]
    assert len(batches) == stage.steps == -(-len(train) // 7)
    # Every image comes once, with its own targets.
    decoded = decode(train, size=(32, 32), channels=1, units="0-255").astype(np.float32)
    place = {image.tobytes(): row for row, image in enumerate(decoded)}
    rows = [place[image.tobytes()] for one in batches for image in np.asarray(one[0])]
    assert sorted(rows) == list(range(len(train)))
    expected = [*tf.nest.flatten(train.targets()), *tf.nest.flatten(train.target_weights() or ())]
    for number, wanted in enumerate(expected, 1):
        found = np.concatenate([np.asarray(one[number]) for one in batches])
        np.testing.assert_array_equal(found > 0, np.asarray(wanted)[rows] > 0)
    np.testing.assert_allclose(np.concatenate([np.asarray(one[1]) for one in batches]), expected[0][rows])


def test_an_ensemble_of_image_to_image_models_stays_refused(parts):
    train, val, _ = parts
    model = easydl.image_to_image("denoising_autoencoder", width=4)
    with playing(Team(2, (0, 1))), pytest.raises(ModelError, match="members=2"):
        easydl.fit(model, train, val, members=2, verbose=False)
