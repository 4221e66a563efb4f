"""A tree that imitates a known rule names it with its threshold; one that cannot imitate the model is not read."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from statsmodels.stats.proportion import proportion_confint

import easydl
from easydl.errors import RESEARCH_USE, InputError
from easydl.exploration.inputs import Input
from easydl.exploration.tree_result import REFUSED, conditions
from easydl.exploration.trees import _folds, _Grown
from easydl.networks import metadata_of, set_classes
from easydl.prediction.covariates import set_covariates

LIMIT = r"mean grey value is (?:above|at most) ([\d.]+)"


@pytest.fixture(scope="module")
def tree(shades, rule):
    return easydl.explain_as_tree(rule, shades)


def network(output, kernel, bias=0.0):
    """One number (or softmax of two) of the mean grey value."""
    image = keras.Input((32, 32, 1))
    dense = keras.layers.Dense(np.shape(kernel)[1], activation=output)
    model = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([np.asarray(kernel, float), np.full(np.shape(kernel)[1], bias)])
    return model


def test_the_planted_rule_is_found_with_its_threshold(tree, shades):
    assert tree.explains and tree.fidelity.low > 0.9
    limits = [float(re.search(LIMIT, rule)[1]) for rule in tree.rules]
    # The borders lie between the two images whose means are nearest to the rule.
    assert len(limits) == 2 and limits == pytest.approx([120, 120], abs=2)
    bright = [np.mean(shades.scan(row).pixels) > 120 for row in range(len(shades))]
    above, below = tree.rules
    patients = shades.frame["patient"][bright].nunique()
    assert f"bright ({sum(bright)} of {sum(bright)} images, {patients} patients)" in above
    assert "above" in above and "at most" in below and "dark" in below


def test_fidelity_is_that_of_trees_that_have_not_seen_the_patient(tree, shades, rule):
    assert (tree.fidelity.n, tree.fidelity.images) == (60, 120)
    answers = easydl.predict(rule, shades).frame["prediction"].to_numpy(str)
    assert tree.fidelity.baseline == pytest.approx(np.unique(answers, return_counts=True)[1].max() / 120)
    text = repr(tree)
    assert text.startswith("The tree agrees with the model in 0.9") and RESEARCH_USE in text
    assert "always saying" in tree.sentence and "60 patients" in tree.sentence


def test_no_patient_is_in_both_parts_of_a_fold():
    rng = np.random.default_rng(0)
    answers, units = rng.choice(["a", "b"], 200), np.repeat([f"p{k}" for k in range(40)], 5)
    asked = []
    for learn, ask in _folds(answers, units, False, 0):
        assert not set(units[learn]) & set(units[ask])
        asked += list(ask)
    assert sorted(asked) == list(range(200))


def test_agreement_and_interval_are_those_of_independent_arithmetic(shades, rule):
    """With one image for each patient Wilson's interval of the accuracy, by scikit-learn and statsmodels."""
    alone = shades.rows(shades.frame.index[::2])
    found = easydl.explain_as_tree(rule, alone, depth=1, seed=3)
    answers = easydl.predict(rule, alone).frame["prediction"].to_numpy(str)
    from easydl.exploration.inputs import inputs_of
    from easydl.networks import metadata_of

    values = inputs_of(alone, metadata_of(rule))[1]
    folded = np.empty(60, answers.dtype)
    grown = _Grown(values, answers, False, 1, 3)
    for learn, ask in _folds(answers, alone.frame["patient"].to_numpy(str), False, 3):
        folded[ask] = grown.fitted(learn).predict(values[ask])
    assert found.fidelity.value == pytest.approx(accuracy_score(answers, folded))
    hits = int((answers == folded).sum())
    limits = proportion_confint(hits, 60, method="wilson")
    assert (found.fidelity.low, found.fidelity.high) == pytest.approx(limits, abs=1e-6)


def test_a_model_that_no_feature_tells_is_not_explained(shades):
    """Answers by the lowest bit of one pixel: noise to every readable feature."""
    image = keras.Input((32, 32, 1))
    pixel = keras.layers.Cropping2D(((15, 16), (15, 16)))(image)
    # A fine comb over the grey values: sin of a large multiple is as good as a coin.
    comb = keras.layers.Activation("sin" if hasattr(keras.activations, "sin") else "linear")
    many = keras.layers.Dense(400, activation="relu")
    dense = keras.layers.Dense(2, activation="softmax")
    model = keras.Model(image, dense(many(keras.layers.Flatten()(comb(pixel)))))
    kernel = np.ones((1, 400))
    steps = np.where(np.arange(400) % 2, -2.0, 2.0)
    steps[0] = 1.0
    many.set_weights([kernel, -np.arange(400, dtype=float)])
    dense.set_weights([np.stack([-20 * steps, 20 * steps], axis=1), np.array([10.0, -10.0])])
    found = easydl.explain_as_tree(set_classes(model, ["dark", "bright"]), shades)
    assert not found.explains
    assert repr(found).startswith(REFUSED)
    assert found.rules == () and "If " not in repr(found) and "<li>" not in found._repr_html_()
    assert RESEARCH_USE in found._repr_html_() and len(found.table) >= 1
    assert len(found.show().axes[0].texts) == 0


def test_one_answer_for_all_is_not_explained(shades):
    model = set_classes(network("softmax", [[0.0, 1.0]], 0.0), ["dark", "bright"])  # bright, whatever it is shown
    found = easydl.explain_as_tree(model, shades)
    assert found.fidelity.value == found.fidelity.baseline == 1
    assert found.sentence.startswith(REFUSED)


def test_a_value_is_explained_by_its_r2(shades):
    model = network("linear", [[0.5]], 10.0)
    unlabelled = easydl.load(shades.frame.drop(columns="label"), root=None, patient="patient")
    found = easydl.explain_as_tree(model, unlabelled)
    assert found.fidelity.measure == "R²" and 0.7 < found.fidelity.low < found.fidelity.value < 1
    assert "R²" in found.sentence and "on average" in found.rules[0]
    assert all("mean grey value" in rule for rule in found.rules)
    means = found.table["answer"].astype(float)
    assert means.is_monotonic_decreasing  # from the top of the figure down


def test_a_shallower_tree_asks_fewer_questions(shades, rule):
    model = network("linear", [[0.5]], 10.0)
    unlabelled = easydl.load(shades.frame.drop(columns="label"), root=None, patient="patient")
    one, four = (easydl.explain_as_tree(model, unlabelled, depth=depth) for depth in (1, 4))
    assert len(one.rules) == 2 < len(four.rules) <= 16
    assert one.fidelity.value < four.fidelity.value


@pytest.mark.parametrize(("option", "value"), [("depth", 5), ("depth", 0), ("seed", -1)])
def test_options_outside_their_limits_are_refused(shades, rule, option, value):
    with pytest.raises(easydl.EasyDLError, match=option):
        easydl.explain_as_tree(rule, shades, **{option: value})


def test_a_class_can_be_asked_about_alone(shades, rule):
    found = easydl.explain_as_tree(rule, shades, target="bright")
    assert found.target == "bright" and "not bright" in found.rules[1]
    with pytest.raises(InputError, match="bright"):
        easydl.explain_as_tree(rule, shades, target="brigth")


def test_covariates_stand_beside_the_features_with_their_units(shades):
    """Bright is who is above 60 and not a man: weights set by hand, the image counts for nothing."""
    rng = np.random.default_rng(4)
    frame = shades.frame.assign(age_years=rng.integers(30, 90, len(shades)), sex=rng.choice(["F", "M"], len(shades)))
    frame.loc[frame.index[:3], "age_years"] = np.nan
    study = easydl.load(frame, classes=["dark", "bright"])
    model = easydl.classifier("tiny", study, size=32, covariates=["age_years", "sex"])
    set_covariates(model, study.frame)
    age, sex = metadata_of(model).covariates
    first = np.zeros((4, 16))  # age, is it missing, F, M
    first[0, 0], first[2 + sex.categories.index("M"), 1] = 1, 1
    bias = np.zeros(16)
    bias[0] = -(60 - age.mean) / age.std
    model.get_layer("covariates_dense").set_weights([first, bias])
    scores = np.concatenate([np.zeros(model.get_layer("features").output.shape[-1]), [40, -200], np.zeros(14)])
    model.get_layer("logits").set_weights([np.c_[np.zeros_like(scores), scores], np.array([0.0, -0.5])])
    found = easydl.explain_as_tree(model, study)
    assert found.explains and found.fidelity.value > 0.95
    yes = next(rule for rule in found.rules if "says bright" in rule)
    limit = float(re.search(r"age_years is above ([\d.]+) years", yes)[1])
    assert limit == pytest.approx(60.5, abs=1) and ("sex is F" in yes or "sex is not M" in yes)
    assert "age_years is not known for 3 images: the median was taken there." in found.notes


def test_labels_are_explained_one_at_a_time(shades):
    model = network("sigmoid", [[1.0, -1.0]])
    with pytest.raises(InputError, match="2 labels"):
        easydl.explain_as_tree(model, shades.rows(shades.frame.index))


def test_few_patients_are_refused(shades, rule):
    with pytest.raises(InputError, match="9 patients"):
        easydl.explain_as_tree(rule, shades.rows(shades.frame.index[:18]))


def test_the_figure_shows_every_question_and_answer(tree):
    figure = tree.show()
    texts = [one.get_text() for one in figure.axes[0].texts]
    assert {"bright", "dark", "yes", "no"} <= set(texts)
    assert any("mean grey value above 1" in " ".join(text.split()) for text in texts)
    assert RESEARCH_USE.split(".")[0] in figure.get_supxlabel()


def test_thresholds_of_one_number_become_one_condition():
    grey, sex = Input("mean grey value", "the mean grey value", "HU"), Input("sex is F", "sex is F", category=True)
    sides = ((True, grey, -120.0), (False, grey, 40.0), (True, grey, -31.24), (False, sex, 0.5))
    assert conditions(sides) == "the mean grey value is above -31.2 HU and at most 40 HU and sex is not F"


def test_it_is_saved_as_plain_values(tree, tmp_path):
    import json

    content = json.loads(tree.save(tmp_path / "tree.json").read_text())
    assert content["explains"] and content["rules"] == list(tree.rules) and content["research_use"] == RESEARCH_USE
    assert content["fidelity"]["n"] == 60


def test_without_patients_images_are_counted(shades, rule):
    found = easydl.explain_as_tree(rule, replace(shades, patients_known=False))
    assert found.fidelity.n == 120 and "patients" not in found.sentence + found.rules[0]
