"""What fit refuses, and that a validation part which was loaded by itself is judged by the names of its classes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_tasks import discs
from small_models import as_pretrained

import easydl
from easydl.errors import InputError, ModelError
from easydl.networks import metadata_of
from easydl.prediction import check_classes
from easydl.studies.dataset import decode
from easydl.training.argument_checks import check_options


def small(classes):
    return easydl.classifier("tiny", classes=classes, size=32)


def test_classes_in_another_order_are_refused_by_training_alone(parts):
    train, val, test = parts
    for classes in (train.classes[::-1], [*train.classes, "other"]):
        model = small(classes)
        with pytest.raises(ModelError, match="in the same order"):
            easydl.fit(model, train, val, epochs=1)
        check_classes(metadata_of(model), test)


def test_a_validation_part_loaded_by_itself_is_judged_by_the_names_of_its_classes(parts):
    train, val, _ = parts
    healthy = val.rows(val.frame.index[val.frame["label"] == "healthy"])
    for part in (replace(val, class_names=["healthy", "disease"]), replace(healthy, class_names=["healthy"])):
        part = replace(part, parent=None)
        model = small(train.classes)
        history = easydl.fit(model, train, part, augment="none", epochs=1, verbose=False)
        found = easydl.predict(model, part).frame
        true = [row[f"p({row['label']})"] for _, row in found.iterrows()]
        assert history.history["val_loss"][0] == pytest.approx(-np.log(true).mean(), rel=1e-3)


def test_a_validation_part_that_does_not_fit_is_refused(parts):
    train, val, _ = parts
    volumes = replace(val)
    vars(volumes)["kind"] = replace(val.kind, dimension=3)
    other = replace(
        val, frame=val.frame.replace({"label": {"disease": "other"}}), class_names=["healthy", "other"], parent=None
    )
    unlabelled = replace(val, frame=val.frame.drop(columns="label"))
    for part, kind, words in (
        (volumes, ModelError, r"study \(val\) holds 3D"),
        (other, ModelError, r"study \(val\) has 'healthy', 'other'"),
        (unlabelled, InputError, r"study \(val\) has no labels"),
    ):
        with pytest.raises(kind, match=words) as caught:
            easydl.fit(small(train.classes), train, part, epochs=1)
        assert caught.value.expected and caught.value.do


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: easydl.unet(width=4), {"class_weight": {"foreground": 2.0}}),
        (lambda: easydl.unet(width=4), {"strategy": "finetune"}),
        (lambda: as_pretrained(easydl.unet(width=4)), {"strategy": "features"}),
        (lambda: as_pretrained(easydl.classifier("tiny", size=32)), {"strategy": "scratch"}),
        (lambda: easydl.image_to_image("autoencoder", width=4), {"class_weight": {"channel 1": 2.0}}),
        (lambda: easydl.image_to_image("autoencoder", width=4), {"strategy": "finetune"}),
        (lambda: easydl.classifier("tiny", size=32), {"strategy": "finetune"}),
    ],
)
def test_options_that_a_model_cannot_use_are_refused(masked_parts, make, options):
    train, val, _ = masked_parts
    with pytest.raises(InputError, match=f"{next(iter(options))}.* was given") as caught:
        easydl.fit(make(), train, val, epochs=1, verbose=False, **options)
    assert caught.value.expected and caught.value.do


def test_options_that_change_nothing_are_taken():
    for model in (easydl.unet(width=4), easydl.classifier("tiny", size=32)):
        check_options(metadata_of(model), "scratch", None)
    check_options(metadata_of(as_pretrained(easydl.classifier("tiny", size=32))), "finetune", {"class 1": 2.0})


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "chest_xray"}, {"batch_size": 4}, {"class_weight": None}, {"window": np.array([0.0, 200.0])},
        {"normalise": "z-score"}, {"spacing_mm": (1.0, 1.0)}, {"loss": "focal"}, {"strategy": "features"},
        {"override": "a reason"},
    ],
)  # fmt: skip
def test_options_of_a_study_are_refused_with_a_dataset(parts, options):
    train, val, _ = parts
    feeds = [part.batches(8, size=(32, 32)) for part in (train, val)]
    with pytest.raises(InputError, match=f"^{next(iter(options))} was given with a dataset"):
        easydl.fit(small(train.classes), *feeds, epochs=1, verbose=False, **options)


def test_neither_a_path_nor_a_table_is_trained_on(parts):
    train, val, _ = parts
    feed = train.batches(8, size=(32, 32))
    for given in (("scans.csv",), (Path("scans.csv"),), (train.frame,), (feed, val)):
        with pytest.raises(InputError, match="was given to train on") as caught:
            easydl.fit(small(train.classes), *given, epochs=1)
        assert "split" in caught.value.do
    with pytest.raises(InputError, match="corrupts its images itself"):
        easydl.fit(easydl.image_to_image("autoencoder", width=4), feed, epochs=1)


def test_every_head_of_a_dataset_has_a_loss_of_its_own(tmp_path):
    study = easydl.load(discs(tmp_path / "s", n=32), heads=["outcome", "size_mm"])
    model = easydl.classifier("tiny", heads=study.heads, size=32)
    feed = study.batches(16, size=(32, 32))
    history = easydl.fit(model, feed, feed, epochs=1, verbose=False).history
    found = model(decode(study, size=(32, 32), channels=1, units="0-255").astype("float32"), training=False)
    target = study.targets()
    entropy = -np.log((np.asarray(found["outcome"]) * target["outcome"]).sum(axis=1)).mean()
    squared = ((np.asarray(found["size_mm"]) - target["size_mm"]) ** 2).mean()
    assert history["val_outcome_loss"][0] == pytest.approx(entropy, rel=1e-3)
    assert history["val_size_mm_loss"][0] == pytest.approx(squared, rel=1e-3)
    assert history["val_size_mm_mean_absolute_error"][0] > 0 and "val_outcome_accuracy" in history
