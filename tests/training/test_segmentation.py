"""How a segmenter is trained: what its levels count, what validation holds in memory, and what is never mirrored."""

import keras
import numpy as np
import pandas as pd
import pytest
from made import nifti_study, outlined_study

import easydl
from easydl.errors import InputError
from easydl.networks import metadata_of
from easydl.training import segmentation
from easydl.training.pipeline import Patches
from easydl.training.segmentation import _batched, _learner


def test_levels_count_one_a_half_and_a_quarter():
    model = easydl.unet3d(classes=["background", "a", "b"], width=4, deep_supervision=True)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (1, 16, 16, 16, 1)).astype("float32")
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, (1, 16, 16, 16))]
    twin, losses, metrics, shared = _learner(model, metadata_of(model), keras.losses.CategoricalCrossentropy())
    twin.compile("sgd", losses, metrics=metrics, jit_compile=False)
    found = twin.evaluate(shared(_dataset(x, y)), verbose=0, return_dict=True)
    outputs = twin(x, training=False)
    entropy = {name: -np.log((np.asarray(one) * y).sum(axis=-1)).mean() for name, one in outputs.items()}
    shares = {"probability": 1.0, "level2": 0.5, "level3": 0.25}
    assert found["loss"] == pytest.approx(sum(share * entropy[name] for name, share in shares.items()), rel=1e-4)
    for name, share in shares.items():
        assert found[f"{name}_loss"] == pytest.approx(share * entropy[name], rel=1e-4)


def _dataset(x, y):
    from easydl.studies.dataset import dataset

    return dataset(x, y, 1)


def test_validation_holds_numbers_and_makes_them_one_hot_batch_by_batch(monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (8, 8, 1)).astype("float32") for _ in range(5)]
    labels = [rng.integers(0, 3, (8, 8)).astype("uint8") for _ in range(5)]
    held = []

    def spied(x, y, batch):
        held.append(y)
        return dataset(x, y, batch)

    from easydl.studies.dataset import dataset

    monkeypatch.setattr("easydl.studies.dataset.dataset", spied)
    batches = [(x.numpy(), y.numpy()) for x, y in _batched(Patches(images, labels, (8, 8), 3), 2)]
    assert [x.shape[0] for x, _ in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), np.stack(images))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.eye(3)[np.stack(labels)])
    assert held[0].dtype == np.uint8 and held[0].shape == (5, 8, 8)


@pytest.fixture
def stages(monkeypatch):
    """What was handed to the phases, which are left out."""
    found = []

    def stage(learner, *given, **more):
        found.append(more)
        learner.compile("sgd", "mse")

    monkeypatch.setattr(segmentation, "run_phase", stage)
    return found


@pytest.mark.parametrize(
    ("study", "masks", "column", "labels", "mirrored"),
    [
        ("s", "masks", "mask", None, True),
        ("left/s", "masks", "mask", None, True),
        ("s", "left", "mask", None, False),
        ("s", "both/kidney_R", "mask", None, False),
        ("s", "masks", "left_lung", None, False),
        ("s", "masks", "mask", {"background": 0, "left lung": 1}, False),
    ],
)
def test_what_names_a_side_is_never_mirrored(tmp_path, stages, study, masks, column, labels, mirrored):
    """A class, the masks' column, or a folder of the study that they lie in; one that the whole study lies in says nothing."""
    table = outlined_study(tmp_path / study, cases=9)
    folder = table.parent / masks
    folder.mkdir(parents=True)
    frame = pd.read_csv(table)
    for name in frame["mask"]:
        (table.parent / name).rename(folder / name)
    frame.assign(mask=masks + "/" + frame["mask"]).rename(columns={"mask": column}).to_csv(table, index=False)
    train, val, _ = easydl.load(table, mask=column, mask_labels=labels).split(seed=1)
    model = easydl.unet(train, width=4)
    history = easydl.fit(model, train, val, augment="fundus", epochs=1, verbose=False)
    assert bool(metadata_of(model).training["mirrors"]) == mirrored
    assert any("No mirror images" in line for line in history.params["plan"]) != mirrored


@pytest.mark.parametrize("asked", [None, (2.0, 1.5, 1.5)])
def test_validation_scans_need_a_spacing_where_training_scans_are_resampled(tmp_path, monkeypatch, asked):
    train, val, _ = easydl.load(nifti_study(tmp_path, cases=6)).split(seed=1)
    true = segmentation.facts

    def facts(study):
        return [one | ({"spacing_mm": None} if study.name == "val" else {}) for one in true(study)]

    monkeypatch.setattr(segmentation, "facts", facts)
    with pytest.raises(InputError, match=f"^{len(val)} of {len(val)} scans do not say how many millimetres"):
        easydl.fit(easydl.unet3d(train, width=4), train, val, spacing_mm=asked, epochs=1, verbose=False)


def test_only_the_loss_that_calls_python_goes_without_xla(tmp_path, stages):
    train, val, _ = easydl.load(outlined_study(tmp_path, cases=9)).split(seed=1)
    for loss in ("boundary", "dice"):
        model = easydl.unet(train, width=4)
        easydl.fit(model, train, val, augment="none", loss=loss, epochs=1, verbose=False)
    assert [one["xla"] for one in stages] == [False, True]
