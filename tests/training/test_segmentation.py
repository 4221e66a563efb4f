"""How a segmentation model is trained: what its levels count, what validation holds in memory, and what is never mirrored."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from made import mask_study, nifti_study

import easydl
from easydl.errors import InputError
from easydl.networks import metadata_of
from easydl.studies import Study
from easydl.training import segmentation
from easydl.training.callbacks import Progress
from easydl.training.patches import Patches
from easydl.training.plan import Settings
from easydl.training.segmentation import SegmenterFeeder, middle_patches


def test_levels_are_weighted_by_one_a_half_and_a_quarter():
    model = easydl.unet3d(classes=["background", "a", "b"], width=4, deep_supervision=True)
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (1, 16, 16, 16, 1)).astype("float32")
    y = np.eye(3, dtype="float32")[rng.integers(0, 3, (1, 16, 16, 16))]
    feeder = SegmenterFeeder(model, (None, None), metadata_of(model), Settings(None), Progress(None))
    feeder.loss = keras.losses.CategoricalCrossentropy()
    objective = feeder.objective()
    twin = objective.learner
    twin.compile("sgd", objective.loss, metrics=objective.metrics(), jit_compile=False)
    found = twin.evaluate(objective.adapt(_dataset(x, y)), verbose=0, return_dict=True)
    outputs = twin(x, training=False)
    entropy = {name: -np.log((np.asarray(one) * y).sum(axis=-1)).mean() for name, one in outputs.items()}
    weights = {"probability": 1.0, "level2": 0.5, "level3": 0.25}
    assert found["loss"] == pytest.approx(sum(weight * entropy[name] for name, weight in weights.items()), rel=1e-4)
    for name, weight in weights.items():
        assert found[f"{name}_loss"] == pytest.approx(weight * entropy[name], rel=1e-4)


def _dataset(x, y):
    from easydl.studies.dataset import dataset

    return dataset(x, y, 1)


def test_validation_holds_class_indices_and_makes_them_one_hot_batch_by_batch(monkeypatch):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 255, (8, 8, 1)).astype("float32") for _ in range(5)]
    labels = [rng.integers(0, 3, (8, 8)).astype("uint8") for _ in range(5)]
    held = []

    def spied(x, y, batch):
        held.append(y)
        return dataset(x, y, batch)

    from easydl.studies.dataset import dataset

    monkeypatch.setattr(segmentation, "dataset", spied)
    batches = [(x.numpy(), y.numpy()) for x, y in middle_patches(Patches(images, labels, (8, 8), 3), 2)]
    assert [x.shape[0] for x, _ in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), np.stack(images))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.eye(3)[np.stack(labels)])
    assert held[0].dtype == np.uint8 and held[0].shape == (5, 8, 8)


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
    table = mask_study(tmp_path / study, cases=9)
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
    known = Study.facts

    def facts(study, rows=None):
        return [replace(one, spacing_mm=None) if study.name == "val" else one for one in known(study, rows)]

    monkeypatch.setattr(Study, "facts", facts)
    with pytest.raises(InputError, match=f"^{len(val)} of {len(val)} scans do not say how many millimetres"):
        easydl.fit(easydl.unet3d(train, width=4), train, val, spacing_mm=asked, epochs=1, verbose=False)


def test_only_the_loss_that_calls_python_goes_without_xla(masked_parts, stages):
    train, val, _ = masked_parts
    for loss in ("boundary", "dice"):
        model = easydl.unet(train, width=4)
        easydl.fit(model, train, val, augment="none", loss=loss, epochs=1, verbose=False)
    assert [objective.xla for _, objective, *_ in stages] == [False, True]


@pytest.mark.parametrize("dimension", [2, pytest.param(3, marks=pytest.mark.everything)])
def test_a_segmentation_model_learns_and_opens_in_plain_keras(tmp_path, dimension, masked_parts, volume_parts):
    train, val, test = masked_parts if dimension == 2 else volume_parts
    make, size = (easydl.unet, {"size": 32}) if dimension == 2 else (easydl.unet3d, {})
    model = make(train, width=8, **size)
    history = easydl.fit(model, train, val, augment="none", epochs=3, batch_size=2, verbose=False)
    assert history.history["val_dice"][-1] > 0.7
    metadata = metadata_of(model)
    assert metadata.spacing_mm == (None if dimension == 2 else pytest.approx((2.0, 1.5, 1.5)))
    assert all(side % metadata.multiple == 0 for side in metadata.patch)
    table = easydl.evaluate(model, test).table.set_index("name")
    assert float(table.filter(like="Dice", axis=0)["value"].iloc[0]) > 0.7
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").output_shape == model.output_shape
