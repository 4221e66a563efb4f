"""Baselines beside a network: fitted on its training patients, measured on its patients, and one honest sentence."""

import json

import numpy as np
import pytest
from made_comparisons import predicted, split_study
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, roc_auc_score

import easydl
from easydl.comparison import BaselineComparisons, compare_with_baselines
from easydl.comparison import baselines as room
from easydl.comparison.baselines import BaselineInputs
from easydl.comparison.paired_rows import side_by_side
from easydl.errors import InputError
from easydl.evaluation.level import over_looks
from easydl.evaluation.paired import paired_difference
from easydl.evaluation.tables import table_metrics
from easydl.studies import pixel_facts
from easydl.studies.thumbnails import thumbnails
from easydl.training.estimators import problem_of


def beside_of(films, task, noise=0.3, **options):
    options = {"resamples": 200} | options
    study, parts = split_study(films, task)
    return (
        study,
        parts,
        compare_with_baselines(study, {name: predicted(part, noise) for name, part in parts.items()}, **options),
    )


@pytest.fixture(scope="module")
def classified(films):
    return beside_of(films, "classification")


def test_every_baseline_stands_beside_the_network_on_both_parts(classified):
    _, parts, found = classified
    assert [one.part for one in found.comparisons] == ["test", "validation"]
    for one, part in zip(found.comparisons, (parts["test"], parts["val"]), strict=True):
        assert one.rows[0].name == "network"
        assert {row.name for row in one.rows} == {"network", "prevalence", "metadata", "thumbnail", "forest"}
        assert one.left_out == {"features": "no pretrained weights are on this computer (easydl weights lists them)"}
        assert all(row.n == part.n_patients and row.images == len(part) for row in one.rows)
        assert all(row.low <= row.value <= row.high for row in one.rows)
    metadata = next(row for row in found.comparisons[0].rows if row.name == "metadata")
    assert "age, sex and 2 more" in metadata.text and "column" not in metadata.text


def test_a_second_look_at_the_test_part_widens_its_intervals_alone(films, classified):
    _, _, found = classified
    _, _, again = beside_of(films, "classification", looks=2)
    for one, other in zip(found.of("test")[0].rows, again.of("test")[0].rows, strict=True):
        assert other.value == one.value
        assert one.name == "prevalence" or other.low < one.low
    assert repr(found.of("validation")[0]).splitlines()[1] == repr(again.of("validation")[0]).splitlines()[1]


def test_the_networks_line_is_the_one_that_evaluate_gives(classified):
    _, parts, found = classified
    expected = table_metrics(predicted(parts["test"], 0.3), resamples=200).rows[0]
    row = found.comparisons[0].rows[0]
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high))


def _oracle(task, part, outputs, labels):
    targets = part.targets()
    if task == "regression":
        return mean_absolute_error(targets[:, 0], outputs[:, 0])
    if task == "ordinal":
        median = (outputs.cumsum(axis=1) < 0.5).sum(axis=1)
        return cohen_kappa_score(targets.argmax(axis=1), median, weights="quadratic", labels=[0, 1, 2])
    if task == "classification":
        return roc_auc_score(targets[:, 1], outputs[:, 1])
    return np.mean([roc_auc_score(targets[:, k], outputs[:, k]) for k in range(targets.shape[1])])


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "ordinal"])
def test_numbers_and_differences_are_those_of_scikit_learn(films, task, classified):
    study, parts, found = classified if task == "classification" else beside_of(films, task)
    test = parts["test"]
    network = predicted(test, 0.3)
    columns = ["value"] if task == "regression" else [f"p({name})" for name in test.classes]
    mine = _oracle(task, test, network.frame[columns].to_numpy(), test.frame["label"])
    inputs, problem, train = BaselineInputs(study), problem_of(study), (study.frame["split"] == "train").to_numpy()
    thumbnail = room.BASELINES["thumbnail"].outputs(inputs, problem, train, 0)[
        (study.frame["split"] == "test").to_numpy()
    ]
    theirs = _oracle(task, test, thumbnail, test.frame["label"])
    rows = {row.name: row for row in found.comparisons[0].rows}
    assert rows["network"].value == pytest.approx(mine, abs=1e-6)
    assert rows["thumbnail"].value == pytest.approx(theirs, abs=1e-6)
    assert rows["thumbnail"].difference == pytest.approx(mine - theirs, abs=1e-6)
    assert rows["thumbnail"].difference_low <= mine - theirs <= rows["thumbnail"].difference_high


def test_the_difference_is_the_paired_one(films):
    test = split_study(films, "classification")[1]["test"]
    one, other = predicted(test, 0.8, seed=1), predicted(test, 1.5, seed=2)
    found = side_by_side({"a": one, "b": other}, {"a": "", "b": ""}, {}, against="a").rows[1]
    scores = [each.frame[["p(no)", "p(yes)"]].to_numpy() for each in (one, other)]
    pair = paired_difference(test.targets().argmax(axis=1), *scores, test.frame["patient"])
    assert (found.difference_low, found.difference_high) == pytest.approx((pair.low, pair.high))


def test_several_tasks_have_a_comparison_each(films):
    _, _, found = beside_of(films, "multitask")
    assert [(one.part, one.head) for one in found.comparisons] == [
        ("test", "outcome"), ("test", "size_mm"), ("validation", "outcome"), ("validation", "size_mm"),
    ]  # fmt: skip
    assert [one.unit for one in found.of("test")] == ["", "mm"]
    assert found.sentences[1].endswith("[size_mm].")


def test_a_network_that_sees_more_adds_and_one_that_guesses_does_not(films):
    # Nothing in table or image says the sign but its marker: without that column no baseline can tell.
    study = easydl.load(films, label="sign")
    bare = easydl.load(study.frame[["image", "label", "patient"]], patient="patient")
    train, _, test = bare.split(seed=1)
    good = compare_with_baselines(train.parent, {"test": predicted(test, 0.3)})
    assert good.sentences[0].startswith("The network adds 0.") and "over the best baseline" in good.sentences[0]
    best = good.comparisons[0].best_baseline
    assert best.difference_low > 0 and f"({best.name})" in good.sentences[0]
    # The trap: the column in the table tells it, and a network that is nearly as good adds nothing.
    train, _, test = study.split(seed=1)
    trapped = compare_with_baselines(train.parent, {"test": predicted(test, 0.6)})
    assert trapped.comparisons[0].best_baseline.name == "metadata"
    assert "adds nothing that can be shown over the best baseline (metadata)" in trapped.sentences[0] or (
        "is worse than the best baseline (metadata)" in trapped.sentences[0]
    )
    # Two perfect numbers differ in no resample, and still there is an interval.
    assert all(np.isfinite(row.difference_low) for row in trapped.comparisons[0].rows[1:])
    guessing = compare_with_baselines(train.parent, {"test": predicted(test, 50.0)})
    assert "is worse than the best baseline (metadata)" in guessing.sentences[0]


def test_an_error_is_lowered_not_added(films):
    _, _, found = beside_of(films, "regression", noise=0.02)
    assert found.sentences[0].startswith("The network lowers the mean absolute error by 0.")
    assert " mm (95% CI " in found.sentences[0] and "compared with the best baseline" in found.sentences[0]


def test_no_image_is_decoded_a_second_time(films, monkeypatch):
    study, parts = split_study(films, "classification")
    thumbnails(study.facts())  # into the cache of this test
    monkeypatch.setattr(pixel_facts, "read", lambda *_: pytest.fail("an image was read again"))
    monkeypatch.setattr(study.files, "scan", lambda *_: pytest.fail("an image was read again"))
    rows = compare_with_baselines(study, {"test": predicted(parts["test"], 0.3)}).comparisons[0].rows
    looked_at = {row.name: row.value for row in rows if row.name in ("thumbnail", "forest")}
    assert len(looked_at) == 2 and np.isfinite(list(looked_at.values())).all(), "both look at every image"


def test_what_the_network_has_seen_is_left_out_as_in_the_test(films):
    study, parts = split_study(films, "classification")
    network = predicted(parts["test"], 0.3)
    seen = ["training image"] * 4 + [""] * (len(network.frame) - 4)
    network.frame["seen"] = seen
    row = compare_with_baselines(study, {"test": network}).comparisons[0].rows[-1]
    assert row.images == len(seen) - 4
    counted = compare_with_baselines(study, {"test": network}, override="they are others").comparisons[0].rows[-1]
    assert counted.images == len(seen)


def test_patients_that_are_not_known_count_as_images(films):
    frame = easydl.load(films, label="outcome").frame[["image", "label"]]
    train, _, test = easydl.load(frame, patient=None).split(seed=1)
    found = compare_with_baselines(train.parent, {"test": replace_patients(predicted(test, 0.3))})
    assert found.comparisons[0].unit_of_n == "images" and found.sentences[0].endswith(f"{len(test)} images.")


def replace_patients(predictions):
    predictions.patients_known = False
    return predictions


def test_it_is_read_back_as_it_was_written(classified):
    _, _, found = classified
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = BaselineComparisons.from_dict(json.loads(text))
    assert [repr(one) for one in again.comparisons] == [repr(one) for one in found.comparisons]
    assert "p1" not in {word.strip('",') for word in text.split()}  # no patient
    for broken in (
        {},
        {"comparisons": [3]},
        {"comparisons": [{"rows": [{"name": 1}]}]},
        {"comparisons": [{"rows": 3}]},
    ):
        with pytest.raises(InputError):
            BaselineComparisons.from_dict(broken)


def test_frozen_features_learn_when_weights_are_here(films, monkeypatch):
    study, parts = split_study(films, "classification")
    monkeypatch.setattr(room, "frozen_features", lambda *_: np.asarray(study.targets())[:, [1, 1]] * 3.0)
    monkeypatch.setattr(room, "backbone_here", lambda _: room.Backbone("mobilenet_025", "imagenet"))
    found = compare_with_baselines(study, {"test": predicted(parts["test"], 0.3)})
    row = next(row for row in found.comparisons[0].rows if row.name == "features")
    assert (
        row.value == 1.0 and row.text == "logistic regression on frozen features (mobilenet_025, imagenet, 2 features)"
    )


def test_it_shows_itself(classified):
    _, _, found = classified
    one = found.comparisons[0]
    assert one.sentence in repr(one) and easydl.RESEARCH_USE in repr(one)
    assert one.sentence in one._repr_html_() and "left out" in one._repr_html_()
    assert list(one.table["name"]) == [row.name for row in one.rows]
    axes = one.show().axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [row.name for row in one.rows]
    assert one.show(axes) is axes.get_figure()


def test_intervals_are_as_wide_as_those_of_a_test_that_was_looked_at_before(films):
    study, parts = split_study(films, "classification")
    network = predicted(parts["test"], 0.9)
    found = compare_with_baselines(
        study, {"test": network, "val": predicted(parts["val"], 0.9)}, looks=4, resamples=200
    )
    once = compare_with_baselines(study, {"test": network, "val": predicted(parts["val"], 0.9)}, resamples=200)
    with over_looks(4):
        expected = table_metrics(network, resamples=200).table.iloc[0]
    row, before = found.of("test")[0].rows[0], once.of("test")[0].rows[0]
    assert (row.low, row.high) == pytest.approx((expected["low"], expected["high"]))
    assert row.low < before.low and "4 looks" in " ".join(found.of("test")[0].notes)
    assert found.of("validation")[0].rows[0].low == once.of("validation")[0].rows[0].low
    assert "looks" not in " ".join(once.of("test")[0].notes)


@pytest.mark.slow
def test_on_a_simulated_study_the_scanners_trap_adds_nothing_and_seeing_the_nodule_does(tmp_path):
    table = easydl.simulate(tmp_path / "study", patients=100, images_per_patient=1, size=48, traps=("scanner",), seed=1)
    train, _, test = easydl.load(table).split((0.4, 0.1, 0.5), seed=2)
    trapped = predicted(test, 0.3)
    # A network that has learnt the scanner says of every image what its scanner tells.
    sick = train.frame["label"] == train.classes[1]
    share = test.frame["scanner"].map(sick.groupby(train.frame["scanner"]).mean()).to_numpy()
    share = share + np.random.default_rng(0).normal(0, 0.02, len(share))
    trapped.frame = trapped.frame.assign(
        **{f"p({name})": p for name, p in zip(test.classes, (1 - share, share), strict=True)}
    )
    found = compare_with_baselines(train.parent, {"test": trapped})
    metadata = next(row for row in found.comparisons[0].rows if row.name == "metadata")
    assert metadata.value > 0.75 and metadata.difference_low < 0
    assert "adds nothing that can be shown" in found.sentences[0] or "is worse than" in found.sentences[0]
    assert found.comparisons[0].best_baseline.value >= metadata.value
    # Without the trap nothing in table, headers or a thumbnail tells, and a network that sees the nodule adds.
    table = easydl.simulate(tmp_path / "fair", patients=100, images_per_patient=1, size=48, seed=1)
    train, _, test = easydl.load(table).split((0.4, 0.1, 0.5), seed=2)
    seeing = compare_with_baselines(train.parent, {"test": predicted(test, 0.2)})
    assert seeing.sentences[0].startswith("The network adds 0.")
