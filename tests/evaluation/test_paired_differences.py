"""Two models, and a model beside readers, on the same images: against the single tests and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from cohorts import ball, case, predictions
from sklearn.metrics import cohen_kappa_score, recall_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from easydl.errors import RESEARCH_USE, InputError
from easydl.evaluation import compare_readers, paired_differences, segmentation_metrics
from easydl.evaluation.paired import paired_difference
from easydl.prediction.results import Predictions

BINARY = ("normal", "effusion")


def compared(first, second, **options):
    return pd.DataFrame(vars(row) for row in paired_differences(first, second, **options)).set_index("measure")


def noisier(frame, seed=1, classes=BINARY):
    """The same images with worse probabilities."""
    rng = np.random.default_rng(seed)
    columns = [f"p({name})" for name in classes]
    mixed = 0.5 * frame[columns].to_numpy() + 0.5 * rng.dirichlet(np.ones(len(classes)), len(frame))
    worse = frame.copy()
    worse[columns] = mixed
    worse["prediction"] = np.array(classes)[mixed.argmax(axis=1)]
    return worse


def test_two_models_are_compared_image_by_image_whatever_the_order():
    frame = predictions(60, skill=2)
    worse = noisier(frame)
    shuffled = worse.sample(frac=1, random_state=2)
    table = compared(Predictions(frame, BINARY), Predictions(shuffled, BINARY), resamples=300)
    row = table.loc["AUC"]
    truth = frame["label"] == "effusion"
    areas = [roc_auc_score(truth, each["p(effusion)"]) for each in (frame, worse)]
    assert [row["first"], row["second"]] == pytest.approx(areas)
    alone = paired_difference(truth, frame["p(effusion)"], worse["p(effusion)"], frame["patient"])
    assert (row["low"], row["p"]) == pytest.approx((alone.low, alone.p))
    assert list(table.index) == ["AUC", "accuracy", "balanced accuracy", "log loss"]


def test_where_patients_are_unknown_images_are_counted():
    frame = predictions(60, skill=2)
    pair = [Predictions(each, BINARY, patients_known=False) for each in (frame, noisier(frame))]
    row = next(paired_differences(*pair, resamples=100))
    assert row.n == row.images == len(frame) and repr(row).endswith(f", {len(frame)} images")
    assert "patient" not in row.note


@pytest.mark.parametrize("task", ["multilabel", "regression", "ordinal", "classes"])
def test_every_task_is_compared_by_its_own_numbers(task):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"image": range(50), "patient": np.arange(50) // 2})
    other = frame.copy()
    if task == "regression":
        for each in (frame, other):
            each["label"], each["value"] = np.linspace(0, 9, 50), np.linspace(0, 9, 50) + rng.normal(size=50)
        expected, classes = ["mean absolute error"], ("age",)
    elif task == "multilabel":
        for each in (frame, other):
            each["label"] = np.where(np.arange(50) % 3 == 0, "a; b", np.where(np.arange(50) % 2, "a", ""))
            each["p(a)"], each["p(b)"] = rng.random(50), rng.random(50)
        expected = ["AUC, mean over labels", "AUC, a", "AUC, b", "average precision, a", "average precision, b"]
        classes = ("a", "b")
    elif task == "ordinal":
        classes = ("1", "2", "3")
        for each in (frame, other):
            each["label"], each["prediction"] = np.tile(classes, 17)[:50], rng.choice(classes, 50)
        expected = ["quadratic-weighted kappa", "accuracy"]
    else:
        classes, task = ("a", "b", "c"), "classification"
        frame = predictions(50, classes)
        other = noisier(frame, classes=classes)
        expected = ["AUC", "accuracy", "balanced accuracy", "log loss"]
    table = compared(Predictions(frame, classes, task=task), Predictions(other, classes, task=task), resamples=200)
    assert table.index.tolist() == expected
    assert (table["low"] < table["difference"]).all()
    assert table["p"].between(0, 1).all()
    if task == "multilabel":
        first, each = table.iloc[0], table.loc[["AUC, a", "AUC, b"]]
        assert [first["first"], first["second"]] == pytest.approx([each["first"].mean(), each["second"].mean()])


def test_masks_are_compared_case_by_case():
    truth = ball((32, 32), (16, 16), 8)
    good = segmentation_metrics([case(np.roll(truth, 1, 0), truth, f"P{k}") for k in range(12)], resamples=100)
    poor = segmentation_metrics(
        [case(np.roll(truth, 2 + k % 3, 0), truth, f"P{k}") for k in reversed(range(12))], resamples=100
    )
    table = compared(good, poor, resamples=200)
    assert list(table.index) == ["Dice", "IoU", "HD95 (mm)", "ASSD (mm)"]
    assert table.loc["Dice", "difference"] == pytest.approx(good.cases["dice"].mean() - poor.cases["dice"].mean())
    assert table.loc["Dice", "low"] > 0
    assert table.loc["HD95 (mm)", "high"] < 0
    assert table.loc["Dice", "p"] == pytest.approx(2 / 2**12)
    short = segmentation_metrics([case(truth, truth, "P0")], resamples=100)
    with pytest.raises(InputError, match="not the same"):
        compared(good, short)


def test_what_does_not_fit_is_refused():
    frame = predictions(20)
    one = Predictions(frame, BINARY)
    with pytest.raises(InputError, match="not the same"):
        compared(one, Predictions(frame.iloc[1:], BINARY))
    with pytest.raises(InputError, match="same classes in the same order"):
        compared(one, Predictions(frame, BINARY[::-1]))
    with pytest.raises(InputError, match="Predictions of two models"):
        compared(one, None)


def readings(frame, accuracy, seed):
    rng = np.random.default_rng(seed)
    other = frame["label"].map({"normal": "effusion", "effusion": "normal"})
    return np.where(rng.random(len(frame)) < accuracy, frame["label"], other)


def test_readers_stand_beside_the_model():
    frame = predictions(80, most_images=1, skill=2)
    readers = {"ann": readings(frame, 0.9, 1), "bob": readings(frame, 0.6, 2)}
    result = compare_readers(Predictions(frame, BINARY), readers, resamples=300)
    table = result.table.set_index("reader")
    assert list(table.index) == ["ann", "bob", "model"]
    sick = frame["label"] == "effusion"
    for name, called in {**readers, "model": frame["prediction"]}.items():
        assert table.loc[name, "sensitivity"] == pytest.approx(recall_score(sick, called == "effusion"))
        assert table.loc[name, "specificity"] == pytest.approx(recall_score(~sick, called == "normal"))
        assert table.loc[name, "kappa"] == pytest.approx(cohen_kappa_score(frame["label"], called))
        hits = int((called[sick] == "effusion").sum())
        assert (table.loc[name, "sensitivity low"], table.loc[name, "sensitivity high"]) == pytest.approx(
            proportion_confint(hits, sick.sum(), method="wilson")
        )
    model, ann = (each == frame["label"] for each in (frame["prediction"], readers["ann"]))
    square = [[(model & ann).sum(), (model & ~ann).sum()], [(~model & ann).sum(), (~model & ~ann).sum()]]
    assert table.loc["ann", "p"] == pytest.approx(mcnemar(square, exact=True).pvalue)
    assert table.loc["bob", "model less reader"] == pytest.approx(
        model.mean() - (readers["bob"] == frame["label"]).mean()
    )
    assert repr(result).splitlines()[-1] == RESEARCH_USE
    assert "Fleiss' kappa" in result.agreement["statistic"].tolist()
    labels = [text.get_text() for text in result.show().get_axes()[0].get_legend().get_texts()]
    assert {"ann", "bob", "model's decision"} <= set(labels)


def test_images_that_a_reader_left_blank_do_not_count_for_them():
    frame = predictions(40, most_images=1)
    ann = pd.Series(readings(frame, 0.9, 1)).where(np.arange(40) >= 5)
    table = compare_readers(Predictions(frame, BINARY), {"ann": ann}, resamples=100).table.set_index("reader")
    assert (table.loc["ann", "images"], table.loc["model", "images"]) == (35, 40)


def test_readings_that_do_not_fit_are_refused():
    frame = predictions(20)
    with pytest.raises(InputError, match="oedema"):
        compare_readers(Predictions(frame, BINARY), {"ann": ["oedema"] * len(frame)})
    with pytest.raises(InputError, match="3 rows of readers"):
        compare_readers(Predictions(frame, BINARY), {"ann": ["normal"] * 3})
    with pytest.raises(InputError, match="a model of two classes"):
        compare_readers(Predictions(predictions(20, ("a", "b", "c")), ("a", "b", "c")), {"ann": []})
