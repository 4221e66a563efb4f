"""Every task from the table to the test: trained, predicted, tested, explained, saved and opened again."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from made_tasks import GRADES, discs
from small_models import as_pretrained

import easydl
from easydl.errors import InputError, ModelError
from easydl.networks import feature_extractor, metadata_of

LOAD = {
    "multilabel": {"label": ["corner", "stripes"]},
    "regression": {"label": "size_mm", "task": "regression"},
    "ordinal": {"label": "grade", "task": "ordinal", "classes": GRADES},
    "multitask": {"heads": ["outcome", "grade", "size_mm"]},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = discs(tmp_path_factory.mktemp("discs") / "s")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[::9, "size_mm"] = ""  # some images have no label for one of the heads
    frame.assign(image=[str(path.parent / name) for name in frame["image"]]).to_csv(path, index=False)
    return path


def loaded(table, task):
    frame = pd.read_csv(table, dtype=str, keep_default_na=False)
    if task == "regression":
        frame = frame[frame["size_mm"] != ""]
    return easydl.load(frame, **LOAD[task])


def built(study, **options):
    return easydl.classifier("tiny", study, size=32, **options)


@pytest.fixture
def traced(monkeypatch):
    """The names of the networks whose training step Keras traced."""
    names, step = [], keras.Model.train_step

    def counted(model, data):
        names.append(model.name)
        return step(model, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    return names


def learnt(task, metrics):
    value = metrics.table.set_index("name")["value"]
    if task == "multilabel":
        return value["AUC, mean over labels"] > 0.9
    if task == "regression":
        return value["R²"] > 0.8
    if task == "ordinal":
        return value["quadratic-weighted kappa"] > 0.6
    return value["outcome: AUC"] > 0.9 and value["size_mm: R²"] > 0.6


@pytest.mark.parametrize("task", list(LOAD))
@pytest.mark.parametrize("epochs", [1, pytest.param(25, marks=pytest.mark.everything)])
def test_a_small_network_learns_every_task(table, task, epochs, tmp_path, traced):
    study = loaded(table, task)
    train, val, test = study.split(seed=1)
    model = built(study)
    history = easydl.fit(model, train, val, augment="none", epochs=epochs, verbose=False)
    assert len(traced) == 1, "tracing a step takes as long as many steps"
    predictions = easydl.predict(model, test)
    assert (predictions.task, len(predictions.frame)) == (task, len(test))
    metrics = easydl.evaluate(model, test, resamples=200)
    assert metrics.to_dict() == easydl.evaluate(predictions, resamples=200).to_dict()
    value = metrics.table.set_index("name")["value"]
    assert epochs == 1 or learnt(task, metrics)
    if task == "multilabel":
        assert set(history.history) == {"auc", "loss", "val_auc", "val_loss"}
    elif task == "regression":
        assert metadata_of(model).target[""] == pytest.approx((train.targets().mean(), train.targets().std()), rel=1e-5)
        error = np.abs(predictions.frame["value"] - predictions.frame["label"].astype(float)).mean()
        assert value["mean absolute error"] == pytest.approx(error, rel=1e-5)
    elif task == "ordinal":
        assert "val_ordinal_error" in history.history
    else:
        assert metrics.heads["size_mm"].images == int((test.frame["size_mm"] != "").sum())
        assert "val_size_mm_mean_absolute_error" in history.history
    again = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    pd.testing.assert_frame_equal(easydl.predict(again, test).frame, predictions.frame)
    model.save(tmp_path / "plain.keras")  # no loss of ours is left in it
    assert keras.models.load_model(tmp_path / "plain.keras").count_params() == model.count_params()
    one = easydl.predict(model, test.addresses(0)[0]).frame
    shared = [column for column in one.columns if column.endswith(("value", "prediction"))]
    for column in shared:
        first = predictions.frame[column].iloc[0]
        assert one[column].iloc[0] == (pytest.approx(first, rel=1e-4) if column.endswith("value") else first)
    assert shared
    table_only = easydl.predict(model, table)
    assert len(table_only.frame) == 90
    assert not [column for column in table_only.frame.columns if column.endswith("label")]


@pytest.mark.parametrize(
    ("task", "target", "explained"),
    [
        ("multilabel", "stripes", "stripes"),
        ("regression", None, "size_mm"),
        pytest.param("ordinal", "large", "large", marks=pytest.mark.everything),
        pytest.param("multitask", "size_mm", "size_mm", marks=pytest.mark.everything),
        pytest.param("multitask", "grade: small", "grade: small", marks=pytest.mark.everything),
        ("multitask", None, "outcome: "),
    ],
)
def test_every_task_is_explained(table, task, target, explained):
    study = loaded(table, task)
    model = built(study)
    if task in ("regression", "multitask"):
        from easydl.networks import set_target_scale

        set_target_scale(model, 9.0, 3.0, head="size_mm" if task == "multitask" else "")
    heatmap = easydl.saliency(model, study, row=2, target=target, verdict=False)
    assert heatmap.target.startswith(explained)
    assert heatmap.array.shape == (32, 32)
    found = easydl.predict(model, study.rows([2])).frame.iloc[0]
    if heatmap.task == "regression":
        column = "size_mm: value" if task == "multitask" else "value"
        assert heatmap.probability == pytest.approx(found[column], rel=1e-4)
        assert heatmap.to_dict()["value"] == heatmap.probability
        assert heatmap.to_dict()["probability"] is None
    else:
        head, _, name = heatmap.target.rpartition(": ")
        column = f"{head}: p({name})" if head else f"p({name})"
        assert heatmap.probability == pytest.approx(found[column], rel=1e-4)
    with pytest.raises(InputError, match=r"no head 'nothing'|no class 'nothing'"):
        easydl.saliency(model, study, target="nothing")


def test_the_predicted_class_is_what_is_explained(table):
    study = loaded(table, "ordinal")
    model = built(study)
    table_ = easydl.predict(model, study.rows(range(5))).frame
    for row in range(5):
        assert easydl.saliency(model, study, row=row, verdict=False).target == table_["prediction"].iloc[row]


def pretrained(study, **options):
    return as_pretrained(built(study, seed=2, **options), study)


@pytest.mark.parametrize(
    "task", ["multitask", *(pytest.param(task, marks=pytest.mark.everything) for task in LOAD if task != "multitask")]
)
def test_heads_of_every_task_are_trained_on_cached_features(table, task):
    study = loaded(table, task)
    train, val, _ = study.split(seed=1)
    model = pretrained(train, covariates=["age", "sex"] if task == "multitask" else None)
    before = [np.array(w) for w in feature_extractor(model).get_weights()]
    history = easydl.fit(model, train, val, augment="none", epochs=12, strategy="features", verbose=False)
    for old, new in zip(before, feature_extractor(model).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # The first row is the linear head, which epochs on the head may only improve.
    assert history.history["loss"][0] < 0.5 and len(history.history["loss"]) > 1
    assert min(history.history["val_loss"]) <= history.history["val_loss"][0]
    assert set(history.history["val_loss"]) and metadata_of(model).training["images"] == len(train)
    if task == "multitask":
        known = int((train.frame["size_mm"] != "").sum())
        (said,) = (line for line in history.params["plan"] if line.startswith("Quick result"))
        assert f"{known} patients, {known} training images" in said.partition("size_mm")[2], "those with this label"


def test_what_no_image_shows_is_learnt_from_the_table(table, tmp_path):
    study = easydl.load(table, label="sign", root="/")
    train, val, test = study.split(seed=1)
    assert {"marker", "age", "sex"} <= set(study.summary.covariates)
    model = pretrained(train, covariates=["marker", "sex"])
    easydl.fit(model, train, val, augment="none", epochs=40, strategy="features", verbose=False)
    numbers = pd.to_numeric(train.frame["marker"])
    marker = metadata_of(model).covariates[0]
    assert (marker.mean, marker.std) == (pytest.approx(numbers.mean()), pytest.approx(numbers.std(ddof=0)))
    predictions = easydl.predict(model, test)
    assert easydl.evaluate(model, test, resamples=200).table["value"].iloc[0] > 0.9
    unknown = int((test.frame["sex"] == "").sum())
    assert any(f"sex was not given for {unknown} image" in note for note in predictions.notes)
    assert any("sex was not given" in note for note in easydl.evaluate(predictions, resamples=200).notes)
    case = test.addresses(0)[0]
    high, low = (
        easydl.predict(model, case, covariates={"marker": value, "sex": "F"}).frame["p(yes)"].iloc[0] for value in (3, -3)
    )  # fmt: skip
    assert high > low + 0.5
    assert easydl.predict(model, case, covariates={"marker": 1}).notes == [
        "sex was not given for 1 image: it counts as unknown there."
    ]
    again = easydl.load_model(easydl.save_model(model, tmp_path / "m.keras"))
    pd.testing.assert_frame_equal(easydl.predict(again, test).frame, predictions.frame)
    heatmap = easydl.saliency(model, test, row=0, target="yes", verdict=False)
    assert heatmap.probability == pytest.approx(predictions.frame["p(yes)"].iloc[0], rel=1e-4)
    with_values = easydl.saliency(model, case, target="yes", covariates={"marker": 3, "sex": "F"}, verdict=False)
    assert with_values.probability == pytest.approx(high, rel=1e-4)
    assert easydl.saliency(model, case, verdict=False).notes[0].startswith("marker was not given")


def test_covariates_that_the_model_does_not_know_are_refused(table):
    study = easydl.load(table, label="sign", root="/")
    model = easydl.classifier("tiny", study, size=32, covariates=["age", "sex"])
    case = study.addresses(0)[0]
    for covariates, words in (
        ({"height": 1}, "no covariate 'height'"),
        ({"sex": "X"}, "'sex' is 'X'"),
        ({"age": "old"}, "age"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            easydl.predict(model, case, covariates=covariates)
        assert caught.value.do
    with pytest.raises(InputError, match="given with a study"):
        easydl.predict(model, study, covariates={"age": 1})
    with pytest.raises(InputError, match="no covariate"):
        easydl.predict(easydl.classifier("tiny", study, size=32), case, covariates={"age": 1})
    train, val, _ = study.split(seed=0)
    train, val = (replace(part, frame=part.frame.drop(columns="age")) for part in (train, val))
    with pytest.raises(InputError, match="no column 'age'"):
        easydl.fit(model, train, val, epochs=1)
    assert any("age was not given for" in note for note in easydl.predict(model, val).notes)


def test_weights_of_labels_and_heads_are_heard(table, stages):
    study = loaded(table, "multilabel")
    train, val, _ = study.split(seed=1)
    target, probability = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), np.full((2, 2), 0.3, np.float32)
    plans, losses = {}, set()
    for given in ("auto", None, {"stripes": 4.0}):
        history = easydl.fit(built(study), train, val, augment="none", epochs=1, class_weight=given, verbose=False)
        plans[str(given)] = " ".join(history.params["plan"])
        loss = keras.losses.get(stages[-1][1].loss)
        losses.add(round(float(np.mean(loss(target, probability))), 3))
    assert "Images with a label count more" in plans["auto"]
    assert "Class weights were given." in plans["{'stripes': 4.0}"]
    assert "count more" not in plans["None"]
    assert len(losses) == 3
    with pytest.raises(InputError, match="'cat'"):
        easydl.fit(built(study), train, val, class_weight={"cat": 1.0}, epochs=1)
    for task in ("regression", "multitask"):
        train, val, _ = loaded(table, task).split(seed=1)
        with pytest.raises(InputError, match="class_weight was given"):
            easydl.fit(built(train), train, val, class_weight={"yes": 1.0}, epochs=1)


def test_heads_and_ordinal_classes_of_another_study_are_refused(table):
    study = loaded(table, "multitask")
    train, val, _ = study.split(seed=1)
    other = easydl.classifier("tiny", heads={"outcome": ["no", "yes"], "grade": ["a", "b"], "size_mm": 1}, size=32)
    with pytest.raises(ModelError, match="grade: 'a', 'b'"):
        easydl.fit(other, train, val, epochs=1)
    ordinal = loaded(table, "ordinal")
    turned = easydl.classifier("tiny", classes=GRADES[::-1], task="ordinal", size=32)
    with pytest.raises(ModelError, match="'large', 'middle', 'small'"):
        easydl.evaluate(turned, ordinal)
