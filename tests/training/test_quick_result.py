"""The quick result: said out of fold, equal to scikit-learn's, and the head of the network; and the strategies after it."""

import re
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from made import png_study
from scipy.special import expit, softmax
from scipy.stats import t as students_t
from sklearn.metrics import log_loss, roc_auc_score
from small_models import as_pretrained, tiny

import easydl
from easydl.errors import InputError
from easydl.networks import feature_extractor, metadata_of
from easydl.studies.dataset import decode
from easydl.tasks import Task
from easydl.training import classification, plan, quick_result
from easydl.training.estimators import Problem, linear, linear_head, problem_of
from easydl.training.quick_result import Sample, gain, row_losses


def of_part(model, part):
    """Features of a part, by Keras' own call."""
    size = metadata_of(model).size
    images = decode(part, size=size, channels=1, units="0-255").astype("float32")
    return np.asarray(feature_extractor(model)(images, training=False))


def test_the_head_is_scikit_learns_model_and_the_sentence_its_auc_out_of_fold(parts):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    values = of_part(model, train)
    history = easydl.fit(
        model, train, val, augment="none", strategy="features", calibrate=False, class_weight=None, verbose=False
    )
    every = np.ones(len(train), bool)
    expected = linear(values, problem_of(train), every, 0)
    asked = easydl.predict(model, train).frame
    np.testing.assert_allclose(asked[[f"p({name})" for name in train.classes]], expected, atol=1e-3)
    (said,) = (line for line in history.params["plan"] if line.startswith("Quick result"))
    out = linear_head(values, problem_of(train), every, 0).ranked[:, 1]
    auc = roc_auc_score(train.targets().argmax(axis=1), out)
    found = float(re.search(r"AUC ([\d.]+) \(95% CI", said)[1])
    assert found == pytest.approx(auc, abs=0.006)
    assert f"{train.n_patients} patients, {len(train)} training images" in said and "tiny" in said
    assert history.history["val_loss"] == pytest.approx(
        [log_loss(val.targets().argmax(axis=1), easydl.predict(model, val).frame.filter(like="p(").to_numpy())],
        rel=1e-3,
    )


def test_its_answers_are_not_those_of_the_patients_it_has_learnt_from():
    """With labels by chance a model fits its training images, and says nothing of others."""
    rng = np.random.default_rng(0)
    truth, patients, train = np.tile([0, 1], 100), np.repeat(np.arange(100), 2).astype(str), np.ones(200, bool)
    problem = Problem(Task.CLASSIFICATION, np.eye(2)[truth], train, patients)
    aucs, fitted = [], []
    for _ in range(2):
        values = rng.normal(size=(200, 300))
        aucs.append(roc_auc_score(truth, linear_head(values, problem, train, 0).out_of_fold[:, 1]))
        fitted.append(roc_auc_score(truth, linear(values, problem, train, 0)[:, 1]))
    assert 0.38 < np.mean(aucs) < 0.62 and np.mean(fitted) > 0.9


def test_rare_classes_count_more_in_the_head_where_the_plan_says_so(parts):
    train, val, _ = parts
    answers = []
    for weights in (None, {train.classes[1]: 9.0}):
        model = as_pretrained(tiny(train, seed=2), train)
        easydl.fit(
            model, train, val, augment="none", strategy="features", class_weight=weights, calibrate=False, verbose=False
        )
        answers.append(easydl.predict(model, val).frame[f"p({train.classes[1]})"].mean())
    assert answers[1] > answers[0]


def test_of_two_classes_the_rare_one_keeps_its_probability(parts):
    train, val, _ = parts
    diseased = train.frame.index[train.frame["label"] == "disease"]
    rare = replace(train.rows(train.frame.index.difference(diseased[2:])), name="train")
    answers, plans = [], []
    for weights in ("auto", None):
        model = as_pretrained(tiny(train, seed=2), train)
        history = easydl.fit(
            model, rare, val, augment="none", strategy="features", class_weight=weights, calibrate=False, verbose=False
        )
        answers.append(easydl.predict(model, rare).frame["p(disease)"].to_numpy())
        plans.append(history.params["plan"])
    np.testing.assert_array_equal(*answers)
    assert answers[0].mean() == pytest.approx(2 / len(rare), abs=0.02), "that of its images"
    assert plan.UNWEIGHTED in plans[0] and plan.UNWEIGHTED not in plans[1]


def test_members_learn_from_patients_drawn_anew():
    patients = np.repeat(np.arange(40), 2).astype(str)
    one, two = (Sample({}, seed, drawn=True).weights("", patients) for seed in (1, 2))
    assert one.sum() == pytest.approx(80, abs=40) and (one != two).any()
    assert (one[::2] == one[1::2]).all(), "both images of a patient"
    assert Sample({}, 1).weights("", patients) is None


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "multitask"])
def test_the_loss_of_an_image_is_that_of_keras(kind):
    rng = np.random.default_rng(0)
    heads = {"a": ["x", "y", "z"], "n": 1}
    model = easydl.classifier("tiny", size=32, **({"heads": heads} if kind == "multitask" else {"task": kind}))
    metadata = metadata_of(model).model_copy(update={"target": {"": (5.0, 2.0), "n": (5.0, 2.0)}})
    classes, value = softmax(rng.normal(size=(6, 3)), axis=1), rng.normal(5, 2, (6, 1))
    truth, number = np.eye(3)[rng.integers(0, 3, 6)], rng.normal(5, 2, (6, 1))
    entropy = np.asarray(keras.losses.categorical_crossentropy(truth, classes))
    squared = ((value - number)[:, 0] / 2) ** 2
    if kind == "classification":
        found, expected = row_losses(classes, truth, metadata), entropy
    elif kind == "regression":
        found, expected = row_losses(value, number, metadata), squared
    elif kind == "multilabel":
        labels, said = rng.integers(0, 2, (6, 2)).astype(float), expit(rng.normal(size=(6, 2)))
        found, expected = (
            row_losses(said, labels, metadata),
            2 * np.asarray(keras.losses.binary_crossentropy(labels, said)),
        )
    else:
        weights = {"a": np.array([1, 0, 1, 1, 1, 0.0]), "n": np.ones(6)}
        found = row_losses({"a": classes, "n": value}, {"a": truth, "n": number}, metadata, weights)
        expected = entropy * weights["a"] + squared
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_gain_is_sure_where_its_interval_excludes_zero(parts):
    train, _, _ = parts
    rng = np.random.default_rng(0)
    before = rng.uniform(0.5, 1.0, len(train))
    for shift, sure in ((0.3, True), (0.0, False), (-0.3, False)):
        noise = rng.normal(0, 0.2, len(train))
        lower = shift + noise - noise.mean()
        kept, text = gain(before, before - lower, train, 0)
        half = students_t.ppf(0.975, len(train) - 1) * lower.std(ddof=1) / np.sqrt(len(train))
        assert kept == sure == (lower.mean() - half > 0), text
        assert f"{abs(shift):.3f} (95% CI" in text and f"{train.n_patients} patients" in text


@pytest.mark.parametrize("sure", [True, False])
def test_fine_tuning_is_kept_only_where_it_surely_helps(parts, monkeypatch, sure):
    train, val, _ = parts
    monkeypatch.setattr(plan, "FINE_TUNE_FROM", 1)
    monkeypatch.setattr(classification, "gain", lambda *_: (sure, "0.1 (95% CI 0.0 to 0.2)"))
    # A head that says nothing: any training is better on the validation part.
    put = quick_result._put
    monkeypatch.setattr(quick_result, "_put", lambda *given: put(*given[:-1], _nothing(given[-1])))
    model = as_pretrained(tiny(train, seed=2), train)
    kernel = model.get_layer("stage1_1_conv").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="none", epochs=4, learning_rate=3e-3, verbose=False)
    said = " ".join(history.params["plan"])
    assert min(history.history["val_loss"][1:]) < history.history["val_loss"][0]
    assert ("Fine-tuning is kept" in said) == sure and ("Fine-tuning is not kept" in said) != sure
    assert np.array_equal(model.get_layer("stage1_1_conv").get_weights()[0], kernel) != sure
    assert "Strategy finetune" in said and "surely lowers" in said


def _nothing(found):
    return replace(found, kernel=0 * found.kernel, bias=0 * found.bias)


def test_auto_leaves_small_studies_at_features_and_fine_tunes_larger_ones_shortly(parts):
    train = parts[0]
    for images, strategy, epochs in ((199, "features", None), (200, "finetune", plan.SHORT_EPOCHS)):
        metadata = metadata_of(as_pretrained(tiny(train)))
        many = train.rows(train.frame.index).rows(pd.Index(np.resize(train.frame.index, images)))
        settings = plan.Settings(easydl.augmentation.preset("none"))
        chosen = plan.plan_classifier(metadata, many, settings, plan.Window((0.0, 255.0), ""))
        assert chosen.strategy == strategy and (epochs is None or chosen.epochs == epochs)
        assert chosen.surely == (strategy == "finetune")


@pytest.mark.parametrize(("loss", "used"), [("auto", "none"), ("focal", "chest_xray")])
def test_an_augmentation_that_is_not_used_is_not_said_to_be(parts, loss, used):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    options = {"strategy": "features", "loss": loss, "epochs": 1, "verbose": False}
    history = easydl.fit(model, train, val, augment="chest_xray", **options)
    said = " ".join(history.params["plan"])
    assert metadata_of(model).training["augment"] == used
    assert ("chest_xray is not used" in said) == (used == "none") and ("as asked" in said) == (used != "none")


@pytest.mark.parametrize("count", [4, 8])
def test_a_handful_of_images_get_a_head_and_no_number_that_they_cannot_carry(count, tmp_path):
    study = easydl.load(png_study(tmp_path, per_class=count))
    # A fixed division: so few patients of a class are in no three parts.
    frame = study.frame.assign(split=["train", "train", "val", "val"] * (2 * count // 4))
    train, val = (study.rows(frame.index[frame["split"] == part]) for part in ("train", "val"))
    model = as_pretrained(tiny(train, seed=2), train)
    history = easydl.fit(model, train, val, strategy="features", verbose=False)
    (said,) = (line for line in history.params["plan"] if line.startswith("Quick result"))
    assert f"{len(train)} training images" in said or "too few" in said or "fewer than" in said, said
    assert "nan" not in said
    answers = easydl.predict(model, val).frame.filter(like="p(").to_numpy()
    assert np.isfinite(answers).all() and answers.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_covariates_and_a_loss_that_was_asked_for_are_learnt_by_epochs_from_the_linear_head(parts):
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2), train)
    history = easydl.fit(model, train, val, augment="none", strategy="features", loss="focal", epochs=3, verbose=False)
    assert len(history.history["loss"]) == 4, "the linear head, and three epochs"
    assert "which is then trained further" in " ".join(history.params["plan"])


def test_soft_trees_are_trained_on_the_features_and_get_no_linear_head(parts):
    """Their leaves are no features, though `tiny` has as many of the one as of the other."""
    train, val, _ = parts
    model = as_pretrained(tiny(train, seed=2, head="forest"), train)
    before = model.get_layer("decision1").get_weights()[0].copy()
    history = easydl.fit(model, train, val, augment="none", strategy="features", epochs=3, verbose=False)
    assert len(history.history["loss"]) == 3, "no row of a head that was only fitted"
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert not np.array_equal(model.get_layer("decision1").get_weights()[0], before)
    said = " ".join(history.params["plan"])
    assert "Quick result" in said and "soft decision trees is trained on them" in said and "is its head" not in said


def test_a_strategy_that_there_is_not_is_named(parts):
    train, val, _ = parts
    with pytest.raises(InputError, match="feature") as caught:
        easydl.fit(as_pretrained(tiny(train)), train, val, strategy="feature", verbose=False)
    assert "features" in caught.value.do + caught.value.expected
