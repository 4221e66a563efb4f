"""`easydl.fragility` against a gradient by hand, and on models whose weakness is known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from statsmodels.stats.proportion import proportion_confint

import easydl
from easydl.errors import ModelError, RunError
from easydl.exploration import disturbing
from easydl.networks.ensembles import ensembled
from easydl.networks.metadata import ModelMetadata, attach


@pytest.fixture(scope="module")
def found(two_scanners, untrained):
    return easydl.fragility(untrained, two_scanners, strengths=(0.01, 0.04, 0.2))


def test_the_step_is_the_sign_of_the_gradient_by_hand(two_scanners, untrained):
    from easydl.networks import metadata_of

    batch = np.stack([two_scanners.scan(row).pixels for row in range(6)])
    own = np.asarray(untrained(batch)).argmax(axis=1)
    direction = disturbing._against([untrained], metadata_of(untrained), batch, None, own)
    logits = keras.Model(untrained.input, untrained.get_layer("logits").output)
    x = tf.constant(batch)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.gather(logits(x, training=False), own, axis=1, batch_dims=1)
        other = tf.gather(logits(x, training=False), 1 - own, axis=1, batch_dims=1)
        total = tf.reduce_sum(score - other)
    expected = -np.sign(tape.gradient(total, x).numpy())
    assert (direction == expected).mean() > 0.999


def test_rates_are_those_of_the_changed_images(two_scanners, untrained, found):
    assert list(found.table["kind"].unique()) == ["against the model", "noise"]
    assert (found.table["images"] == 60).all() and (found.table["n"] == 60).all()
    by_kind = found.table.set_index(["kind", "strength"])["value"].unstack("strength")
    assert by_kind.loc["against the model", 0.2] >= by_kind.loc["noise", 0.2]
    assert by_kind.loc["against the model"].is_monotonic_increasing
    row = found.table.iloc[-1]
    assert (row["low"], row["high"]) == pytest.approx(proportion_confint(round(row["value"] * 60), 60, method="wilson"))
    assert "4.00% of the range" in found.sentence and "60 patients" in found.sentence
    assert easydl.RESEARCH_USE in repr(found) and easydl.RESEARCH_USE in found._repr_html_()
    assert [text.get_text() for text in found.show().axes[0].get_legend().get_texts()] == ["against the model", "noise"]


def linear(task="classification", classes=("dark", "bright")):
    """A model of the mean grey value: at 125 it changes its mind, and one grey level is one unit of the value."""
    image = keras.layers.Input((32, 32, 1), name="image")
    x = keras.layers.Rescaling(1.0, name="window")(image)
    x = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Conv2D(1, 1, name="conv")(x))
    logits = keras.layers.Dense(len(classes), name="logits")(x)
    out = keras.layers.Softmax(name="probability")(logits) if task == "classification" else keras.layers.Activation("linear", name="value")(logits)  # fmt: skip
    model = keras.Model(image, out)
    model.get_layer("conv").set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    kernel = np.array([[-1.0, 1.0]]) if task == "classification" else np.array([[1.0]])
    bias = np.array([125.0, -125.0]) if task == "classification" else np.zeros(1)
    model.get_layer("logits").set_weights([kernel, bias])
    metadata = ModelMetadata(builder="classifier", classes=classes, task=task, dimension=2, channels=1, size=(32, 32))
    return attach(model, metadata)


def test_a_model_of_the_mean_falls_to_the_step_and_not_to_noise(two_scanners):
    """Films are 55 grey levels from the border: 20% of 255 is not enough, 25% is; noise leaves the mean as it is."""
    from dataclasses import replace

    study = replace(two_scanners, frame=two_scanners.frame.drop(columns="label"))
    found = easydl.fragility(linear(), study, strengths=(0.2, 0.25))
    by_kind = found.table.set_index(["kind", "strength"])["value"]
    assert by_kind["against the model", 0.2] == 0 and by_kind["against the model", 0.25] == 1
    assert by_kind["noise", 0.25] == 0


def test_a_value_changes_by_the_size_of_the_step(two_scanners):
    from dataclasses import replace

    study = replace(two_scanners, frame=two_scanners.frame.drop(columns="label"))
    found = easydl.fragility(linear("regression", ("size_mm",)), study, strengths=(0.02,))
    row = found.table.iloc[0]
    assert row["value"] == pytest.approx(5.1, abs=1e-3) and row["low"] == pytest.approx(5.1, abs=1e-3) == row["high"]
    assert "changes the value by 5.10 mm" in found.sentence and found.unit == "mm"
    assert "mean change (mm)" in found.show().axes[0].get_ylabel()


def test_an_ensemble_says_where_its_members_agree(two_scanners):
    first, other = (easydl.classifier("tiny", two_scanners, size=32, seed=seed) for seed in (0, 1))
    images = np.stack([two_scanners.scan(row).pixels for row in range(60)])
    one, two = (np.asarray(each(images)).argmax(axis=1) for each in (first, other))
    found = easydl.fragility(ensembled(first, [first, other]), two_scanners, strengths=(0.01,))
    assert found.agreement[0] == pytest.approx((one == two).mean()) and "members of the ensemble agree" in repr(found)


def test_labels_are_moved_to_the_other_side(two_scanners):
    from dataclasses import replace

    study = replace(two_scanners, frame=two_scanners.frame.drop(columns="label"))
    model = easydl.classifier("tiny", classes=("a", "b"), task="multilabel", size=32)
    found = easydl.fragility(model, study, strengths=(0.3,))
    assert found.table["value"].iloc[0] >= found.table["value"].iloc[1]


def test_seed_and_unseen_images(two_scanners, untrained, monkeypatch):
    seen = ["training"] * 40 + [""] * 20
    monkeypatch.setattr(disturbing, "seen_rows", lambda metadata, study: (seen, []))
    found = easydl.fragility(untrained, two_scanners, strengths=(0.01,))
    assert (found.table["images"] == 20).all() and not found.notes
    monkeypatch.setattr(disturbing, "seen_rows", lambda metadata, study: (["training"] * 60, []))
    monkeypatch.setattr(disturbing, "MOST", 8)
    drawn = []
    monkeypatch.setattr(disturbing, "_changes", lambda m, meta, part, sizes, seed: drawn.append(list(part.frame["image"])) or ({disturbing.NOISE: [np.zeros(8)]}, None))  # fmt: skip
    assert easydl.fragility(untrained, two_scanners, strengths=(0.01,), seed=1).notes
    easydl.fragility(untrained, two_scanners, strengths=(0.01,), seed=2)
    assert len(drawn[0]) == 8 and drawn[0] != drawn[1]


def test_what_cannot_be_asked_is_said(two_scanners, untrained):
    for wrong in ((0.0,), (1.5,), (), 0.01):
        with pytest.raises(RunError, match="strengths"):
            easydl.fragility(untrained, two_scanners, strengths=wrong)
    with pytest.raises(ModelError, match="segmentation"):
        easydl.fragility(easydl.unet(width=4), two_scanners)
