"""What was planted is missed when it is shuffled, and noise is not; numbers as by scikit-learn, in independent shuffles."""

import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.metrics import roc_auc_score

import easydl
from easydl.comparison.readable import NAMES, readable_features
from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation.influence import auc_influence, standard_error
from easydl.evaluation.tables import area
from easydl.exploration.importances import IMAGE, TABLE
from easydl.exploration.weighed import jackknife
from easydl.networks import metadata_of
from easydl.prediction import encode_covariates
from easydl.prediction.calling import compiled, inputs
from easydl.prediction.covariates import set_covariates


@pytest.fixture(scope="module")
def planted(shades):
    """The label says how bright an image is and how high its marker; the column chance says nothing."""
    rng = np.random.default_rng(5)
    frame, count = shades.frame.copy(), len(shades)
    light = (np.array([shades.scan(row).pixels.mean() for row in range(count)]) - 120) / 29
    marker, chance = rng.normal(size=count), rng.normal(size=count)
    score = light + 1.2 * marker + 0.5 * rng.normal(size=count)
    label = np.where(score > 0, "bright", "dark")
    return easydl.load(frame.assign(marker=marker, chance=chance, label=label), classes=["dark", "bright"])


@pytest.fixture(scope="module")
def model(planted):
    """Its logits are the brightness, the marker, and by mistake a little of chance: weights by least squares, not training."""
    model = easydl.classifier("tiny", planted, size=32, covariates=["marker", "chance"])
    set_covariates(model, planted.frame)
    images = np.concatenate([inputs(model, planted.scan(row)) for row in range(len(planted))])
    seen = compiled(model, "features")(images).numpy()
    wanted = (images.mean(axis=(1, 2, 3)) - 120) / 29
    weights = np.linalg.lstsq(np.c_[seen, np.ones(len(seen))], wanted, rcond=1e-4)[0]
    # The table is marker, is it missing, chance, is it missing; a ReLU each for what is above and below 0.
    first = np.zeros((4, 16))
    first[0, :2], first[2, 2:4] = (1, -1), (1, -1)
    model.get_layer("covariates_dense").set_weights([first, np.zeros(16)])
    own = np.concatenate([weights[:-1], [1.2, -1.2, 0.1, -0.1], np.zeros(12)])
    model.get_layer("logits").set_weights([np.c_[np.zeros_like(own), 3 * own], np.array([0.0, 3 * weights[-1]])])
    return model


@pytest.fixture(scope="module")
def found(model, planted):
    return easydl.importance(model, planted, repeats=20, seed=1)


def rows(found):
    return {row.name: row for row in found.rows}


def test_what_was_planted_is_missed_and_chance_is_not(found):
    by_name = rows(found)
    assert by_name["marker"].shown and by_name[IMAGE].shown and by_name[TABLE].shown
    assert not by_name["chance"].shown and abs(by_name["chance"].loss) < 0.03
    assert by_name["marker"].low > 0.05
    losses = [row.loss for row in found.rows]
    assert losses == sorted(losses, reverse=True)
    assert "without marker" in found.sentence and "No loss is shown without chance." in found.sentence
    assert found.sentence.startswith("AUC 0.") and f"{found.n} patients" in found.sentence
    assert repr(found).rstrip().endswith(RESEARCH_USE)


def test_losses_are_those_of_shuffles_done_by_hand(found, model, planted):
    """Encoded tables with one column of other rows, through the whole model, scikit-learn's AUC."""
    rng = np.random.default_rng(77)
    images = np.concatenate([inputs(model, planted.scan(row)) for row in range(len(planted))])
    positive = planted.frame["label"].to_numpy(str) == "bright"

    def auc(images, frame):
        encoded = encode_covariates(metadata_of(model), frame)
        return roc_auc_score(positive, compiled(model)({"image": images, "covariates": encoded}).numpy()[:, 1])

    whole = auc(images, planted.frame)
    assert found.value[0] == pytest.approx(whole, abs=1e-6)
    by_hand = {"marker": [], IMAGE: []}
    for _ in range(40):
        order = rng.permutation(len(planted))
        other = planted.frame.assign(marker=planted.frame["marker"].to_numpy()[order])
        by_hand["marker"].append(whole - auc(images, other))
        by_hand[IMAGE].append(whole - auc(images[order], planted.frame))
    for name, values in by_hand.items():
        assert rows(found)[name].loss == pytest.approx(np.mean(values), abs=4 * np.std(values) / np.sqrt(20))


def test_the_same_seed_gives_the_same_and_more_repeats_others(model, planted, found):
    again, other = (easydl.importance(model, planted, repeats=repeats, seed=1) for repeats in (20, 5))
    assert [row.loss for row in again.rows] == [row.loss for row in found.rows]
    assert [row.loss for row in other.rows] != [row.loss for row in found.rows]


def test_it_is_counted_as_a_look(model, planted):
    easydl.importance(model, planted, repeats=5)
    other = easydl.classifier("tiny", planted, size=32, covariates=["marker"], seed=9)
    assert any("looked at 2 times" in warning for warning in easydl.importance(other, planted, repeats=5).warnings)


def test_the_jackknife_of_an_auc_is_delongs():
    rng = np.random.default_rng(2)
    positive = rng.random(80) < 0.4
    scores = rng.normal(size=80) + positive
    units = np.array([f"p{number}" for number in range(80)])
    loss = [lambda inside: area(scores[inside], positive[inside])] * 2
    value, low, high = jackknife(loss, units, positive.astype(str), 0)
    assert value == pytest.approx(roc_auc_score(positive, scores))
    strata = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    error = float(np.ravel(standard_error(auc_influence(scores, positive), np.arange(80), strata))[0])
    assert (high - low) / 2 / 1.99 == pytest.approx(error, rel=0.05)


@pytest.fixture
def few_trees(monkeypatch):
    monkeypatch.setattr("easydl.training.estimators.TREES", 30)


@pytest.mark.usefixtures("few_trees")
def test_the_forest_misses_the_grey_values_of_bright_images(shades, planted):
    light = np.array([shades.scan(row).pixels.mean() for row in range(len(shades))])
    study = easydl.load(shades.frame.assign(label=np.where(light > 120, "bright", "dark")), classes=["dark", "bright"])
    found = easydl.importance("forest", study, repeats=5)
    assert found.rows[0].name == "grey values" and found.rows[0].low > 0.2
    assert {row.name for row in found.rows if row.shown} <= {"grey values", "layout"}
    assert "folds by patient" in " ".join(found.notes)


@pytest.mark.usefixtures("few_trees")
def test_the_forest_agrees_with_scikit_learns_importance(shades, monkeypatch):
    """Groups of one feature each are what scikit-learn shuffles."""
    light = np.array([shades.scan(row).pixels.mean() for row in range(len(shades))])
    label = np.where(light + np.random.default_rng(1).normal(0, 15, len(light)) > 120, "bright", "dark")
    study = easydl.load(shades.frame.assign(label=label), classes=["dark", "bright"])
    groups = {name: (name,) for name in ("mean grey value", "texture: homogeneity")}
    monkeypatch.setattr("easydl.exploration.importances.GROUPS", groups)
    found = rows(easydl.importance("forest", study, repeats=10))
    values, positive = readable_features(study.facts()), label == "bright"
    half = np.isin(study.frame["patient"], sorted(set(study.frame["patient"]))[::2])
    forest = RandomForestClassifier(30, min_samples_leaf=2, random_state=0).fit(values[half], positive[half])
    theirs = permutation_importance(
        forest, values[~half], positive[~half], scoring="roc_auc", n_repeats=10, random_state=0
    )
    for name in groups:
        assert found[name].loss == pytest.approx(theirs.importances_mean[NAMES.index(name)], abs=0.06), name


def test_a_model_of_images_alone_and_studies_without_labels_are_refused(shades, planted, rule, model):
    with pytest.raises(InputError, match="image alone"):
        easydl.importance(rule, shades)
    unlabelled = easydl.load(planted.frame.drop(columns="label"), patient="patient")
    with pytest.raises(InputError, match="no labels"):
        easydl.importance(model, unlabelled)
    with pytest.raises(InputError, match="target"):
        easydl.importance("forest", shades, target="bright")
    with pytest.raises(easydl.EasyDLError, match="repeats"):
        easydl.importance(model, planted, repeats=2)


def test_images_of_the_training_are_left_out_or_counted_for_a_reason(model, planted):
    from easydl.errors import LeakageError
    from easydl.networks import attach
    from easydl.prediction.seen import with_training

    metadata = metadata_of(model)
    half = planted.rows(planted.frame.index[:60])
    try:
        attach(model, metadata.model_copy(update={"seen": with_training(None, half, half)}))
        assert easydl.importance(model, planted, repeats=5).images == 60
        with pytest.raises(LeakageError):
            easydl.importance(model, half)
        counted = easydl.importance(model, half, repeats=5, override="to see what it memorised")
        assert counted.images == 60 and "to see what it memorised" in counted.warnings[0]
    finally:
        attach(model, metadata)


def test_one_class_can_be_meant(model, planted, found):
    other = easydl.importance(model, planted, repeats=20, seed=1, target="bright")
    assert other.target == "bright"
    assert other.value[0] == pytest.approx(found.value[0], abs=1e-9)


def test_the_figure_has_a_bar_and_an_interval_for_each(found):
    ax = found.show().axes[0]
    assert [round(bar.get_width(), 6) for bar in ax.patches] == [round(row.loss, 6) for row in found.rows]
    limits = [tuple(np.round(line.get_xdata(), 6)) for line in ax.lines[: len(found.rows)]]
    assert limits == [(round(row.low, 6), round(row.high, 6)) for row in found.rows]
    assert "patients" in ax.get_xlabel()


def test_it_is_saved_as_plain_values(found, tmp_path):
    content = json.loads(found.save(tmp_path / "importance.json").read_text())
    assert [row["name"] for row in content["rows"]] == list(found.table["name"])
    assert content["n"] == found.n and content["research_use"] == RESEARCH_USE
    assert RESEARCH_USE in found._repr_html_()
