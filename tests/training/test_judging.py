"""What the validation part says of a trained model reaches the model, the history, every prediction and every test."""

import numpy as np
import pytest
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import LeakageError
from easydl.networks import attach, metadata_of
from easydl.networks.decision import Threshold
from easydl.prediction.results import Predictions
from easydl.training import judging


@pytest.fixture
def answers(monkeypatch):
    """Lets a test say what the network answers for the validation part."""

    def answer(**columns):
        def predict(model, metadata, study, seen):
            frame = study.frame[["image", "patient", "label"]].assign(prediction="", confidence=1.0, **columns)
            return Predictions(frame, metadata.classes, study.patients_known, "val", metadata.task).decided({})

        monkeypatch.setattr(judging, "_predicted", predict)

    return answer


def test_a_useless_training_is_told_by_the_model_and_everything_it_predicts(parts, stages, answers):
    train, val, test = parts
    answers(**{"p(disease)": 0.4, "p(healthy)": 0.6})
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="none", verbose=False)
    said = history.params["warnings"]
    assert said[0].startswith("One answer for every image: all") and said == metadata_of(model).training["warnings"]
    assert f"In its training, on the validation part: {said[0]}" == easydl.predict(model, test.scan(0)).notes[0]
    assert f"In its training, on the validation part: {said[0]}" in easydl.evaluate(model, test, resamples=100).notes


def test_the_threshold_is_in_the_plan_the_model_and_the_answers(parts, stages, answers, monkeypatch):
    train, val, test = parts
    monkeypatch.setattr("easydl.evaluation.thresholds.LEAST_PATIENTS", 2)
    healthy = 0.1 + 0.1 * (val.frame["label"] == "healthy")
    answers(**{"p(disease)": 1 - healthy, "p(healthy)": healthy})
    monkeypatch.setattr("easydl.evaluation.thresholds.EVEN", 0.0)  # of four patients no interval is above a half
    model = tiny(train)
    history = easydl.fit(model, train, val, augment="none", verbose=False)
    threshold = metadata_of(model).thresholds["healthy"]
    assert threshold.value == pytest.approx(0.15) and threshold.n == val.n_patients
    said = f"healthy: threshold 0.15, chosen on {val.n_patients} validation patients by Youden's index."
    assert said in history.params["plan"] and said == metadata_of(model).training["plan"][-1]
    found = easydl.predict(model, test).frame
    np.testing.assert_array_equal(found["prediction"] == "healthy", found["p(healthy)"] >= 0.15)
    again = easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
    assert metadata_of(model).thresholds["healthy"].n and said in again.params["plan"]


def test_heatmaps_explain_the_class_that_is_predicted(parts):
    _, _, test = parts
    model = tiny(test)
    probability = easydl.predict(model, test.scan(0)).frame["p(healthy)"][0]
    for value, name in ((probability * 0.9, "healthy"), (probability + 0.9 * (1 - probability), "disease")):
        attach(model, metadata_of(model).model_copy(update={"thresholds": {"healthy": Threshold(value=value, n=24)}}))
        assert easydl.predict(model, test.scan(0)).frame["prediction"][0] == name
        heatmap = easydl.saliency(model, test.scan(0))
        assert heatmap.target == name
        assert not any("did not choose" in one for one in [heatmap.verdict.sentence])


def test_a_training_that_is_broken_off_has_left_its_mark(parts, monkeypatch):
    train, val, _ = parts

    def broken(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("easydl.training.loop.run_stage", broken)
    model = tiny(train)
    with pytest.raises(KeyboardInterrupt):
        easydl.fit(model, train, val, augment="none", verbose=False)
    with pytest.raises(LeakageError, match=f"All {len(train)} images were in the training"):
        easydl.evaluate(model, train)


def test_masks_that_no_epoch_got_right_are_told(masked_parts, stages, monkeypatch):
    train, val, _ = masked_parts
    rows = [{"epoch": 1, "val_dice": 0.01}, {"epoch": 2, "val_dice": 0.02}]
    model = easydl.unet(classes=train.classes, width=4, levels=2)
    assert judging.judged(model, train, val, rows, 0).warnings == [
        f"Hardly any overlap with the reference: the best Dice of all epochs was 0.02, {len(val)} images."
    ]
    assert judging.judged(model, train, val, [*rows, {"val_dice": 0.4}], 0) == judging.Judgement()


def test_a_trained_model_is_not_lost_because_its_validation_part_cannot_be_tested(parts, stages, answers):
    train, val, _ = parts
    answers(**{"p(disease)": np.nan, "p(healthy)": np.nan})
    model = tiny(train)
    (warning,) = easydl.fit(model, train, val, augment="none", verbose=False).params["warnings"]
    assert "could not be tested" in warning and "not a number" in warning


def test_a_dataset_makes_what_is_known_incomplete(parts):
    train, val, test = parts
    model = tiny(train)
    easydl.fit(model, train, val, augment="none", epochs=1, verbose=False)
    easydl.fit(model, train.batches(8, size=(32, 32)), val.batches(8, size=(32, 32)), epochs=1, verbose=False)
    assert not metadata_of(model).seen.complete
    assert any("also trained on images that it does not list" in note for note in easydl.predict(model, test).notes)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"strategy": "features"}, True),
        ({"strategy": "finetune", "learning_rate": 1e-8, "epochs": 1}, None),
        ({"strategy": "finetune", "learning_rate": 1e-2, "epochs": 3}, None),
    ],
    ids=["features", "fine-tuning that changes nothing", "fine-tuning"],
)
def test_what_the_last_layer_saw_in_the_training_is_not_computed_again(parts, monkeypatch, options, known):
    train, val, _ = parts
    given, real = {}, judging.judged

    def spy(model, *args, frozen, **more):
        given["frozen"] = frozen
        return real(model, *args, frozen=frozen, **more)

    monkeypatch.setattr("easydl.training.fitting.judged", spy)
    model = as_pretrained(tiny(train, seed=2), train)
    easydl.fit(model, train, val, augment="none", verbose=False, **options)
    frozen = given["frozen"]
    assert known is None or frozen is not None
    if frozen is not None:
        np.testing.assert_allclose(frozen.val, judging._features(model, val), atol=1e-4)
        np.testing.assert_allclose(frozen.train, judging._features(model, train), atol=1e-4)
    alone, again = (real(model, train, val, [], 0, calibrate=False, frozen=one) for one in (None, frozen))
    assert alone.headline["value"] == pytest.approx(again.headline["value"], abs=1e-6)
    assert alone.training_score[""] == pytest.approx(again.training_score[""]) and alone.warnings == again.warnings


def test_with_frozen_features_no_image_is_read_once_more(parts, monkeypatch):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    for name in ("_features", "predict_study"):
        monkeypatch.setattr(judging, name, lambda *given, **more: pytest.fail("an image was read again"))
    easydl.fit(model, train, val, augment="none", strategy="features", verbose=False)
    assert metadata_of(model).training["training_score"]
