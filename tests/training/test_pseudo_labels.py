"""Images without labels: which answers become labels, how much they count, and whose images they may not be."""

import numpy as np
import pandas as pd
import pytest
from made import png_study

import easydl
from easydl.errors import InputError, LeakageError
from easydl.networks import metadata_of
from easydl.prediction.seen import seen_rows
from easydl.tasks import Task
from easydl.training.beyond_labels import BeyondLabels
from easydl.training.pseudo_labels import SURE, Joined, pseudo_labels


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """32 images of other patients, whose labels are unknown."""
    table = png_study(tmp_path_factory.mktemp("pool"), per_class=16, seed=9)
    frame = pd.read_csv(table, dtype=str).drop(columns="label")
    frame["patient"] = "u" + frame["patient"]
    frame["image"] = [str(table.parent / one) for one in frame["image"]]
    return easydl.load(frame)


def test_only_what_is_sure_becomes_a_label():
    probabilities = np.array([[0.95, 0.05], [0.5, 0.5], [0.05, 0.95], [0.11, 0.89]])
    sure, labels = pseudo_labels(probabilities, Task.CLASSIFICATION)
    assert SURE == 0.9 and sure.tolist() == [True, False, True, False]
    assert labels[[0, 2]].tolist() == [[1, 0], [0, 1]]
    sure, labels = pseudo_labels(np.array([[0.95, 0.05], [0.95, 0.5]]), Task.MULTILABEL)
    assert sure.tolist() == [True, False] and labels[0].tolist() == [1, 0]


def test_joined_images_are_read_as_one_array():
    first, second = np.arange(12).reshape(4, 3), 100 + np.arange(30).reshape(10, 3)
    rows, chosen = np.array([7, 2, 5]), np.array([5, 0, 6, 3, 4])
    assert np.array_equal(Joined(first, second, rows)[chosen], np.concatenate([first, second[rows]])[chosen])


def test_fit_learns_on_from_unlabelled_images_and_says_so(parts, pool, stages):
    """The stages themselves are left out; what they are given is looked at."""
    train, val, _ = parts
    model = easydl.classifier("tiny", train, size=32)
    last = model.get_layer("logits")
    last.set_weights([last.get_weights()[0] * 0, np.array([0.0, 4.0])])  # sure of everything: healthy
    history = easydl.fit(model, train, val, unlabelled=pool, verbose=False, calibrate=False)
    assert [stage.name for stage, *_ in stages] == ["train", "pseudo-labels"]
    _, _, data, _ = stages[1]
    targets, weights, count = [], [], 0
    for x, y, w in data.feed():
        targets.append(y)
        weights.append(w)
        count += len(x)
    targets, weights = np.concatenate(targets), np.concatenate(weights)
    assert count == len(train) + 32 == data.images
    assert targets[:, 1].sum() == (train.frame["label"] == "healthy").sum() + 32
    # All 32 together count as much as the healthy images that have labels.
    own = (train.frame["label"] == "healthy").sum()
    assert weights[targets[:, 1] == 1].sum() == pytest.approx(2 * own, rel=1e-5)
    plan = " ".join(history.params["plan"])
    assert (
        "Of 32 unlabelled images the network was sure (probability 0.9 or more) of 32 (disease 0, healthy 32)" in plan
    )
    rows, _ = seen_rows([metadata_of(model)], pool)
    assert set(rows) == {"training image"}


def test_where_the_network_is_sure_of_nothing_nothing_is_learned(parts, pool, stages):
    train, val, _ = parts
    model = easydl.classifier("tiny", train, size=32)
    model.get_layer("logits").set_weights([w * 0 for w in model.get_layer("logits").get_weights()])
    history = easydl.fit(model, train, val, unlabelled=pool, verbose=False, calibrate=False)
    assert len(stages) == 1
    assert "sure (probability 0.9 or more) of none" in " ".join(history.params["plan"])


def test_patients_of_the_validation_or_test_part_are_refused(parts, pool):
    train, val, test = parts
    metadata = metadata_of(easydl.classifier("lenet", train, size=32))
    for part, where in ((val, "validation part"), (test, "test part")):
        with pytest.raises(LeakageError, match=where):
            BeyondLabels.checked(metadata, (train, val), unlabelled=part)
        kept = BeyondLabels.checked(metadata, (train, val), unlabelled=part, override="a trial")
        assert "a trial" in kept.overrides[0]
    # Another image of a patient of the test part.
    frame = pool.frame.assign(patient=test.frame["patient"].iloc[0])
    with pytest.raises(LeakageError, match="1 patients and 0 images are in the test part"):
        BeyondLabels.checked(metadata, (train, val), unlabelled=easydl.load(frame[["image", "patient"]]))


def test_copies_of_training_images_are_not_learned_twice(parts, pool):
    train, val, _ = parts
    metadata = metadata_of(easydl.classifier("lenet", train, size=32))
    both = pd.concat([train.frame[["image", "patient"]].iloc[:3], pool.frame[["image", "patient"]]])
    found = BeyondLabels.checked(metadata, (train, val), unlabelled=easydl.load(both.reset_index(drop=True)))
    assert len(found.pool) == len(pool)
    with pytest.raises(InputError, match="in the training part already"):
        BeyondLabels.checked(metadata, (train, val), unlabelled=train)


def test_values_have_no_pseudo_labels(parts, pool):
    train, val, _ = parts
    metadata = metadata_of(easydl.classifier("lenet", task="regression", size=32))
    with pytest.raises(InputError, match="regression"):
        BeyondLabels.checked(metadata, (train, val), unlabelled=pool)


@pytest.mark.everything
def test_20_labelled_of_200_simulated_images(tmp_path):
    table = easydl.simulate(tmp_path / "s", patients=140, images_per_patient=2, size=64, seed=3)
    train, val, _ = easydl.load(table, task="classification").split(sizes=(0.72, 0.14, 0.14), seed=1)
    patients = train.frame["patient"].unique()
    labelled = train.rows(train.frame.index[train.frame["patient"].isin(patients[:10])])
    pool = train.rows(train.frame.index[train.frame["patient"].isin(patients[10:100])])
    assert (len(labelled), len(pool)) == (20, 180)
    model = easydl.classifier("tiny", labelled, size=64)
    history = easydl.fit(model, labelled, val, unlabelled=pool, epochs=12, verbose=False)
    assert "Of 180 unlabelled images" in " ".join(history.params["plan"])
